/** Series over steps, versions or time: a shared crosshair, drag to zoom, marks, gaps that stay gaps. */
import type { JSX, RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { utc } from "../format";
import { setParams } from "../router";
import { theme } from "../theme";
import { ChartFrame, type LegendKey } from "./frame";
import { faded, MOST_DIRECT_LABELS, seriesColor, type LineChartProps } from "./line_model";
import { FEW_POINTS, paddedRange, plotOptions } from "./line_options";
import { drawLines } from "./line_picture";
import { zoomOf } from "./zoom";

export type { Band, LineChartProps, Series } from "./line_model";

export function LineChart(props: LineChartProps): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const current = useRef(props);
  current.current = props;
  const height = props.height ?? 180;
  const bands = props.bands ?? [];
  const shape = JSON.stringify([
    theme.value, height, props.zeroBased, props.unit, props.x.kind, props.group, props.x.values.length < FEW_POINTS,
    props.series.map((one) => [one.label, one.dash, one.token, one.faint]),
    bands.map((one) => [one.label, one.token]),
  ]);
  const data = useMemo(() => aligned(props), [props.x.values, props.series, props.bands]);
  const zoom = zoomOf(props.x.kind);
  const isNear = useNear(host);

  useEffect(() => {
    const element = host.current;
    if (!element || !isNear) return;
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
  }, [shape, isNear]);

  useEffect(() => plot.current?.setData(data), [data, shape]);

  const [low, high] = zoom ?? [null, null];
  useEffect(() => {
    const [from, to] = zoom ?? paddedRange(props.x.values, props.x.kind);
    plot.current?.setScale("x", { min: from, max: to });
  }, [data, low, high, shape, isNear]);

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

/** True from the moment at which the reader gets near: a page of sixty charts draws the first few. */
function useNear(ref: RefObject<HTMLElement | null>): boolean {
  const [isNear, setNear] = useState(false);
  useEffect(() => {
    const element = ref.current;
    if (!element || isNear) return;
    const watch = new IntersectionObserver((entries) => setNear(entries.some((entry) => entry.isIntersecting)), { rootMargin: "300px" });
    watch.observe(element);
    return () => watch.disconnect();
  }, [isNear]);
  return isNear;
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
