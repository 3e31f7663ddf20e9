/** The part of an axis that is shown, in the address as `zoom=step:10..50`. */
import { param, setParams } from "../router";

export type AxisKind = "step" | "version" | "time" | "number";

export function zoomOf(kind: AxisKind): [number, number] | null {
  const match = /^(\w+):(-?[\d.e+]+)\.\.(-?[\d.e+]+)$/.exec(param("zoom") ?? "");
  if (!match || match[1] !== kind) return null;
  const [low, high] = [Number(match[2]), Number(match[3])];
  return Number.isFinite(low) && Number.isFinite(high) && low < high ? [low, high] : null;
}

export function zoomTo(kind: AxisKind, low: number, high: number): void {
  const round = (value: number): string => (kind === "number" ? value.toPrecision(6) : String(Math.round(value)));
  const [a, b] = [round(low), round(high)];
  setParams({ zoom: Number(a) < Number(b) ? `${kind}:${a}..${b}` : null });
}
