/** From values to pixels, and which values to print. Pure. */

export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly isLog: boolean;
  readonly at: (value: number) => number;
  readonly invert: (pixel: number) => number;
}

/** Linear, or logarithmic for values above 0. Equal ends are moved apart. */
export function scale(low: number, high: number, from: number, to: number, isLog = false): Scale {
  const [a, b] = low === high ? (isLog ? [low / 2, high * 2] : [low - 0.5, high + 0.5]) : [low, high];
  const warp = isLog ? (value: number) => Math.log(Math.max(value, 1e-12)) : (value: number) => value;
  const unwarp = isLog ? Math.exp : (value: number) => value;
  const [start, end] = [warp(a), warp(b)];
  return {
    low: a,
    high: b,
    isLog,
    at: (value) => from + ((warp(value) - start) / (end - start)) * (to - from),
    invert: (pixel) => unwarp(start + ((pixel - from) / (to - from)) * (end - start)),
  };
}

/** Round values between the ends, about `count` of them; whole numbers when `integers`. */
export function ticks(low: number, high: number, count: number, integers = false): number[] {
  if (!(high > low) || count < 1) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999) ?? rough;
  const size = integers ? Math.max(1, Math.ceil(step)) : step;
  const first = Math.ceil(low / size - 1e-9);
  const last = Math.floor(high / size + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => Number(((first + index) * size).toPrecision(12)));
}

/** 1, 2, 5, 10, 20 … between the ends; only powers of ten when there are many. */
export function logTicks(low: number, high: number, count: number): number[] {
  const all: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of [1, 2, 5]) all.push(Number((factor * 10 ** power).toPrecision(3)));
  }
  const inside = all.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  if (inside.length <= count) return inside;
  const powers = inside.filter((tick) => Number.isInteger(Math.log10(tick)));
  return powers.length > 1 ? powers : inside;
}

export function ticksOf(axis: Scale, count: number, integers = false): number[] {
  return axis.isLog ? logTicks(axis.low, axis.high, count) : ticks(axis.low, axis.high, count, integers);
}

/** The ends of all finite values; null without any. */
export function extent(...lists: readonly (readonly (number | null | undefined)[])[]): [number, number] | null {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) {
    for (const value of list) {
      if (value === null || value === undefined || !Number.isFinite(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}
