// @vitest-environment node
import { describe, expect, it } from "vitest";
import type { RolloutRow } from "../../api_types";
import { neighbour, pairOf } from "./pair";

const rows = (...ids: string[]) => ids.map((rollout_id) => ({ rollout_id }) as RolloutRow);

describe("pairOf", () => {
  it.each([
    [null, null, { a: "p", b: "s" }],
    ["q", null, { a: "q", b: "s" }],
    [null, "q", { a: "p", b: "q" }],
    ["s", null, { a: "s", b: "p" }],
    [null, "p", { a: "q", b: "p" }],
    ["q", "r", { a: "q", b: "r" }],
  ])("with a %s and b %s", (a, b, expected) => {
    expect(pairOf({ pair: ["p", "s"], rollouts: rows("p", "q", "r", "s") }, a, b)).toEqual(expected);
  });

  it("takes the oldest and newest where none is right, and none where there is one", () => {
    expect(pairOf({ pair: null, rollouts: rows("x", "y", "z") }, null, null)).toEqual({ a: "x", b: "z" });
    expect(pairOf({ pair: null, rollouts: rows("x") }, null, null)).toBeNull();
    expect(pairOf({ pair: null, rollouts: [] }, null, null)).toBeNull();
  });
});

describe("neighbour", () => {
  it("stays at the ends", () => {
    const list = rows("a", "b", "c");
    expect([neighbour(list, "b", 1), neighbour(list, "c", 1), neighbour(list, "a", -1), neighbour(list, "?", 1)]).toEqual(["c", "c", "a", "a"]);
  });
});
