/** What a line chart shows, and how its parts are named and coloured. */
import type { Mark } from "../api_types";
import { exact, number, percent, utc } from "../format";
import { colors, type Token } from "../theme";
import { SERIES_TOKENS } from "./tokens";
import type { AxisKind } from "./zoom";

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

export function faded(color: string, share = 0.18): string {
  return color + Math.round(share * 255).toString(16).padStart(2, "0");
}

/** Where a mark lies on the x axis; null when it cannot lie there. */
export function markAt(mark: { step: number | null; at_us: number }, { x }: LineChartProps): number | null {
  return x.kind === "time" ? mark.at_us : x.kind === "step" || x.kind === "version" ? mark.step : null;
}
