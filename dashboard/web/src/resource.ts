/** Data of the server as a component sees it: the last answer stays while the next one comes. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Failure, get, needsToken, withRun, type Query } from "./api";
import { versionOf, type Topic } from "./live";

export interface Resource<T> {
  /** The newest answer; of the question before while `loading`, and kept through an error. */
  readonly data: T | null;
  readonly error: Failure | null;
  readonly loading: boolean;
  /** `data` answers another question than the one asked now: show it dimmed. */
  readonly isOld: boolean;
  /** When `data` came, microseconds since the epoch. */
  readonly at: number | null;
  readonly retry: () => void;
}

interface State<T> {
  readonly data: T | null;
  readonly error: Failure | null;
  readonly loading: boolean;
  readonly of: string | null;
  readonly at: number | null;
}

/** An answer that took long is asked for less often: at most a sixth of the time is spent on it. */
const SHARE_OF_TIME = 6;
const SHORTEST_PERIOD_MS = 1000;
/** No server, or one that has too much to do: asked again without being told to. */
const PASSES: ReadonlySet<number> = new Set([0, 503]);

/**
 * `useApi<Funnel>("funnel", filters, ["rollouts", "fates"])`. A null path asks nothing. The topics
 * say which live changes make it ask again.
 */
export function useApi<T>(path: string | null, query: Query = {}, topics: readonly Topic[] = []): Resource<T> {
  const key = path === null ? null : JSON.stringify([path, withRun(query)]);
  const [state, setState] = useState<State<T>>({ data: null, error: null, loading: key !== null, of: null, at: null });
  const [tries, setTries] = useState(0);
  const refresh = useRef<() => void>(() => undefined);
  const version = versionOf(topics);
  const locked = needsToken.value;

  useEffect(() => {
    if (key === null || locked) return;
    const [askedPath, askedQuery] = JSON.parse(key) as [string, Query];
    const abort = new AbortController();
    let [isBusy, isDirty, endedAt, tookMs] = [false, false, 0, 0];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      const began = performance.now();
      let willPass = false;
      isBusy = true;
      isDirty = false;
      try {
        const data = await get<T>(askedPath, askedQuery, abort.signal);
        setState({ data, error: null, loading: false, of: key, at: Date.now() * 1000 });
      } catch (error) {
        if (abort.signal.aborted) return;
        const failure = error instanceof Failure ? error : new Failure(0, "page", String(error));
        setState((old) => ({ ...old, error: failure, loading: false }));
        willPass = PASSES.has(failure.status);
      }
      isBusy = false;
      isDirty ||= willPass;
      endedAt = performance.now();
      tookMs = Math.max(endedAt - began, willPass ? SHORTEST_PERIOD_MS : 0);
      if (isDirty) refresh.current();
    };
    // A change while an answer is on its way asks once more after it; it never starts the answer anew.
    refresh.current = () => {
      isDirty = isBusy;
      if (isBusy || timer !== undefined) return;
      const period = Math.max(SHORTEST_PERIOD_MS, tookMs * SHARE_OF_TIME);
      timer = setTimeout(() => {
        timer = undefined;
        void ask();
      }, Math.max(0, endedAt + period - performance.now()));
    };
    setState((old) => ({ ...old, loading: true }));
    void ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
      refresh.current = () => undefined;
    };
  }, [key, tries, locked]);

  const seen = useRef(version);
  useEffect(() => {
    if (seen.current !== version) refresh.current();
    seen.current = version;
  }, [version]);

  return {
    data: state.data,
    error: state.error,
    loading: state.loading,
    isOld: state.data !== null && state.of !== key,
    at: state.at,
    retry: () => setTries((count) => count + 1),
  };
}
