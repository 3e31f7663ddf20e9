/** Lengths by weight version: one column a version, darker where more of its rollouts lie. */
import type { JSX } from "preact";
import { useCallback, useMemo } from "preact/hooks";
import type { Lengths } from "../api_types";
import { count, exact, number, percent } from "../format";
import { colors } from "../theme";
import { xAxis, yAxis, type Box } from "./axes";
import { Canvas, type Point } from "./canvas";
import type { TableData } from "./export";
import { ChartFrame } from "./frame";
import { faded } from "./line_model";
import { LABEL_FONT, type Pen } from "./pen";
import { scale, type Scale } from "./scale";

const HEIGHT = 380;
/** Rollouts that were cut off stand above the axis, in a row of their own. */
const CUT_ROW = 18;
const CUT_GAP = 6;
const STEPS = 6;

interface HeatmapProps {
  data: Lengths;
  title: string;
  isLog: boolean;
  /** Bin -1 is the row of those that were cut off. */
  onOpen: (column: number, bin: number) => void;
}

interface Layout {
  readonly box: Box;
  readonly cutTop: number;
  readonly up: Scale;
  readonly columnWidth: number;
}

export function LengthHeatmap({ data, title, isLog, onOpen }: HeatmapProps): JSX.Element {
  const strongest = useMemo(() => Math.max(1e-9, ...data.counts.flatMap((column, v) => column.map((n) => share(n, data.rows[v])))), [data]);
  const draw = useCallback((pen: Pen, width: number, height: number) => drawHeat(pen, layoutOf(data, isLog, width, height), data, strongest), [data, isLog, strongest]);
  const cellAt = (at: Point, width: number): [number, number] | null => cellUnder(at, layoutOf(data, isLog, width, HEIGHT), data);
  return (
    <ChartFrame title={title} unit="tokens, by weight version" height={HEIGHT} table={() => tableOf(data)} draw={draw} actions={<ShareScale strongest={strongest} />}>
      <Canvas
        height={HEIGHT}
        draw={draw}
        label={`${title}: share of each weight version's rollouts by tokens; the table holds the same numbers`}
        describe={(at, width) => {
          const cell = cellAt(at, width);
          return cell && describeCell(data, ...cell);
        }}
        isTarget={(at, width) => cellAt(at, width) !== null}
        onClick={(at, width) => {
          const cell = cellAt(at, width);
          if (cell) onOpen(...cell);
        }}
      />
    </ChartFrame>
  );
}

/** The printed scale of the colour. */
function ShareScale({ strongest }: { strongest: number }): JSX.Element {
  return (
    <span class="row small dim nowrap" style={{ gap: "4px" }}>
      <span>0</span>
      {Array.from({ length: STEPS }, (_, step) => (
        <span key={step} style={{ width: "16px", height: "10px", background: heat((step + 1) / STEPS) }} />
      ))}
      <span>{`${percent(strongest, 0)} of a version`}</span>
    </span>
  );
}

function heat(strength: number): string {
  return faded(colors.value.accent, strength <= 0 ? 0 : 0.06 + 0.94 * Math.sqrt(strength));
}

function share(part: number, whole: number | undefined): number {
  return whole ? part / whole : 0;
}

function layoutOf(data: Lengths, isLog: boolean, width: number, height: number): Layout {
  const box: Box = { left: 56, right: width - 84, top: CUT_ROW + CUT_GAP + 6, bottom: height - 40 };
  const [first, last] = [data.edges[0] ?? 0, data.edges.at(-1) ?? 1];
  const low = isLog ? Math.max(1, first) : first;
  return { box, cutTop: 6, up: scale(low, last, box.bottom, box.top, isLog), columnWidth: (box.right - box.left) / Math.max(1, data.versions.length) };
}

function drawHeat(pen: Pen, layout: Layout, data: Lengths, strongest: number): void {
  const { box, cutTop, up, columnWidth } = layout;
  yAxis(pen, box, up, { show: count, integers: true });
  pen.font = LABEL_FONT;
  pen.fillStyle = colors.value.ink3;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.fillText("cut off", box.left - 6, cutTop + CUT_ROW / 2);
  data.versions.forEach((_, v) => {
    const x = box.left + v * columnWidth;
    const wide = Math.max(1, columnWidth - (columnWidth > 6 ? 1 : 0));
    (data.counts[v] ?? []).forEach((n, bin) => {
      if (n === 0) return;
      const [low, high] = [up.at(Math.max(up.low, data.edges[bin] ?? 0)), up.at(data.edges[bin + 1] ?? 0)];
      pen.fillStyle = heat(share(n, data.rows[v]) / strongest);
      pen.fillRect(x, high, wide, Math.max(1, low - high));
    });
    const cut = share(data.truncated[v] ?? 0, data.rows[v]);
    if (cut > 0) {
      pen.fillStyle = faded(colors.value.truncated, 0.12 + 0.88 * Math.sqrt(cut));
      pen.fillRect(x, cutTop, wide, CUT_ROW);
    }
  });
  pen.strokeStyle = colors.value.line;
  pen.lineWidth = 1;
  pen.setLineDash([]);
  pen.beginPath();
  pen.moveTo(box.left, cutTop + CUT_ROW + CUT_GAP / 2);
  pen.lineTo(box.right, cutTop + CUT_ROW + CUT_GAP / 2);
  pen.stroke();
  drawVersions(pen, layout, data);
  drawBudget(pen, layout, data);
  const lines = [
    drawQuantile(pen, layout, data.p90, "p90", [2, 3]),
    drawQuantile(pen, layout, data.p50, "median", []),
    drawQuantile(pen, layout, data.p10, "p10", [2, 3]),
    ...budgetLabels(layout, data),
  ];
  labels(pen, box, lines.flatMap((line) => (line ? [line] : [])));
}

function drawVersions(pen: Pen, { box, columnWidth }: Layout, { versions }: Lengths): void {
  const axis = scale(0, versions.length, box.left, box.right);
  const shown = (index: number): string => {
    const pair = versions[Math.min(versions.length - 1, Math.floor(index))];
    return pair ? exact(pair[0]) : "";
  };
  const shift = columnWidth / 2;
  const middle = { ...axis, at: (value: number) => axis.at(value) + shift };
  xAxis(pen, box, { ...middle, high: Math.max(0, versions.length - 1) }, { show: shown, integers: true, title: "weight version" });
}

interface EndLabel {
  readonly text: string;
  readonly y: number;
  readonly color: string;
}

function drawQuantile(pen: Pen, { box, up, columnWidth }: Layout, values: readonly (number | null)[], text: string, dash: number[]): EndLabel | null {
  pen.strokeStyle = colors.value.ink;
  pen.lineWidth = dash.length ? 1 : 1.5;
  pen.setLineDash(dash);
  pen.beginPath();
  let isDown = false;
  let last: number | null = null;
  values.forEach((value, v) => {
    if (value === null) {
      isDown = false;
      return;
    }
    const [x, y] = [box.left + (v + 0.5) * columnWidth, up.at(Math.max(up.low, value))];
    pen[isDown ? "lineTo" : "moveTo"](x, y);
    if (values.length === 1) pen.lineTo(x + columnWidth / 2, y);
    isDown = true;
    last = y;
  });
  pen.stroke();
  pen.setLineDash([]);
  return last === null ? null : { text, y: last, color: colors.value.ink };
}

/** One line where the budget is one number, a band where problems have their own. */
function drawBudget(pen: Pen, { box, up, columnWidth }: Layout, data: Lengths): void {
  data.versions.forEach((_, v) => {
    const [low, high] = [data.budget_min[v] ?? null, data.budget_max[v] ?? null];
    if (low === null || high === null) return;
    const x = box.left + v * columnWidth;
    const [top, bottom] = [up.at(Math.min(up.high, high)), up.at(Math.max(up.low, low))];
    if (high > low) {
      pen.fillStyle = faded(colors.value.filtered, 0.16);
      pen.fillRect(x, top, columnWidth, bottom - top);
    }
    pen.fillStyle = colors.value.filtered;
    pen.fillRect(x, top - 0.75, columnWidth, 1.5);
    if (high > low) pen.fillRect(x, bottom - 0.75, columnWidth, 1.5);
  });
  if (data.cap !== null && data.cap <= up.high * 1.001) {
    pen.fillStyle = colors.value.truncated;
    for (let x = box.left; x < box.right; x += 8) pen.fillRect(x, up.at(data.cap) - 0.75, 5, 1.5);
  }
}

function budgetLabels({ up }: Layout, data: Lengths): (EndLabel | null)[] {
  const [low, high] = [data.budget_min.findLast((value) => value !== null) ?? null, data.budget_max.findLast((value) => value !== null) ?? null];
  return [
    high === null ? null : { text: low === high ? `L ${count(high)}` : `L to ${count(high)}`, y: up.at(Math.min(up.high, high)), color: colors.value.filtered },
    data.cap === null || data.cap > up.high * 1.001 ? null : { text: `cap ${count(data.cap)}`, y: up.at(data.cap), color: colors.value.truncated },
  ];
}

/** Names at the right end, moved apart where they would lie over each other. */
export function labels(pen: Pen, box: Box, lines: EndLabel[]): void {
  const sorted = lines.map((line) => ({ ...line })).sort((a, b) => a.y - b.y);
  sorted.forEach((line, index) => {
    const above = sorted[index - 1];
    if (above && line.y - above.y < 14) line.y = above.y + 14;
  });
  pen.font = LABEL_FONT;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const line of sorted) {
    pen.fillStyle = line.color;
    pen.fillText(line.text, box.right + 6, line.y);
  }
}

function cellUnder({ x, y }: Point, { box, cutTop, up, columnWidth }: Layout, data: Lengths): [number, number] | null {
  const column = Math.floor((x - box.left) / columnWidth);
  if (column < 0 || column >= data.versions.length) return null;
  if (y >= cutTop && y < cutTop + CUT_ROW) return [column, -1];
  if (y < box.top || y > box.bottom) return null;
  const value = up.invert(y);
  const bin = data.edges.findIndex((edge, index) => value >= edge && value < (data.edges[index + 1] ?? Infinity));
  return bin < 0 || bin >= data.edges.length - 1 ? null : [column, bin];
}

function describeCell(data: Lengths, column: number, bin: number): string[] {
  const n = bin < 0 ? (data.truncated[column] ?? 0) : (data.counts[column]?.[bin] ?? 0);
  const where = bin < 0 ? "cut off at the cap" : `${binText(data.edges, bin)} tokens`;
  const quantiles = [data.p10[column], data.p50[column], data.p90[column]].map((value) => (value === null || value === undefined ? "n/a" : number(value)));
  return [
    `${versionText(data.versions[column])}: ${where}`,
    `${exact(n)} of ${exact(data.rows[column] ?? 0)} rollouts, ${percent(share(n, data.rows[column]))}`,
    `p10 ${quantiles[0]} · median ${quantiles[1]} · p90 ${quantiles[2]}`,
  ];
}

export function versionText(pair: readonly [number, number] | undefined): string {
  if (!pair) return "version n/a";
  return pair[0] === pair[1] ? `version ${exact(pair[0])}` : `versions ${exact(pair[0])} to ${exact(pair[1])}`;
}

/** The whole numbers in a bin, `400 to 424`. */
export function binText(edges: readonly number[], bin: number): string {
  const [low, high] = wholeBounds(edges, bin);
  return low === high ? exact(low) : `${exact(low)} to ${exact(high)}`;
}

/** Bin i holds edges[i] <= length < edges[i+1], the last bin its end too; as whole tokens. */
export function wholeBounds(edges: readonly number[], bin: number): [number, number] {
  const isLast = bin === edges.length - 2;
  const [low, high] = [Math.ceil(edges[bin] ?? 0), edges[bin + 1] ?? 0];
  return [low, Math.max(low, isLast ? Math.floor(high) : Math.ceil(high) - 1)];
}

function tableOf(data: Lengths): TableData {
  return {
    columns: ["first version", "last version", "rollouts", "cut off", "p10", "p50", "p90", "mean", ...data.edges.slice(0, -1).map((_, bin) => `${binText(data.edges, bin)} tokens`)],
    rows: data.versions.map(([first, last], v) => [
      first, last, data.rows[v] ?? 0, data.truncated[v] ?? 0, data.p10[v] ?? null, data.p50[v] ?? null, data.p90[v] ?? null, data.mean[v] ?? null,
      ...(data.counts[v] ?? []),
    ]),
  };
}

