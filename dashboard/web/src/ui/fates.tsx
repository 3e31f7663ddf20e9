/** A fate has one colour and one shape everywhere; colour never speaks alone. */
import type { JSX } from "preact";
import { words } from "../format";
import type { Token } from "../theme";

export type FateShape = "disc" | "half" | "bar" | "cross" | "cut" | "ring";

interface Look {
  readonly token: Token;
  readonly shape: FateShape;
}

const TRAINED: Look = { token: "trained", shape: "disc" };
const WAITING: Look = { token: "waiting", shape: "half" };
const FILTERED: Look = { token: "filtered", shape: "bar" };
const WRONG: Look = { token: "wrong", shape: "cross" };
const TRUNCATED: Look = { token: "truncated", shape: "cut" };
const STALE: Look = { token: "stale", shape: "ring" };

const LOOKS: Readonly<Record<string, Look>> = {
  trained: TRAINED, accepted: TRAINED, correct: TRAINED,
  waiting: WAITING, running: WAITING, generated: WAITING,
  over_budget: FILTERED, rejected: FILTERED,
  wrong: WRONG, no_answer: WRONG, error: WRONG, timeout: WRONG, verifier_error: WRONG, verifier_timeout: WRONG,
  truncated: TRUNCATED, length: TRUNCATED,
  stale: STALE, equal: STALE, aborted: STALE, lost: STALE, not_run: STALE,
};

/** Of a fate, verdict or reason; one that nobody knows was written by a plug-in's filter. */
export function lookOf(name: string): Look {
  return LOOKS[name] ?? FILTERED;
}

/** What to show of a rollout: its reason when it was rejected, else its fate. */
export function outcomeOf(row: { accepted: boolean; reason: string | null; fate: string }): string {
  return row.accepted ? row.fate : (row.reason ?? row.fate);
}

export function FateMark({ name, size = 10 }: { name: string; size?: number }): JSX.Element {
  const { token, shape } = lookOf(name);
  return (
    <svg class="swatch" width={size} height={size} viewBox="0 0 10 10" aria-hidden="true" style={{ color: `var(--${token})` }}>
      <ShapePath shape={shape} />
    </svg>
  );
}

function ShapePath({ shape }: { shape: FateShape }): JSX.Element {
  switch (shape) {
    case "disc":
      return <circle cx="5" cy="5" r="4" fill="currentColor" />;
    case "half":
      return (
        <>
          <circle cx="5" cy="5" r="3.5" fill="none" stroke="currentColor" />
          <path d="M5 1.5a3.5 3.5 0 0 0 0 7z" fill="currentColor" />
        </>
      );
    case "bar":
      return <rect x="1" y="3.5" width="8" height="3" fill="currentColor" />;
    case "cross":
      return <path d="M2 2l6 6M8 2l-6 6" stroke="currentColor" stroke-width="2" />;
    case "cut":
      return <path d="M1 5h5M7.5 1.5v7" stroke="currentColor" stroke-width="2.2" />;
    case "ring":
      return <circle cx="5" cy="5" r="3.4" fill="none" stroke="currentColor" stroke-width="1.6" />;
  }
}

/** The mark and the word. */
export function FateLabel({ name }: { name: string }): JSX.Element {
  return (
    <span class="row nowrap" style={{ gap: "6px", display: "inline-flex" }}>
      <FateMark name={name} />
      {words(name)}
    </span>
  );
}
