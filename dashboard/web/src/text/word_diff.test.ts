// @vitest-environment node
import { describe, expect, it } from "vitest";
import { diffTexts } from "./word_diff";

const side = (parts: { kind: string; text: string }[], without: string) =>
  parts.filter((p) => p.kind !== without).map((p) => p.text).join("");

describe("diffTexts", () => {
  it("names single words", () => {
    const diff = diffTexts("Wait, let me check 4 times.", "Let me check 5 times.");
    expect(diff.unit).toBe("words");
    expect(diff.note).toBeNull();
    expect(diff.parts).toContainEqual({ kind: "same", text: "me check " });
    expect(diff.parts[0]).toEqual({ kind: "removed", text: "Wait, let " });
    expect(diff.parts).toContainEqual({ kind: "removed", text: "4" });
    expect([diff.removed, diff.added]).toEqual([3, 2]);
  });

  it("keeps numbers and TeX commands whole", () => {
    const diff = diffTexts("\\frac{1}{2} is 0.5", "\\dfrac{1}{2} is 0.25");
    expect(diff.parts.filter((p) => p.kind !== "same").map((p) => p.text)).toEqual(["\\frac", "\\dfrac", "0.5", "0.25"]);
  });

  it.each([
    ["", ""],
    ["", "a b"],
    ["a\nb", "a\n\nb\n"],
    ["😀 \ud800 x", "x 😀"],
    ["same", "same"],
  ])("gives both texts back: %j, %j", (before, after) => {
    for (const maxWords of [20_000, 0]) {
      const { parts } = diffTexts(before, after, maxWords);
      expect(side(parts, "added")).toBe(before);
      expect(side(parts, "removed")).toBe(after);
    }
  });

  it("falls back to lines over 20,000 words and says so", () => {
    const before = Array.from({ length: 4_100 }, (_, n) => `line ${n} of five words`).join("\n");
    const diff = diffTexts(before, before.replace("line 77 of", "row 77 of"));
    expect(diff.unit).toBe("lines");
    expect(diff.note).toMatch(/20,500 words, more than 20,000/);
    expect(diff.parts.filter((p) => p.kind === "removed").map((p) => p.text)).toEqual(["line 77 of five words\n"]);
  });

  it("ends soon when the texts have nothing in common", () => {
    const start = performance.now();
    const left = Array.from({ length: 18_000 }, (_, n) => `a${n}`).join(" ");
    const right = Array.from({ length: 18_000 }, (_, n) => `b${n}`).join(" ");
    const diff = diffTexts(left, right);
    expect(side(diff.parts, "added")).toBe(left);
    expect(diff.note).not.toBeNull();
    expect(performance.now() - start).toBeLessThan(15_000);
  });
});
