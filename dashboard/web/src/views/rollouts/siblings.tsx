/** The rollouts of one group side by side: length as a bar, outcome as its mark. */

import type { JSX } from "preact";
import type { RolloutRow } from "../../api_types";
import { exact, plural, words } from "../../format";
import { href } from "../../router";
import { FateMark, lookOf, outcomeOf } from "../../ui/fates";

export function Siblings(props: { rows: readonly RolloutRow[]; openId: string; size: number | null; onOpen: (id: string) => void }): JSX.Element {
  const { rows, openId, size } = props;
  const longest = Math.max(1, ...rows.map((row) => row.n_tokens ?? 0));
  const accepted = rows.filter((row) => row.accepted).length;
  const budget = rows[0]?.budget ?? null;
  const open = rows.find((row) => row.rollout_id === openId);
  const [shortest] = rows
    .filter((row) => row.verdict === "correct" && row.rollout_id !== openId)
    .sort((one, other) => (one.n_tokens ?? Infinity) - (other.n_tokens ?? Infinity));
  return (
    <section class="siblings" aria-label="Rollouts of its group">
      <div class="card-head">
        <h3>Its group</h3>
        <span class="small dim">
          {`${plural(rows.length, "rollout")}${size !== null && size > rows.length ? ` of ${exact(size)} planned` : ""}, ${exact(accepted)} accepted`}
        </span>
        {open && shortest && (
          <a class="small" href={href("problem", { id: open.problem_id, a: openId, b: shortest.rollout_id })}>
            compare with its shortest other right one
          </a>
        )}
        <span class="push small dim">
          <kbd>[</kbd> <kbd>]</kbd>
        </span>
      </div>
      <div class="sibling-bars">
        {rows.map((row) => {
          const outcome = outcomeOf(row);
          const isOpen = row.rollout_id === openId;
          const text = `${words(outcome)}, ${row.n_tokens === null ? "length not recorded" : `${exact(row.n_tokens)} tokens`}${row.answer === null ? "" : `, answer ${row.answer.slice(0, 40)}`}`;
          return (
            <button key={row.rollout_id} type="button" class={isOpen ? "sibling is-open" : "sibling"} aria-current={isOpen} title={text} aria-label={`Sample ${row.sample}: ${text}`} onClick={() => props.onOpen(row.rollout_id)}>
              <span class="sibling-column">
                <span class="sibling-fill" style={{ height: `${((row.n_tokens ?? 0) / longest) * 100}%`, background: `var(--${lookOf(outcome).token})` }} />
                {budget !== null && budget <= longest && <span class="sibling-budget" style={{ bottom: `${(budget / longest) * 100}%` }} />}
              </span>
              <FateMark name={outcome} />
            </button>
          );
        })}
      </div>
    </section>
  );
}
