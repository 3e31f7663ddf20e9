/** Two rollouts of one problem, word against word. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get, withRun } from "../../api";
import type { ProblemDetail, RolloutRow, TextSlice } from "../../api_types";
import { change, exact, plural, words } from "../../format";
import { href, param, setParams } from "../../router";
import { useDiff } from "../../text/use_worker_diff";
import { Card, UrlSegmented } from "../../ui/controls";
import { FateMark, outcomeOf } from "../../ui/fates";
import { Empty, Skeleton } from "../../ui/states";
import { DiffText } from "./diff_text";

export function DiffCard({ detail, a, b }: { detail: ProblemDetail; a: string; b: string }): JSX.Element {
  const left = useWholeText(a);
  const right = useWholeText(b);
  const { diff, error, busy } = useDiff(left.text, right.text);
  const rows = detail.rollouts;
  const [rowA, rowB] = [rows.find((row) => row.rollout_id === a), rows.find((row) => row.rollout_id === b)];
  const problem = left.problem ?? right.problem ?? error;
  const mode = param("diff") === "sides" ? "sides" : "inline";
  return (
    <Card
      class="diff-card"
      title="What changed in the words"
      actions={
        <>
          <button type="button" class="btn is-small" title="Swap the sides (x)" onClick={() => setParams({ a: b, b: a }, { replace: true })}>
            Swap
          </button>
          <UrlSegmented
            name="diff"
            label=""
            options={[
              { value: "inline", label: "in one text" },
              { value: "sides", label: "side by side" },
            ]}
          />
        </>
      }
    >
      <div class="diff-sides">
        <Side side="a" label="Left" rows={rows} row={rowA} id={a} />
        <Side side="b" label="Right" rows={rows} row={rowB} id={b} />
      </div>
      {diff && (
        <p class="diff-sum small" aria-live="polite">
          <LengthChange from={rowA} to={rowB} />
          <span class="diff-removed">{`${plural(diff.removed, "word")} gone`}</span>
          <span class="diff-added">{`${plural(diff.added, "word")} new`}</span>
          {diff.note && <span class="soft">{`Compared line by line: ${diff.note}.`}</span>}
        </p>
      )}
      {problem !== null ? (
        <Empty title="These two cannot be compared">{problem}</Empty>
      ) : diff === null ? (
        <Skeleton height={200} />
      ) : (
        <div class={busy ? "is-updating" : ""}>
          <DiffText diff={diff} mode={mode} />
        </div>
      )}
    </Card>
  );
}

function LengthChange({ from, to }: { from: RolloutRow | undefined; to: RolloutRow | undefined }): JSX.Element | null {
  if (!from || !to || from.n_tokens === null || to.n_tokens === null) return null;
  const { text, word } = change(to.n_tokens - from.n_tokens, "down", exact);
  return (
    <span>
      {`${exact(from.n_tokens)} → ${exact(to.n_tokens)} tokens (${text}`}
      {word && (
        <>
          {" "}
          <span class={word}>{word}</span>
        </>
      )}
      {")"}
    </span>
  );
}

function Side(props: { side: "a" | "b"; label: string; rows: readonly RolloutRow[]; row: RolloutRow | undefined; id: string }): JSX.Element {
  const { side, label, rows, row, id } = props;
  return (
    <div class="diff-side">
      <label class="labelled">
        {label}
        <select class="field" value={id} onChange={(event) => setParams({ [side]: event.currentTarget.value }, { replace: true })}>
          {!row && <option value={id}>{id}</option>}
          {rows.map((one) => (
            <option key={one.rollout_id} value={one.rollout_id}>
              {`v${one.last_version ?? "?"} · ${one.n_tokens ?? "?"} tokens · ${words(outcomeOf(one))} · ${one.rollout_id}`}
            </option>
          ))}
        </select>
      </label>
      {row && (
        <span class="row small soft">
          <FateMark name={outcomeOf(row)} />
          {words(outcomeOf(row))}
          <a href={href("rollouts", { problem_id: row.problem_id, open: row.rollout_id })}>open</a>
        </span>
      )}
    </div>
  );
}

const SLICE = 200_000;
/** More than this is not read by anybody; both sides are cut there and it is said. */
const MOST = 2_000_000;

function useWholeText(id: string): { text: string | null; problem: string | null } {
  const [state, setState] = useState<{ id: string; text: string | null; problem: string | null }>({ id, text: null, problem: null });
  useEffect(() => {
    const abort = new AbortController();
    wholeText(id, abort.signal)
      .then((text) => setState({ id, text, problem: null }))
      .catch((error: Error) => {
        if (!abort.signal.aborted) setState({ id, text: null, problem: error.message });
      });
    return () => abort.abort();
  }, [id]);
  return state.id === id ? state : { text: null, problem: null };
}

async function wholeText(id: string, signal: AbortSignal): Promise<string> {
  let text = "";
  for (let from = 0; from < MOST; from += SLICE) {
    const slice = await get<TextSlice>("rollout/text", withRun({ id, from, characters: SLICE }), signal);
    text += slice.text;
    if (!slice.more) break;
  }
  return text;
}
