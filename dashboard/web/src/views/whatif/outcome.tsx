/** What would have been kept, and why the rest would not. */
import type { JSX } from "preact";
import type { Kept } from "../../api_types";
import { filterPatch, filtersOf } from "../../filters";
import { change, exact, number, percent, plural } from "../../format";
import { href } from "../../router";
import { Card } from "../../ui/controls";
import { FateLabel } from "../../ui/fates";
import { Value } from "../../ui/states";

export function Outcome({ kept, current, problems, rollouts, changed }: { kept: Kept | null; current: Kept; problems: number; rollouts: number; changed: boolean }): JSX.Element {
  const tile = (label: string, of: (one: Kept) => number | null, show: (value: number) => string, wanted: "up" | "down" | "none"): JSX.Element => {
    const [was, is] = [of(current), kept ? of(kept) : null];
    const delta = changed && was !== null && is !== null ? change(is - was, wanted, show) : null;
    return (
      <div class="tile">
        <div class="label clip">{label}</div>
        <div class={`value nowrap ${kept ? "" : "is-updating"}`}>
          <Value of={is} show={show} why="not_applicable" />
        </div>
        <div class="delta clip">
          {delta ? (
            <>
              {delta.text}
              {delta.word && <span class={delta.word}>{` ${delta.word}`}</span>}
              {`, was ${was === null ? "n/a" : show(was)}`}
            </>
          ) : (
            "as it was run"
          )}
        </div>
      </div>
    );
  };
  return (
    <div>
      <div class="tiles">
        {tile("kept", (one) => one.share, percent, "none")}
        {tile("mean tokens kept", (one) => one.mean_tokens, number, "down")}
        {tile(`problems left of ${exact(problems)}`, (one) => problems - one.problems_without, exact, "up")}
        {tile("pass rate of problems", (one) => one.pass_rate, percent, "none")}
      </div>
      <p class="small soft whatif-sum">
        {kept && `${exact(kept.kept)} of ${exact(rollouts)} rollouts kept. `}
        {kept && kept.not_observed > 0 && `${plural(kept.not_observed, "rollout")} cut off below this budget: nobody knows. `}
        {kept && kept.without_value > 0 && `${plural(kept.without_value, "rollout")} lack a filter's value. `}
        {"As run: "}
        <a href={href("rollouts", filterPatch({ ...(filtersOf() as object), accepted: true }))}>{exact(current.kept)}</a>
        {", the same number as in the "}
        <a href={href("funnel", filtersOf())}>funnel</a>.
      </p>
    </div>
  );
}

export function Reasons({ current, kept, changed }: { current: Kept; kept: Kept | null; changed: boolean }): JSX.Element | null {
  const names = [...new Set([...Object.keys(current.reasons), ...Object.keys(kept?.reasons ?? {})])];
  if (names.length === 0) return null;
  names.sort((a, b) => (current.reasons[b] ?? 0) - (current.reasons[a] ?? 0));
  return (
    <Card title="First reason of rejection" unit="rollouts">
      <table class="table">
        <thead>
          <tr>
            <th>reason</th>
            <th class="num">as run</th>
            <th class="num">tried</th>
            <th class="num">change</th>
          </tr>
        </thead>
        <tbody>
          {names.map((name) => {
            const [was, is] = [current.reasons[name] ?? 0, changed ? (kept ? (kept.reasons[name] ?? 0) : null) : (current.reasons[name] ?? 0)];
            return (
              <tr key={name}>
                <td>
                  <FateLabel name={name} />
                </td>
                <td class="num">{exact(was)}</td>
                <td class="num">{is === null ? <span class="dim">counting</span> : exact(is)}</td>
                <td class="num soft">{is === null ? <span class="dim">counting</span> : change(is - was, "none", exact).text}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Card>
  );
}
