import { describe, expect, it } from "vitest";
import { folded } from "./diff_text";

const long = "word ".repeat(400);

describe("folded", () => {
  it("folds what is long alike and loses no character", () => {
    const parts = [
      { kind: "same" as const, text: long },
      { kind: "removed" as const, text: "gone" },
      { kind: "same" as const, text: long },
      { kind: "added" as const, text: "new" },
      { kind: "same" as const, text: "short" },
    ];
    const pieces = folded(parts, new Set());
    expect(pieces.map((piece) => piece.kind)).toEqual(["fold", "same", "removed", "same", "fold", "same", "added", "same"]);
    expect(pieces.map((piece) => piece.text).join("")).toBe(parts.map((part) => part.text).join(""));
    expect(pieces[3]?.text.endsWith("word")).toBe(true);
  });

  it("opens what was asked for", () => {
    const parts = [{ kind: "added" as const, text: "x" }, { kind: "same" as const, text: long }];
    expect(folded(parts, new Set([1]))).toEqual(parts);
  });
});
