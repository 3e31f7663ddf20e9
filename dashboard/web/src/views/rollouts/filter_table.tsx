/** Every filter's own value, even of those behind the first that failed. */

import type { JSX } from "preact";
import type { RolloutDetail } from "../../api_types";
import { number, words } from "../../format";
import { oneLine } from "../../text/plain";
import { NotAvailable } from "../../ui/states";

export function FilterTable({ detail }: { detail: RolloutDetail }): JSX.Element {
  const first = detail.filters.findIndex((filter) => !filter.pass);
  return (
    <section aria-label="Filters">
      <h3>Filters</h3>
      {detail.filters.length === 0 ? (
        <p class="small dim">{detail.missing["filters"] === "not_applicable" ? "No filter looked at it." : "No filter's value was recorded."}</p>
      ) : (
        <table class="table is-tight">
          <thead>
            <tr>
              <th scope="col">Filter</th>
              <th scope="col" class="num">Value</th>
              <th scope="col" class="num">Limit</th>
              <th scope="col">Result</th>
            </tr>
          </thead>
          <tbody>
            {detail.filters.map((filter, at) => (
              <tr key={filter.name} class={filter.pass ? "" : "is-failed"}>
                <td>{oneLine(words(filter.name))}</td>
                <td class="num">{filter.value === null ? <NotAvailable why="not_applicable" /> : number(filter.value)}</td>
                <td class="num">{filter.threshold === null ? <NotAvailable detail="This filter has no number to be compared with." /> : number(filter.threshold)}</td>
                <td>{filter.pass ? "passed" : at === first ? "failed first" : "failed"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
