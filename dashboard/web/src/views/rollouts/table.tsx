/** The rollouts as rows: any number of them, some sixty in the page at a time. */

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Why } from "../../api_types";
import { param, setParams } from "../../router";
import { outcomeOf } from "../../ui/fates";
import { exact, words } from "../../format";
import type { Column } from "./columns";
import type { RowPages } from "./row_pages";
import { rowWindow, scrollFor } from "./row_window";

const ROW_HEIGHT = 28;
/** Of the names of the columns, which stay in sight at the top of what scrolls. */
const HEAD_HEIGHT = 32;
/** No request for places that fly by. */
const SETTLE_MS = 60;

interface Props {
  pages: RowPages;
  columns: readonly Column[];
  sort: string;
  missing: Record<string, Why>;
  cursor: number | null;
  openId: string | null;
  isOld: boolean;
  onPick: (index: number) => void;
  onScroll: (top: number) => void;
}

export function RolloutTable(props: Props) {
  const { pages, columns, cursor, openId, missing } = props;
  const body = useRef<HTMLDivElement>(null);
  const [scroll, setScroll] = useState({ top: 0, viewport: 600 });
  const total = pages.total ?? 0;
  const view = rowWindow(scroll.top, scroll.viewport, total, ROW_HEIGHT);
  const grid = useMemo(() => columns.map((column) => column.width).join(" "), [columns]);

  useLayoutEffect(() => {
    const element = body.current;
    if (!element) return;
    const watch = new ResizeObserver(() => setScroll({ top: element.scrollTop, viewport: element.clientHeight - HEAD_HEIGHT }));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (body.current) body.current.scrollTop = 0; // another list begins at its top
  }, [pages]);
  useEffect(() => {
    const timer = setTimeout(() => pages.want(view.first, view.end), pages.row(view.first) ? 0 : SETTLE_MS);
    return () => clearTimeout(timer);
  }, [pages, view.first, view.end]);
  useEffect(() => {
    const element = body.current;
    if (!element || cursor === null) return;
    const to = scrollFor(cursor, element.scrollTop, element.clientHeight - HEAD_HEIGHT, total, ROW_HEIGHT);
    if (to !== null) element.scrollTop = to;
  }, [cursor, openId !== null]);

  const rows = [];
  for (let index = view.first; index < view.end; index++) rows.push(index);
  return (
    <div class="rows" role="table" aria-label="Rollouts" aria-rowcount={total} aria-busy={props.isOld}>
      <div
        class={props.isOld ? "rows-body is-updating" : "rows-body"}
        ref={body}
        tabIndex={-1}
        onScroll={(event) => {
          const { scrollTop: top, clientHeight } = event.currentTarget;
          setScroll({ top, viewport: clientHeight - HEAD_HEIGHT });
          props.onScroll(top);
        }}
      >
        <div class="rows-head" role="row" style={{ gridTemplateColumns: grid }}>
          {columns.map((column) => (
            <HeadCell key={column.key} column={column} sort={props.sort} />
          ))}
        </div>
        <div class="rows-space" style={{ height: `${view.height}px` }}>
          <div class="rows-shown" style={{ transform: `translateY(${view.top}px)` }}>
            {rows.map((index) => {
              const row = pages.row(index);
              const classes = ["rows-row"];
              if (index === cursor) classes.push("is-cursor");
              if (row && row.rollout_id === openId) classes.push("is-open");
              return (
                <div
                  key={index}
                  class={classes.join(" ")}
                  role="row"
                  aria-rowindex={index + 1}
                  aria-selected={row !== null && row.rollout_id === openId}
                  style={{ gridTemplateColumns: grid }}
                  onClick={() => props.onPick(index)}
                >
                  {columns.map((column) => (
                    <span key={column.key} role="cell" class={column.isNumber ? "cell num" : "cell clip"}>
                      {row ? column.cell(row, missing) : <span class="cell-wait" />}
                    </span>
                  ))}
                  {row && <span class="visually-hidden">{`${words(outcomeOf(row))}, row ${exact(index + 1)}`}</span>}
                </div>
              );
            })}
          </div>
        </div>
      </div>
    </div>
  );
}

function HeadCell({ column, sort }: { column: Column; sort: string }) {
  const direction = sort === column.sort ? "ascending" : sort === `-${column.sort}` ? "descending" : "none";
  const className = column.isNumber ? "cell num" : "cell";
  if (column.sort === null) {
    return (
      <span role="columnheader" class={className} title={column.title}>
        {column.label}
      </span>
    );
  }
  return (
    <span role="columnheader" class={className} aria-sort={direction}>
      <button type="button" title={column.title ?? `Sort by ${column.label.toLowerCase()}`} onClick={() => setParams({ sort: nextSort(column, direction) })}>
        {column.label}
        <span class="sort-mark" aria-hidden="true">
          {direction === "ascending" ? "↑" : direction === "descending" ? "↓" : ""}
        </span>
      </button>
    </span>
  );
}

/** Numbers begin with the largest, words with the first; the third click goes back to the newest. */
function nextSort(column: Column, direction: string): string | null {
  const first = column.isNumber ? "descending" : "ascending";
  if (direction === "none") return first === "descending" ? `-${column.sort}` : String(column.sort);
  if (direction !== first) return null;
  return first === "descending" ? String(column.sort) : `-${column.sort}`;
}

export const DEFAULT_SORT = "-end_us";

export function sortParam(): string {
  return param("sort") ?? DEFAULT_SORT;
}
