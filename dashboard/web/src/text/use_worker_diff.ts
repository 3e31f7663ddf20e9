/** The word diff of two texts, made in a worker so that the page stays quick. */

import { useEffect, useState } from "preact/hooks";
import { startWorker } from "../trusted";
import workerUrl from "./diff.worker?worker&url";
import type { DiffAnswer, DiffQuestion } from "./diff.worker";
import type { TextDiff } from "./word_diff";

let worker: Worker | null = null;
let asked = 0;

function askWorker(before: string, after: string, done: (answer: DiffAnswer) => void): () => void {
  worker ??= startWorker(workerUrl);
  const mine = worker;
  const id = ++asked;
  const listen = (event: MessageEvent<DiffAnswer>) => {
    if (event.data.id === id) done(event.data);
  };
  const failed = (event: ErrorEvent) => {
    worker = null; // the next question starts another one
    done({ id, diff: null, error: event.message || "the worker did not start" });
  };
  mine.addEventListener("message", listen);
  mine.addEventListener("error", failed);
  mine.postMessage({ id, before, after } satisfies DiffQuestion);
  return () => {
    mine.removeEventListener("message", listen);
    mine.removeEventListener("error", failed);
  };
}

export type DiffState = { diff: TextDiff | null; error: string | null; busy: boolean };

/** Null texts: there is nothing to compare yet. */
export function useDiff(before: string | null, after: string | null): DiffState {
  const [state, setState] = useState<DiffState>({ diff: null, error: null, busy: false });
  useEffect(() => {
    if (before === null || after === null) {
      setState({ diff: null, error: null, busy: false });
      return;
    }
    setState((old) => ({ ...old, busy: true }));
    return askWorker(before, after, ({ diff, error }) => setState({ diff, error, busy: false }));
  }, [before, after]);
  return state;
}
