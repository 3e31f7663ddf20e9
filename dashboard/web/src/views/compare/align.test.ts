// @vitest-environment node
import { describe, expect, it } from "vitest";
import type { RunSeries } from "../../api_types";
import { align } from "./align";

const run = (name: string, step: number[], tokens: number[], loss: (number | null)[]) =>
  ({ run: name, step, generated_tokens: tokens, seconds: tokens, columns: { loss } }) as unknown as RunSeries;

const a = run("a", [1, 2, 3], [10, 20, 30], [3, 2, 1]);
const b = run("b", [2, 3, 5], [15, 25, 55], [5, null, 4]);

describe("align", () => {
  it("puts runs over one axis of steps, gaps kept", () => {
    expect(align([a, b], "loss", "step")).toEqual({
      x: [1, 2, 3, 5],
      lines: [
        { run: "a", values: [3, 2, 1, null] },
        { run: "b", values: [null, 5, null, 4] },
      ],
    });
  });

  it("draws straight lines between a run's own places, and nothing beyond them or across a gap", () => {
    const { x, lines } = align([a, b], "loss", "tokens");
    expect(x).toEqual([10, 15, 20, 25, 30, 55]);
    expect(lines[0]?.values).toEqual([3, 2.5, 2, 1.5, 1, null]);
    expect(lines[1]?.values).toEqual([null, 5, null, null, null, 4]);
  });

  it("has no line where a run lacks the metric", () => {
    expect(align([a], "kl", "step").lines[0]?.values).toEqual([null, null, null]);
  });
});
