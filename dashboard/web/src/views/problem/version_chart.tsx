/** Every rollout of a problem: its length over the version that wrote it, its outcome as colour and shape. */

import type { JSX } from "preact";
import { useCallback, useMemo, useRef } from "preact/hooks";
import type { ProblemDetail, RolloutRow } from "../../api_types";
import { xAxis, yAxis, type Box } from "../../charts/axes";
import { Canvas, type Point } from "../../charts/canvas";
import type { Draw } from "../../charts/export";
import { ChartFrame } from "../../charts/frame";
import { AXIS_FONT, type Pen } from "../../charts/pen";
import { scale, type Scale } from "../../charts/scale";
import { count, exact, words } from "../../format";
import { setParams } from "../../router";
import { colors } from "../../theme";
import { oneLine } from "../../text/plain";
import { FateMark, lookOf, outcomeOf, type FateShape } from "../../ui/fates";

const HEIGHT = 280;
const HIT_PX = 9;

interface Dot {
  row: RolloutRow;
  version: number;
  tokens: number;
  /** Within its version, so that rollouts of one length do not hide each other. */
  shift: number;
}

interface Props {
  detail: ProblemDetail;
  a: string | null;
  b: string | null;
}

export function VersionChart({ detail, a, b }: Props): JSX.Element {
  const dots = useMemo(() => dotsOf(detail.rollouts), [detail]);
  const withShift = useRef(false);
  const means = detail.by_version;
  const budgets = useMemo(() => budgetsOf(detail.rollouts), [detail]);
  const scales = useCallback((width: number) => scalesOf(dots, width), [dots]);
  const theme = colors.value;
  const draw: Draw = useCallback(
    (pen, width) => {
      const { box, x, y } = scales(width);
      yAxis(pen, box, y, { show: count });
      xAxis(pen, box, x, { show: exact, integers: true, title: "weight version" });
      drawLine(pen, means.map((one) => [one.version, one.mean_tokens]), x, y, theme.ink2, []);
      drawLine(pen, budgets, x, y, theme.filtered, [4, 3]);
      for (const dot of dots) drawDot(pen, dot, x, y);
      for (const [id, name] of [[a, "left"], [b, "right"]] as const) {
        const dot = dots.find((one) => one.row.rollout_id === id);
        if (dot) drawPick(pen, x.at(dot.version + dot.shift), y.at(dot.tokens), name, box);
      }
    },
    [dots, means, budgets, a, b, scales, theme],
  );
  const under = (at: Point, width: number): Dot | null => {
    const { x, y } = scales(width);
    const distance = (dot: Dot): number => Math.hypot(x.at(dot.version + dot.shift) - at.x, y.at(dot.tokens) - at.y);
    const [nearest] = [...dots].sort((one, other) => distance(one) - distance(other));
    return nearest && distance(nearest) <= HIT_PX ? nearest : null;
  };
  return (
    <ChartFrame
      title="Tokens by version"
      unit={`response tokens; click a rollout to compare it${detail.cut ? `; the first ${exact(detail.rollouts.length)} of ${exact(detail.summary.rollouts)}` : ""}`}
      class="w12"
      height={HEIGHT}
      draw={draw}
      table={() => ({
        columns: ["version", "tokens", "outcome", "answer", "rollout"],
        rows: dots.map(({ row }) => [row.last_version, row.n_tokens, words(outcomeOf(row)), row.answer, row.rollout_id]),
      })}
    >
      <Legend rows={dots} hasBudget={budgets.length > 0} />
      <div title="A click puts a rollout on the right side of the comparison, with Shift on the left" onPointerDownCapture={(event) => (withShift.current = event.shiftKey)}>
        <Canvas
          height={HEIGHT}
          draw={draw}
          label={`${exact(dots.length)} rollouts of the problem: tokens over weight versions`}
          describe={(at, width) => {
            const dot = under(at, width);
            return dot && describe(dot.row);
          }}
          isTarget={(at, width) => under(at, width) !== null}
          onClick={(at, width) => {
            const dot = under(at, width);
            if (dot) setParams({ [withShift.current ? "a" : "b"]: dot.row.rollout_id });
          }}
        />
      </div>
    </ChartFrame>
  );
}

/** One key for each look: outcomes that share one stand together. */
function Legend({ rows, hasBudget }: { rows: readonly Dot[]; hasBudget: boolean }): JSX.Element {
  const looks = new Map<string, string[]>();
  for (const outcome of new Set(rows.map((dot) => outcomeOf(dot.row)))) {
    const { token, shape } = lookOf(outcome);
    looks.set(`${token} ${shape}`, [...(looks.get(`${token} ${shape}`) ?? []), outcome]);
  }
  return (
    <p class="legend">
      {[...looks.values()].map((outcomes) => (
        <span key={outcomes[0]} class="key">
          <FateMark name={outcomes[0] ?? ""} />
          {outcomes.map(words).sort().join(", ")}
        </span>
      ))}
      <span class="key">
        <Line color="var(--ink-2)" />
        mean
      </span>
      {hasBudget && (
        <span class="key">
          <Line color="var(--filtered)" dash />
          budget
        </span>
      )}
    </p>
  );
}

function Line({ color, dash }: { color: string; dash?: boolean }): JSX.Element {
  return (
    <svg class="swatch" width="16" height="10" viewBox="0 0 16 10" aria-hidden="true" style={{ color }}>
      <path d="M0 5h16" stroke="currentColor" stroke-width="1.5" stroke-dasharray={dash ? "4 3" : undefined} />
    </svg>
  );
}

function describe(row: RolloutRow): string[] {
  return [
    `${exact(row.n_tokens ?? 0)} tokens, version ${row.last_version ?? "unknown"}`,
    words(outcomeOf(row)) + (row.step === null ? "" : `, step ${exact(row.step)}`),
    row.answer === null ? "no answer found" : `answer ${oneLine(row.answer).slice(0, 40)}`,
    row.rollout_id,
  ];
}

export function dotsOf(rows: readonly RolloutRow[]): Dot[] {
  const ofVersion = new Map<number, number>();
  const known = rows.filter((row) => row.n_tokens !== null && row.last_version !== null);
  for (const row of known) ofVersion.set(row.last_version ?? 0, (ofVersion.get(row.last_version ?? 0) ?? 0) + 1);
  const seen = new Map<number, number>();
  return known.map((row) => {
    const version = row.last_version ?? 0;
    const place = seen.get(version) ?? 0;
    seen.set(version, place + 1);
    const many = ofVersion.get(version) ?? 1;
    return { row, version, tokens: row.n_tokens ?? 0, shift: many > 1 ? (place / (many - 1) - 0.5) * 0.5 : 0 };
  });
}

function budgetsOf(rows: readonly RolloutRow[]): [number, number][] {
  const budgets = new Map<number, number>();
  for (const row of rows) if (row.budget !== null && row.last_version !== null) budgets.set(row.last_version, row.budget);
  return [...budgets].sort(([one], [other]) => one - other);
}

function scalesOf(dots: readonly Dot[], width: number): { box: Box; x: Scale; y: Scale } {
  const box = { left: 48, right: width - 16, top: 12, bottom: HEIGHT - 40 };
  const versions = dots.map((dot) => dot.version);
  const low = versions.reduce((least, one) => Math.min(least, one), Infinity);
  const high = versions.reduce((most, one) => Math.max(most, one), -Infinity);
  const longest = dots.reduce((most, dot) => Math.max(most, dot.tokens, dot.row.budget ?? 0), 1);
  const [from, to] = dots.length ? [low, high] : [0, 1];
  return { box, x: scale(from - 0.5, to + 0.5, box.left, box.right), y: scale(0, longest * 1.06, box.bottom, box.top) };
}

function drawLine(pen: Pen, points: readonly (readonly [number, number | null])[], x: Scale, y: Scale, color: string, dash: number[]): void {
  pen.strokeStyle = color;
  pen.lineWidth = 1.5;
  pen.setLineDash(dash);
  pen.beginPath();
  let isOpen = false;
  for (const [version, value] of points) {
    if (value === null) isOpen = false;
    else if (isOpen) pen.lineTo(x.at(version), y.at(value));
    else {
      pen.moveTo(x.at(version), y.at(value));
      isOpen = true;
    }
  }
  pen.stroke();
  pen.setLineDash([]);
}

function drawDot(pen: Pen, dot: Dot, x: Scale, y: Scale): void {
  const look = lookOf(outcomeOf(dot.row));
  drawShape(pen, look.shape, x.at(dot.version + dot.shift), y.at(dot.tokens), colors.value[look.token]);
}

/** The same shapes as `FateMark`, at the same size. */
function drawShape(pen: Pen, shape: FateShape, x: number, y: number, color: string): void {
  pen.fillStyle = color;
  pen.strokeStyle = color;
  pen.lineWidth = 1.6;
  pen.beginPath();
  if (shape === "disc") pen.arc(x, y, 4, 0, 2 * Math.PI);
  if (shape === "half" || shape === "ring") pen.arc(x, y, 3.5, 0, 2 * Math.PI);
  if (shape === "bar") pen.rect(x - 4, y - 1.5, 8, 3);
  if (shape === "cross") {
    pen.moveTo(x - 3, y - 3);
    pen.lineTo(x + 3, y + 3);
    pen.moveTo(x + 3, y - 3);
    pen.lineTo(x - 3, y + 3);
  }
  if (shape === "cut") {
    pen.moveTo(x - 4, y);
    pen.lineTo(x + 1, y);
    pen.moveTo(x + 2.5, y - 3.5);
    pen.lineTo(x + 2.5, y + 3.5);
  }
  if (shape === "disc" || shape === "bar") pen.fill();
  else pen.stroke();
  if (shape === "half") {
    pen.beginPath();
    pen.arc(x, y, 3.5, Math.PI / 2, (3 * Math.PI) / 2);
    pen.closePath();
    pen.fill();
  }
}

/** A ring around a picked rollout, with its side as a word. */
function drawPick(pen: Pen, x: number, y: number, name: string, box: Box): void {
  pen.strokeStyle = colors.value.accent;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(x, y, 8, 0, 2 * Math.PI);
  pen.stroke();
  pen.font = `600 ${AXIS_FONT}`;
  pen.fillStyle = colors.value.accent;
  pen.textBaseline = "middle";
  const isRight = x > (box.left + box.right) / 2;
  pen.textAlign = isRight ? "right" : "left";
  pen.fillText(name, isRight ? x - 12 : x + 12, y - 10);
}
