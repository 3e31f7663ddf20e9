import type uPlot from "uplot";
import { formatOf, markAt, xText, type LineChartProps } from "./line_model";

/** A small table of the values under the crosshair. */
export function tip(props: () => LineChartProps): uPlot.Plugin {
  let box: HTMLDivElement | null = null;
  const fill = (plot: uPlot, index: number): void => {
    const { x, series, bands = [], marks = [] } = props();
    const show = formatOf(props());
    const at = x.values[index];
    if (!box || at === undefined) return;
    const rows: [string, string][] = series.map((one) => [one.label, valueText(one, index, show)]);
    for (const band of bands) {
      const [low, high] = [band.low[index], band.high[index]];
      rows.push([band.label, low === null || low === undefined || high === null || high === undefined ? "n/a" : `${show(low)} to ${show(high)}`]);
    }
    const near = marks.filter((mark) => {
      const where = markAt(mark, props());
      return where !== null && mark.kind !== "publish" && Math.abs(plot.valToPos(where, "x") - plot.valToPos(at, "x")) < 4;
    });
    const head = document.createElement("div");
    head.className = "strong";
    head.textContent = xText(at, x.kind);
    const table = document.createElement("table");
    for (const [label, value] of rows) {
      const row = table.insertRow();
      row.insertCell().textContent = label;
      row.insertCell().textContent = value;
    }
    const notes = near.slice(0, 3).map((mark) => {
      const note = document.createElement("div");
      note.className = "soft";
      note.textContent = mark.text;
      return note;
    });
    box.replaceChildren(head, table, ...notes);
  };
  return {
    hooks: {
      init: (plot) => {
        box = document.createElement("div");
        box.className = "chart-tip";
        plot.over.appendChild(box);
        plot.over.addEventListener("mouseleave", () => {
          if (box) box.style.visibility = "hidden";
        });
      },
      setCursor: (plot) => {
        const { left = -1, idx, event } = plot.cursor;
        if (!box) return;
        // A crosshair that another chart moved shows no second box.
        if (left < 0 || idx === null || idx === undefined || !event) {
          box.style.visibility = "hidden";
          return;
        }
        fill(plot, idx);
        box.style.visibility = "visible";
        const isRight = left > plot.over.clientWidth / 2;
        box.style.transform = `translate(${isRight ? left - box.offsetWidth - 10 : left + 10}px, 4px)`;
      },
    },
  };
}

function valueText(series: { values: readonly (number | null)[]; nan?: readonly number[] | undefined }, index: number, show: (value: number) => string): string {
  if (series.nan?.includes(index)) return "NaN";
  const value = series.values[index];
  return value === null || value === undefined ? "n/a" : show(value);
}
