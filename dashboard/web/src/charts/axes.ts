/** Axes of the canvas charts: horizontal grid, labels in one size, nothing rotated. */
import { colors } from "../theme";
import { AXIS_FONT, type Pen } from "./pen";
import { ticksOf, type Scale } from "./scale";

export interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

interface AxisOptions {
  readonly show: (value: number) => string;
  readonly integers?: boolean;
  /** About one label in so many pixels. */
  readonly every?: number;
  readonly title?: string;
}

export function yAxis(pen: Pen, box: Box, axis: Scale, { show, integers, every = 40, title }: AxisOptions): void {
  pen.font = AXIS_FONT;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.lineWidth = 1;
  for (const value of ticksOf(axis, Math.max(2, (box.bottom - box.top) / every), integers)) {
    const y = Math.round(axis.at(value)) + 0.5;
    if (y < box.top - 1 || y > box.bottom + 1) continue;
    pen.strokeStyle = colors.value.line;
    pen.beginPath();
    pen.moveTo(box.left, y);
    pen.lineTo(box.right, y);
    pen.stroke();
    pen.fillStyle = colors.value.ink3;
    pen.fillText(show(value), box.left - 6, y);
  }
  if (title) {
    pen.textAlign = "left";
    pen.textBaseline = "top";
    pen.fillText(title, 0, 0);
  }
}

export function xAxis(pen: Pen, box: Box, axis: Scale, { show, integers, every = 72, title }: AxisOptions): void {
  pen.font = AXIS_FONT;
  pen.textAlign = "center";
  pen.textBaseline = "top";
  pen.fillStyle = colors.value.ink3;
  pen.strokeStyle = colors.value.line;
  pen.lineWidth = 1;
  let free = -Infinity;
  for (const value of ticksOf(axis, Math.max(2, (box.right - box.left) / every), integers)) {
    const x = Math.round(axis.at(value)) + 0.5;
    if (x < box.left - 1 || x > box.right + 1) continue;
    pen.beginPath();
    pen.moveTo(x, box.bottom);
    pen.lineTo(x, box.bottom + 4);
    pen.stroke();
    const half = pen.measureText(show(value)).width / 2;
    if (x - half < free) continue;
    pen.fillText(show(value), x, box.bottom + 6);
    free = x + half + 8;
  }
  if (title) {
    pen.textAlign = "right";
    pen.fillText(title, box.right, box.bottom + 20);
  }
}
