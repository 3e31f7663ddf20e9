/** Spans over time, a lane for each process; rows of a lane are what ran at the same time. */

import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import type { Lane, Lanes, Span } from "../../api_types";
import { xAxis, type Box } from "../../charts/axes";
import { Canvas, type Point } from "../../charts/canvas";
import type { Draw } from "../../charts/export";
import { ChartFrame } from "../../charts/frame";
import { AXIS_FONT, LABEL_FONT } from "../../charts/pen";
import { scale, type Scale } from "../../charts/scale";
import { duration, exact, plural, utc, words } from "../../format";
import { go } from "../../router";
import { oneLine } from "../../text/plain";
import { colors, type Token } from "../../theme";
import { FateMark, lookOf } from "../../ui/fates";

const LABEL_PX = 116;
const AXIS_PX = 40;
const THICK_PX = 16;
/** What lanes of many rows have between them, and the limits of one row. */
const ROWS_PX = 420;
const ROW_PX: readonly [least: number, most: number] = [0.5, 12];
/** A row may be thinner than a pointer is exact. */
const HIT_PX = 3;
const GAP_PX = 12;
/** Spans of the learner and of the weights have no fate: their words say what hue they get. */
const WORK: readonly [word: string, token: Token][] = [
  ["wait", "filtered"],
  ["fetch", "stale"],
  ["publish", "waiting"],
  ["load", "waiting"],
  ["step", "trained"],
  ["comput", "trained"],
];

function workToken(what: string): Token | null {
  return WORK.find(([word]) => what.includes(word))?.[1] ?? null;
}

interface Placed {
  lane: Lane;
  top: number;
  rowHeight: number;
  rows: number;
}

interface Props {
  title: string;
  lanes: Lanes;
  actions: JSX.Element;
  isOld: boolean;
}

export function LaneChart({ title, lanes, actions, isOld }: Props): JSX.Element {
  const [view, setView] = useState<[number, number]>([lanes.from_us, lanes.to_us]);
  useEffect(() => setView([lanes.from_us, lanes.to_us]), [lanes.step, lanes.from_us, lanes.to_us]);
  const placed = useMemo(() => place(lanes.lanes), [lanes]);
  const height = placed.reduce((sum, one) => sum + one.rows * one.rowHeight + GAP_PX, 0) + AXIS_PX;
  const theme = colors.value;
  const scaleOf = useCallback((width: number) => scale(view[0], view[1], LABEL_PX, Math.max(LABEL_PX + 10, width - 12)), [view]);
  const draw: Draw = useCallback(
    (pen, width) => {
      const x = scaleOf(width);
      const box: Box = { left: LABEL_PX, right: width - 12, top: 0, bottom: height - AXIS_PX };
      for (const one of placed) {
        pen.fillStyle = theme.sunken;
        pen.fillRect(box.left, one.top, box.right - box.left, one.rows * one.rowHeight);
        pen.fillStyle = theme.ink2;
        pen.font = LABEL_FONT;
        pen.textAlign = "left";
        pen.textBaseline = "middle";
        pen.fillText(cut(oneLine(one.lane.name), 17), 0, one.top + Math.min(10, (one.rows * one.rowHeight) / 2));
      }
      pen.save();
      pen.beginPath();
      pen.rect(box.left, 0, box.right - box.left, box.bottom);
      pen.clip();
      for (const one of placed) {
        for (const span of one.lane.spans) drawSpan(pen, one, span, x);
      }
      pen.restore();
      const seconds = scale((view[0] - lanes.from_us) / 1e6, (view[1] - lanes.from_us) / 1e6, box.left, box.right);
      xAxis(pen, box, seconds, { show: (value) => axisTime(value, view[1] - view[0]), title: `since ${utc(lanes.from_us)}` });
    },
    [placed, scaleOf, theme, view, height],
  );

  const under = (at: Point, width: number): { lane: Lane; span: Span } | null => {
    const x = scaleOf(width);
    const one = placed.find((candidate) => at.y >= candidate.top && at.y < candidate.top + candidate.rows * candidate.rowHeight);
    if (!one || at.x < LABEL_PX) return null;
    const away = (span: Span): number => Math.abs(one.top + (span.row + 0.5) * one.rowHeight - at.y);
    const [span] = one.lane.spans
      .filter((span) => x.at(span.start_us) - 1 <= at.x && at.x <= Math.max(x.at(span.end_us), x.at(span.start_us) + 2) + 1)
      .sort((first, second) => away(first) - away(second));
    return span && away(span) <= Math.max(HIT_PX, one.rowHeight / 2) ? { lane: one.lane, span } : null;
  };
  const zoom = (at: Point, delta: number, width: number): void => {
    const x = scaleOf(width);
    const middle = x.invert(Math.max(LABEL_PX, at.x));
    const factor = Math.exp(Math.max(-1, Math.min(1, delta / 400)));
    setView(limited([middle - (middle - view[0]) * factor, middle + (view[1] - middle) * factor], lanes));
  };
  const pan = (from: Point, to: Point, width: number): void => {
    const x = scaleOf(width);
    const by = x.invert(from.x) - x.invert(to.x);
    setView(limited([view[0] + by, view[1] + by], lanes));
  };
  const kinds = useMemo(() => [...new Set(lanes.lanes.flatMap((lane) => lane.spans.map((span) => span.fate ?? span.what)))], [lanes]);
  return (
    <ChartFrame
      title={title}
      unit={`step ${exact(lanes.step)}, ${duration((lanes.to_us - lanes.from_us) / 1e6)}`}
      class={isOld ? "lanes-card is-updating" : "lanes-card"}
      height={height}
      draw={draw}
      table={() => ({
        columns: ["lane", "what", "from, s", "seconds", "fate", "rollout"],
        rows: lanes.lanes.flatMap((lane) =>
          lane.spans.map((span) => [lane.name, span.what, (span.start_us - lanes.from_us) / 1e6, (span.end_us - span.start_us) / 1e6, span.fate, span.rollout_id]),
        ),
      })}
      actions={actions}
    >
      <p class="legend">
        {kinds.map((kind) => (
          <span key={kind} class="key">
            {isFate(kind) ? <FateMark name={kind} /> : <span class="lane-swatch" style={{ background: `var(--${workToken(kind) ?? "accent"})` }} />}
            {words(kind)}
          </span>
        ))}
      </p>
      <Canvas
        height={height}
        draw={draw}
        label={`Lanes of step ${lanes.step}`}
        describe={(at, width) => {
          const found = under(at, width);
          return found && describe(found.lane, found.span, lanes.from_us);
        }}
        isTarget={(at, width) => under(at, width)?.span.rollout_id != null}
        onClick={(at, width) => {
          const id = under(at, width)?.span.rollout_id;
          if (id) go("rollouts", { open: id });
        }}
        onDrag={pan}
        onWheel={zoom}
        onDoubleClick={() => setView([lanes.from_us, lanes.to_us])}
      />
      <p class="small dim">
        {"The wheel zooms, a drag pans, a double click shows all; a click on a rollout opens it."}
        {lanes.left_out > 0 && ` A sample: ${plural(lanes.left_out, "span")} left out.`}
      </p>
    </ChartFrame>
  );
}

function isFate(kind: string): boolean {
  return ["trained", "stale", "equal", "aborted", "lost", "waiting", "rejected"].includes(kind);
}

export function place(lanes: readonly Lane[]): Placed[] {
  const rowsOf = (lane: Lane): number => lane.spans.reduce((most, span) => Math.max(most, span.row + 1), 1);
  const many = lanes.map(rowsOf).filter((rows) => rows > 1).reduce((sum, rows) => sum + rows, 0);
  const thin = Math.min(ROW_PX[1], Math.max(ROW_PX[0], ROWS_PX / Math.max(1, many)));
  let top = 4;
  return lanes.map((lane) => {
    const rows = rowsOf(lane);
    const rowHeight = rows > 1 ? Math.max(thin, THICK_PX / rows) : THICK_PX;
    const one = { lane, top, rowHeight, rows };
    top += rows * rowHeight + GAP_PX;
    return one;
  });
}

function drawSpan(pen: Parameters<Draw>[0], one: Placed, span: Span, x: Scale): void {
  const token = span.fate === null ? (workToken(span.what) ?? "accent") : lookOf(span.fate).token;
  const left = x.at(span.start_us);
  const width = Math.max(1, x.at(span.end_us) - left - 0.5);
  pen.fillStyle = colors.value[token];
  pen.fillRect(left, one.top + span.row * one.rowHeight, width, one.rowHeight > 3 ? one.rowHeight - 1 : one.rowHeight);
  if (span.fate === null && width > pen.measureText(span.what).width + 12) {
    pen.fillStyle = colors.value.surface;
    pen.font = AXIS_FONT;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.fillText(words(span.what), left + 6, one.top + span.row * one.rowHeight + one.rowHeight / 2);
  }
}

function describe(lane: Lane, span: Span, from: number): string[] {
  const lines = [
    `${words(span.what)}, ${oneLine(lane.name)}`,
    `${duration((span.end_us - span.start_us) / 1e6)}, from ${duration((span.start_us - from) / 1e6)} on`,
  ];
  if (span.fate !== null) lines.push(words(span.fate));
  if (span.rollout_id !== null) lines.push(`${span.rollout_id}: click to open`);
  return lines;
}

/** Never nearer than a millisecond, never beyond the step and a tenth of it. */
export function limited([from, to]: readonly [number, number], { from_us, to_us }: Pick<Lanes, "from_us" | "to_us">): [number, number] {
  const whole = Math.max(1000, to_us - from_us);
  const length = Math.min(whole * 1.2, Math.max(1000, to - from));
  const start = Math.max(from_us - whole * 0.1, Math.min(from, to_us + whole * 0.1 - length));
  return [start, start + length];
}

function axisTime(seconds: number, viewUs: number): string {
  return viewUs < 2e6 ? `${Math.round(seconds * 1000)} ms` : `${Number(seconds.toFixed(viewUs < 2e7 ? 1 : 0))} s`;
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
