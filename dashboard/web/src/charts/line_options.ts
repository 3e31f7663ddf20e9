/** How uPlot draws a `LineChart`. */
import uPlot from "uplot";
import { exact, number, utc } from "../format";
import { colors } from "../theme";
import { faded, formatOf, markAt, MOST_DIRECT_LABELS, seriesColor, type LineChartProps } from "./line_model";
import { tip } from "./line_tip";
import { AXIS_FONT } from "./pen";
import { extent } from "./scale";
import { zoomOf, zoomTo, type AxisKind } from "./zoom";

/** Below this many points each one is a dot. */
export const FEW_POINTS = 40;
/** More publications than this are a dotted edge that says nothing. */
const MOST_PUBLISHES = 24;
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];
const TIME_STEPS = [1, 5, 10, 15, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800].map((s) => s * 1e6);

type Props = () => LineChartProps;

/** A drag over the chart goes into the address; the scale follows the address. */
function zoomFromDrag(plot: uPlot, kind: AxisKind): void {
  if (plot.select.width < 6) return;
  zoomTo(kind, plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

export function plotOptions(props: Props, width: number, height: number): uPlot.Options {
  const { series, bands = [], x, zeroBased, group } = props();
  const few = x.values.length < FEW_POINTS;
  const directly = isLabelledDirectly(props());
  const labelWidth = directly ? Math.min(120, Math.max(...series.map((one) => textWidth(one.label))) + 10) : 12;
  const firstBand = series.length + 1;
  return {
    width,
    height,
    padding: [10, labelWidth, 0, 4],
    legend: { show: false },
    cursor: {
      drag: { x: true, y: false, setScale: false },
      sync: { key: group ?? `x.${x.kind}`, setSeries: false, scales: ["x", null] },
      points: { size: 6 },
      y: false,
    },
    scales: {
      x: { time: false, range: () => zoomOf(x.kind) ?? paddedRange(props().x.values, x.kind) },
      y: { range: (plot, low, high) => yRange(plot, low, high, zeroBased ?? false) },
    },
    axes: [xAxis(x.kind), yAxis(props)],
    series: [
      {},
      ...series.map(
        (one, index): uPlot.Series => ({
          label: one.label,
          stroke: () => (one.faint ? faded(seriesColor(one, index), 0.4) : seriesColor(one, index)),
          width: one.faint ? 1 : 1.5,
          ...(one.dash ? { dash: [5, 4] } : {}),
          points: { show: few && !one.faint, size: 4, fill: seriesColor(one, index) },
        }),
      ),
      ...bands.flatMap((): uPlot.Series[] => [{ width: 0, points: { show: false } }, { width: 0, points: { show: false } }]),
    ],
    bands: bands.map((band, index) => ({ series: [firstBand + 2 * index, firstBand + 2 * index + 1], fill: () => faded(seriesColor(band, index)) })),
    hooks: {
      setSelect: [(plot) => zoomFromDrag(plot, x.kind)],
      draw: [(plot) => drawNotes(plot, props(), directly)],
    },
    plugins: [tip(props)],
  };
}

export function isLabelledDirectly({ series, bands = [] }: LineChartProps): boolean {
  return series.length > 1 && series.length <= MOST_DIRECT_LABELS && bands.length === 0;
}

/** A little room on both sides, so that no dot is cut; a single step stands in the middle. */
export function paddedRange(values: readonly number[], kind: AxisKind): [number, number] {
  const ends = extent(values);
  if (!ends) return [0, 1];
  const [low, high] = ends;
  if (low === high) return kind === "time" ? [low - 3e7, high + 3e7] : [low - 1, high + 1];
  return [low, high];
}

function yRange(_: uPlot, low: number | null, high: number | null, zeroBased: boolean): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  if (zeroBased && low >= 0) return [0, high > 0 ? high * 1.06 : 1];
  if (low === high) return low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const pad = (high - low) * 0.08;
  return [low - pad, high + pad];
}

function xAxis(kind: AxisKind): uPlot.Axis {
  return {
    ...look(),
    size: 20,
    gap: 3,
    grid: { show: false },
    ticks: { show: true, size: 4, width: 1, stroke: () => colors.value.line },
    space: kind === "time" ? 72 : 48,
    ...(kind === "time" ? { incrs: TIME_STEPS } : kind === "number" ? {} : { incrs: WHOLE }),
    values: (_, splits) => {
      const longDay = (splits.at(-1) ?? 0) - (splits[0] ?? 0) > 2 * 86_400e6;
      return splits.map((at) => (kind === "time" ? timeTick(at, longDay) : kind === "number" ? number(at) : exact(at)));
    },
  };
}

function timeTick(us: number, withDay: boolean): string {
  const text = utc(us);
  return withDay ? text.slice(5, 16) : text.slice(11, 16);
}

function yAxis(props: Props): uPlot.Axis {
  return {
    ...look(),
    size: (_, values) => (values ? Math.max(28, ...values.map((text) => textWidth(text ?? "") + 10)) : 40),
    gap: 4,
    space: 24,
    grid: { show: true, stroke: () => colors.value.line, width: 1 },
    ticks: { show: false },
    values: (_, splits) => splits.map((value) => tickText(value, props())),
  };
}

function tickText(value: number, props: LineChartProps): string {
  if (props.unit === "share" && !props.format) return `${Number((value * 100).toPrecision(4))}\u202f%`;
  return formatOf(props)(value);
}

function look(): Pick<uPlot.Axis, "font" | "stroke"> {
  return { font: AXIS_FONT, stroke: () => colors.value.ink3 };
}

let measurer: CanvasRenderingContext2D | null = null;

function textWidth(text: string): number {
  measurer ??= document.createElement("canvas").getContext("2d");
  if (!measurer) return text.length * 6;
  measurer.font = AXIS_FONT;
  return Math.ceil(measurer.measureText(text).width);
}

/** Labels at the ends of lines, marks on the top edge, and values that were no numbers. */
function drawNotes(plot: uPlot, props: LineChartProps, directly: boolean): void {
  const { ctx: pen, bbox } = plot;
  const ratio = devicePixelRatio;
  const right = bbox.left + bbox.width;
  pen.save();
  pen.font = `${11 * ratio}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  if (directly) {
    for (const { text, color, y } of endLabels(plot, props)) {
      pen.fillStyle = color;
      pen.fillText(text, right + 6 * ratio, y);
    }
  }
  const marks = props.marks ?? [];
  const tooDense = marks.filter((mark) => mark.kind === "publish").length > MOST_PUBLISHES;
  for (const mark of marks) {
    if (tooDense && mark.kind === "publish") continue;
    const at = markAt(mark, props);
    if (at === null) continue;
    const x = plot.valToPos(at, "x", true);
    if (x < bbox.left - 1 || x > right + 1) continue;
    if (mark.kind !== "alarm" && mark.kind !== "rollback" && mark.kind !== "restart") {
      pen.fillStyle = mark.kind === "publish" ? colors.value.line : colors.value.ink3;
      pen.fillRect(x - 0.75 * ratio, bbox.top - 6 * ratio, 1.5 * ratio, 5 * ratio);
      continue;
    }
    pen.fillStyle = colors.value.wrong;
    const size = 4 * ratio;
    pen.beginPath();
    pen.moveTo(x - size, bbox.top - 2 * size + 2 * ratio);
    pen.lineTo(x + size, bbox.top - 2 * size + 2 * ratio);
    pen.lineTo(x, bbox.top + 2 * ratio);
    pen.fill();
    pen.fillRect(x - ratio / 2, bbox.top, ratio, bbox.height);
  }
  pen.fillStyle = colors.value.wrong;
  pen.textAlign = "center";
  for (const one of props.series) {
    for (const index of one.nan ?? []) {
      const x = plot.valToPos(props.x.values[index] ?? NaN, "x", true);
      if (x >= bbox.left && x <= right) pen.fillText("× NaN", x, bbox.top + bbox.height - 7 * ratio);
    }
  }
  pen.restore();
}

function endLabels(plot: uPlot, props: LineChartProps): { text: string; color: string; y: number }[] {
  const ratio = devicePixelRatio;
  const last = plot.series[0]?.idxs?.[1] ?? props.x.values.length - 1;
  const labels = props.series.flatMap((one, index) => {
    let at = last;
    while (at >= 0 && (one.values[at] ?? null) === null) at -= 1;
    const value = one.values[at];
    if (value === null || value === undefined) return [];
    return [{ text: one.label, color: seriesColor(one, index), y: plot.valToPos(value, "y", true) }];
  });
  labels.sort((a, b) => a.y - b.y);
  const room = 13 * ratio;
  for (let index = 1; index < labels.length; index += 1) {
    const [above, here] = [labels[index - 1], labels[index]];
    if (above && here && here.y - above.y < room) here.y = above.y + room;
  }
  const bottom = plot.bbox.top + plot.bbox.height;
  for (let index = labels.length - 1, floor = bottom; index >= 0; index -= 1) {
    const here = labels[index];
    if (here && here.y > floor) here.y = floor;
    floor = (here?.y ?? floor) - room;
  }
  return labels;
}
