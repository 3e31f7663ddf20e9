import { describe, expect, it } from "vitest";
import { formatHash, parseHash, patched } from "./router";

describe("the address", () => {
  it("gives back what was put in, whatever the characters", () => {
    const route = { view: "rollouts", params: { q: ["a&b=c #?%/+ é"], reason: ["wrong", "over_budget"], run: ["x y"] } };

    expect(parseHash(formatHash(route))).toEqual(route);
  });

  it("orders names, so that equal states have equal addresses", () => {
    expect(formatHash({ view: "a", params: { b: ["1"], a: ["2"] } })).toBe(formatHash({ view: "a", params: { a: ["2"], b: ["1"] } }));
  });

  it("opens the overview for nothing and for nonsense", () => {
    expect(parseHash("").view).toBe("overview");
    expect(parseHash("#/%E0%A4%A").view).toBe("overview");
  });

  it("removes a name for null, an empty text and an empty list, and keeps 0 and false", () => {
    const params = { a: ["1"], b: ["2"], c: ["3"], d: ["4"] };

    expect(patched(params, { a: null, b: "", c: [], d: 0, e: false })).toEqual({ d: ["0"], e: ["false"] });
  });
});
