/** Rows of a long list, fetched a page at a time where the reader looks. */

import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import { Failure, get, withRun, type Query } from "../../api";
import type { RolloutRow, Rollouts } from "../../api_types";
import { versionOf } from "../../live";

export const PAGE = 100;
/** Pages kept: the reader's place and some way around it. */
const MAX_PAGES = 40;
/** A list that grows is looked at this often. */
const REFRESH_MS = 3000;

type Listener = () => void;

/** Pages of one list of rollouts. What was fetched stays until the list is another one. */
export class RowPages {
  total: number | null = null;
  withoutText = 0;
  incomplete = false;
  error: Failure | null = null;
  /** Rows that the list has more than when it was fetched. */
  newer = 0;
  private readonly pages = new Map<number, RolloutRow[]>();
  private readonly asked = new Map<number, AbortController>();

  constructor(
    private readonly query: Query,
    private readonly changed: Listener,
    private readonly ask: typeof get = get,
  ) {}

  row(index: number): RolloutRow | null {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? null;
  }

  indexOf(id: string): number | null {
    for (const [page, rows] of this.pages) {
      const at = rows.findIndex((row) => row.rollout_id === id);
      if (at >= 0) return page * PAGE + at;
    }
    return null;
  }

  /** Fetches what is missing of the rows `from` to `to`; requests for other places are given up. */
  want(from: number, to: number): void {
    const first = Math.max(0, Math.floor(from / PAGE));
    const last = Math.floor(Math.max(from, to) / PAGE);
    for (const [page, abort] of this.asked) {
      if (page >= first && page <= last) continue;
      abort.abort();
      this.asked.delete(page);
    }
    for (let page = first; page <= last; page++) {
      const isBeyond = page > 0 && this.total !== null && page * PAGE >= this.total;
      if (!isBeyond && !this.pages.has(page) && !this.asked.has(page)) void this.fetch(page);
    }
    this.forgetFarFrom(first, last);
  }

  /** Asks again for a page that is shown, in its place. */
  async refresh(page: number): Promise<void> {
    await this.fetch(page);
  }

  /** How many rows the list has by now. */
  async look(): Promise<void> {
    if (this.total === null) return;
    try {
      const { total } = await this.ask<Rollouts>("rollouts", { ...this.query, limit: 1, offset: 0 });
      this.newer = Math.max(0, total - this.total);
    } catch {
      // The rows that are shown stay; the status bar says that the server is away.
    }
    this.changed();
  }

  close(): void {
    for (const abort of this.asked.values()) abort.abort();
  }

  private async fetch(page: number): Promise<void> {
    const abort = new AbortController();
    this.asked.set(page, abort);
    try {
      const query = { ...this.query, limit: PAGE, offset: page * PAGE };
      const answer = await this.ask<Rollouts>("rollouts", query, abort.signal);
      this.pages.set(page, answer.rows);
      this.total = answer.total;
      this.withoutText = answer.without_text;
      this.incomplete = answer.incomplete;
      this.error = null;
      this.newer = 0;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error instanceof Failure ? error : new Failure(0, "page", String(error));
    } finally {
      if (this.asked.get(page) === abort) this.asked.delete(page);
    }
    this.changed();
  }

  private forgetFarFrom(first: number, last: number): void {
    if (this.pages.size <= MAX_PAGES) return;
    const far = (page: number) => Math.max(first - page, page - last);
    const [furthest] = [...this.pages.keys()].sort((a, b) => far(b) - far(a));
    if (furthest !== undefined) this.pages.delete(furthest);
  }
}

export interface RowList {
  pages: RowPages;
  /** The list that was shown before, until the first page of the new one is there. */
  shown: RowPages;
  reload: () => void;
}

/** The list under these filters. `isAtTop` says whether new rows may push the others down. */
export function useRowPages(query: Query, isAtTop: () => boolean): RowList {
  const [, redraw] = useReducer((count: number, _: void) => count + 1, 0);
  const [reloads, setReloads] = useState(0);
  const key = JSON.stringify(withRun(query));
  const held = useRef<{ key: string; pages: RowPages; before: RowPages | null } | null>(null);
  const wanted = `${reloads} ${key}`;
  if (held.current?.key !== wanted) {
    held.current?.pages.close();
    const before = held.current?.pages ?? null;
    held.current = { key: wanted, pages: new RowPages(JSON.parse(key) as Query, () => redraw()), before };
  }
  const { pages, before } = held.current;
  useEffect(() => pages.want(0, PAGE - 1), [pages]);

  const version = versionOf(["rollouts", "fates", "annotations"]);
  const seen = useRef(version);
  useEffect(() => {
    if (seen.current === version) return;
    const timer = setTimeout(() => {
      seen.current = version;
      if (isAtTop()) void pages.refresh(0);
      else void pages.look();
    }, REFRESH_MS);
    return () => clearTimeout(timer);
  }, [version, pages]);

  // A question that fails leaves the rows of the one before in place.
  return { pages, shown: pages.total !== null || before === null ? pages : before, reload: () => setReloads((count) => count + 1) };
}
