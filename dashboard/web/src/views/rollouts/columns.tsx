/** The columns of the rollout table. */

import type { ComponentChildren } from "preact";
import type { RolloutRow, Why } from "../../api_types";
import { count, duration, exact, number, words } from "../../format";
import { oneLine, oneLineMath } from "../../text/plain";
import { Time } from "../../ui/controls";
import { FateMark, outcomeOf } from "../../ui/fates";

export interface Column {
  key: string;
  label: string;
  /** What the server sorts by; null: it does not. */
  sort: keyof RolloutRow | null;
  width: string;
  isNumber?: boolean;
  title?: string;
  cell: (row: RolloutRow, missing: Record<string, Why>) => ComponentChildren;
}

const REASONS: Record<Why, string> = {
  not_recorded: "not recorded",
  not_applicable: "does not apply: no step took it",
  not_yet: "not yet",
  sampled_out: "not in the sample",
};

/** As `NotAvailable`, but no stop of the Tab key: there are hundreds in a table. */
function Missing({ why, detail }: { why?: Why; detail?: string | null }) {
  return (
    <span class="na-cell" title={detail ?? REASONS[why ?? "not_recorded"]}>
      n/a
    </span>
  );
}

type NumberKey = { [K in keyof RolloutRow]: RolloutRow[K] extends number | null ? K : never }[keyof RolloutRow];

function numeric(key: NumberKey, label: string, width: string, show: (value: number) => string = number, title?: string): Column {
  return {
    key,
    label,
    sort: key,
    width,
    isNumber: true,
    ...(title ? { title } : {}),
    cell: (row, missing) => {
      const value = row[key];
      return value === null || value === undefined ? <Missing why={missing[key] ?? whyOf(row, key)} /> : show(value);
    },
  };
}

/** A lag or step that is not there belongs to a rollout that no step has taken. */
function whyOf(row: RolloutRow, key: string): Why {
  if (["step", "lag", "queue_ms"].includes(key)) return row.fate === "waiting" ? "not_yet" : "not_applicable";
  return "not_recorded";
}

function text(key: "problem" | "preview" | "answer" | "gold" | "generator_id" | "source" | "template_id" | "finish_reason" | "origin", label: string, width: string, isMono = false): Column {
  const sortable = key !== "preview" && key !== "problem" && key !== "gold";
  return {
    key,
    label,
    sort: sortable ? key : null,
    width,
    cell: (row, missing) => {
      const value = row[key];
      if (value === null || value === undefined) return <Missing why={missing[key] ?? whyOf(row, key)} detail={key === "answer" ? "No answer was found in the text." : null} />;
      const shown = key === "problem" || key === "preview" ? oneLineMath(value) : oneLine(value);
      return (
        <bdi class={isMono ? "mono" : ""} title={shown}>
          {shown}
        </bdi>
      );
    },
  };
}

export const COLUMNS: readonly Column[] = [
  {
    key: "outcome",
    label: "Outcome",
    sort: "reason",
    width: "118px",
    cell: (row) => {
      const outcome = outcomeOf(row);
      return (
        <span class="outcome">
          <FateMark name={outcome} />
          <span class="clip">{words(outcome)}</span>
        </span>
      );
    },
  },
  text("problem", "Problem", "minmax(120px, 3fr)"),
  text("answer", "Answer", "minmax(64px, 0.7fr)", true),
  text("gold", "Gold", "minmax(64px, 0.7fr)", true),
  {
    key: "n_tokens",
    label: "Tokens",
    sort: "n_tokens",
    width: "124px",
    isNumber: true,
    title: "Response tokens; the bar is their share of the budget, full at the budget itself",
    cell: (row) => <TokenBar row={row} />,
  },
  numeric("last_version", "Version", "66px", exact, "Weight version that wrote its last token"),
  numeric("step", "Step", "60px", exact, "Optimizer step that trained it"),
  numeric("lag", "Lag", "48px", exact, "Version at training less the oldest version in it"),
  {
    key: "end_us",
    label: "Written",
    sort: "end_us",
    width: "82px",
    isNumber: true,
    cell: (row) => (row.end_us === null ? <Missing /> : <Time us={row.end_us} />),
  },
  text("preview", "Response", "minmax(160px, 3fr)"),
  {
    key: "rollout_id",
    label: "Rollout",
    sort: "rollout_id",
    width: "112px",
    cell: (row) => <span class="mono">{row.rollout_id}</span>,
  },
  {
    key: "problem_id",
    label: "Problem id",
    sort: "problem_id",
    width: "112px",
    cell: (row) => <bdi class="mono">{oneLine(row.problem_id)}</bdi>,
  },
  { key: "verdict", label: "Verdict", sort: "verdict", width: "92px", cell: (row) => words(row.verdict ?? "not_run") },
  text("finish_reason", "Finish", "72px"),
  text("generator_id", "Generator", "108px"),
  text("source", "Source", "96px"),
  text("template_id", "Template", "82px"),
  text("origin", "Origin", "80px"),
  numeric("budget", "Budget", "70px", count),
  numeric("n_think", "Think", "66px", count, "Tokens of thinking"),
  numeric("n_answer", "Answer tok.", "84px", count, "Tokens after thinking"),
  numeric("gen_ms", "Wrote for", "80px", (ms) => duration(ms / 1000)),
  numeric("verify_ms", "Judged for", "80px", (ms) => duration(ms / 1000)),
  numeric("queue_ms", "Queued for", "82px", (ms) => duration(ms / 1000)),
  numeric("logp_mean", "Log prob.", "76px", number, "Mean log probability of its tokens, by the engine"),
  numeric("entropy_mean", "Entropy", "68px", number),
  numeric("repetition", "Repetition", "82px", number),
  numeric("reward", "Reward", "68px", number),
  numeric("attempt", "Attempt", "66px", exact),
  {
    key: "tags",
    label: "Tags",
    sort: null,
    width: "minmax(64px, 1fr)",
    cell: (row) => (row.tags.length ? row.tags.map((tag) => <span key={tag} class="tag">{oneLine(tag)}</span>) : <span class="dim">none</span>),
  },
];

export const DEFAULT_COLUMNS = ["outcome", "problem", "answer", "gold", "n_tokens", "last_version", "step", "lag", "end_us"];
/** Beside an open rollout there is room for these, and they get less. */
const NARROW_WIDTHS: Readonly<Record<string, string>> = {
  outcome: "minmax(96px, 1.2fr)",
  answer: "minmax(40px, 1fr)",
  n_tokens: "92px",
  last_version: "52px",
};

export function narrowColumns(): Column[] {
  return columnsOf(Object.keys(NARROW_WIDTHS)).map((column) => ({ ...column, width: NARROW_WIDTHS[column.key] ?? column.width }));
}

export function columnsOf(keys: readonly string[]): Column[] {
  return keys.flatMap((key) => COLUMNS.find((column) => column.key === key) ?? []);
}

function TokenBar({ row }: { row: RolloutRow }) {
  if (row.n_tokens === null) return <Missing />;
  const share = row.budget ? row.n_tokens / row.budget : null;
  const over = share !== null && share > 1;
  return (
    <span class="token-bar" title={row.budget ? `${exact(row.n_tokens)} of a budget of ${exact(row.budget)}` : `${exact(row.n_tokens)} tokens; it had no budget`}>
      <span class={over ? "track is-over" : "track"} aria-hidden="true">
        {share !== null && <span style={{ width: `${Math.min(100, share * 100)}%` }} />}
      </span>
      <span>{count(row.n_tokens)}</span>
    </span>
  );
}
