// @vitest-environment node
import { describe, expect, it } from "vitest";
import { unitsOf } from "./code_points";

describe("unitsOf", () => {
  it.each([
    ["abc", 2, 2],
    ["😀b", 1, 2],
    ["a😀b", 2, 3],
    ["\ud800b", 1, 1],
    ["ab", 9, 2],
    ["", 1, 0],
  ])("%j at %d is %d", (text, points, units) => {
    expect(unitsOf(text, points)).toBe(units);
  });
});
