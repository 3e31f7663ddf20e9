/** Numbers, times and names as people read them. Pure. */

const MINUS = "−";
const SPACE = "\u202f";

export type Maybe = number | null | undefined;

/** `3,142`, `12.4k`, `1.83M`. */
export function count(value: number): string {
  if (!Number.isFinite(value)) return notFinite(value);
  const size = Math.abs(value);
  if (size < 10_000) return signed(value, Math.round(size).toLocaleString("en-US"));
  for (const [unit, suffix] of [[1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"]] as const) {
    if (Number((size / unit).toPrecision(3)) < 1000) return signed(value, threeDigits(size / unit) + suffix);
  }
  return value.toExponential(2);
}

/** Every digit: for the place where two counts must be seen to be equal. */
export function exact(value: number): string {
  return Number.isFinite(value) ? signed(value, Math.abs(value).toLocaleString("en-US", { maximumFractionDigits: 3 })) : notFinite(value);
}

/** A share of 1 as `37.4 %`. */
export function percent(share: number, digits = 1): string {
  if (!Number.isFinite(share)) return notFinite(share);
  return `${signed(share, Math.abs(share * 100).toFixed(digits))}${SPACE}%`;
}

/** Up to four significant digits, never more than a reader needs: `0.1234`, `12.4`, `1,234`. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return notFinite(value);
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 10_000) return count(value);
  if (size >= 100) return signed(value, size.toLocaleString("en-US", { maximumFractionDigits: size >= 1000 ? 0 : 1 }));
  if (size >= 1e-3) return signed(value, String(Number(size.toPrecision(size >= 1 ? 3 : 2))));
  return value.toExponential(1).replace("-", MINUS).replace("e−", "e−").replace("e+", "e");
}

/** `62.4 ±2.1`. */
export function interval(value: number, halfWidth: number, digits = 1): string {
  return `${signed(value, Math.abs(value).toFixed(digits))} ±${halfWidth.toFixed(digits)}`;
}

/** `840 ms`, `12.4 s`, `3 m 12 s`, `2 h 05 m`, `3 d 04 h`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return notFinite(seconds);
  const size = Math.abs(seconds);
  const sign = seconds < 0 ? MINUS : "";
  if (size < 0.9995) return `${sign}${size < 0.01 && size > 0 ? (size * 1000).toFixed(1) : Math.round(size * 1000)} ms`;
  if (size < 59.95) return `${sign}${size.toFixed(1)} s`;
  const whole = Math.round(size);
  if (whole < 3600) return `${sign}${Math.floor(whole / 60)} m ${pad(whole % 60)} s`;
  if (whole < 86_400) return `${sign}${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} m`;
  return `${sign}${Math.floor(whole / 86_400)} d ${pad(Math.floor((whole % 86_400) / 3600))} h`;
}

/** `4 s ago`, `3 m ago`, `2 h ago`; the whole time belongs into the title: see `utc`. */
export function ago(us: number, nowUs: number): string {
  const seconds = Math.max(0, (nowUs - us) / 1e6);
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** `2026-11-28 18:55:09 UTC`. */
export function utc(us: number): string {
  return Number.isFinite(us) ? `${new Date(us / 1000).toISOString().slice(0, 19).replace("T", " ")} UTC` : "no time";
}

export function bytes(value: number): string {
  if (!Number.isFinite(value)) return notFinite(value);
  for (const [unit, suffix] of [[1, "B"], [1024, "KiB"], [1024 ** 2, "MiB"], [1024 ** 3, "GiB"]] as const) {
    if (value < unit * 1000) return `${unit === 1 ? value : threeDigits(value / unit)} ${suffix}`;
  }
  return `${threeDigits(value / 1024 ** 4)} TiB`;
}

export interface Change {
  readonly text: string;
  readonly word: "better" | "worse" | "";
}

/** A change with a true minus sign and a word: `−312 better`. `wanted` says which way is good. */
export function change(delta: number, wanted: "up" | "down" | "none", show: (value: number) => string = number): Change {
  if (!Number.isFinite(delta)) return { text: notFinite(delta), word: "" };
  const text = delta > 0 ? `+${show(delta)}` : delta < 0 ? show(delta) : "±0";
  const isZero = !/[1-9]/.test(text);
  const word = isZero || wanted === "none" ? "" : delta > 0 === (wanted === "up") ? "better" : "worse";
  return { text: isZero ? "±0" : text, word };
}

/** Eight characters of each id that tell them apart: the end when the beginnings are alike. */
export function shortIds(ids: readonly string[]): string[] {
  const cuts: ((id: string) => string)[] = [
    (id) => id.slice(0, 8),
    (id) => `…${id.slice(-8)}`,
    (id) => (id.length > 17 ? `${id.slice(0, 8)}…${id.slice(-8)}` : id),
  ];
  const distinct = new Set(ids).size;
  const cut = cuts.find((shorten) => new Set(ids.map((id) => (id.length <= 9 ? id : shorten(id)))).size === distinct);
  return ids.map((id) => (id.length <= 9 || !cut ? id : cut(id)));
}

export function plural(value: number, word: string, many = `${word}s`): string {
  return `${count(value)} ${value === 1 ? word : many}`;
}

/** Names of the data as words: `over_budget` is `over budget`. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

const UNITS = /_(?:per_s|s|ms|us|bytes)$/;

/** The words of a metric's name, without the unit at its end. */
export function withoutUnit(name: string): string {
  return words(name.replace(UNITS, ""));
}

/** Names of series in one chart without what they share: the chart's title and unit say that. */
export function distinctWords(names: readonly string[]): string[] {
  const split = names.map((name) => name.replace(UNITS, "").split("_"));
  if (names.length < 2) return names.map(words);
  const own = split.map((parts) => parts.filter((part) => !split.every((other) => other.includes(part))));
  return own.map((parts, index) => (parts.length ? parts : (split[index] ?? [])).join(" "));
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

function signed(value: number, magnitude: string): string {
  return value < 0 && /[1-9]/.test(magnitude) ? MINUS + magnitude : magnitude;
}

function threeDigits(value: number): string {
  return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

function notFinite(value: number): string {
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+∞" : `${MINUS}∞`;
}
