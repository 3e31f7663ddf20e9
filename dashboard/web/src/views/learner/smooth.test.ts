// @vitest-environment node
import { describe, expect, it } from "vitest";
import { smoothed } from "./smooth";

describe("smoothed", () => {
  it("is the mean of what is there", () => {
    expect(smoothed([2, 4, null, 6, 8], 2)).toEqual([2, 3, null, 5, 7]);
    expect(smoothed([1, 2], 1)).toEqual([1, 2]);
    expect(smoothed([], 5)).toEqual([]);
  });
});
