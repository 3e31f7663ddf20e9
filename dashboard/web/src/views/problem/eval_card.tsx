/** The same prompt at every checkpoint: what the evaluations saw of this problem. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { EvalSampleRow } from "../../api_types";
import { exact, plural, words } from "../../format";
import { oneLine } from "../../text/plain";
import { RolloutText } from "../../text/rollout_text";
import { Card } from "../../ui/controls";
import { FateMark } from "../../ui/fates";
import { Empty, NotAvailable } from "../../ui/states";

export function EvalCard({ rows }: { rows: readonly EvalSampleRow[] }): JSX.Element {
  const [open, setOpen] = useState<string | null>(null);
  return (
    <Card class="eval-card" title="In evaluations" unit={rows.length ? plural(rows.length, "sample") : ""}>
      {rows.length === 0 ? (
        <Empty title="No evaluation asked this problem">Evaluations ask held-out problems; those that training asks are rarely among them.</Empty>
      ) : (
        <div class="scroll">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Checkpoint</th>
                <th scope="col" class="num">Version</th>
                <th scope="col">Verdict</th>
                <th scope="col" class="num">Tokens</th>
                <th scope="col">Answer</th>
                <th scope="col">Text</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => {
                const key = `${row.label} ${row.sample}`;
                return (
                  <>
                    <tr key={key}>
                      <td>{oneLine(row.label)}</td>
                      <td class="num">{exact(row.version)}</td>
                      <td>
                        <span class="outcome">
                          <FateMark name={row.finish_reason === "length" ? "truncated" : row.verdict} />
                          {words(row.verdict)}
                          {row.finish_reason === "length" && <span class="dim">cut off</span>}
                        </span>
                      </td>
                      <td class="num">{exact(row.n_tokens)}</td>
                      <td>{row.answer === null ? <NotAvailable detail="No answer was found in the text." /> : <bdi class="mono">{oneLine(row.answer).slice(0, 80)}</bdi>}</td>
                      <td>
                        {row.text === null ? (
                          <NotAvailable />
                        ) : (
                          <button type="button" class="btn is-small is-quiet" aria-expanded={open === key} onClick={() => setOpen(open === key ? null : key)}>
                            {open === key ? "Hide" : "Read"}
                          </button>
                        )}
                      </td>
                    </tr>
                    {open === key && row.text !== null && (
                      <tr key={`${key} text`}>
                        <td colSpan={6} class="eval-text">
                          <RolloutText text={row.text} math />
                        </td>
                      </tr>
                    )}
                  </>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}
