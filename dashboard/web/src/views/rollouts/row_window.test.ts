// @vitest-environment node
import { describe, expect, it } from "vitest";
import { firstRow, MAX_HEIGHT, rowWindow, scrollFor } from "./row_window";

const ROW = 28;

describe("rowWindow", () => {
  it.each([10, 1_000, 100_000, 2_000_000])("shows both ends of %d rows and few at a time", (total) => {
    const viewport = 600;
    const height = rowWindow(0, viewport, total, ROW).height;
    expect(height).toBeLessThanOrEqual(MAX_HEIGHT);
    const start = rowWindow(0, viewport, total, ROW);
    expect([start.first, start.top]).toEqual([0, 0]);
    const end = rowWindow(Math.max(0, height - viewport), viewport, total, ROW);
    expect(end.end).toBe(total);
    expect(end.top + (end.end - end.first) * ROW).toBeLessThanOrEqual(height + 1);
    for (let at = 0; at <= 1; at += 0.01) {
      const view = rowWindow(at * Math.max(0, height - viewport), viewport, total, ROW);
      expect(view.end - view.first).toBeLessThanOrEqual(60);
      expect(view.first).toBeGreaterThanOrEqual(0);
    }
  });

  it("covers the window at every place", () => {
    const [viewport, total] = [500, 1_700_000];
    const { height } = rowWindow(0, viewport, total, ROW);
    for (let scroll = 0; scroll <= height - viewport; scroll += 99_991) {
      const view = rowWindow(scroll, viewport, total, ROW);
      expect(view.top).toBeLessThanOrEqual(scroll);
      expect(view.top + (view.end - view.first) * ROW).toBeGreaterThanOrEqual(scroll + viewport);
    }
  });
});

describe("scrollFor", () => {
  it.each([300, 2_000_000])("brings any of %d rows into sight, and moves no further than needed", (total) => {
    const viewport = 560;
    for (const row of [0, 1, 19, 20, 150, total - 1]) {
      const to = scrollFor(row, 0, viewport, total, ROW) ?? 0;
      const first = firstRow(to, viewport, total, ROW);
      expect(row).toBeGreaterThanOrEqual(Math.floor(first + 1e-6));
      expect(row + 1).toBeLessThanOrEqual(first + viewport / ROW + 1e-3);
    }
    expect(scrollFor(3, 0, viewport, total, ROW)).toBeNull();
  });

  it("does not move a list that fits", () => {
    expect(scrollFor(2, 0, 500, 5, ROW)).toBeNull();
  });
});
