/** Every rollout: a table of any length, filters with counts, and one rollout in full beside it. */

import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Choices } from "../api_types";
import { filtersOf } from "../filters";
import { count, exact } from "../format";
import { useKeys } from "../keyboard";
import { useApi } from "../resource";
import { param, paramList, setParams } from "../router";
import { ViewHead } from "../ui/controls";
import { Empty } from "../ui/states";
import { columnsOf, DEFAULT_COLUMNS, narrowColumns } from "./rollouts/columns";
import { RolloutDetailPane } from "./rollouts/detail";
import { FacetBar, FateBar, OtherFilters, useFacets } from "./rollouts/facets";
import { useRowPages } from "./rollouts/row_pages";
import { SearchBox } from "./rollouts/search_box";
import { RolloutTable, sortParam } from "./rollouts/table";
import { ColumnMenu, ExportMenu, SavedViews } from "./rollouts/menus";
import "./rollouts.css";

export default function Rollouts(): JSX.Element {
  const filters = filtersOf();
  const sort = sortParam();
  const openId = param("open");
  const columnKeys = paramList("cols");
  const wantsPreview = columnKeys.includes("preview");
  const scrollTop = useRef(0);
  const query = { ...filters, sort, ...(wantsPreview ? { preview: 1 } : {}) };
  const { pages, shown, reload } = useRowPages(query, () => scrollTop.current < 28 && param("open") === null);
  const facets = useFacets(filters);
  const choices = useApi<Choices>("values", {}, ["rollouts", "annotations"]);
  const [cursor, setCursor] = useState<number | null>(null);
  useEffect(() => setCursor(openId === null ? null : pages.indexOf(openId)), [pages]);
  useEffect(() => {
    if (openId === null) return;
    const index = pages.indexOf(openId);
    if (index !== null) setCursor(index);
  }, [openId, pages.total]);

  const open = (id: string | null, replace = false): void => setParams({ open: id }, { replace });
  const move = (step: number): void => {
    const total = pages.total ?? 0;
    if (!total) return;
    const next = cursor === null ? (step > 0 ? 0 : total - 1) : Math.max(0, Math.min(total - 1, cursor + step));
    setCursor(next);
    if (openId !== null) awaited.current = next;
  };
  // The row that the reader moved to may still be on its way.
  const awaited = useRef<number | null>(null);
  useEffect(() => {
    const row = awaited.current === null ? null : pages.row(awaited.current);
    if (!row) return;
    awaited.current = null;
    open(row.rollout_id, true);
  });
  const keys = useRef({ move, openCursor: () => undefined as void, close: () => undefined as void });
  keys.current = {
    move,
    openCursor: () => {
      const row = cursor === null ? null : pages.row(cursor);
      if (row) open(row.rollout_id);
    },
    close: () => {
      if (param("wide")) setParams({ wide: null });
      else open(null);
    },
  };
  useKeys(
    "Rollouts",
    useMemo(
      () => [
        { keys: "/", what: "search the text", run: () => document.getElementById("rollout-search")?.focus() },
        { keys: "j", what: "next row", run: () => keys.current.move(1) },
        { keys: "k", what: "row before", run: () => keys.current.move(-1) },
        { keys: "ArrowDown", what: "next row", run: () => keys.current.move(1) },
        { keys: "ArrowUp", what: "row before", run: () => keys.current.move(-1) },
        { keys: "PageDown", what: "20 rows on", run: () => keys.current.move(20) },
        { keys: "PageUp", what: "20 rows back", run: () => keys.current.move(-20) },
        { keys: "Home", what: "first row", run: () => keys.current.move(-Infinity) },
        { keys: "End", what: "last row", run: () => keys.current.move(Infinity) },
        { keys: "Enter", what: "open the row", run: () => keys.current.openCursor() },
        { keys: "Escape", what: "close the rollout", run: () => keys.current.close() },
      ],
      [],
    ),
  );

  const isOpen = openId !== null;
  const isWide = isOpen && param("wide") !== null;
  const columns = useMemo(
    () => (isOpen ? narrowColumns() : columnsOf(columnKeys.length ? columnKeys : DEFAULT_COLUMNS)),
    [isOpen, columnKeys.join(" ")],
  );
  return (
    <div class="rollouts">
      <ViewHead title="Rollouts" what={<Total total={shown.total} of={choices.data} isOld={shown !== pages} />}>
        <SearchBox />
        <SavedViews />
        <ColumnMenu shown={columnKeys.length ? columnKeys : DEFAULT_COLUMNS} />
        <ExportMenu query={query} total={pages.total} />
      </ViewHead>
      <FacetBar facets={facets.data} choices={choices.data} />
      <OtherFilters />
      <FateBar facets={facets.data} />
      <SearchNote pages={shown} />
      {pages.error && (
        <p class="banner is-warn" role="alert">
          {pages.error.message}
          <button type="button" class="btn is-small push" onClick={reload}>
            Try again
          </button>
        </p>
      )}
      {pages.newer > 0 && (
        <button type="button" class="new-rows btn is-small" onClick={reload}>
          {`${count(pages.newer)} new: show them`}
        </button>
      )}
      <div class={`panes ${isOpen ? "is-split" : ""} ${isWide ? "is-wide" : ""}`}>
        <div class="card is-flush pane-list">
          {shown.total === 0 && shown === pages ? (
            <NoRows isFiltered={Object.keys(filters).length > 0} search={param("q")} />
          ) : (
            <RolloutTable
              pages={shown}
              columns={columns}
              sort={sort}
              missing={choices.data?.missing ?? {}}
              cursor={cursor}
              openId={openId}
              isOld={shown !== pages}
              onPick={(index) => {
                setCursor(index);
                const row = shown.row(index);
                if (row) open(row.rollout_id === openId ? null : row.rollout_id, isOpen);
              }}
              onScroll={(top) => (scrollTop.current = top)}
            />
          )}
        </div>
        {openId !== null && <RolloutDetailPane id={openId} filters={filters} sort={sort} onOpen={(id) => open(id, true)} onClose={() => setParams({ open: null, wide: null })} />}
      </div>
    </div>
  );
}

function Total({ total, of, isOld }: { total: number | null; of: Choices | null; isOld: boolean }): JSX.Element {
  if (total === null) return <span class="dim">counting…</span>;
  const all = of?.fate.reduce((sum, choice) => sum + choice.count, 0) ?? null;
  const isPart = all !== null && all > total;
  return (
    <span class={isOld ? "is-updating" : ""} id="rollout-total" aria-live="polite">
      <span class="strong">{exact(total)}</span>
      {isPart ? ` of ${exact(all)} generated` : " generated"}
    </span>
  );
}

function SearchNote({ pages }: { pages: { withoutText: number; incomplete: boolean } }): JSX.Element | null {
  if (!param("q")) return null;
  const notes = [
    pages.incomplete ? "The search ran out of time: only what was searched so far is shown. Narrow it with a filter." : "",
    pages.withoutText > 0 ? `${exact(pages.withoutText)} rollouts have no recorded text and could not match.` : "",
  ].filter(Boolean);
  return notes.length ? <p class="banner is-warn">{notes.join(" ")}</p> : null;
}

function NoRows({ isFiltered, search }: { isFiltered: boolean; search: string | null }): JSX.Element {
  return isFiltered ? (
    <Empty title="No rollout passes these filters">
      {search && !search.includes("(?i)") ? `Take one away, or search for (?i)${search}, which ignores case.` : "Take one of the filters above away."}
    </Empty>
  ) : (
    <Empty title="No rollouts yet">The first group that is judged fills this table.</Empty>
  );
}
