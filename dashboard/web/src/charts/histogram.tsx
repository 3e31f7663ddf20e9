/** Two distributions over the same bins, as outlines, with their medians and what was cut off. */
import type { ComponentChildren, JSX } from "preact";
import { useCallback } from "preact/hooks";
import { count, exact, percent } from "../format";
import { colors, type Token } from "../theme";
import { xAxis, yAxis, type Box } from "./axes";
import { Canvas } from "./canvas";
import { ChartFrame } from "./frame";
import { binText } from "./heatmap";
import { faded } from "./line_model";
import { LABEL_FONT, type Pen } from "./pen";
import { scale } from "./scale";

export interface Side {
  readonly label: string;
  readonly counts: readonly number[];
  readonly truncated: number;
  readonly rows: number;
  readonly median: number | null;
  readonly token: Token;
  readonly dash?: boolean;
}

const HEIGHT = 220;
const CUT_WIDTH = 28;

interface HistogramProps {
  title: string;
  unit: string;
  edges: readonly number[];
  sides: readonly Side[];
  isLog: boolean;
  actions?: ComponentChildren;
  /** One line between legend and picture. */
  note?: ComponentChildren;
}

export function Histogram({ title, unit, edges, sides, isLog, actions, note }: HistogramProps): JSX.Element {
  const draw = useCallback((pen: Pen, width: number, height: number) => drawSides(pen, width, height, edges, sides, isLog), [edges, sides, isLog]);
  const describe = (at: { x: number }, width: number): string[] | null => {
    const { across, box } = axesOf(width, HEIGHT, edges, isLog, 1);
    if (at.x > box.right + 8 && at.x < box.right + 8 + CUT_WIDTH) return ["cut off", ...sides.map((side) => `${side.label}: ${exact(side.truncated)}, ${percent(part(side.truncated, side))}`)];
    if (at.x < box.left || at.x > box.right) return null;
    const value = across.invert(at.x);
    const bin = edges.findIndex((edge, index) => value >= edge && value < (edges[index + 1] ?? -1));
    if (bin < 0) return null;
    return [`${binText(edges, bin)} tokens`, ...sides.map((side) => `${side.label}: ${exact(side.counts[bin] ?? 0)}, ${percent(part(side.counts[bin] ?? 0, side))}`)];
  };
  return (
    <ChartFrame
      title={title}
      unit={unit}
      height={HEIGHT}
      actions={actions}
      legend={sides.map((side) => ({ label: `${side.label} (${exact(side.rows)} rollouts)`, color: colors.value[side.token], kind: side.dash ? ("dash" as const) : ("line" as const) }))}
      table={() => ({
        columns: ["tokens", ...sides.map((side) => side.label)],
        rows: [...edges.slice(0, -1).map((_, bin) => [binText(edges, bin), ...sides.map((side) => side.counts[bin] ?? 0)]), ["cut off", ...sides.map((side) => side.truncated)]],
      })}
      draw={draw}
    >
      {note && <div class="small">{note}</div>}
      <Canvas height={HEIGHT} draw={draw} describe={describe} label={`${title}; the table holds the same numbers`} />
    </ChartFrame>
  );
}

function part(value: number, side: Side): number {
  return side.rows ? value / side.rows : 0;
}

function axesOf(width: number, height: number, edges: readonly number[], isLog: boolean, most: number) {
  const box: Box = { left: 48, right: width - CUT_WIDTH - 24, top: 22, bottom: height - 36 };
  const low = isLog ? Math.max(1, edges[0] ?? 1) : (edges[0] ?? 0);
  return { box, across: scale(low, edges.at(-1) ?? 1, box.left, box.right, isLog), up: scale(0, most * 1.05, box.bottom, box.top) };
}

function drawSides(pen: Pen, width: number, height: number, edges: readonly number[], sides: readonly Side[], isLog: boolean): void {
  const most = Math.max(1e-6, ...sides.flatMap((side) => [...side.counts, side.truncated].map((n) => part(n, side))));
  const { box, across, up } = axesOf(width, height, edges, isLog, most);
  yAxis(pen, box, up, { show: (value) => `${Number((value * 100).toPrecision(3))}\u202f%` });
  xAxis(pen, box, across, { show: count, integers: true, title: "tokens" });
  sides.forEach((side, index) => {
    const color = colors.value[side.token];
    pen.beginPath();
    edges.slice(0, -1).forEach((edge, bin) => {
      const y = up.at(part(side.counts[bin] ?? 0, side));
      pen[bin ? "lineTo" : "moveTo"](across.at(Math.max(across.low, edge)), y);
      pen.lineTo(across.at(edges[bin + 1] ?? edge), y);
    });
    pen.strokeStyle = color;
    pen.lineWidth = 1.5;
    pen.setLineDash(side.dash ? [5, 4] : []);
    pen.stroke();
    pen.setLineDash([]);
    const wide = CUT_WIDTH / Math.max(1, sides.length) - 2;
    const top = up.at(part(side.truncated, side));
    pen.fillStyle = faded(color, side.dash ? 0.45 : 0.9);
    pen.fillRect(box.right + 10 + index * (wide + 2), Math.min(top, box.bottom - 1), wide, Math.max(1, box.bottom - top));
    if (side.median === null) return;
    const x = across.at(Math.max(across.low, side.median));
    pen.fillStyle = color;
    for (let y = box.top; y < box.bottom; y += 4) pen.fillRect(x - 0.5, y, 1, 2);
    pen.font = LABEL_FONT;
    pen.textBaseline = "middle";
    pen.textAlign = x > (box.left + box.right) / 2 ? "right" : "left";
    pen.fillText(`median ${exact(side.median)}`, x + (pen.textAlign === "right" ? -4 : 4), 7 + index * 13);
  });
  pen.fillStyle = colors.value.ink3;
  pen.textAlign = "center";
  pen.textBaseline = "top";
  pen.fillText("cut off", box.right + 10 + CUT_WIDTH / 2, box.bottom + 6);
}
