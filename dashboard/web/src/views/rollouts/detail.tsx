/** One rollout in full: what was asked, thought and answered, and what became of it. */

import type { JSX } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Query } from "../../api";
import type { RolloutDetail } from "../../api_types";
import { exact, utc, words } from "../../format";
import { useKeys } from "../../keyboard";
import { useApi } from "../../resource";
import { href, param, setParams } from "../../router";
import { oneLine } from "../../text/plain";
import { FateMark, outcomeOf } from "../../ui/fates";
import { Loaded } from "../../ui/states";
import { AnswerCard } from "./answer_card";
import { CopyMenu } from "./copy_menu";
import { Facts } from "./facts";
import { FilterTable } from "./filter_table";
import { Life } from "./life";
import { Notes } from "./notes";
import { Siblings } from "./siblings";
import { TextPanel } from "./text_panel";

interface Props {
  id: string;
  filters: Query;
  sort: string;
  onOpen: (id: string) => void;
  onClose: () => void;
}

export function RolloutDetailPane({ id, filters, sort, onOpen, onClose }: Props): JSX.Element {
  const detail = useApi<RolloutDetail>("rollout", { ...filters, sort, id }, ["fates", "annotations"]);
  const pane = useRef<HTMLElement>(null);
  useEffect(() => pane.current?.scrollTo(0, 0), [id]);
  const keys = useRef({ sibling: (_step: number) => undefined as void });
  keys.current.sibling = (step) => {
    const ids = detail.data?.siblings.map((row) => row.rollout_id) ?? [];
    const next = ids[(ids.indexOf(id) + step + ids.length) % ids.length];
    if (next) onOpen(next);
  };
  useKeys(
    "Open rollout",
    useMemo(
      () => [
        { keys: "]", what: "next of its group", run: () => keys.current.sibling(1) },
        { keys: "[", what: "one before of its group", run: () => keys.current.sibling(-1) },
        { keys: "w", what: "wide or beside the table", run: () => setParams({ wide: param("wide") ? null : 1 }) },
        { keys: "m", what: "text: math, raw, tokens", run: nextTextMode },
      ],
      [],
    ),
  );
  return (
    <section class="card is-flush pane-detail" aria-label="Rollout" ref={pane} tabIndex={-1}>
      {detail.data === null && detail.error && (
        <header class="detail-head">
          <h2 class="mono clip">{oneLine(id)}</h2>
          <button type="button" class="btn is-quiet is-icon push" title="Close (Esc)" aria-label="Close" onClick={onClose}>
            ×
          </button>
        </header>
      )}
      <Loaded resource={detail} what="The rollout" height={400}>
        {(data) => (
          <article class="detail" key={data.rollout.rollout_id}>
            <DetailHead detail={data} onOpen={onOpen} onClose={onClose} />
            <div class="detail-columns">
              <div class="detail-main">
                <AnswerCard detail={data} />
                <Siblings rows={data.siblings} openId={data.rollout.rollout_id} size={data.size} onOpen={onOpen} />
                <TextPanel detail={data} />
              </div>
              <aside class="detail-side">
                <FilterTable detail={data} />
                <Life detail={data} />
                <Notes detail={data} />
                <Facts detail={data} />
              </aside>
            </div>
          </article>
        )}
      </Loaded>
    </section>
  );
}

const MODES = ["math", "raw", "tokens"];

function nextTextMode(): void {
  const at = MODES.indexOf(param("text") ?? "math");
  const next = MODES[(at + 1) % MODES.length];
  setParams({ text: next === "math" ? null : next }, { replace: true });
}

function DetailHead({ detail, onOpen, onClose }: { detail: RolloutDetail; onOpen: (id: string) => void; onClose: () => void }): JSX.Element {
  const { rollout } = detail;
  const isWide = param("wide") !== null;
  return (
    <header class="detail-head">
      <FateMark name={outcomeOf(rollout)} size={14} />
      <div class="detail-title">
        <h2 title={rollout.end_us === null ? undefined : utc(rollout.end_us)}>{fateSentence(detail)}</h2>
        <p class="small dim clip">
          <span class="mono">{rollout.rollout_id}</span>
          {" of problem "}
          <a href={href("problem", { id: rollout.problem_id, a: rollout.rollout_id })} title="This problem through all versions">
            <bdi class="mono">{oneLine(rollout.problem_id)}</bdi>
          </a>
        </p>
      </div>
      <span class="row push detail-tools">
        <button type="button" class="btn is-quiet is-icon" disabled={!detail.previous} title="Row before (k)" aria-label="Row before" onClick={() => detail.previous && onOpen(detail.previous)}>
          ↑
        </button>
        <button type="button" class="btn is-quiet is-icon" disabled={!detail.next} title="Next row (j)" aria-label="Next row" onClick={() => detail.next && onOpen(detail.next)}>
          ↓
        </button>
        <CopyMenu detail={detail} />
        <button type="button" class="btn is-quiet is-icon" aria-pressed={isWide} title={isWide ? "Beside the table (w)" : "Wide (w)"} aria-label="Wide" onClick={() => setParams({ wide: isWide ? null : 1 })}>
          ⤢
        </button>
        <button type="button" class="btn is-quiet is-icon" title="Close (Esc)" aria-label="Close" onClick={onClose}>
          ×
        </button>
      </span>
    </header>
  );
}

/** What became of it and why, in words. */
export function fateSentence({ rollout }: Pick<RolloutDetail, "rollout">): string {
  const written = rollout.last_version === null ? "" : `, written by version ${exact(rollout.last_version)}`;
  if (!rollout.accepted) {
    const reason = rollout.reason ?? "rejected";
    const why: Record<string, string> = {
      over_budget: `Right, but over its budget by ${exact(Math.max(0, (rollout.n_tokens ?? 0) - (rollout.budget ?? 0)))} tokens`,
      wrong: "Wrong answer",
      no_answer: "No answer found",
      truncated: "Cut off at the cap, so rejected",
      aborted: "Stopped while it was written",
      verifier_timeout: "Its judge ran out of time",
      verifier_error: "Its judge failed",
    };
    return `${why[reason] ?? `Rejected: ${words(reason)}`}${written}`;
  }
  const lag = rollout.lag === null ? "" : ` at a lag of ${exact(rollout.lag)}`;
  switch (rollout.fate) {
    case "trained":
      return `Accepted and trained${rollout.step === null ? "" : ` in step ${exact(rollout.step)}`}${lag}`;
    case "waiting":
      return `Accepted, waits to be trained${written}`;
    case "equal":
      return "Accepted, dropped: its group was all alike";
    default:
      return `Accepted, then dropped: ${words(rollout.fate)}${lag}`;
  }
}
