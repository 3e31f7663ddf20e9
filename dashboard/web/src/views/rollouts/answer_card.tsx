/** The answer beside the gold one, and the length against its budget. */

import type { JSX } from "preact";
import type { RolloutDetail } from "../../api_types";
import { exact, percent, words } from "../../format";
import { oneLine } from "../../text/plain";
import { FateMark } from "../../ui/fates";
import { NotAvailable } from "../../ui/states";

export function AnswerCard({ detail }: { detail: RolloutDetail }): JSX.Element {
  const { rollout, problem, missing } = detail;
  const gold = problem?.gold ?? rollout.gold;
  const verdict = rollout.verdict ?? "not_run";
  return (
    <div class="answer-card">
      <dl class="answers">
        <div>
          <dt>Answer</dt>
          <dd>{rollout.answer === null ? <NotAvailable why={missing["answer"]} detail="No answer was found in the text." /> : <bdi class="mono">{oneLine(rollout.answer)}</bdi>}</dd>
        </div>
        <div>
          <dt>Gold</dt>
          <dd>{gold === null ? <NotAvailable why="not_recorded" /> : <bdi class="mono">{oneLine(gold)}</bdi>}</dd>
        </div>
        <div>
          <dt>Verdict</dt>
          <dd class="row">
            <FateMark name={verdict} />
            {words(verdict)}
          </dd>
        </div>
      </dl>
      <LengthBar detail={detail} />
    </div>
  );
}

function LengthBar({ detail }: { detail: RolloutDetail }): JSX.Element {
  const { n_tokens, n_think, n_answer, budget, max_tokens, finish_reason } = detail.rollout;
  if (n_tokens === null) return <p class="small dim">Its length was not recorded.</p>;
  const full = Math.max(n_tokens, budget ?? 0, finish_reason === "length" ? (max_tokens ?? 0) : 0) * 1.04 || 1;
  const place = (value: number): string => `${(value / full) * 100}%`;
  const isSplit = n_think !== null && n_answer !== null;
  const share = budget ? `${percent(n_tokens / budget, 0)} of the budget of ${exact(budget)}` : "no budget";
  const cap = max_tokens === null ? "" : `, cap ${exact(max_tokens)}`;
  return (
    <div class="length-bar" role="img" aria-label={`${exact(n_tokens)} tokens, ${share}${cap}`}>
      <div class="length-track">
        {isSplit ? (
          <>
            <span class="length-part is-think" style={{ width: place(n_think) }} title={`thinking: ${exact(n_think)}`} />
            <span class="length-part is-answer" style={{ left: place(n_think), width: place(n_answer) }} title={`answer: ${exact(n_answer)}`} />
          </>
        ) : (
          <span class="length-part is-think" style={{ width: place(n_tokens) }} />
        )}
        {budget !== null && <span class="length-mark" style={{ left: place(budget) }} title={`budget ${exact(budget)}`} />}
      </div>
      <p class="small soft">
        <span class="strong">{exact(n_tokens)}</span>
        {" tokens: "}
        {isSplit ? `${exact(n_think)} thinking, ${exact(n_answer)} answer; ` : ""}
        {share}
        <span class="dim">{cap}</span>
        {finish_reason === "length" ? " · cut off" : ""}
      </p>
    </div>
  );
}
