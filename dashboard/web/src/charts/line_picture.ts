/** A line chart drawn once, for an export. */
import { exact, number, utc } from "../format";
import { colors } from "../theme";
import { faded, formatOf, seriesColor, type Band, type LineChartProps } from "./line_model";
import { AXIS_FONT, type Pen } from "./pen";
import { extent, scale, ticks, type Scale } from "./scale";

const BOX = { left: 52, right: 110, top: 10, bottom: 26 };

export function drawLines(pen: Pen, width: number, height: number, props: LineChartProps, zoom: readonly [number, number] | null): void {
  const { series, bands = [], x } = props;
  const ends = zoom ?? extent(x.values) ?? [0, 1];
  const inside = x.values.map((at) => at >= ends[0] && at <= ends[1]);
  const visible = (values: readonly (number | null)[]): (number | null)[] => values.map((value, index) => (inside[index] ? value : null));
  const found = extent(...series.map((one) => visible(one.values)), ...bands.flatMap((band) => [visible(band.low), visible(band.high)])) ?? [0, 1];
  const low = props.zeroBased ? Math.min(0, found[0]) : found[0];
  const across = scale(ends[0], ends[1], BOX.left, width - BOX.right);
  const up = scale(low, found[1], height - BOX.bottom, BOX.top);
  drawAxes(pen, width, height, across, up, props);
  bands.forEach((band, index) => drawBand(pen, band, faded(seriesColor(band, index)), x.values, inside, across, up));
  series.forEach((one, index) => {
    pen.strokeStyle = seriesColor(one, index);
    pen.lineWidth = one.faint ? 0.75 : 1.5;
    pen.setLineDash(one.dash ? [5, 4] : []);
    pen.beginPath();
    let isDown = false;
    let last: number | null = null;
    x.values.forEach((at, position) => {
      const value = one.values[position] ?? null;
      if (value === null || !inside[position]) {
        isDown = false;
        return;
      }
      pen[isDown ? "lineTo" : "moveTo"](across.at(at), up.at(value));
      isDown = true;
      last = value;
    });
    pen.stroke();
    pen.setLineDash([]);
    if (last !== null) {
      pen.fillStyle = seriesColor(one, index);
      pen.textAlign = "left";
      pen.textBaseline = "middle";
      pen.fillText(one.label, width - BOX.right + 6, up.at(last));
    }
  });
}

function drawAxes(pen: Pen, width: number, height: number, across: Scale, up: Scale, props: LineChartProps): void {
  const show = formatOf(props);
  pen.font = AXIS_FONT;
  pen.lineWidth = 1;
  pen.strokeStyle = colors.value.line;
  pen.fillStyle = colors.value.ink3;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const value of ticks(up.low, up.high, 5)) {
    const y = Math.round(up.at(value)) + 0.5;
    pen.beginPath();
    pen.moveTo(BOX.left, y);
    pen.lineTo(width - BOX.right, y);
    pen.stroke();
    pen.fillText(show(value), BOX.left - 6, y);
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  const isWhole = props.x.kind === "step" || props.x.kind === "version";
  for (const at of ticks(across.low, across.high, 6, isWhole)) {
    const text = props.x.kind === "time" ? utc(at).slice(11, 16) : isWhole ? exact(at) : number(at);
    pen.fillText(text, across.at(at), height - BOX.bottom + 6);
  }
}

function drawBand(pen: Pen, band: Band, color: string, xs: readonly number[], inside: readonly boolean[], across: Scale, up: Scale): void {
  const points = xs.flatMap((at, index) => {
    const [low, high] = [band.low[index] ?? null, band.high[index] ?? null];
    return inside[index] && low !== null && high !== null ? [{ x: across.at(at), low: up.at(low), high: up.at(high) }] : [];
  });
  if (points.length < 2) return;
  pen.fillStyle = color;
  pen.beginPath();
  points.forEach((point, index) => pen[index ? "lineTo" : "moveTo"](point.x, point.high));
  [...points].reverse().forEach((point) => pen.lineTo(point.x, point.low));
  pen.closePath();
  pen.fill();
}
