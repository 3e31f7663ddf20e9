/** What changed between two texts, word by word, or line by line when there are too many words. */

import { diffArrays } from "diff";

export interface DiffPart {
  kind: "same" | "added" | "removed";
  text: string;
}

export interface TextDiff {
  parts: DiffPart[];
  unit: "words" | "lines";
  /** Words that only one of them has. */
  removed: number;
  added: number;
  /** Why it is lines, or why the comparison was cut short; null when it was not. */
  note: string | null;
}

export const MAX_WORDS = 20_000;
/** Beyond this many edits two texts have nothing in common that is worth the wait. */
const MAX_EDITS = 6_000;
const MAX_CRUMB = 4;

/** Compares two texts; their parts without the added ones give `before`, without the removed ones `after`. */
export function diffTexts(before: string, after: string, maxWords = MAX_WORDS): TextDiff {
  const left = words(before);
  const right = words(after);
  const most = Math.max(countWords(left), countWords(right));
  if (most <= maxWords) {
    const parts = compare(left, right);
    if (parts) return summed(parts, "words", null);
    return byLines(before, after, "too little in common for single words, so whole lines are compared");
  }
  return byLines(before, after, `${most.toLocaleString("en")} words, more than ${maxWords.toLocaleString("en")}: whole lines are compared`);
}

function byLines(before: string, after: string, note: string): TextDiff {
  const parts = compare(lines(before), lines(after));
  if (parts) return summed(parts, "lines", note);
  const whole: DiffPart[] = [
    { kind: "removed", text: before },
    { kind: "added", text: after },
  ];
  return summed(whole, "lines", "the two have almost no line in common");
}

function compare(left: string[], right: string[]): DiffPart[] | null {
  const changes = diffArrays(left, right, { maxEditLength: MAX_EDITS });
  if (!changes) return null;
  const changed = { removed: "", added: "" };
  const parts: DiffPart[] = [];
  const flush = () => {
    for (const kind of ["removed", "added"] as const) {
      if (changed[kind]) parts.push({ kind, text: changed[kind] });
      changed[kind] = "";
    }
  };
  changes.forEach((change, at) => {
    const text = change.value.join("");
    if (change.added) changed.added += text;
    else if (change.removed) changed.removed += text;
    else if (isCrumb(text) && at > 0 && at < changes.length - 1) {
      // One phrase was put for another; that both have "to" or "=" in them helps no reader.
      changed.removed += text;
      changed.added += text;
    } else {
      flush();
      parts.push({ kind: "same", text });
    }
  });
  flush();
  return parts.filter((part) => part.text);
}

/** Too little between two changes to keep them apart. */
function isCrumb(text: string): boolean {
  return !text.includes("\n") && text.trim().length <= MAX_CRUMB;
}

function summed(parts: DiffPart[], unit: TextDiff["unit"], note: string | null): TextDiff {
  const count = (kind: DiffPart["kind"]) =>
    parts.filter((part) => part.kind === kind).reduce((sum, part) => sum + countWords(words(part.text)), 0);
  return { parts, unit, removed: count("removed"), added: count("added"), note };
}

/** Words and TeX commands, numbers, single signs, runs of spaces: everything is in one of them. */
const WORD = /\\[a-zA-Z]+|[\p{L}\p{M}]+(?:['’][\p{L}]+)*|\p{N}+(?:[.,]\p{N}+)*|\s+|[^]/gu;

function words(text: string): string[] {
  return text.match(WORD) ?? [];
}

function countWords(pieces: readonly string[]): number {
  return pieces.reduce((sum, piece) => sum + (/[\p{L}\p{N}]/u.test(piece) ? 1 : 0), 0);
}

function lines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}
