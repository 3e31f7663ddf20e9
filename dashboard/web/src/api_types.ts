/**
 * THE CONTRACT between the page and its server. Every endpoint is a GET below `api/` (relative to
 * the page's own address, so that a prefix works) and answers JSON, unless its comment says
 * otherwise. The server's rows and this file change together.
 *
 * Common rules
 * - `run=NAME` names the run; left out, the first one. `runs` lists the names.
 * - Filters are query parameters (see `Filters`), the same in every endpoint marked [filters].
 *   A list is the parameter repeated: `verdict=wrong&verdict=no_answer`.
 * - Times are integer microseconds since the epoch, UTC, and end in `_us`.
 * - JSON has no NaN: a number that is not finite is null, and its place is named beside it.
 * - A value that is not there is null, and a `missing` map says why (`Why`).
 * - Errors are `{"error": {...}}` (`ApiError`) with status 400, 401, 403, 404, 409, 421 or 503.
 * - Answers have an ETag: send If-None-Match, 304 means unchanged. `fetch` does this by itself.
 * - A POST needs the header `X-Laconic: 1` and a JSON body.
 */

/** Why there is no value. */
export type Why = "not_recorded" | "not_applicable" | "not_yet" | "sampled_out";

export interface ApiError {
  error: {
    /** For programs: "unauthorized", "bad_filter", "no_such_run", "no_such_rollout", "unreadable",
     * "newer_version", "deleted", "sql", "timeout", "read_only", "forbidden", "too_large". */
    code: string;
    /** One line for people: what failed, and the way out. */
    message: string;
    /** The parameter that was wrong, if one was. */
    parameter?: string;
  };
}

/** In every answer about one run. */
export interface Envelope {
  run: string;
  /** Cursor of the data that this answer saw; `live?after=` takes it. */
  cursor: string;
  /** When the newest row was written; null: there is none. */
  as_of_us: number | null;
}

// ------------------------------------------------------------------------------------- filters

export type Verdict = "correct" | "wrong" | "no_answer" | "error" | "timeout" | "not_run";
/** Fates of a rollout: what became of an accepted one, or why there is none. `waiting`: accepted, no
 * fate yet. `rejected`: not accepted and without a fate. */
export type Fate = "trained" | "stale" | "equal" | "aborted" | "lost" | "waiting" | "rejected";
export type Population = "generated" | "accepted" | "rejected" | "correct" | "wrong" | "trained";
/** The funnel, in order. A rollout's stage is the last one it reached. */
export type Stage =
  | "generated" | "finished" | "answered" | "correct" | "within_budget" | "accepted" | "not_stale" | "trained";

/** Query parameters and URL hash use these names. All are optional; different names are ANDed,
 * values of one name are ORed. */
export interface Filters {
  /** A named population, which all the others narrow. Default `generated`: all. */
  population?: Population;
  /** Bounds of `last_version`, both included. */
  version_min?: number;
  version_max?: number;
  verdict?: Verdict[];
  /** First failing filter; the word `accepted` stands for none. */
  reason?: string[];
  fate?: Fate[];
  accepted?: boolean;
  finish_reason?: string[];
  problem_id?: string[];
  group_id?: string[];
  rollout_id?: string[];
  source?: string[];
  generator_id?: string[];
  template_id?: string[];
  origin?: string[];
  /** Bounds of `n_tokens`, both included. */
  tokens_min?: number;
  tokens_max?: number;
  /** Bounds of the fate's optimizer step, both included. */
  step_min?: number;
  step_max?: number;
  /** Bounds of the fate's lag. */
  lag_min?: number;
  lag_max?: number;
  /** Bounds of `end_us`. */
  time_min_us?: number;
  time_max_us?: number;
  /** Reached at least this stage of the funnel. */
  stage?: Stage;
  /** Reached the stage before this one, and not this one. */
  lost_at?: Stage;
  /** Name of a filter (of `filters[].name`) that the rollout did not pass, even when another came first. */
  failed?: string[];
  /** Regular expression (RE2) on the text; rows whose text was not recorded do not match. */
  q?: string;
  /** With this tag in annotations.jsonl. */
  tag?: string[];
}

// ------------------------------------------------------------------------------------- session

/** GET session — never needs a token. Ask this first. */
export interface Session {
  /** False: POST login first. */
  authenticated: boolean;
  needs_token: boolean;
  /** Name of this server process; changes when it restarts. */
  instance: string;
  version: string;
  sql: boolean;
}

/** POST login {token} → 204 and a cookie, or 401. */
export interface Login { token: string }

// ---------------------------------------------------------------------------------------- runs

/** GET runs */
export interface Runs { runs: RunInfo[] }

export interface RunInfo {
  name: string;
  preset: string | null;
  /** `live`: its heartbeat is fresh. `silent`: it should be alive and says nothing. `empty`: a folder
   * with nothing in it yet. `unreadable`: see `problem`. */
  status: "live" | "silent" | "finished" | "stopped" | "empty" | "unreadable";
  /** One line, when something about its folder is wrong (newer version, being deleted, damaged). */
  problem: string | null;
  /** Made by `laconic demo-data`: every view must say so. */
  synthetic: boolean;
  started_us: number | null;
  /** False: tags, notes and acks are off, since the folder cannot be written; `read_only_why`. */
  writable: boolean;
  read_only_why: string | null;
  rollouts: number;
}

/** GET values — the choices of the filters, for the run as a whole (counts ignore filters). */
export interface Choices extends Envelope {
  verdict: Choice[]; reason: Choice[]; fate: Choice[]; finish_reason: Choice[]; source: Choice[];
  generator_id: Choice[]; template_id: Choice[]; origin: Choice[]; failed: Choice[]; tag: Choice[];
  version: [number, number] | null; step: [number, number] | null; tokens: [number, number] | null;
  /** Columns of `Rollout` without any value in this run, and why. */
  missing: Record<string, Why>;
}
export interface Choice { value: string; count: number }

// -------------------------------------------------------------------------------- V1 overview

/** GET overview */
export interface Overview extends Envelope {
  info: RunInfo;
  phase: string | null;
  step: number; steps: number | null; version: number;
  /** Seconds of the run so far, and still to go at the present rate. */
  seconds: number | null; eta_s: number | null;
  heartbeat_us: number | null;
  /** When a step, a group or a token last came. */
  progress_us: number | null;
  /** "no progress for 14 min", when it is so. */
  stalled: string | null;
  last_error: { at_us: number; text: string } | null;
  /** accept_rate, mean_tokens, pass_at_1, tokens_at_equal_accuracy, lag_p95, generator_tokens_per_s,
   * learner_tokens_per_s, learner_idle */
  tiles: Tile[];
  /** Names for `metrics`: the six of the overview, curated. */
  charts: ChartSpec[];
  alarms: Alarm[];
  counts: RunCounts;
  links: { label: string; url: string }[];
}
export interface Tile {
  key: string; label: string;
  value: number | null; why: Why | null;
  unit: "share" | "tokens" | "tokens/s" | "versions" | "";
  /** Against the start of the run (for pass@1 and tokens: the base model); null: nothing to compare. */
  start: number | null; change: number | null;
  /** What that change is. */
  direction: "better" | "worse" | "same" | null;
  /** One line: what the figure is of, with n. */
  detail: string;
  /** Filter of V6 behind it; null where no rollouts stand behind it. */
  filters: Filters | null;
}
export interface ChartSpec { title: string; unit: string; names: string[]; zero_based: boolean }
/** In rollouts. issued = accepted + rejected + running + unaccounted. */
export interface RunCounts {
  issued: number; accepted: number; rejected: number; running: number;
  trained: number; waiting: number; dropped: Record<string, number>;
  /** 0, or something is wrong: show it red. */
  unaccounted: number;
  /** Observations that the recorder could not keep, by kind. */
  recorder_dropped: Record<string, number>;
}

// --------------------------------------------------------------------------- V1, V10: metrics

/** GET metrics?run=a&run=b&names=loss&names=lr — no names: all. One object per run, in order. */
export interface Metrics { series: RunSeries[] }
export interface RunSeries extends Envelope {
  /** Every name that metrics.jsonl of this run has, sorted. */
  available: string[];
  /** Optimizer steps, ascending; a step that was taken again stands where it was taken last. */
  step: number[];
  at_us: (number | null)[];
  /** Wall seconds and generated tokens since the start, to align by time or tokens. */
  seconds: (number | null)[]; generated_tokens: (number | null)[];
  columns: Record<string, (number | null)[]>;
  /** Indices at which a column was NaN or infinite (and is null above): mark them loudly. */
  nan: Record<string, number[]>;
  marks: Mark[];
}
export interface Mark {
  kind: "publish" | "restart" | "checkpoint" | "evaluation" | "alarm" | "rollback";
  at_us: number; step: number | null; text: string;
}

/** GET events?kind=…&limit=500&before_us= — newest first, lines of events.jsonl. */
export interface Events extends Envelope { events: RunEvent[]; kinds: Choice[]; more: boolean }
export interface RunEvent { at_us: number; kind: string; text: string; fields: Record<string, unknown> }

// --------------------------------------------------------------------------------- V2 lengths

/** GET lengths [filters] &part=tokens|think|answer &bins=48 &log=0|1 &versions=60 */
export interface Lengths extends Envelope {
  population: Population; part: "tokens" | "think" | "answer";
  /** Rollouts counted, truncated ones included. Equals V6's count under the same filters less `not_measured`. */
  total: number;
  /** Rows whose length is null. */
  not_measured: number;
  why: Why | null;
  /** n+1 ascending edges of n bins: bin i holds edges[i] <= length < edges[i+1], the last bin its end too. */
  edges: number[];
  /** Weight versions (`last_version`), ascending; when there are more than `versions`, neighbours share
   * a column: [first, last]. */
  versions: [number, number][];
  /** counts[v][bin] of rollouts that were not cut off. */
  counts: number[][];
  /** truncated[v]: cut at the cap, in no bin above. */
  truncated: number[];
  /** Of each column, truncated ones included. */
  rows: number[];
  p10: (number | null)[]; p50: (number | null)[]; p90: (number | null)[]; mean: (number | null)[];
  /** Length budget L by column: equal where it is one number, else the band of budgets given. */
  budget_min: (number | null)[]; budget_max: (number | null)[];
  cap: number | null;
}
/** GET lengths/compare [filters] &a=VERSION &b=VERSION &part= — two versions over each other. */
export interface LengthPair extends Envelope {
  edges: number[];
  a: LengthSide; b: LengthSide;
  /** median(b) - median(a), 95 % bootstrap interval over groups. */
  median_difference: number | null; low: number | null; high: number | null;
}
export interface LengthSide { version: number; counts: number[]; truncated: number; rows: number; median: number | null }

// ---------------------------------------------------------------------------------- V3 funnel

/** GET funnel [filters] */
export interface Funnel extends Envelope {
  stages: FunnelStage[];
  /** Of accepted rows: no fate yet. */
  waiting: number;
  /** Rejected rollouts that were trained all the same, by objectives of whole groups; in no bar. */
  trained_rejected: number;
  counts: RunCounts;
  reasons: ReasonRow[];
  /** Weight versions (columns of `ReasonRow.by_version`), neighbours share one as in `Lengths`. */
  versions: [number, number][];
  /** Rollouts of each column of versions. */
  version_rows: number[];
  never_accepted: { problems: number; of: number; sample: ProblemRow[] };
}
export interface FunnelStage {
  stage: Stage; label: string;
  rollouts: number; tokens: number;
  /** Seconds of generating, summed over rollouts, divided by how many the engine wrote at a time:
   * an engine's own time. null: not recorded. */
  gpu_seconds: number | null;
  /** Lost on the way to this stage from the one before. */
  lost: { rollouts: number; tokens: number; gpu_seconds: number | null };
  /** V6 shows exactly `rollouts` (or `lost.rollouts`) under these. */
  filters: Filters; lost_filters: Filters | null;
}
export interface ReasonRow { reason: string; stage: Stage; rollouts: number; tokens: number; by_version: number[]; filters: Filters }

// --------------------------------------------------------------------------------- V4 what-if

/** GET whatif [filters] — sent once: the length slider needs no further request. */
export interface WhatIf extends Envelope {
  /** All rollouts, problems and the current settings. */
  rollouts: number; problems: number;
  current: Kept;
  /** Fixed line to show: "replays recorded rollouts, does not predict training". */
  note: string;
  /** Rollouts that pass everything but the length, by length: for L, what is kept is the sum over
   * tokens <= L. `pass_rate_sum` adds their problems' pass rates
   * (difficulty), of those `rated` that have one. Ascending. */
  by_tokens: { tokens: number[]; count: number[]; token_sum: number[]; pass_rate_sum: number[]; rated: number[] };
  /** The same by n_tokens / budget, for a factor on per-problem budgets. */
  by_factor: { factor: number[]; count: number[]; token_sum: number[]; pass_rate_sum: number[]; rated: number[] };
  /** Of each problem with any such rollout its shortest one, ascending: problems left without at L =
   * problems - (number of entries <= L). */
  shortest_tokens: number[]; shortest_factor: number[];
  budget_min: number | null; budget_max: number | null;
  /** True: every rollout had the same budget; use `by_tokens`. */
  one_budget: boolean;
  /** Longer was never written: hatch beyond it. */
  cap: number | null;
  /** Ascending caps at which rollouts were cut off: for L above, count them as not observed. */
  cut_off: { tokens: number[]; count: number[] };
  /** The same for a factor. */
  cut_off_factor: { factor: number[]; count: number[] };
  /** Sliders besides the length. */
  filters: WhatIfFilter[];
}
export interface WhatIfFilter {
  /** `threshold` null: not the same for all. */
  name: string; threshold: number | null; min: number | null; max: number | null;
  /** The rollout passes when value <= threshold, or >= threshold. null: a selector, which cannot be
   * moved, only left out (`drop`). */
  pass_when: "<=" | ">=" | null;
  /** Rows without a value (counted as passing). */
  without_value: number;
  /** 100 quantiles of the values, for the slider's scale. */
  quantiles: number[];
}
export interface Kept {
  kept: number; share: number; problems_without: number; mean_tokens: number | null;
  /** Mean over what is kept of its problem's share of right answers: lower is harder. */
  pass_rate: number | null;
  /** Cut off below the new budget: nobody knows. */
  not_observed: number;
  without_value: number;
  reasons: Record<string, number>;
}
/** GET whatif/apply [filters] &length=1200 or &factor=0.8 &set=NAME:THRESHOLD (repeated) &drop=NAME */
export interface WhatIfResult extends Envelope { kept: Kept; current: Kept; override: string; command: string }

// ---------------------------------------------------------------------------------- V5 Pareto

/** GET pareto?run=a&run=b — evaluations only. */
export interface Pareto { points: ParetoPoint[]; frontier: number[]; equal: EqualRow[]; benchmarks: string[]; note: string }
export interface ParetoPoint {
  run: string; label: string; version: number | null; benchmark: string;
  kind: "checkpoint" | "base" | "imported";
  accuracy: number; accuracy_low: number; accuracy_high: number;
  tokens: number; tokens_low: number; tokens_high: number;
  /** n problems, k samples each. */
  problems: number; samples: number; truncated: number;
  /** Points of one number have the same sampling settings: join only those. */
  settings: number; settings_text: string;
}
/** Tokens at the base model's accuracy, and accuracy at its tokens; null outside the measured range. */
export interface EqualRow {
  run: string; benchmark: string; base_accuracy: number; base_tokens: number;
  tokens_at_equal_accuracy: number | null; accuracy_at_equal_tokens: number | null; why: string | null;
}

// -------------------------------------------------------------------------------- V6 rollouts

/** GET rollouts [filters] &sort=-n_tokens (default -end_us) &limit=100 (<=500) &offset=0
 * `sort` takes any column of RolloutRow, `-` for descending. */
export interface Rollouts extends Envelope {
  total: number; offset: number; rows: RolloutRow[];
  /** With `q`: how many of the filtered rows have no recorded text and could not match. */
  without_text: number;
  /** The search ran out of time; `total` and `rows` are of what was searched. Say so. */
  incomplete: boolean;
}
/** Strings are cut at 200 characters. */
export interface RolloutRow {
  rollout_id: string; attempt: number; problem_id: string; group_id: string; sample: number;
  source: string | null; template_id: string | null; generator_id: string | null;
  first_version: number | null; last_version: number | null;
  n_tokens: number | null; n_think: number | null; n_answer: number | null; n_prompt: number | null;
  budget: number | null; max_tokens: number | null;
  finish_reason: string | null; verdict: Verdict | null; answer: string | null; gold: string | null;
  accepted: boolean; reason: string | null; fate: Fate; stage: Stage;
  step: number | null; lag: number | null;
  start_us: number | null; end_us: number | null; gen_ms: number | null; verify_ms: number | null; queue_ms: number | null;
  logp_mean: number | null; entropy_mean: number | null; repetition: number | null; reward: number | null;
  is_expert: boolean | null; origin: string | null; dup_of: string | null;
  /** First characters of the problem, and of the response when `preview=1` was asked for. */
  problem: string | null; preview: string | null;
  tags: string[];
}

/** GET facets [filters] &facet=reason&facet=verdict… — counts under the filters; a facet ignores its
 * own parameter, so that other values stay choosable. */
export interface Facets extends Envelope { total: number; facets: Record<string, Choice[]> }

/** GET rollout?id=ROLLOUT_ID [filters] [sort] — with filters and sort, `previous` and `next` are its
 * neighbours in that list. */
export interface RolloutDetail extends Envelope {
  rollout: RolloutRow;
  temperature: number | null; top_p: number | null; weight: number | null; loss_tokens: number | null;
  learner_logp_mean: number | null; trained_version: number | null; fate_us: number | null;
  propensity: number | null; level: string | null; size: number | null; weight_mean: number | null;
  filters: FilterValue[];
  text: TextInfo;
  problem: ProblemInfo | null;
  /** The group, this one included, by sample. */
  siblings: RolloutRow[];
  /** Written, judged, queued, trained or dropped: in order. */
  life: { what: string; start_us: number; end_us: number | null }[];
  has_tokens: boolean; tokens_why: Why | null;
  /** Why each null above is null. */
  missing: Record<string, Why>;
  notes: Note[]; tags: string[];
  previous: string | null; next: string | null;
  /** For "copy JSON" and "copy curl". */
  json_url: string;
}
export interface FilterValue { name: string; pass: boolean; value: number | null; threshold: number | null }
export interface TextInfo {
  recorded: boolean;
  /** Why not, for people. */
  why_not: string | null;
  characters: number;
  /** Characters up to the end of thinking; null: it never ended, or there is none. */
  answer_start: number | null;
}
export interface ProblemInfo { problem_id: string; source: string | null; text: string; gold: string | null; difficulty: number | null }
export interface Note { at_us: number; text: string; by: string | null }

/** GET rollout/text?id= &from=0 &characters=200000 — a slice, by characters (code points). */
export interface TextSlice extends Envelope { from: number; text: string; characters: number; answer_start: number | null; more: boolean }

/** GET rollout/tokens?id= — parallel arrays; those not recorded are null. `ends` are UTF-8 byte
 * offsets in the text at which each token ends. */
export interface Tokens extends Envelope {
  ends: number[]; logp: (number | null)[] | null; entropy: (number | null)[] | null;
  weight: (number | null)[] | null; mask: boolean[] | null;
}

/** POST annotate {run, rollout_id, tag?, untag?, note?} → Annotations of that rollout. */
export interface Annotate { run: string; rollout_id: string; tag?: string; untag?: string; note?: string; by?: string }
export interface Annotations { tags: string[]; notes: Note[] }

// --------------------------------------------------------------------------------- V7 problem

/** GET problems [filters] &sort=-rollouts|problem_id|pass_rate|accepted|mean_tokens|shortest
 * &limit=100 &offset=0 &search=text */
export interface Problems extends Envelope { total: number; offset: number; rows: ProblemRow[] }
export interface ProblemRow {
  problem_id: string; source: string | null; text: string | null; gold: string | null; difficulty: number | null;
  rollouts: number; correct: number; accepted: number; trained: number;
  pass_rate: number | null; mean_tokens: number | null; shortest_correct: number | null;
  first_version: number | null; last_version: number | null;
}
/** GET problem?id=PROBLEM_ID [filters] — `previous` and `next` keep filters and sort. */
export interface ProblemDetail extends Envelope {
  problem: ProblemInfo; summary: ProblemRow;
  /** Every rollout of it, oldest version first (at most 2,000; `cut` says that there are more). */
  rollouts: RolloutRow[]; cut: boolean;
  by_version: { version: number; rollouts: number; correct: number; accepted: number; mean_tokens: number | null; min_tokens: number | null; max_tokens: number | null }[];
  first_solved_version: number | null;
  shortest_correct: string | null;
  /** Default pair of the diff: oldest and newest correct rollout with a text. */
  pair: [string, string] | null;
  /** Of evaluations: the same prompt at every checkpoint. */
  evals: EvalSampleRow[];
  previous: string | null; next: string | null;
}

// -------------------------------------------------------------------------------- V8 pipeline

/** GET pipeline &points=600 — resolution of the gauges. */
export interface Pipeline extends Envelope {
  /** "learner starved 41 %: generators at 0.6x need" */
  sentence: string;
  bottleneck: "generators" | "learner" | "judges" | "sync" | "none" | "unknown";
  /** Where the learner's wall time went, shares that sum to 1. */
  learner_time: { what: "wait" | "fetch" | "compute" | "other_step" | "publish" | "between"; label: string; seconds: number; share: number }[];
  /** The same by step. */
  steps: { step: number[]; wait_s: (number | null)[]; fetch_s: (number | null)[]; compute_s: (number | null)[]; publish_s: (number | null)[];
    lag_max: (number | null)[]; stale: (number | null)[]; rollouts: (number | null)[]; accepted: (number | null)[];
    generated_tokens_per_s: (number | null)[]; trained_tokens_per_s: (number | null)[] };
  max_lag: number | null; lag_violations: number;
  lag: { lag: number; rollouts: number; filters: Filters }[];
  lag_p50: number | null; lag_p95: number | null;
  /** Of each generator: trained rollouts' lag. */
  lag_by_generator: { generator_id: string; rollouts: number; p50: number; p95: number; max: number }[];
  /** Gauges over time (state history): queue, capacity, running groups. Empty: `gauges_why`. */
  gauges: { at_us: number[]; queued: (number | null)[]; capacity: (number | null)[]; running_groups: (number | null)[]; judging: (number | null)[] };
  gauges_why: Why | null;
  drops: { fate: string; rollouts: number; filters: Filters }[];
  first_step: number | null; last_step: number | null;
}
/** GET lanes?step=N — swim-lanes of one optimizer step; step left out: the newest. */
export interface Lanes extends Envelope {
  step: number; from_us: number; to_us: number;
  lanes: Lane[];
  /** More than 4,000 spans: a sample, and this many were left out. */
  left_out: number;
}
export interface Lane { name: string; kind: "learner" | "generator" | "judge" | "sync"; spans: Span[] }
export interface Span { start_us: number; end_us: number; what: string; fate: Fate | null; rollout_id: string | null; row: number }

// ------------------------------------------------------------------------------ V9 generators

/** GET generators */
export interface Generators extends Envelope {
  engines: EngineRow[];
  /** min, median, max over the engines that serve, of numeric gauges. */
  spread: Record<string, { min: number; median: number; max: number }>;
  history: EngineHistory[]; history_why: Why | null;
  events: RunEvent[];
}
export interface EngineRow {
  name: string; state: string; node: string | null;
  version: number | null; lag: number | null;
  running: number | null; waiting: number | null; limit: number | null; kv_use: number | null;
  tokens_per_s: number | null; generated_tokens: number | null; requests_done: number | null;
  preemptions: number | null; prefix_hit_share: number | null; stalled_s: number | null;
  ttft_ms: number | null; itl_ms: number | null; restarts: number | null; gpu: string | null;
  heartbeat_us: number | null;
  /** "silent 41 s", after three missed heartbeats. */
  silent: string | null;
  /** Gauges (names above) in which it is far from the others. */
  outlier: string[];
  rollouts: number; accepted: number; filters: Filters; log: string | null;
  missing: Record<string, Why>;
}
export interface EngineHistory { name: string; at_us: number[]; columns: Record<string, (number | null)[]> }

// ------------------------------------------------------------------------------- V10 learner
// Uses `metrics`. GET learner adds what no series has.
export interface Learner extends Envelope {
  /** Groups of charts in the order of the view; only those that have data. */
  charts: (ChartSpec & { group: string; missing: Record<string, Why> })[];
  configured_batch: number | null; actual_batch_mean: number | null; batch_unequal: boolean; batch_text: string;
  skipped_steps: number; diverged_steps: number;
}

// --------------------------------------------------------------------------------- V11 evals

/** GET evals */
export interface Evals extends Envelope {
  rows: EvalRow[];
  /** Second judge's disagreements in verdicts.jsonl. */
  disagreements: { total: number; checked: number; rows: DisagreementRow[] };
}
export interface EvalRow {
  label: string; version: number; benchmark: string; at_us: number | null; problems: number; samples: number;
  pass_at_1: number; pass_low: number; pass_high: number;
  maj_at_k: number | null; pass_at_k: { k: number; value: number; low: number; high: number }[];
  mean_tokens: number; tokens_low: number; tokens_high: number; p50_tokens: number; p90_tokens: number; truncated: number;
  settings: Record<string, unknown>;
}
export interface DisagreementRow { rollout_id: string | null; problem_id: string; verdict: string; second: string; answer: string | null; gold: string | null; text: string | null }
/** GET evals/flips?a=LABEL&b=LABEL [&benchmark=NAME] */
export interface Flips extends Envelope {
  a: string; b: string; problems: number;
  accuracy_a: number; accuracy_b: number;
  /** Sum over problems of (share right in b - share right in a) / problems = accuracy_b - accuracy_a. */
  gained: number; lost: number; same_right: number; same_wrong: number; mixed: number;
  /** Problems whose share changed; `rows` has at most 200 of them. */
  changed: number;
  /** Problems whose share of right answers changed, largest change first. */
  rows: FlipRow[];
}
export interface FlipRow { problem_id: string; problem: string | null; gold: string | null; share_a: number; share_b: number; tokens_a: number; tokens_b: number; rollouts: number }
/** GET evals/samples?id=PROBLEM_ID&label=LABEL (repeated; none: all) — with whole texts. */
export interface EvalSamples extends Envelope { rows: EvalSampleRow[] }
export interface EvalSampleRow {
  label: string; version: number; problem_id: string; sample: number; verdict: string; finish_reason: string | null;
  n_tokens: number; answer: string | null; text: string | null; at_us: number | null;
}

// -------------------------------------------------------------------------------- V12 health

/** GET health */
export interface Health extends Envelope { alarms: Alarm[]; rules: Rule[]; checked_us: number }
export interface Alarm {
  id: string; rule: string; level: "critical" | "warning" | "tip";
  title: string; text: string; advice: string;
  since_us: number; until_us: number | null;
  acked: { at_us: number; by: string | null; note: string | null } | null;
  evidence: Evidence | null;
}
/** A view and what it should show. `view` is the page's route name. */
export interface Evidence { view: string; params: Record<string, string | string[]> }
export interface Rule { key: string; title: string; state: "ok" | "alarm" | "unknown"; text: string; why: Why | null }
/** POST ack {run, id, note?} → Health */
export interface Ack { run: string; id: string; note?: string; by?: string }

// ------------------------------------------------------------------------------- V13 compare

/** GET compare?run=a&run=b&baseline=a — curves come from `metrics`, Pareto from `pareto`. */
export interface Compare {
  runs: RunInfo[]; baseline: string;
  /** Differing keys first. Values as YAML text; null: the run has no such key. */
  config: { key: string; values: (string | null)[]; differs: boolean }[];
  outcome: { key: string; label: string; unit: string; values: (number | null)[]; why: (Why | null)[];
    /** Against the baseline. */
    words: ("better" | "worse" | "same" | null)[] }[];
  /** Metric names that all or some of the runs have. */
  names: string[];
}

// ---------------------------------------------------------------------------------- V14 logs

/** GET logs */
export interface Logs extends Envelope { files: { id: string; name: string; bytes: number; modified_us: number }[] }
/** GET log?file=ID &from=BYTE (default: the last `bytes`) &bytes=65536 (<= 1 MiB)
 * &level=WARNING &q=regex. Whole lines only; `next` is where to go on (follow), `previous` where the
 * chunk before ends (pass as `to`). */
export interface LogChunk extends Envelope {
  file: string; size: number; from: number; next: number; previous: number | null;
  lines: LogLine[];
  /** With level or q: bytes looked through; false: ask on from `next`. */
  searched: number; done: boolean;
}
/** ANSI and control characters are stripped. A line over 64 KiB is cut; `cut` has its length. */
export interface LogLine { at: number; text: string; level: "DEBUG" | "INFO" | "WARNING" | "ERROR" | "CRITICAL" | null; at_us: number | null; cut: number | null }

// -------------------------------------------------------------------------------- V15 config

/** GET config */
export interface Config extends Envelope {
  entries: { key: string; value: string; is_default: boolean | null; default: string | null;
    /** "default", a file's name, "environment", "command line"; null: not recorded. */
    source: string | null; description: string | null }[];
  /** Reproduces the run. */
  command: string;
  starts: { at_us: number | null; command: string[]; pid: number | null }[];
  yaml: string;
  fingerprints: Record<string, string>;
}

// ----------------------------------------------------------------------------------- V16 SQL

/** GET sql?q=SELECT… [&format=csv → text/csv] — a sandbox: one SELECT, 10 s, 10,000 rows. */
export interface SqlResult extends Envelope {
  columns: { name: string; type: string }[];
  /** Values are JSON; integers beyond 2^53 and others that JSON lacks are text. */
  rows: unknown[][];
  truncated: boolean; seconds: number;
}
/** GET sql/tables */
export interface SqlTables extends Envelope {
  tables: { name: string; description: string; columns: { name: string; type: string; description: string | null }[] }[];
  examples: { title: string; sql: string }[];
  limits: { seconds: number; rows: number };
}

// -------------------------------------------------------------------------------- V17 recipe

/** GET recipe — in execution order. */
export interface Recipe extends Envelope {
  title: string;
  lines: RecipeLine[];
}
export interface RecipeLine {
  part: "data" | "prompt" | "generate" | "judge" | "filter" | "select" | "objective" | "publish" | "evaluate";
  name: string;
  /** Plain words. */
  text: string;
  /** Rollouts that it saw and let through; null where it counts none. */
  seen: number | null; passed: number | null;
  filters: Filters | null;
  config_keys: string[];
}

// -------------------------------------------------------------------------------------- live

/** GET live?run=NAME&after=CURSOR — server-sent events; `id` of each is the cursor to resume from.
 * `event: update` {LiveUpdate} when something changed (at most 1 a second), `event: gone` {message}
 * when the folder went away, pings every 15 s as comments. Polling fallback: GET live/poll?after=. */
export interface LiveUpdate extends Envelope {
  phase: string | null; step: number; version: number; heartbeat_us: number | null; stalled: string | null;
  /** Rows new since `after`, by kind. */
  new_rows: Record<string, number>;
  /** What changed: names of endpoints' data to fetch again. */
  changed: ("state" | "rollouts" | "fates" | "metrics" | "events" | "evals" | "alarms" | "annotations")[];
  tiles: Tile[];
  alarms: Alarm[];
  counts: RunCounts;
}
