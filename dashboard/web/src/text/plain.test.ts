// @vitest-environment node
import { describe, expect, it } from "vitest";
import { oneLine, oneLineMath, stripAnsi, visible } from "./plain";

describe("stripAnsi", () => {
  it.each([
    ["\u001b[31mred\u001b[0m", "red"],
    ["\u001b[2J\u001b[1;1Hclear", "clear"],
    ["\u001b]0;owned\u0007title", "title"],
    ["\u001b]8;;https://evil\u001b\\link\u001b]8;;\u001b\\", "link"],
    ["\u009b31mc1", "c1"],
    ["\u001b(Bset", "set"],
    ["a[31m is no sequence", "a[31m is no sequence"],
  ])("%j", (text, expected) => {
    expect(stripAnsi(text)).toBe(expected);
  });

  it("is quick with a text of escapes that never end", () => {
    const start = performance.now();
    stripAnsi("\u001b]".repeat(200_000));
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe("visible", () => {
  it("shows what would hide or turn the text", () => {
    expect(visible("a\u0000b\u001bc\u007fd")).toBe("a␀b␛c␡d");
    expect(visible("\u202etxt.exe")).toBe("⟨U+202E⟩txt.exe");
    expect(visible("x\u200by\ufeff")).toBe("x⟨U+200B⟩y⟨U+FEFF⟩");
    expect(visible("tag\u{e0041}")).toBe("tag⟨U+E0041⟩");
  });

  it("keeps letters of every script, tabs and lines", () => {
    const text = "שלום 你好 \t😀\né";
    expect(visible(text)).toBe(text);
    expect(visible("a\r\nb\rc")).toBe("a\nb\nc");
  });

  it("replaces half a surrogate and leaves a pair alone", () => {
    expect(visible("\ud800x\udc00😀")).toBe("�x�😀");
  });
});

describe("oneLine", () => {
  it("has no line ends", () => {
    expect(oneLine("  a\n\n b\tc ")).toBe("a ⏎ b c");
  });
});

describe("oneLineMath", () => {
  it("leaves the source of formulas, and prices alone", () => {
    expect(oneLineMath("Solve \\(x^2\\) for\n$5 and $y_1$")).toBe("Solve x^2 for ⏎ $5 and y_1");
  });
});
