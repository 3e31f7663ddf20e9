// @vitest-environment node
import { describe, expect, it } from "vitest";
import { scanMath } from "./math";

const formulas = (text: string) => scanMath(text).flatMap((s) => (s.kind === "math" ? [s.tex] : []));
const joined = (text: string) => scanMath(text).map((s) => (s.kind === "math" ? s.raw : s.text)).join("");

describe("scanMath", () => {
  it.each([
    ["so \\(x^2\\) is", ["x^2"]],
    ["\\[\n\\frac{1}{2}\n\\]", ["\n\\frac{1}{2}\n"]],
    ["$$a = b$$ and $$c$$", ["a = b", "c"]],
    ["where $x_1$ and $\\alpha$ hold", ["x_1", "\\alpha"]],
    ["$n$ pens", ["n"]],
    ["$x = 3$ then", ["x = 3"]],
    ["$10^5$ units", ["10^5"]],
    ["a \\$5 note and \\(y\\)", ["y"]],
    ["$\\text{cost} = \\$5$.", ["\\text{cost} = \\$5"]],
  ])("finds the formulas of %j", (text, expected) => {
    expect(formulas(text)).toEqual(expected);
  });

  it.each([
    "She has $5 and then $6 more.",
    "from $5 to $10, or $15",
    "it costs $5.",
    "$ x^2 $ has spaces inside",
    "US$5 and AU$6",
    "$5-$10 a piece",
    "`$x^2$` and ```\n\\(x\\) $y_1$\n```",
    "```python\nprice = '$x_1$'",
    "an open \\( and an open $$ x_1",
    "$a_1\n\nb_2$",
    "\\\\(x)",
    "pay $5 for the {a} and _b_ notes$",
    "",
  ])("finds none in %j", (text) => {
    expect(formulas(text)).toEqual([]);
  });

  it("gives back the whole text, whatever it is", () => {
    const bits = ["$", "$$", "\\(", "\\)", "\\[", "\\]", "`", "```", "x_1", " ", "\n", "\n\n", "5", "\\$", "\\", "é", "\ud800"];
    let seed = 7;
    const next = () => (seed = (seed * 48271) % 2147483647);
    for (let round = 0; round < 3000; round++) {
      const text = Array.from({ length: next() % 14 }, () => bits[next() % bits.length]).join("");
      expect(joined(text)).toBe(text);
    }
  });

  it.each(["\\(", "$$", "$a", "`", "```", "\\[ x ", "$a_1 "])("is linear in a long text of %j", (bit) => {
    const text = bit.repeat(Math.ceil(1_000_000 / bit.length));
    const start = performance.now();
    expect(joined(text).length).toBe(text.length);
    expect(performance.now() - start).toBeLessThan(4000);
  });

  it("tells display from inline", () => {
    const shown = scanMath("\\(a\\) $$b$$ \\[c\\] $d$").flatMap((s) => (s.kind === "math" ? [s.display] : []));
    expect(shown).toEqual([false, true, true, false]);
  });
});
