import { describe, expect, it } from "vitest";
import { limited } from "./lane_chart";

const step = { from_us: 1_000_000, to_us: 11_000_000 };

describe("limited", () => {
  it.each([
    [[2_000_000, 4_000_000], [2_000_000, 4_000_000]],
    [[-90_000_000, -80_000_000], [0, 10_000_000]],
    [[50_000_000, 52_000_000], [10_000_000, 12_000_000]],
    [[-1e12, 1e12], [0, 12_000_000]],
    [[5_000_000, 5_000_001], [5_000_000, 5_001_000]],
  ] as const)("keeps %j within the step", (view, expected) => {
    expect(limited(view, step)).toEqual(expected);
  });
});
