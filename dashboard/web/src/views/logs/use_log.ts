/** Lines of a log, from its end backwards on demand and forwards as it grows. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { get, withRun } from "../../api";
import type { LogChunk, LogLine } from "../../api_types";
import { paused } from "../../live";

const BYTES = 65_536;
/** A search goes through this much before it asks the reader. */
const SEARCH_BYTES = 1_048_576;
const FOLLOW_MS = 1500;
/** Lines kept while following: the page must not grow for ever. */
const MOST_LINES = 4_000;

export interface LogQuery {
  file: string;
  level: string | null;
  q: string | null;
  /** Byte to begin at; null: its end. */
  at: string | null;
}

export function useLog(query: LogQuery, size: number, follow: boolean) {
  const [lines, setLines] = useState<readonly LogLine[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [searched, setSearched] = useState(0);
  const ends = useRef<{ next: number; previous: number | null }>({ next: 0, previous: null });
  const [begun, setBegun] = useState(0);
  const isSearch = Boolean(query.q || query.level);
  const ask = useCallback(
    (place: Record<string, number>) =>
      get<LogChunk>("log", withRun({ file: query.file, level: query.level, q: query.q, bytes: isSearch ? SEARCH_BYTES : BYTES, ...place })),
    [query.file, query.level, query.q],
  );

  useEffect(() => {
    let isGone = false;
    ask(query.at === null ? {} : { from: Number(query.at) })
      .then((chunk) => {
        if (isGone) return;
        ends.current = { next: chunk.next, previous: chunk.previous };
        setSearched(chunk.searched);
        setLines(chunk.lines);
      })
      .catch((error: Error) => !isGone && setProblem(error.message));
    return () => {
      isGone = true;
    };
  }, [ask, query.at, begun]);

  useEffect(() => {
    if (!follow || lines === null) return;
    const timer = setInterval(() => {
      if (paused.value || document.visibilityState === "hidden") return;
      ask({ from: ends.current.next })
        .then((chunk) => {
          // A log that was begun anew is shorter than where we were.
          if (chunk.size < ends.current.next) return setBegun((count) => count + 1);
          ends.current.next = chunk.next;
          setProblem(null);
          if (chunk.lines.length) setLines((old) => [...(old ?? []), ...chunk.lines].slice(-MOST_LINES));
        })
        .catch((error: Error) => setProblem(error.message));
    }, FOLLOW_MS);
    return () => clearInterval(timer);
  }, [follow, lines === null, ask]);

  const earlier = useCallback(
    async (body: HTMLElement | null): Promise<void> => {
      const to = ends.current.previous;
      if (to === null || busy) return;
      setBusy(true);
      try {
        const before = body?.scrollHeight ?? 0;
        const chunk = await ask({ to });
        ends.current.previous = chunk.previous;
        setSearched((old) => old + chunk.searched);
        setLines((old) => [...chunk.lines, ...(old ?? [])]);
        requestAnimationFrame(() => body && (body.scrollTop += body.scrollHeight - before));
      } catch (error) {
        setProblem((error as Error).message);
      } finally {
        setBusy(false);
      }
    },
    [ask, busy],
  );
  return { lines, problem, busy, searched: Math.min(size, searched), hasEarlier: ends.current.previous !== null, earlier };
}
