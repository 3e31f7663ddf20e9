import { describe, expect, it } from "vitest";
import type { WhatIf } from "../../api_types";
import { replay } from "./replay";

interface Row {
  readonly problem: number;
  readonly tokens: number;
  readonly passes: boolean;
  readonly cut: boolean;
  readonly budget: number;
}

/** Small numbers that repeat, so that ties and edges occur. */
function madeRows(count: number, seed: number): Row[] {
  let state = seed;
  const next = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
  return Array.from({ length: count }, () => {
    const cut = next(6) === 0;
    return { problem: next(12), tokens: cut ? 30 : 1 + next(30), passes: !cut && next(3) > 0, cut, budget: [10, 16, 20][next(3)] as number };
  });
}

function sent(rows: readonly Row[]): WhatIf {
  const rate = rates(rows);
  const right = rows.filter((row) => row.passes);
  const curve = (of: (row: Row) => number) => {
    const at = [...new Set(right.map(of))].sort((a, b) => a - b);
    const at_each = at.map((value) => right.filter((row) => of(row) === value));
    return {
      at,
      count: at_each.map((group) => group.length),
      token_sum: at_each.map((group) => group.reduce((sum, row) => sum + row.tokens, 0)),
      rated: at_each.map((group) => group.length),
      pass_rate_sum: at_each.map((group) => group.reduce((sum, row) => sum + (rate.get(row.problem) ?? 0), 0)),
    };
  };
  const shortest = (of: (row: Row) => number): number[] =>
    [...new Set(right.map((row) => row.problem))].map((problem) => Math.min(...right.filter((row) => row.problem === problem).map(of))).sort((a, b) => a - b);
  const [byTokens, byFactor] = [curve((row) => row.tokens), curve((row) => row.tokens / row.budget)];
  return {
    rollouts: rows.length,
    problems: new Set(rows.map((row) => row.problem)).size,
    by_tokens: { ...byTokens, tokens: byTokens.at },
    by_factor: { ...byFactor, factor: byFactor.at },
    shortest_tokens: shortest((row) => row.tokens),
    shortest_factor: shortest((row) => row.tokens / row.budget),
    cut_off: { tokens: [30], count: [rows.filter((row) => row.cut).length] },
    cut_off_factor: cutByFactor(rows),
  } as unknown as WhatIf;
}

function cutByFactor(rows: readonly Row[]): WhatIf["cut_off_factor"] {
  const cut = rows.filter((row) => row.cut).map((row) => row.tokens / row.budget);
  const factor = [...new Set(cut)].sort((a, b) => a - b);
  return { factor, count: factor.map((at) => cut.filter((one) => one === at).length) };
}

function rates(rows: readonly Row[]): Map<number, number> {
  const problems = [...new Set(rows.map((row) => row.problem))];
  return new Map(
    problems.map((problem) => {
      const own = rows.filter((row) => row.problem === problem);
      return [problem, own.filter((row) => row.passes).length / own.length];
    }),
  );
}

function bruteForce(rows: readonly Row[], keeps: (row: Row) => boolean) {
  const kept = rows.filter((row) => row.passes && keeps(row));
  const rate = rates(rows);
  const mean = (of: (row: Row) => number): number | null => (kept.length ? kept.reduce((sum, row) => sum + of(row), 0) / kept.length : null);
  return {
    kept: kept.length,
    share: kept.length / rows.length,
    problems_without: new Set(rows.map((row) => row.problem)).size - new Set(kept.map((row) => row.problem)).size,
    mean_tokens: mean((row) => row.tokens),
    pass_rate: mean((row) => rate.get(row.problem) ?? 0),
  };
}

function same(found: ReturnType<typeof bruteForce>, expected: ReturnType<typeof bruteForce>): void {
  for (const name of Object.keys(expected) as (keyof typeof expected)[]) {
    const value = expected[name];
    if (value === null) expect(found[name]).toBeNull();
    else expect(found[name]).toBeCloseTo(value, 9);
  }
}

describe("replay", () => {
  const rows = madeRows(400, 7);
  const data = sent(rows);

  it("equals brute force for every length budget, the budget itself included", () => {
    const replayed = replay(data, "length");

    for (let length = 0; length <= 34; length += 1) same(replayed.kept(length), bruteForce(rows, (row) => row.tokens <= length));
  });

  it("equals brute force for a factor on the problems' own budgets", () => {
    const replayed = replay(data, "factor");

    for (let factor = 0; factor <= 3.2; factor += 0.05) same(replayed.kept(factor), bruteForce(rows, (row) => row.tokens / row.budget <= factor));
  });

  it("counts as not observed what was cut off below the budget, and nothing at the cap itself", () => {
    const replayed = replay(data, "length");
    const cut = rows.filter((row) => row.cut).length;

    expect(replayed.kept(30).not_observed).toBe(0);
    expect(replayed.kept(31).not_observed).toBe(cut);
    expect(replay(data, "factor").kept(1.6).not_observed).toBe(rows.filter((row) => row.cut && row.budget * 1.6 > 30).length);
  });

  it("keeps nothing and fails nowhere without rollouts", () => {
    expect(replay(sent([]), "length").kept(100)).toEqual({ kept: 0, share: 0, problems_without: 0, mean_tokens: null, pass_rate: null, not_observed: 0 });
  });
});
