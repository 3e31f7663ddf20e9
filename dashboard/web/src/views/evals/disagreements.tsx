/** Where a second judge did not agree with the first. */

import type { JSX } from "preact";
import type { Evals } from "../../api_types";
import { exact, percent } from "../../format";
import { href } from "../../router";
import { oneLine } from "../../text/plain";
import { Card } from "../../ui/controls";
import { FateLabel } from "../../ui/fates";
import { Empty, NotAvailable } from "../../ui/states";

export function Disagreements({ data }: { data: Evals["disagreements"] }): JSX.Element {
  return (
    <Card class="disagreements" title="Judges that disagree" unit={data.checked ? `${exact(data.total)} of ${exact(data.checked)} verdicts (${percent(data.total / data.checked, 2)})` : ""}>
      {data.checked === 0 ? (
        <Empty title="No second judge looked at this run">A run whose verdicts are judged twice lists here what the judges do not agree on.</Empty>
      ) : data.rows.length === 0 ? (
        <Empty title="The judges agree on everything" />
      ) : (
        <div class="scroll">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Problem</th>
                <th scope="col">First judge</th>
                <th scope="col">Second judge</th>
                <th scope="col">Answer</th>
                <th scope="col">Gold</th>
                <th scope="col">Text</th>
              </tr>
            </thead>
            <tbody>
              {data.rows.map((row, at) => (
                <tr key={at}>
                  <td>
                    <a class="mono" href={row.rollout_id === null ? href("problem", { id: row.problem_id }) : href("rollouts", { open: row.rollout_id })} title={row.rollout_id === null ? "The problem" : "The rollout"}>
                      {oneLine(row.problem_id)}
                    </a>
                  </td>
                  <td>
                    <FateLabel name={row.verdict} />
                  </td>
                  <td>
                    <FateLabel name={row.second} />
                  </td>
                  <td>{row.answer === null ? <NotAvailable detail="No answer was found." /> : <bdi class="mono">{oneLine(row.answer)}</bdi>}</td>
                  <td>{row.gold === null ? <NotAvailable /> : <bdi class="mono">{oneLine(row.gold)}</bdi>}</td>
                  <td class="clip asked-cell">{row.text === null ? <NotAvailable /> : oneLine(row.text).slice(0, 200)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}
