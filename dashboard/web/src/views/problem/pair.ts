/** Which two rollouts of a problem are compared. Pure. */

import type { ProblemDetail, RolloutRow } from "../../api_types";

export interface Pair {
  a: string;
  b: string;
}

/** What the address names, else the contract's default pair, else the oldest and the newest rollout. */
export function pairOf(detail: Pick<ProblemDetail, "pair" | "rollouts">, a: string | null, b: string | null): Pair | null {
  const ids = detail.rollouts.map((row) => row.rollout_id);
  const first = detail.pair?.[0] ?? ids[0];
  const last = detail.pair?.[1] ?? ids.at(-1);
  const left = a ?? (b !== null && first === b ? ids.find((id) => id !== b) : first);
  const right = b ?? (left === last ? (first !== left ? first : ids.find((id) => id !== left)) : last);
  return left !== undefined && right !== undefined ? { a: left, b: right } : null;
}

/** The rollout that many places on, oldest version first; at an end it stays. */
export function neighbour(rows: readonly RolloutRow[], id: string, by: number): string | null {
  const at = rows.findIndex((row) => row.rollout_id === id);
  if (at < 0) return rows[0]?.rollout_id ?? null;
  return rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.rollout_id ?? null;
}
