/** Series over steps, versions or time: a shared crosshair, drag to zoom, marks, gaps that stay gaps. */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Mark } from "../api_types";
import { exact, number, percent, utc } from "../format";
import { setParams } from "../router";
import { colors, theme, type Token } from "../theme";
import { ChartFrame, SERIES_TOKENS, type LegendKey } from "./frame";
import { drawLines } from "./line_picture";
import { paddedRange, plotOptions } from "./line_options";
import { zoomOf, zoomTo, type AxisKind } from "./zoom";

export interface Series {
  readonly label: string;
  readonly values: readonly (number | null)[];
  /** Indices where the value was not finite (and is null): marked on the axis. */
  readonly nan?: readonly number[] | undefined;
  readonly dash?: boolean;
  readonly token?: Token;
  /** Faint and thin: the raw values behind a smoothed line, another run. */
  readonly faint?: boolean;
}

export interface Band {
  readonly label: string;
  readonly low: readonly (number | null)[];
  readonly high: readonly (number | null)[];
  readonly token?: Token;
}

export interface LineChartProps {
  title: string;
  unit?: string;
  height?: number;
  x: { readonly values: readonly number[]; readonly kind: AxisKind };
  series: readonly Series[];
  bands?: readonly Band[];
  marks?: readonly Mark[];
  /** The y axis starts at 0: for counts and shares. */
  zeroBased?: boolean;
  /** Charts of one group share the crosshair. */
  group?: string;
  format?: (value: number) => string;
  class?: string;
  bare?: boolean;
}

export const formatOf = (props: Pick<LineChartProps, "unit" | "format">): ((value: number) => string) =>
  props.format ?? (props.unit === "share" ? (value) => percent(value) : number);

export function xText(value: number, kind: AxisKind): string {
  return kind === "time" ? utc(value) : kind === "number" ? number(value) : `${kind} ${exact(value)}`;
}

export function seriesColor(series: Series | Band, index: number): string {
  return colors.value[series.token ?? SERIES_TOKENS[index % SERIES_TOKENS.length] ?? "accent"];
}

/** Direct labels for up to four lines; more get a legend. */
export const MOST_DIRECT_LABELS = 4;

export function LineChart(props: LineChartProps): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const current = useRef(props);
  current.current = props;
  const height = props.height ?? 180;
  const bands = props.bands ?? [];
  const shape = JSON.stringify([
    theme.value, height, props.zeroBased, props.unit, props.x.kind, props.group,
    props.series.map((one) => [one.label, one.dash, one.token, one.faint]),
    bands.map((one) => [one.label, one.token]),
  ]);
  const data = useMemo(() => aligned(props), [props.x.values, props.series, props.bands]);
  const zoom = zoomOf(props.x.kind);

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = new uPlot(plotOptions(() => current.current, element.clientWidth || 400, height), data, element);
    plot.current = made;
    const resized = new ResizeObserver(() => {
      if (element.clientWidth) made.setSize({ width: element.clientWidth, height });
    });
    resized.observe(element);
    const showAll = (): void => setParams({ zoom: null });
    made.over.addEventListener("dblclick", showAll);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(data), [data, shape]);

  const [low, high] = zoom ?? [null, null];
  useEffect(() => {
    const [from, to] = zoom ?? paddedRange(props.x.values, props.x.kind);
    plot.current?.setScale("x", { min: from, max: to });
  }, [data, low, high, shape]);

  const legend: LegendKey[] = [
    ...bands.map((band, index) => ({ label: band.label, color: faded(seriesColor(band, index)), kind: "area" as const })),
    ...(props.series.length > MOST_DIRECT_LABELS || (bands.length > 0 && props.series.length > 1)
      ? props.series.map((one, index) => ({ label: one.label, color: seriesColor(one, index), kind: one.dash ? ("dash" as const) : ("line" as const) }))
      : []),
  ];
  const unit = props.x.kind === "time" ? [props.unit, "time in UTC"].filter(Boolean).join(", ") : props.unit;
  return (
    <ChartFrame
      title={props.title}
      unit={unit === "share" ? undefined : unit}
      height={height}
      legend={legend}
      zoomed={zoom !== null}
      class={props.class}
      bare={props.bare ?? false}
      table={() => tableOf(props)}
      draw={(pen, width, tall) => drawLines(pen, width, tall, props, zoom)}
    >
      <div ref={host} style={{ height: `${height}px` }} />
    </ChartFrame>
  );
}

/** A drag over the chart goes into the address; the scale follows the address. */
export function zoomFromDrag(plot: uPlot, kind: AxisKind): void {
  if (plot.select.width < 6) return;
  zoomTo(kind, plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

/** Columns for uPlot: x, every line, then low and high of every band. */
function aligned({ x, series, bands = [] }: LineChartProps): uPlot.AlignedData {
  return [
    x.values as number[],
    ...series.map((one) => one.values as (number | null)[]),
    ...bands.flatMap((band) => [band.high as (number | null)[], band.low as (number | null)[]]),
  ];
}

function tableOf({ x, series, bands = [] }: LineChartProps): { columns: string[]; rows: (string | number | null)[][] } {
  const columns = [x.kind, ...series.map((one) => one.label), ...bands.flatMap((band) => [`${band.label}, low`, `${band.label}, high`])];
  const rows = x.values.map((at, index) => [
    x.kind === "time" ? utc(at) : x.kind === "number" ? at : String(at),
    ...series.map((one) => (one.nan?.includes(index) ? "NaN" : (one.values[index] ?? null))),
    ...bands.flatMap((band) => [band.low[index] ?? null, band.high[index] ?? null]),
  ]);
  return { columns, rows };
}

export function faded(color: string, share = 0.18): string {
  return color + Math.round(share * 255).toString(16).padStart(2, "0");
}
