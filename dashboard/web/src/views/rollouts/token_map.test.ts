import { describe, expect, it } from "vitest";
import { highest } from "./token_map";

describe("highest", () => {
  it("keeps every spike, whatever the width", () => {
    const values = Array.from({ length: 1000 }, () => 0.1);
    values[617] = 9;
    for (const columns of [7, 100, 999, 1500]) {
      const result = highest(values, columns);
      expect(result.length).toBe(columns);
      expect(Math.max(...result.map((value) => value ?? 0))).toBe(9);
    }
  });

  it("keeps gaps", () => {
    expect(highest([null, null, 1, 2], 2)).toEqual([null, 2]);
    expect(highest([], 3)).toEqual([null, null, null]);
  });
});
