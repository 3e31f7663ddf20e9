/** Filters of the rollouts: each with its values and how many rollouts have them. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Query } from "../../api";
import type { Choice, Choices, Facets } from "../../api_types";
import { count, exact, percent, words } from "../../format";
import { useApi } from "../../resource";
import { chipsOf, noFilters } from "../../filters";
import { numberParam, paramList, route, setParams } from "../../router";
import { oneLine } from "../../text/plain";
import { FateMark } from "../../ui/fates";

const FACETS = ["fate", "reason", "verdict", "finish_reason", "source", "generator_id", "template_id", "origin", "failed", "tag"] as const;
type FacetName = (typeof FACETS)[number];

const LABELS: Record<FacetName, string> = {
  fate: "Fate", reason: "Reason", verdict: "Verdict", finish_reason: "Finish", source: "Source",
  generator_id: "Generator", template_id: "Template", origin: "Origin", failed: "Fails filter", tag: "Tag",
};
const WITH_MARK: readonly string[] = ["fate", "reason", "verdict", "failed"];
const RANGES = [
  { name: "version", label: "Version" },
  { name: "tokens", label: "Tokens" },
  { name: "step", label: "Step" },
] as const;

export function useFacets(filters: Query) {
  return useApi<Facets>("facets", { ...filters, facet: [...FACETS] }, ["rollouts", "fates", "annotations"]);
}

export function FacetBar({ facets, choices }: { facets: Facets | null; choices: Choices | null }) {
  return (
    <div class="facets" role="toolbar" aria-label="Filters">
      {FACETS.map((name) => {
        const values = facets?.facets[name] ?? [];
        const chosen = paramList(name);
        // Which facets there are is the run's affair: they must not come and go with the filters.
        if (choices === null || ((choices[name]?.length ?? 0) < 2 && chosen.length === 0)) return null;
        return <Facet key={name} name={name} values={values} total={facets?.total ?? 0} chosen={chosen} />;
      })}
      {RANGES.map(({ name, label }) => (
        <RangeFacet key={name} name={name} label={label} bounds={choices?.[name] ?? null} />
      ))}
    </div>
  );
}

/** The filters in force that no facet shows, and a way to be rid of all. */
export function OtherFilters() {
  const { params } = route.value;
  const shown: readonly string[] = [...FACETS, "q", ...RANGES.flatMap(({ name }) => [`${name}_min`, `${name}_max`])];
  const others = chipsOf(Object.fromEntries(Object.entries(params).filter(([name]) => !shown.includes(name))));
  const all = chipsOf(params).length;
  if (others.length === 0 && all < 2) return null;
  return (
    <div class="chips" aria-label="Other filters in force">
      {others.map((chip) => (
        <button key={chip.label} type="button" class="chip is-on" title="Take this filter away" onClick={() => setParams(chip.remove)}>
          <span class="label">{chip.label}</span>
          <span>{chip.value}</span>
          <span class="close" aria-hidden="true">
            ×
          </span>
        </button>
      ))}
      {all > 1 && (
        <button type="button" class="btn is-quiet is-small" onClick={() => setParams(noFilters())}>
          {`Clear all ${all} filters`}
        </button>
      )}
    </div>
  );
}

function Facet(props: { name: FacetName; values: readonly Choice[]; total: number; chosen: readonly string[] }) {
  const { name, values, chosen } = props;
  const [search, setSearch] = useState("");
  const most = Math.max(1, ...values.map((value) => value.count));
  const sum = values.reduce((all, value) => all + value.count, 0);
  const shown = values.filter((value) => value.value.toLowerCase().includes(search.toLowerCase()));
  const toggle = (value: string) =>
    setParams({ [name]: chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value] });
  return (
    <Dropdown label={LABELS[name]} detail={summary(chosen)} isOn={chosen.length > 0}>
      {values.length > 10 && (
        <input class="field" type="search" placeholder={`Find a ${LABELS[name].toLowerCase()}`} value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
      )}
      <ul class="facet-values">
        {shown.map((value) => (
          <li key={value.value}>
            <label title={`${exact(value.count)} rollouts, ${percent(value.count / Math.max(1, sum))} of what the other filters leave`}>
              <input type="checkbox" checked={chosen.includes(value.value)} onChange={() => toggle(value.value)} />
              {WITH_MARK.includes(name) && <FateMark name={value.value} />}
              <bdi class="clip">{oneLine(words(value.value)) || "empty"}</bdi>
              <span class="facet-bar" aria-hidden="true">
                <span style={{ width: `${(value.count / most) * 100}%` }} />
              </span>
              <span class="num">{count(value.count)}</span>
              <button type="button" class="facet-only" onClick={() => setParams({ [name]: [value.value] })}>
                only
              </button>
            </label>
          </li>
        ))}
      </ul>
      {shown.length === 0 && <p class="dim small">{search ? "No value has these letters." : "No rollout has a value."}</p>}
      {chosen.length > 0 && (
        <button type="button" class="btn is-small is-quiet" onClick={() => setParams({ [name]: null })}>
          All of them
        </button>
      )}
    </Dropdown>
  );
}

function summary(chosen: readonly string[]): string {
  if (chosen.length === 0) return "";
  return chosen.length === 1 ? oneLine(words(chosen[0] ?? "")) : `${chosen.length}`;
}

function RangeFacet({ name, label, bounds }: { name: string; label: string; bounds: [number, number] | null }) {
  const low = numberParam(`${name}_min`);
  const high = numberParam(`${name}_max`);
  const isOn = low !== null || high !== null;
  if (bounds === null && !isOn) return null;
  const set = (end: "min" | "max") => (event: Event) => {
    const text = (event.currentTarget as HTMLInputElement).value.trim();
    setParams({ [`${name}_${end}`]: text === "" || !Number.isFinite(Number(text)) ? null : text });
  };
  const detail = !isOn ? "" : low === high ? exact(low ?? 0) : `${low === null ? "" : count(low)}–${high === null ? "" : count(high)}`;
  return (
    <Dropdown label={label} detail={detail} isOn={isOn}>
      <div class="row">
        <label class="labelled">
          from
          <input class="field range-end" type="number" value={low ?? ""} placeholder={String(bounds?.[0] ?? "")} onChange={set("min")} />
        </label>
        <label class="labelled">
          to
          <input class="field range-end" type="number" value={high ?? ""} placeholder={String(bounds?.[1] ?? "")} onChange={set("max")} />
        </label>
      </div>
      {bounds && <p class="dim small">{`This run has ${exact(bounds[0])} to ${exact(bounds[1])}.`}</p>}
      {isOn && (
        <button type="button" class="btn is-small is-quiet" onClick={() => setParams({ [`${name}_min`]: null, [`${name}_max`]: null })}>
          Any
        </button>
      )}
    </Dropdown>
  );
}

/** A chip that opens a small panel, which stays open while values are picked in it. */
export function Dropdown(props: { label: string; detail: string; isOn: boolean; children: preact.ComponentChildren }) {
  const ref = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      const panel = ref.current;
      if (!panel?.open) return;
      if (event instanceof KeyboardEvent) {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        panel.querySelector("summary")?.focus();
        panel.open = false;
      } else if (!panel.contains(event.target as Node)) panel.open = false;
    };
    addEventListener("pointerdown", close);
    addEventListener("keydown", close, true);
    return () => {
      removeEventListener("pointerdown", close);
      removeEventListener("keydown", close, true);
    };
  }, []);
  return (
    <details class="menu facet" ref={ref}>
      <summary class={props.isOn ? "chip is-on" : "chip"} role="button">
        <span>{props.label}</span>
        {props.detail && <bdi class="facet-detail clip">{props.detail}</bdi>}
        <span class="dim" aria-hidden="true">
          ▾
        </span>
      </summary>
      <div class="popover facet-panel">{props.children}</div>
    </details>
  );
}

/** What became of the rollouts under the filters, as one bar; a part is a filter. */
export function FateBar({ facets }: { facets: Facets | null }) {
  const values = (facets?.facets["fate"] ?? []).filter((value) => value.count > 0);
  const total = values.reduce((sum, value) => sum + value.count, 0);
  const chosen = paramList("fate");
  if (facets !== null && total === 0) return null;
  return (
    <div class="fate-bar">
      <div class="fate-bar-parts" aria-hidden="true">
        {values.map((value) => (
          <span key={value.value} class={`fate-part is-${value.value} ${chosen.length && !chosen.includes(value.value) ? "is-off" : ""}`} style={{ flexGrow: value.count / Math.max(1, total) }} />
        ))}
      </div>
      <div class="legend">
        {values.map((value) => (
          <button
            key={value.value}
            type="button"
            class={chosen.includes(value.value) ? "key strong" : "key"}
            title={`${exact(value.count)} rollouts; show only these`}
            onClick={() => setParams({ fate: chosen.length === 1 && chosen[0] === value.value ? null : [value.value] })}
          >
            <FateMark name={value.value} />
            {`${words(value.value)} ${count(value.count)}`}
          </button>
        ))}
      </div>
    </div>
  );
}
