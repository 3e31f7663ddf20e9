/** Filters have the contract's names in the server's query and in the address. */
import type { Query } from "./api";
import type { Filters } from "./api_types";
import { count, utc, words } from "./format";
import { route, type Params, type Patch } from "./router";

const LISTS = [
  "verdict", "reason", "fate", "finish_reason", "problem_id", "group_id", "rollout_id", "source",
  "generator_id", "template_id", "origin", "failed", "tag",
] as const;
const SINGLE = [
  "population", "version_min", "version_max", "accepted", "tokens_min", "tokens_max", "step_min", "step_max", "lag_min", "lag_max",
  "time_min_us", "time_max_us", "stage", "lost_at", "q",
] as const;
export const FILTER_NAMES: readonly (keyof Filters)[] = [...LISTS, ...SINGLE];

/** The filters of an address, as a query. Reading it in a component follows the address. */
export function filtersOf(params: Params = route.value.params): Query {
  const query: Record<string, readonly string[]> = {};
  for (const name of FILTER_NAMES) if (params[name]?.length) query[name] = params[name];
  return query;
}

/** Filters as a patch of the address. */
export function filterPatch(filters: Filters): Patch {
  return Object.fromEntries(Object.entries(filters).filter(([, value]) => value !== null && value !== undefined)) as Patch;
}

/** A patch that removes every filter. */
export function noFilters(): Patch {
  return Object.fromEntries(FILTER_NAMES.map((name) => [name, null]));
}

export interface Chip {
  readonly label: string;
  readonly value: string;
  /** Takes this filter away. */
  readonly remove: Patch;
}

const LABELS: Partial<Record<keyof Filters, string>> = {
  problem_id: "problem", group_id: "group", rollout_id: "rollout", generator_id: "generator",
  template_id: "template", failed: "fails filter", finish_reason: "finish", q: "text matches",
  stage: "reached", lost_at: "lost at",
};

/** The filters of an address, one chip each; both bounds of a range share one. */
export function chipsOf(params: Params): Chip[] {
  const chips: Chip[] = LISTS.flatMap((name) =>
    params[name]?.length ? [{ label: label(name), value: params[name].map(shown).join(" or "), remove: { [name]: null } }] : [],
  );
  for (const name of ["population", "accepted", "stage", "lost_at", "q"] as const) {
    const value = params[name]?.[0];
    if (value === undefined || (name === "population" && value === "generated")) continue;
    const text = name === "accepted" ? (value === "true" || value === "1" ? "yes" : "no") : name === "q" ? `/${value}/` : words(value);
    chips.push({ label: label(name), value: text, remove: { [name]: null } });
  }
  for (const [name, low, high, show] of [
    ["version", "version_min", "version_max", String],
    ["tokens", "tokens_min", "tokens_max", (v: string) => count(Number(v))],
    ["step", "step_min", "step_max", String],
    ["lag", "lag_min", "lag_max", String],
    ["time", "time_min_us", "time_max_us", (v: string) => utc(Number(v))],
  ] as const) {
    const [from, to] = [params[low]?.[0], params[high]?.[0]];
    if (from === undefined && to === undefined) continue;
    const value = from === to ? show(from ?? "") : to === undefined ? `≥ ${show(from ?? "")}` : from === undefined ? `≤ ${show(to)}` : `${show(from)} to ${show(to)}`;
    chips.push({ label: name, value, remove: { [low]: null, [high]: null } });
  }
  return chips;
}

function label(name: keyof Filters): string {
  return LABELS[name] ?? words(name);
}

function shown(value: string): string {
  return value.length > 28 ? `${value.slice(0, 12)}…${value.slice(-12)}` : words(value);
}
