/** Finds the formulas of a model's text. Pure: what is no formula comes back as it was. */

export type Segment =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "math"; tex: string; display: boolean; raw: string };

/** Longer than this is no formula but a delimiter that was never closed. */
const MAX_FORMULA = 4000;

const COMMAND = /\\[a-zA-Z]+|\\[,;:!{}%$]/;
const SCRIPT = /[_^{}]/;
const PROSE = /(?:^|\s)[A-Za-z]{3,}\s(?:.*\s)?[A-Za-z]{3,}(?:\s|$)/s;
const LETTER = /^-?[A-Za-z]'?$/;
const EQUATION = /^[A-Za-z0-9()+\-*/.,|! ]*[A-Za-z)] ?[=<>+*/-] ?[A-Za-z0-9()+\-*/.,|! ]+$/;

/** What makes `$…$` a formula rather than two prices: a command, a script, a letter or an equation of letters. */
function looksLikeTex(tex: string): boolean {
  if (COMMAND.test(tex)) return true;
  if (PROSE.test(tex)) return false;
  return SCRIPT.test(tex) || LETTER.test(tex) || EQUATION.test(tex);
}

/**
 * Splits text into words, code and formulas; the pieces put together give the text again.
 *
 * `\(…\)`, `\[…\]` and `$$…$$` are formulas. `$…$` is one only when both dollars hug what is
 * inside and that holds a sign of TeX: "costs $5 and then $6" stays words.
 */
export function scanMath(text: string): Segment[] {
  const closes = new Closes(text);
  const segments: Segment[] = [];
  let plainFrom = 0;
  let at = 0;
  const flush = (end: number) => {
    if (end > plainFrom) segments.push({ kind: "text", text: text.slice(plainFrom, end) });
  };
  while (at < text.length) {
    const place = nextMark(text, at);
    if (place < 0) break;
    const found = codeAt(text, place) ?? mathAt(text, place, closes);
    if (!found) {
      // An escaped character is skipped whole, so that `\$` opens nothing.
      at = place + (text[place] === "\\" || text.startsWith("$$", place) ? 2 : 1);
      continue;
    }
    flush(place);
    segments.push(found.segment);
    at = plainFrom = found.end;
  }
  flush(text.length);
  return segments;
}

interface Found {
  segment: Segment;
  end: number;
}

const MARK = /[`$\\]/g;

function nextMark(text: string, from: number): number {
  MARK.lastIndex = from;
  return MARK.exec(text)?.index ?? -1;
}

/** A fence runs to its twin or the end of the text, inline code to its twin on the same paragraph. */
function codeAt(text: string, at: number): Found | null {
  if (text[at] !== "`") return null;
  let ticks = at;
  while (text[ticks] === "`") ticks++;
  const fence = text.slice(at, ticks);
  let close = text.indexOf(fence, ticks);
  while (close >= 0 && text[close + fence.length] === "`") {
    let after = close;
    while (text[after] === "`") after++;
    close = text.indexOf(fence, after);
  }
  if (fence.length >= 3) {
    const end = close < 0 ? text.length : close + fence.length;
    return { segment: { kind: "code", text: text.slice(at, end) }, end };
  }
  const between = close < 0 ? null : text.slice(ticks, close);
  if (between === null || between.includes("\n\n")) {
    return { segment: { kind: "text", text: fence }, end: ticks };
  }
  const end = close + fence.length;
  return { segment: { kind: "code", text: text.slice(at, end) }, end };
}

function mathAt(text: string, at: number, closes: Closes): Found | null {
  if (text.startsWith("\\(", at)) return delimited(text, at, "\\)", false, closes);
  if (text.startsWith("\\[", at)) return delimited(text, at, "\\]", true, closes);
  if (text.startsWith("$$", at)) return delimited(text, at, "$$", true, closes);
  return text[at] === "$" ? dollar(text, at) : null;
}

/** Where closing marks stand. Each is looked for once, so a text full of opened marks stays cheap. */
class Closes {
  private readonly known = new Map<string, number>();

  constructor(private readonly text: string) {}

  after(close: string, from: number): number {
    const known = this.known.get(close);
    if (known !== undefined && known >= from) return known;
    const found = this.text.indexOf(close, from);
    const place = found < 0 ? Infinity : found;
    this.known.set(close, place);
    return place;
  }
}

function delimited(text: string, at: number, close: string, display: boolean, closes: Closes): Found | null {
  const from = at + 2;
  const end = closes.after(close, from);
  if (end - from > MAX_FORMULA) return null;
  const tex = text.slice(from, end);
  if (!tex.trim()) return null;
  const after = end + close.length;
  return { segment: { kind: "math", tex, display, raw: text.slice(at, after) }, end: after };
}

function dollar(text: string, at: number): Found | null {
  const from = at + 1;
  if (isSpace(text[from])) return null;
  const window = text.slice(from, from + MAX_FORMULA);
  for (let end = 0; end < window.length; end++) {
    const char = window[end];
    if (char === "\\") end++;
    else if (char === "`" || (char === "\n" && window[end + 1] === "\n")) return null;
    else if (char === "$") {
      const tex = window.slice(0, end);
      const hugs = end > 0 && !isSpace(window[end - 1]) && !/[0-9$]/.test(window[end + 1] ?? "");
      if (!hugs || !looksLikeTex(tex)) return null;
      const after = from + end + 1;
      return { segment: { kind: "math", tex, display: false, raw: text.slice(at, after) }, end: after };
    }
  }
  return null;
}

function isSpace(char: string | undefined): boolean {
  return char === undefined || /\s/.test(char);
}
