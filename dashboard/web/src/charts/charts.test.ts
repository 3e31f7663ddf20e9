import { describe, expect, it } from "vitest";
import { csv, svgOf } from "./export";
import { wholeBounds } from "./heatmap";
import { drawLines } from "./line_picture";
import { SvgPen, type Pen } from "./pen";
import { extent, logTicks, scale, ticks } from "./scale";

const measure = (text: string): number => text.length * 6;

describe("scale", () => {
  it.each([[false], [true]])("goes there and back, logarithmic %s", (isLog) => {
    const axis = scale(1, 1000, 40, 640, isLog);

    for (const value of [1, 10, 31.6, 400, 1000]) expect(axis.invert(axis.at(value))).toBeCloseTo(value, 6);
    expect([axis.at(1), axis.at(1000)]).toEqual([40, 640]);
  });

  it("puts a single value in the middle", () => {
    expect(scale(7, 7, 0, 100).at(7)).toBe(50);
  });
});

describe("ticks", () => {
  it("are round, inside, and whole where they must be", () => {
    expect(ticks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(ticks(0, 3, 6, true)).toEqual([0, 1, 2, 3]);
    expect(ticks(12, 987, 5, true)).toEqual([200, 400, 600, 800]);
    expect(ticks(5, 5, 5)).toEqual([5]);
  });

  it("are 1, 2, 5 on a logarithmic axis, and only powers when there are many", () => {
    expect(logTicks(1, 20, 8)).toEqual([1, 2, 5, 10, 20]);
    expect(logTicks(1, 100_000, 8)).toEqual([1, 10, 100, 1000, 10_000, 100_000]);
  });
});

describe("extent", () => {
  it("skips gaps and what is no number", () => {
    expect(extent([null, 3, NaN, -1, Infinity], [undefined, 7])).toEqual([-1, 7]);
    expect(extent([null], [])).toBeNull();
  });
});

describe("csv", () => {
  it("quotes as RFC 4180 says, keeps gaps empty and lets no formula through", () => {
    const text = csv({ columns: ["a", "b"], rows: [['say "hi", twice', null], ["=1+1", -2], ["line\nbreak", 0.5]] });

    expect(text).toBe('a,b\r\n"say ""hi"", twice",\r\n\'=1+1,-2\r\n"line\nbreak",0.5\r\n');
  });
});

describe("an exported picture", () => {
  it("is well-formed SVG whatever the texts are", () => {
    const hostile = "<script>&\"'\u0000\ud800 title";
    const props = { title: hostile, x: { values: [1, 2, 3], kind: "step" as const }, series: [{ label: hostile, values: [1, null, 3] }] };

    const svg = svgOf(hostile, (pen, width, height) => drawLines(pen, width, height, props, null), 400, 200, measure);
    const parsed = new DOMParser().parseFromString(svg, "image/svg+xml");

    expect(svg).not.toContain("<script>");
    expect(parsed.querySelectorAll("text").length).toBeGreaterThan(3);
    expect(svg.match(/<g /g)?.length ?? 0).toBe(svg.match(/<\/g>/g)?.length ?? 0);
  });

  it("leaves a gap where a value is missing", () => {
    const pen = new SvgPen(400, 200, measure);
    const props = { title: "t", x: { values: [0, 1, 2, 3], kind: "step" as const }, series: [{ label: "s", values: [1, 2, null, 4] }] };

    drawLines(pen as unknown as Pen, 400, 200, props, null);
    const line = /<path d="([^"]+)" fill="none" stroke="#00629B"/.exec(pen.svg())?.[1] ?? "";

    expect(line.match(/M/g)).toHaveLength(2);
    expect(line.match(/L/g)).toHaveLength(1);
  });

  it("closes every clip", () => {
    const pen = new SvgPen(10, 10, measure);

    pen.save();
    pen.clip();
    pen.fillRect(0, 0, 1, 1);
    pen.restore();
    pen.fillRect(1, 1, 1, 1);

    expect(pen.svg()).toMatch(/<g [^>]*><rect[^>]*\/><\/g><rect/);
  });
});

describe("a bin's whole lengths", () => {
  it("cover every length once, the last bin its end too", () => {
    const edges = [0, 10.5, 21, 31.5];

    expect([0, 1, 2].map((bin) => wholeBounds(edges, bin))).toEqual([[0, 10], [11, 20], [21, 31]]);
    expect(wholeBounds([0, 10, 20], 1)).toEqual([10, 20]);
  });
});
