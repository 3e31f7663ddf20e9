import { describe, expect, it } from "vitest";
import type { Lane } from "../../api_types";
import { limited, place } from "./lane_chart";

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

describe("place", () => {
  const lane = (rows: number): Lane => ({
    name: "x",
    kind: "generator",
    spans: Array.from({ length: rows }, (_, row) => ({ start_us: 0, end_us: 1, what: "written", fate: null, rollout_id: null, row })),
  });

  it("gives many rows little and few rows enough, one lane below the other", () => {
    const placed = place([lane(1), lane(90), lane(200), lane(2)]);
    placed.slice(1).forEach((one, at) => {
      const before = placed[at];
      expect(one.top).toBeGreaterThanOrEqual((before?.top ?? 0) + (before?.rows ?? 0) * (before?.rowHeight ?? 0));
    });
    const last = placed[3];
    expect((last?.top ?? 0) + (last?.rows ?? 0) * (last?.rowHeight ?? 0)).toBeLessThan(560);
    expect(placed[0]?.rowHeight).toBe(16);
    expect((placed[3]?.rows ?? 0) * (placed[3]?.rowHeight ?? 0)).toBeGreaterThanOrEqual(16);
  });
});
