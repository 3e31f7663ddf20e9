/** Columns, saved views and export of the rollout table. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { address, get, withRun, type Query } from "../../api";
import type { RolloutRow, Rollouts } from "../../api_types";
import { csv, download, type TableData } from "../../charts/export";
import { exact } from "../../format";
import { formatHash, parseHash, patched, route, setParams } from "../../router";
import { Menu } from "../../ui/controls";
import { Icon, ICONS } from "../../ui/icons";
import { COLUMNS, DEFAULT_COLUMNS } from "./columns";
import { Dropdown } from "./facets";

export function ColumnMenu({ shown }: { shown: readonly string[] }): JSX.Element {
  const toggle = (key: string): void => {
    const next = COLUMNS.map((column) => column.key).filter((one) => (one === key ? !shown.includes(one) : shown.includes(one)));
    setParams({ cols: next.join() === DEFAULT_COLUMNS.join() ? null : next });
  };
  return (
    <Dropdown label="Columns" detail="" isOn={false}>
      <ul class="facet-values">
        {COLUMNS.map((column) => (
          <li key={column.key}>
            <label title={column.title}>
              <input type="checkbox" checked={shown.includes(column.key)} onChange={() => toggle(column.key)} />
              <span class="clip">{column.label}</span>
            </label>
          </li>
        ))}
      </ul>
      <button type="button" class="btn is-small is-quiet" onClick={() => setParams({ cols: null })}>
        The usual ones
      </button>
    </Dropdown>
  );
}

const KEY = "laconic.views";

interface Saved {
  name: string;
  hash: string;
}

function savedViews(): Saved[] {
  try {
    const list: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(list) ? list.filter((one): one is Saved => typeof one?.name === "string" && typeof one?.hash === "string") : [];
  } catch {
    return [];
  }
}

/** Filters, sort and columns under a name, kept by this browser. */
export function SavedViews(): JSX.Element {
  const [views, setViews] = useState(savedViews);
  const [name, setName] = useState("");
  const store = (next: Saved[]): void => {
    setViews(next);
    try {
      localStorage.setItem(KEY, JSON.stringify(next));
    } catch {
      // A browser that forbids storage keeps them until the page is closed.
    }
  };
  const save = (): void => {
    if (!name.trim()) return;
    const params = patched(route.value.params, { open: null, wide: null, run: null });
    store([...views.filter((view) => view.name !== name.trim()), { name: name.trim(), hash: formatHash({ view: "rollouts", params }) }]);
    setName("");
  };
  const show = (view: Saved): void => {
    const gone = Object.fromEntries(Object.keys(route.value.params).filter((key) => key !== "run").map((key) => [key, null]));
    setParams({ ...gone, ...parseHash(view.hash).params });
  };
  return (
    <Dropdown label="Views" detail="" isOn={false}>
      {views.length === 0 && <p class="dim small">Filters, sort and columns can be kept under a name.</p>}
      <ul class="saved">
        {views.map((view) => (
          <li key={view.name} class="row">
            <button type="button" class="btn is-quiet is-small clip" onClick={() => show(view)}>
              {view.name}
            </button>
            <button type="button" class="btn is-quiet is-small push" aria-label={`Forget ${view.name}`} onClick={() => store(views.filter((one) => one !== view))}>
              ×
            </button>
          </li>
        ))}
      </ul>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          save();
        }}
      >
        <input class="field" value={name} placeholder="Name of what is shown" aria-label="Name of the view" maxLength={60} onInput={(event) => setName(event.currentTarget.value)} />
        <button type="submit" class="btn is-small" disabled={!name.trim()}>
          Save
        </button>
      </form>
    </Dropdown>
  );
}

const EXPORT_ROWS = 5_000;

export function ExportMenu({ query, total }: { query: Query; total: number | null }): JSX.Element {
  const [state, setState] = useState<string | null>(null);
  const rows = Math.min(EXPORT_ROWS, total ?? 0);
  const save = async (kind: "csv" | "json"): Promise<void> => {
    try {
      const all: RolloutRow[] = [];
      while (all.length < rows) {
        setState(`${exact(all.length)} of ${exact(rows)}…`);
        const answer = await get<Rollouts>("rollouts", withRun({ ...query, limit: Math.min(500, rows - all.length), offset: all.length }));
        if (answer.rows.length === 0) break;
        all.push(...answer.rows);
      }
      const text = kind === "csv" ? csv(tableOf(all)) : JSON.stringify(all, null, 1);
      download(`rollouts.${kind}`, new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" }));
      setState(null);
    } catch (error) {
      setState(String((error as Error).message));
    }
  };
  const link = (): void => {
    void navigator.clipboard?.writeText(new URL(address("rollouts", withRun(query)), location.href).href);
  };
  return (
    <>
      {state && <span class="small dim">{state}</span>}
      <Menu label={<Icon path={ICONS.download} />} title="Export these rows">
        <button type="button" onClick={() => void save("csv")}>{`CSV, first ${exact(rows)} rows`}</button>
        <button type="button" onClick={() => void save("json")}>{`JSON, first ${exact(rows)} rows`}</button>
        <button type="button" onClick={link}>
          Copy the address of the data
        </button>
      </Menu>
    </>
  );
}

function tableOf(rows: readonly RolloutRow[]): TableData {
  const columns = Object.keys(rows[0] ?? {}) as (keyof RolloutRow)[];
  const cell = (value: RolloutRow[keyof RolloutRow]): string | number | null =>
    value === null || typeof value === "number" || typeof value === "string" ? value : Array.isArray(value) ? value.join(" ") : String(value);
  return { columns, rows: rows.map((row) => columns.map((name) => cell(row[name]))) };
}
