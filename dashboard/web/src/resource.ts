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

/**
 * `useApi<Funnel>("funnel", filters, ["rollouts", "fates"])`. A null path asks nothing. The topics
 * say which live changes make it ask again.
 */
export function useApi<T>(path: string | null, query: Query = {}, topics: readonly Topic[] = []): Resource<T> {
  const key = path === null ? null : JSON.stringify([path, withRun(query)]);
  const [state, setState] = useState<State<T>>({ data: null, error: null, loading: key !== null, of: null, at: null });
  const [tries, setTries] = useState(0);
  const took = useRef({ ms: 0, endedAt: 0 });
  const version = versionOf(topics);
  const asked = useRef<string | null>(null);
  const locked = needsToken.value;

  useEffect(() => {
    if (key === null || locked) return;
    const [askedPath, askedQuery] = JSON.parse(key) as [string, Query];
    const abort = new AbortController();
    const isRefresh = asked.current === `${key} ${tries}`;
    asked.current = `${key} ${tries}`;
    if (!isRefresh) setState((old) => ({ ...old, loading: true }));
    const ask = async (): Promise<void> => {
      const began = performance.now();
      try {
        const data = await get<T>(askedPath, askedQuery, abort.signal);
        setState({ data, error: null, loading: false, of: key, at: Date.now() * 1000 });
      } catch (error) {
        if (abort.signal.aborted) return;
        const failure = error instanceof Failure ? error : new Failure(0, "page", String(error));
        setState((old) => ({ ...old, error: failure, loading: false }));
      }
      took.current = { ms: performance.now() - began, endedAt: performance.now() };
    };
    const period = Math.max(SHORTEST_PERIOD_MS, took.current.ms * SHARE_OF_TIME);
    const wait = isRefresh ? Math.max(0, took.current.endedAt + period - performance.now()) : 0;
    const timer = wait > 0 ? setTimeout(() => void ask(), wait) : (void ask(), undefined);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [key, tries, version, locked]);

  return {
    data: state.data,
    error: state.error,
    loading: state.loading,
    isOld: state.data !== null && state.of !== key,
    at: state.at,
    retry: () => setTries((count) => count + 1),
  };
}
