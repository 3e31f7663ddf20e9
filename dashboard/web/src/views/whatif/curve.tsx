/** Share kept over the budget; what lies beyond the cap was never written and is hatched. */
import type { JSX } from "preact";
import { useCallback, useMemo } from "preact/hooks";
import { xAxis, yAxis, type Box } from "../../charts/axes";
import { Canvas } from "../../charts/canvas";
import { ChartFrame } from "../../charts/frame";
import { LABEL_FONT, type Pen } from "../../charts/pen";
import { scale } from "../../charts/scale";
import { count, number, percent } from "../../format";
import { colors } from "../../theme";
import type { Replay } from "./replay";

const HEIGHT = 240;
const POINTS = 240;

interface CurveProps {
  replayed: Replay;
  /** The setting of the run and the one that is tried. */
  now: number | null;
  tried: number;
  cap: number | null;
  low: number;
  high: number;
  onPick: (threshold: number) => void;
}

export function KeptCurve({ replayed, now, tried, cap, low, high, onPick }: CurveProps): JSX.Element {
  const isLength = replayed.mode === "length";
  const points = useMemo(
    () => Array.from({ length: POINTS + 1 }, (_, index) => {
      const at = low + ((high - low) * index) / POINTS;
      return { at, share: replayed.kept(at).share };
    }),
    [replayed, low, high],
  );
  const draw = useCallback(
    (pen: Pen, width: number, height: number) => drawCurve(pen, width, height, { points, now, tried, cap: isLength ? cap : null, low, high }),
    [points, now, tried, cap, low, high, isLength],
  );
  const across = (width: number) => scale(low, high, boxOf(width, HEIGHT).left, boxOf(width, HEIGHT).right);
  const show = (value: number): string => (isLength ? `${count(Math.round(value))} tokens` : `${number(value)}× its budget`);
  return (
    <ChartFrame
      title="Share of rollouts kept"
      unit={isLength ? "by length budget L" : "by factor on each problem's budget"}
      height={HEIGHT}
      table={() => ({ columns: [isLength ? "tokens" : "factor", "kept share"], rows: points.map((point) => [point.at, point.share]) })}
      draw={draw}
    >
      <Canvas
        height={HEIGHT}
        draw={draw}
        label="Share of rollouts kept by budget; the table holds the same numbers"
        isTarget={() => true}
        describe={({ x }, width) => {
          const at = across(width).invert(x);
          if (at < low || at > high) return null;
          const { share, problems_without } = replayed.kept(at);
          return [show(at), `${percent(share)} kept`, `${count(problems_without)} problems without`];
        }}
        onClick={({ x }, width) => {
          const at = Math.min(high, Math.max(low, across(width).invert(x)));
          onPick(isLength ? Math.round(at) : Number(at.toFixed(2)));
        }}
      />
    </ChartFrame>
  );
}

function boxOf(width: number, height: number): Box {
  return { left: 48, right: width - 16, top: 24, bottom: height - 24 };
}

interface Picture {
  readonly points: readonly { at: number; share: number }[];
  readonly now: number | null;
  readonly tried: number;
  readonly cap: number | null;
  readonly low: number;
  readonly high: number;
}

function drawCurve(pen: Pen, width: number, height: number, { points, now, tried, cap, low, high }: Picture): void {
  const box = boxOf(width, height);
  const across = scale(low, high, box.left, box.right);
  const up = scale(0, Math.max(0.01, ...points.map((point) => point.share)) * 1.08, box.bottom, box.top);
  if (cap !== null && cap < high) hatch(pen, across.at(Math.max(low, cap)), box);
  yAxis(pen, box, up, { show: (value) => `${Number((value * 100).toPrecision(3))}\u202f%` });
  xAxis(pen, box, across, { show: (value) => (high > 20 ? count(value) : number(value)) });
  pen.strokeStyle = colors.value.accent;
  pen.lineWidth = 1.5;
  pen.beginPath();
  points.forEach((point, index) => pen[index ? "lineTo" : "moveTo"](across.at(point.at), up.at(point.share)));
  pen.stroke();
  pen.font = LABEL_FONT;
  pen.textBaseline = "middle";
  const mark = (at: number, text: string, color: string, dash: number, y: number): void => {
    const x = across.at(Math.min(high, Math.max(low, at)));
    pen.fillStyle = color;
    for (let from = box.top; from < box.bottom; from += dash * 2) pen.fillRect(x - 0.75, from, 1.5, dash);
    pen.textAlign = x > (box.left + box.right) / 2 ? "right" : "left";
    pen.fillText(text, x + (pen.textAlign === "right" ? -5 : 5), y);
  };
  if (now !== null && now >= low && now <= high) mark(now, "now", colors.value.ink2, 3, 6);
  if (now === null || Math.abs(now - tried) > 1e-9) mark(tried, "tried", colors.value.filtered, box.bottom - box.top, 18);
}

function hatch(pen: Pen, from: number, box: Box): void {
  pen.save();
  pen.beginPath();
  pen.rect(from, box.top, box.right - from, box.bottom - box.top);
  pen.clip();
  pen.strokeStyle = colors.value.line;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let x = from - (box.bottom - box.top); x < box.right; x += 7) {
    pen.moveTo(x, box.bottom);
    pen.lineTo(x + box.bottom - box.top, box.top);
  }
  pen.stroke();
  pen.restore();
  pen.font = LABEL_FONT;
  pen.fillStyle = colors.value.ink3;
  if (box.right - from > pen.measureText("not observed").width + 8) {
    pen.textAlign = "left";
    pen.textBaseline = "bottom";
    pen.fillText("not observed", from + 6, box.bottom - 4);
  }
}
