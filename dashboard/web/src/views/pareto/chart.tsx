/** Accuracy against tokens: points with their intervals; lines only between equal sampling settings. */
import type { JSX } from "preact";
import { useCallback, useMemo } from "preact/hooks";
import type { ParetoPoint } from "../../api_types";
import { xAxis, yAxis, type Box } from "../../charts/axes";
import { Canvas, type Point } from "../../charts/canvas";
import { ChartFrame, type LegendKey } from "../../charts/frame";
import { faded } from "../../charts/line_model";
import { LABEL_FONT, type Pen } from "../../charts/pen";
import { scale, type Scale } from "../../charts/scale";
import { SERIES_TOKENS } from "../../charts/tokens";
import { count, number, percent } from "../../format";
import { colors } from "../../theme";

const HEIGHT = 440;
/** A pointer this near to a point means it. */
const NEAR_PX = 14;

interface ChartProps {
  points: readonly ParetoPoint[];
  frontier: ReadonlySet<ParetoPoint>;
  runs: readonly string[];
  onOpen: (point: ParetoPoint) => void;
}

export function ParetoChart({ points, frontier, runs, onOpen }: ChartProps): JSX.Element {
  const draw = useCallback((pen: Pen, width: number, height: number) => drawPareto(pen, width, height, points, frontier, runs), [points, frontier, runs]);
  const near = (at: Point, width: number): ParetoPoint | null => nearest(at, axesOf(points, width, HEIGHT), points);
  const legend = useMemo<LegendKey[]>(
    () => [
      ...runs.map((run) => ({ label: run, color: runColor(runs, run), kind: "dot" as const })),
      { label: "frontier: nothing is both shorter and better", color: colors.value.ink3, kind: "dash" as const },
    ],
    [runs, colors.value],
  );
  return (
    <ChartFrame title="Accuracy against tokens" unit="95 % intervals over problems; older versions fainter" height={HEIGHT} legend={legend} draw={draw} table={() => tableOf(points)}>
      <Canvas
        height={HEIGHT}
        draw={draw}
        label="Accuracy against mean tokens of every evaluated checkpoint; the table holds the same numbers"
        describe={(at, width) => {
          const point = near(at, width);
          return point && describe(point);
        }}
        isTarget={(at, width) => near(at, width)?.kind === "checkpoint"}
        onClick={(at, width) => {
          const point = near(at, width);
          if (point) onOpen(point);
        }}
      />
    </ChartFrame>
  );
}

export function runColor(runs: readonly string[], run: string): string {
  return colors.value[SERIES_TOKENS[Math.max(0, runs.indexOf(run)) % SERIES_TOKENS.length] ?? "accent"];
}

function describe(point: ParetoPoint): string[] {
  const name = point.kind === "checkpoint" && point.version !== null ? `${point.run}, version ${point.version}` : `${point.run === "" ? "" : `${point.run}, `}${point.label}`;
  return [
    name,
    `accuracy ${percent(point.accuracy)} (${percent(point.accuracy_low)} to ${percent(point.accuracy_high)})`,
    `tokens ${number(point.tokens)} (${number(point.tokens_low)} to ${number(point.tokens_high)})`,
    `${count(point.problems)} problems, ${count(point.samples)} ${point.samples === 1 ? "sample" : "samples"} each, ${percent(point.truncated)} cut off`,
    point.settings_text,
  ];
}

interface Axes {
  readonly box: Box;
  readonly across: Scale;
  readonly up: Scale;
}

function axesOf(points: readonly ParetoPoint[], width: number, height: number): Axes {
  const box: Box = { left: 52, right: width - 24, top: 16, bottom: height - 40 };
  const padded = (low: number, high: number, least: number): [number, number] => {
    const pad = Math.max(least, (high - low) * 0.08);
    return [low - pad, high + pad];
  };
  const [left, right] = padded(Math.min(...points.map((p) => p.tokens_low)), Math.max(...points.map((p) => p.tokens_high)), 1);
  const [bottom, top] = padded(Math.min(...points.map((p) => p.accuracy_low)), Math.max(...points.map((p) => p.accuracy_high)), 0.01);
  return { box, across: scale(Math.max(0, left), right, box.left, box.right), up: scale(Math.max(0, bottom), Math.min(1.02, top), box.bottom, box.top) };
}

function nearest({ x, y }: Point, { across, up }: Axes, points: readonly ParetoPoint[]): ParetoPoint | null {
  let [best, distance] = [null as ParetoPoint | null, NEAR_PX];
  for (const point of points) {
    const away = Math.hypot(across.at(point.tokens) - x, up.at(point.accuracy) - y);
    if (away < distance) [best, distance] = [point, away];
  }
  return best;
}

function drawPareto(pen: Pen, width: number, height: number, points: readonly ParetoPoint[], frontier: ReadonlySet<ParetoPoint>, runs: readonly string[]): void {
  if (points.length === 0) return;
  const axes = axesOf(points, width, height);
  const { box, across, up } = axes;
  yAxis(pen, box, up, { show: (value) => `${Number((value * 100).toPrecision(3))}\u202f%` });
  xAxis(pen, box, across, { show: count, title: "mean tokens of an answer (left is shorter)" });
  drawFrontier(pen, axes, points.filter((point) => frontier.has(point)));
  for (const path of joinable(points)) {
    pen.strokeStyle = faded(runColor(runs, path[0]?.run ?? ""), 0.55);
    pen.lineWidth = 1.5;
    pen.beginPath();
    path.forEach((point, index) => pen[index ? "lineTo" : "moveTo"](across.at(point.tokens), up.at(point.accuracy)));
    pen.stroke();
  }
  const newest = new Map<string, number>();
  for (const point of points) newest.set(point.run, Math.max(newest.get(point.run) ?? 0, point.version ?? 0));
  const settings = [...new Set(points.map((point) => point.settings))];
  for (const point of points) {
    const strength = point.kind === "checkpoint" ? 0.4 + 0.6 * ((point.version ?? 0) / Math.max(1, newest.get(point.run) ?? 1)) : 1;
    drawPoint(pen, axes, point, runColor(runs, point.run), strength, settings.indexOf(point.settings));
  }
  drawLabels(pen, axes, points, newest);
}

/** Checkpoints, and the base model they came from, of one run, benchmark and sampling settings, by version. */
export function joinable(points: readonly ParetoPoint[]): ParetoPoint[][] {
  const paths = new Map<string, ParetoPoint[]>();
  for (const point of points) {
    if (point.kind === "imported") continue;
    const key = JSON.stringify([point.run, point.benchmark, point.settings]);
    paths.set(key, [...(paths.get(key) ?? []), point]);
  }
  return [...paths.values()].map((path) => path.sort((a, b) => (a.version ?? -1) - (b.version ?? -1))).filter((path) => path.length > 1);
}

function drawFrontier(pen: Pen, { box, across, up }: Axes, points: ParetoPoint[]): void {
  const sorted = [...points].sort((a, b) => a.tokens - b.tokens);
  if (sorted.length === 0) return;
  pen.strokeStyle = colors.value.ink3;
  pen.lineWidth = 1;
  pen.setLineDash([3, 3]);
  pen.beginPath();
  sorted.forEach((point, index) => {
    const [x, y] = [across.at(point.tokens), up.at(point.accuracy)];
    const before = sorted[index - 1];
    if (before) pen.lineTo(x, up.at(before.accuracy));
    else pen.moveTo(x, y);
    pen.lineTo(x, y);
  });
  pen.lineTo(box.right, up.at(sorted.at(-1)?.accuracy ?? 0));
  pen.stroke();
  pen.setLineDash([]);
}

function drawPoint(pen: Pen, { across, up }: Axes, point: ParetoPoint, color: string, strength: number, settings: number): void {
  const [x, y] = [across.at(point.tokens), up.at(point.accuracy)];
  pen.strokeStyle = faded(color, 0.45 * strength);
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(across.at(point.tokens_low), y);
  pen.lineTo(across.at(point.tokens_high), y);
  pen.moveTo(x, up.at(point.accuracy_low));
  pen.lineTo(x, up.at(point.accuracy_high));
  pen.stroke();
  pen.beginPath();
  if (point.kind === "base") {
    for (const [dx, dy] of [[0, -6], [6, 0], [0, 6], [-6, 0]] as const) pen.lineTo(x + dx, y + dy);
    pen.closePath();
  } else if (point.kind === "imported") pen.rect(x - 4.5, y - 4.5, 9, 9);
  else if (settings === 0) pen.arc(x, y, 4.5, 0, 2 * Math.PI);
  else {
    for (const [dx, dy] of [[0, -5], [5, 4], [-5, 4]] as const) pen.lineTo(x + dx, y + dy);
    pen.closePath();
  }
  pen.fillStyle = colors.value.surface;
  pen.fill();
  pen.fillStyle = faded(color, point.kind === "base" ? 0 : strength);
  pen.fill();
  pen.strokeStyle = color;
  pen.lineWidth = 1.5;
  pen.stroke();
}

/** Base, imported and the newest checkpoint of each run are named; the rest on hover. */
function drawLabels(pen: Pen, { box, across, up }: Axes, points: readonly ParetoPoint[], newest: ReadonlyMap<string, number>): void {
  pen.font = LABEL_FONT;
  pen.textBaseline = "middle";
  pen.fillStyle = colors.value.ink;
  const taken: { x: number; y: number; width: number }[] = [];
  for (const point of points) {
    const isNewest = point.kind === "checkpoint" && point.version === newest.get(point.run);
    if (point.kind === "checkpoint" && !isNewest) continue;
    const text = isNewest ? `version ${point.version}` : point.label;
    const width = pen.measureText(text).width;
    const isRight = across.at(point.tokens) + 10 + width < box.right;
    const x = isRight ? across.at(point.tokens) + 10 : across.at(point.tokens) - 10 - width;
    let y = up.at(point.accuracy) - 10;
    while (taken.some((other) => Math.abs(other.y - y) < 13 && x < other.x + other.width && other.x < x + width)) y += 13;
    taken.push({ x, y, width });
    pen.textAlign = "left";
    pen.fillText(text, x, y);
  }
}

function tableOf(points: readonly ParetoPoint[]) {
  return {
    columns: ["run", "label", "version", "benchmark", "kind", "accuracy", "accuracy low", "accuracy high", "tokens", "tokens low", "tokens high", "problems", "samples", "cut off", "settings"],
    rows: points.map((p) => [p.run, p.label, p.version, p.benchmark, p.kind, p.accuracy, p.accuracy_low, p.accuracy_high, p.tokens, p.tokens_low, p.tokens_high, p.problems, p.samples, p.truncated, p.settings_text]),
  };
}
