/** The address is the state: `#/view?name=value`, a name repeated for a list. */
import { computed, signal } from "@preact/signals";

export type Params = Readonly<Record<string, readonly string[]>>;
export type Patch = Readonly<
  Record<string, string | number | boolean | readonly (string | number)[] | null | undefined>
>;

export interface Route {
  readonly view: string;
  readonly params: Params;
}

const HOME = "overview";

export function parseHash(hash: string): Route {
  const text = hash.replace(/^#\/?/, "");
  const cut = text.indexOf("?");
  const view = decode(cut < 0 ? text : text.slice(0, cut)) || HOME;
  const params: Record<string, string[]> = {};
  for (const [name, value] of new URLSearchParams(cut < 0 ? "" : text.slice(cut + 1))) {
    (params[name] ??= []).push(value);
  }
  return { view, params };
}

export function formatHash({ view, params }: Route): string {
  const query = new URLSearchParams();
  for (const name of Object.keys(params).sort()) {
    for (const value of params[name] ?? []) query.append(name, value);
  }
  const text = query.toString();
  return `#/${encodeURIComponent(view)}${text ? `?${text}` : ""}`;
}

/** Params with the patch laid over them; null, undefined, "" and an empty list remove a name. */
export function patched(params: Params, patch: Patch): Params {
  const result: Record<string, readonly string[]> = { ...params };
  for (const [name, value] of Object.entries(patch)) {
    const list = Array.isArray(value) ? value : value === null || value === undefined || value === "" ? [] : [value];
    if (list.length) result[name] = list.map(String);
    else delete result[name];
  }
  return result;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

export const route = signal<Route>(parseHash(typeof location === "undefined" ? "" : location.hash));

/** The run that the page shows; it stays in the address when the view changes. */
export const runParam = computed(() => route.value.params["run"]?.[0] ?? null);

if (typeof addEventListener !== "undefined") {
  const follow = (): void => {
    route.value = parseHash(location.hash);
  };
  addEventListener("hashchange", follow);
  addEventListener("popstate", follow);
}

function show(next: Route, replace: boolean): void {
  const hash = formatHash(next);
  if (hash === formatHash(route.value)) return;
  history[replace ? "replaceState" : "pushState"](null, "", hash);
  route.value = next;
}

/** Address of a view: the run is kept, everything else is what `params` says. */
export function href(view: string, params: Patch = {}): string {
  const kept: Patch = { run: runParam.value };
  return formatHash({ view, params: patched({}, { ...kept, ...params }) });
}

export function go(view: string, params: Patch = {}, options: { replace?: boolean } = {}): void {
  show(parseHash(href(view, params)), options.replace ?? false);
}

/** Change the state of the view that is open. `replace` for moves that Back should not undo one by one. */
export function setParams(patch: Patch, options: { replace?: boolean } = {}): void {
  const { view, params } = route.value;
  show({ view, params: patched(params, patch) }, options.replace ?? false);
}

export function param(name: string): string | null {
  return route.value.params[name]?.[0] ?? null;
}

export function paramList(name: string): readonly string[] {
  return route.value.params[name] ?? [];
}

export function numberParam(name: string): number | null {
  const text = param(name);
  const value = text === null ? NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}
