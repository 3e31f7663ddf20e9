/** A diff as text: what is gone struck through, what is new underlined, what is alike folded when long. */

import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { exact } from "../../format";
import { visible } from "../../text/plain";
import { useGrowing } from "../../text/rollout_text";
import type { DiffPart, TextDiff } from "../../text/word_diff";

/** Alike for longer than this is folded, but for some of it beside each change. */
const FOLD = 600;
const KEEP = 160;
const AT_ONCE = 200;

export function DiffText({ diff, mode }: { diff: TextDiff; mode: "inline" | "sides" }): JSX.Element {
  if (diff.parts.every((part) => part.kind === "same")) {
    return <p class="note soft">{diff.parts.length ? "The two texts are the same, word for word." : "Both texts are empty."}</p>;
  }
  return mode === "inline" ? (
    <Parts parts={diff.parts} />
  ) : (
    <div class="diff-columns">
      <Parts parts={diff.parts.filter((part) => part.kind !== "added")} />
      <Parts parts={diff.parts.filter((part) => part.kind !== "removed")} />
    </div>
  );
}

type Piece = { kind: DiffPart["kind"]; text: string } | { kind: "fold"; text: string; at: number };

function Parts({ parts }: { parts: readonly DiffPart[] }): JSX.Element {
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  useEffect(() => setOpen(new Set()), [parts.length]);
  const pieces = useMemo(() => folded(parts, open), [parts, open]);
  const [shown, end] = useGrowing(pieces.length, AT_ONCE, parts);
  return (
    <div class="reading diff-text" dir="auto">
      {pieces.slice(0, shown).map((piece, key) => {
        if (piece.kind === "fold") {
          return (
            <button key={key} type="button" class="diff-fold" onClick={() => setOpen(new Set([...open, piece.at]))}>
              {`${exact(piece.text.length)} characters alike`}
            </button>
          );
        }
        if (piece.kind === "removed") return <del key={key}>{shownText(piece.text)}</del>;
        if (piece.kind === "added") return <ins key={key}>{shownText(piece.text)}</ins>;
        return <span key={key}>{visible(piece.text)}</span>;
      })}
      {shown < pieces.length && <div ref={end} class="grow-mark" />}
    </div>
  );
}

/** A changed line end alone would not be seen. */
function shownText(text: string): string {
  return /^\s*\n\s*$/.test(text) ? visible(text).replaceAll("\n", "⏎\n") : visible(text);
}

export function folded(parts: readonly DiffPart[], open: ReadonlySet<number>): Piece[] {
  return parts.flatMap((part, at): Piece[] => {
    if (part.kind !== "same" || part.text.length <= FOLD || open.has(at)) return [part];
    const head = at === 0 ? 0 : wordEnd(part.text, KEEP);
    const tail = at === parts.length - 1 ? part.text.length : part.text.length - wordEnd(reversed(part.text), KEEP);
    const pieces: Piece[] = [
      { kind: "same", text: part.text.slice(0, head) },
      { kind: "fold", text: part.text.slice(head, tail), at },
      { kind: "same", text: part.text.slice(tail) },
    ];
    return pieces.filter((piece) => piece.text);
  });
}

/** The first end of a word from `from` on, never far away. */
function wordEnd(text: string, from: number): number {
  const space = text.slice(from, from + 60).search(/\s/);
  return space < 0 ? from : from + space;
}

function reversed(text: string): string {
  return [...text.slice(-KEEP - 60)].reverse().join("");
}
