/** What another length budget would have kept, from what the server sent once. Pure. */
import type { Kept, WhatIf } from "../../api_types";

export type Mode = "length" | "factor";

interface Curve {
  /** Ascending thresholds at which something changes. */
  readonly at: readonly number[];
  readonly count: readonly number[];
  readonly token_sum: readonly number[];
  readonly pass_rate_sum: readonly number[];
  /** Of `count` those whose problem has a pass rate. */
  readonly rated: readonly number[];
}

export interface Replay {
  readonly mode: Mode;
  /** kept(L) for any L: sums up to and including the last entry that is not above it. */
  readonly kept: (threshold: number) => Pick<Kept, "kept" | "share" | "problems_without" | "mean_tokens" | "pass_rate" | "not_observed">;
  /** Thresholds worth a slider: from the least to the greatest that changes anything. */
  readonly range: readonly [number, number];
}

export function replay(data: WhatIf, mode: Mode): Replay {
  const curve: Curve = mode === "length" ? { ...data.by_tokens, at: data.by_tokens.tokens } : { ...data.by_factor, at: data.by_factor.factor };
  const shortest = mode === "length" ? data.shortest_tokens : data.shortest_factor;
  const cutAt = mode === "length" ? data.cut_off.tokens : data.cut_off_factor.factor;
  const cut = runningSums(mode === "length" ? data.cut_off.count : data.cut_off_factor.count);
  const [counts, tokens] = [runningSums(curve.count), runningSums(curve.token_sum)];
  const [rates, rated] = [runningSums(curve.pass_rate_sum), runningSums(curve.rated)];
  return {
    mode,
    kept: (threshold) => {
      const upTo = notAbove(curve.at, threshold);
      const kept = counts[upTo] ?? 0;
      return {
        kept,
        share: data.rollouts ? kept / data.rollouts : 0,
        problems_without: data.problems - notAbove(shortest, threshold),
        mean_tokens: kept ? (tokens[upTo] ?? 0) / kept : null,
        pass_rate: rated[upTo] ? (rates[upTo] ?? 0) / rated[upTo] : null,
        not_observed: cut[below(cutAt, threshold)] ?? 0,
      };
    },
    range: [curve.at[0] ?? 0, curve.at.at(-1) ?? 0],
  };
}

/** sums[i] is the sum of the first i values. */
function runningSums(values: readonly number[]): number[] {
  const sums = [0];
  for (const value of values) sums.push((sums.at(-1) ?? 0) + value);
  return sums;
}

/** How many of the ascending values are <= threshold. */
export function notAbove(values: readonly number[], threshold: number): number {
  return firstIndex(values, (value) => value > threshold);
}

/** How many of the ascending values are < threshold. */
export function below(values: readonly number[], threshold: number): number {
  return firstIndex(values, (value) => value >= threshold);
}

function firstIndex(values: readonly number[], holds: (value: number) => boolean): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(values[middle] as number)) high = middle;
    else low = middle + 1;
  }
  return low;
}
