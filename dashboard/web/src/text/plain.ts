/** Makes a hostile text harmless to look at: nothing hidden, nothing that moves other text. */

import { scanMath } from "./math";

const ANSI =
  /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[ -/]*[0-~])|\u009b[0-?]*[ -/]*[@-~]/g;
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;
/** Marks that turn or hide text: overrides, isolates, zero widths, tags. */
const INVISIBLE = /[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Without the escape sequences of a terminal: colours, cursor moves, window titles. */
export function stripAnsi(text: string): string {
  return text.replace(ANSI, "");
}

/**
 * What may be shown of a text: control characters and direction marks appear as pictures or as
 * `⟨U+202E⟩`, half surrogates as `�`. Tabs and line ends stay; `\r\n` is one line end.
 */
export function visible(text: string): string {
  return text
    .replace(/\r\n?/g, "\n")
    .replace(CONTROL, picture)
    .replace(INVISIBLE, (char) => `⟨U+${hex(char)}⟩`)
    .replace(LONE, "\ufffd");
}

/** One line of a cell: line ends and tabs become a sign and a space. */
export function oneLine(text: string): string {
  return visible(text).replace(/\n+/g, " ⏎ ").replace(/\s+/g, " ").trim();
}

/** One line with its formulas as their source, without the marks around them. */
export function oneLineMath(text: string): string {
  return oneLine(scanMath(text).map((one) => (one.kind === "math" ? one.tex : one.text)).join(""));
}

function picture(char: string): string {
  const code = char.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return code === 0x7f ? "\u2421" : `⟨U+${hex(char)}⟩`;
}

function hex(char: string): string {
  return (char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
}
