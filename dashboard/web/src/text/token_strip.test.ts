// @vitest-environment node
import { describe, expect, it } from "vitest";
import { rampSteps, tokenPieces } from "./token_strip";

const texts = (text: string, ends: number[]) => tokenPieces(text, ends).map((piece) => piece.text);

describe("tokenPieces", () => {
  it("cuts at bytes", () => {
    expect(texts("Hello wörld", [5, 6, 9, 12])).toEqual(["Hello", " ", "wö", "rld"]);
  });

  it("gives a character to the token that finishes it", () => {
    const pieces = tokenPieces("a😀b", [1, 3, 5, 6]);
    expect(pieces.map((p) => p.text)).toEqual(["a", "", "😀", "b"]);
    expect(pieces.map((p) => p.partial)).toEqual([false, true, false, false]);
  });

  it("joins to the text whatever the cuts are", () => {
    const text = "ß→😀 x̄ \ud800 y";
    const size = new TextEncoder().encode(text).length;
    for (let cut = 0; cut <= size; cut++) {
      expect(texts(text, [cut, size]).join("")).toBe(text);
    }
  });

  it("leaves out what no token claims and survives ends beyond the text", () => {
    expect(texts("abcdef", [2, 4])).toEqual(["ab", "cd"]);
    expect(texts("ab", [1, 9, 12])).toEqual(["a", "b", ""]);
    expect(texts("", [])).toEqual([]);
  });
});

describe("rampSteps", () => {
  it("spreads values over the steps and keeps gaps", () => {
    expect(rampSteps([0, 1, 2, 4, null, NaN, -9, 99], 0, 4, 4)).toEqual([0, 1, 2, 3, null, null, 0, 3]);
    expect(rampSteps([3, 3], 3, 3, 5)).toEqual([0, 0]);
  });
});
