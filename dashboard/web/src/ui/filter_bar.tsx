/** The filters in force as chips, and a menu to add one. The same on every view that filters. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Choices } from "../api_types";
import { exact, words } from "../format";
import { useApi } from "../resource";
import { param, paramList, setParams } from "../router";
import { FilterChips } from "./controls";

const LISTS = ["verdict", "reason", "fate", "finish_reason", "generator_id", "source", "template_id", "origin", "failed", "tag"] as const;
const RANGES = ["version", "tokens", "step"] as const;
type Field = (typeof LISTS)[number] | (typeof RANGES)[number];

const LABELS: Partial<Record<Field, string>> = { failed: "fails filter", finish_reason: "finish", generator_id: "generator", template_id: "template" };

interface FilterBarProps {
  /** Fields that make no sense on this view. */
  without?: readonly Field[];
  /** Chips that the view shows otherwise. */
  hide?: readonly string[];
  /** Stands in front of the chips. */
  before?: JSX.Element;
}

export function FilterBar({ without = [], hide = [], before }: FilterBarProps): JSX.Element {
  const choices = useApi<Choices>("values", {}, ["rollouts", "fates", "annotations"]);
  const [field, setField] = useState<Field | null>(null);
  const usable = [...LISTS.filter((name) => (choices.data?.[name].length ?? 0) > 1), ...RANGES].filter((name) => !without.includes(name));
  return (
    <FilterChips hide={hide} before={before}>
      <span class="row wrap" style={{ gap: "6px" }}>
        <select class="field" style={{ height: "24px", fontSize: "12px" }} aria-label="Add a filter" value={field ?? ""} onChange={(event) => setField((event.currentTarget.value || null) as Field | null)}>
          <option value="">+ filter</option>
          {usable.map((name) => (
            <option key={name} value={name}>
              {LABELS[name] ?? words(name)}
            </option>
          ))}
        </select>
        {field && (RANGES as readonly string[]).includes(field) && <Range name={field as (typeof RANGES)[number]} choices={choices.data} />}
        {field && (LISTS as readonly string[]).includes(field) && choices.data && (
          <ListOf name={field as (typeof LISTS)[number]} choices={choices.data} />
        )}
      </span>
    </FilterChips>
  );
}

function ListOf({ name, choices }: { name: (typeof LISTS)[number]; choices: Choices }): JSX.Element {
  const chosen = paramList(name);
  return (
    <>
      {choices[name].slice(0, 12).map(({ value, count }) => {
        const isOn = chosen.includes(value);
        return (
          <button
            key={value}
            type="button"
            class={`chip ${isOn ? "is-on" : ""}`}
            aria-pressed={isOn}
            onClick={() => setParams({ [name]: isOn ? chosen.filter((one) => one !== value) : [...chosen, value] })}
          >
            {words(value)} <span class="label">{exact(count)}</span>
          </button>
        );
      })}
    </>
  );
}

function Range({ name, choices }: { name: (typeof RANGES)[number]; choices: Choices | null }): JSX.Element {
  const ends = choices?.[name] ?? null;
  const input = (end: "min" | "max"): JSX.Element => (
    <input
      class="field"
      style={{ width: "88px", height: "24px", fontSize: "12px" }}
      type="number"
      aria-label={`${name}, ${end === "min" ? "at least" : "at most"}`}
      placeholder={ends ? exact(ends[end === "min" ? 0 : 1]) : end}
      value={param(`${name}_${end}`) ?? ""}
      onChange={(event) => setParams({ [`${name}_${end}`]: event.currentTarget.value })}
    />
  );
  return (
    <span class="labelled">
      {input("min")} to {input("max")}
    </span>
  );
}
