// @vitest-environment node
import { describe, expect, it } from "vitest";
import { textBlocks } from "./text_blocks";

const joined = (blocks: ReturnType<typeof textBlocks>) =>
  blocks.flat().map((s) => (s.kind === "math" ? s.raw : s.text)).join("");

describe("textBlocks", () => {
  it("loses nothing and keeps blocks small", () => {
    const text = `${"a line of text with \\(x^2\\)\n".repeat(500)}${"x".repeat(5_000)}😀${"y".repeat(3_000)}`;
    for (const withMath of [true, false]) {
      const blocks = textBlocks(text, withMath, 1_000);
      expect(joined(blocks)).toBe(text);
      expect(Math.max(...blocks.map((block) => joined([block]).length))).toBeLessThanOrEqual(1_000);
    }
  });

  it("cuts at line ends and never inside a character", () => {
    const [first] = textBlocks("one\ntwo\nthree", false, 9);
    expect(first).toEqual([{ kind: "text", text: "one\ntwo\n" }]);
    const halves = textBlocks("ab😀cd", false, 3).map((block) => joined([block]));
    expect(halves).toEqual(["ab", "😀c", "d"]);
  });

  it("has no block for no text", () => {
    expect(textBlocks("", true)).toEqual([]);
  });
});
