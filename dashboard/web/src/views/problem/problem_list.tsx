/** All problems under the filters: which were never solved, which are solved but not short. */

import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ProblemRow, Problems } from "../../api_types";
import { filtersOf } from "../../filters";
import { exact, number, percent } from "../../format";
import { useKeys } from "../../keyboard";
import { useApi } from "../../resource";
import { numberParam, param, setParams } from "../../router";
import { oneLine, oneLineMath } from "../../text/plain";
import { FilterChips, ViewHead } from "../../ui/controls";
import { Loaded, Value } from "../../ui/states";

const PAGE = 50;
const SORTS: readonly [key: string, label: string, isNumber: boolean][] = [
  ["problem_id", "Problem", false],
  ["rollouts", "Rollouts", true],
  ["pass_rate", "Right", true],
  ["accepted", "Accepted", true],
  ["mean_tokens", "Mean tokens", true],
  ["shortest", "Shortest right", true],
];

export function ProblemList(): JSX.Element {
  const sort = param("sort") ?? "-rollouts";
  const search = param("search") ?? "";
  const offset = numberParam("offset") ?? 0;
  const problems = useApi<Problems>("problems", { ...filtersOf(), sort, search, limit: PAGE, offset }, ["rollouts", "fates"]);
  const [cursor, setCursor] = useState(0);
  useEffect(() => setCursor(0), [sort, search, offset]);
  const rows = problems.data?.rows ?? [];
  const open = (row: ProblemRow | undefined): void => {
    if (row) setParams({ id: row.problem_id, offset: null });
  };
  const keys = useRef({ move: (_by: number) => undefined as void, open: () => undefined as void });
  keys.current = {
    move: (by) => setCursor(Math.max(0, Math.min(rows.length - 1, cursor + by))),
    open: () => open(rows[cursor]),
  };
  useKeys(
    "Problems",
    useMemo(
      () => [
        { keys: "/", what: "search", run: () => document.getElementById("problem-search")?.focus() },
        { keys: "j", what: "next row", run: () => keys.current.move(1) },
        { keys: "k", what: "row before", run: () => keys.current.move(-1) },
        { keys: "Enter", what: "open the problem", run: () => keys.current.open() },
      ],
      [],
    ),
  );
  return (
    <>
      <ViewHead title="Problem" what="pick one to follow it through the versions">
        <input
          id="problem-search"
          class="field search"
          type="search"
          defaultValue={search}
          placeholder="Words of the problem or its id"
          aria-label="Search the problems"
          onChange={(event) => setParams({ search: event.currentTarget.value || null, offset: null })}
        />
      </ViewHead>
      <FilterChips />
      <Loaded
        resource={problems}
        what="The problems"
        height={500}
        empty={(data) => (data.total ? null : search || Object.keys(filtersOf()).length ? ["No problem passes", "Change the search or take a filter away."] : ["No problems yet", "The first group that is judged brings the first one."])}
      >
        {(data) => (
          <>
            <section class="card is-flush scroll-x">
              <table class="table problems">
                <thead>
                  <tr>
                    {SORTS.map(([key, label, isNumber]) => (
                      <th key={key} scope="col" class={isNumber ? "num" : ""} aria-sort={sort === key ? "ascending" : sort === `-${key}` ? "descending" : "none"}>
                        <button type="button" onClick={() => setParams({ sort: sort === `-${key}` ? key : `-${key}`, offset: null })}>
                          {label}
                          {sort === key ? " ↑" : sort === `-${key}` ? " ↓" : ""}
                        </button>
                      </th>
                    ))}
                    <th scope="col">Gold</th>
                    <th scope="col">What is asked</th>
                  </tr>
                </thead>
                <tbody>
                  {data.rows.map((row, at) => (
                    <tr key={row.problem_id} class={at === cursor ? "is-cursor" : ""} onClick={() => open(row)}>
                      <td>
                        <button type="button" class="link mono clip" onClick={() => open(row)}>
                          {oneLine(row.problem_id)}
                        </button>
                      </td>
                      <td class="num">{exact(row.rollouts)}</td>
                      <td class="num">
                        <span class="rate">
                          <span class="track" aria-hidden="true">
                            <span style={{ width: `${(row.pass_rate ?? 0) * 100}%` }} />
                          </span>
                          <Value of={row.pass_rate} show={(rate) => percent(rate, 0)} />
                        </span>
                      </td>
                      <td class={row.accepted === 0 ? "num is-zero" : "num"}>{exact(row.accepted)}</td>
                      <td class="num">
                        <Value of={row.mean_tokens} show={number} />
                      </td>
                      <td class="num">
                        <Value of={row.shortest_correct} show={exact} why="not_yet" detail="No right rollout yet." />
                      </td>
                      <td class="clip gold">
                        <Value of={row.gold} show={(gold) => oneLine(gold)} />
                      </td>
                      <td class="clip asked">
                        <Value of={row.text} show={(text) => oneLineMath(text).slice(0, 300)} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </section>
            <Pages total={data.total} offset={offset} />
          </>
        )}
      </Loaded>
    </>
  );
}

function Pages({ total, offset }: { total: number; offset: number }): JSX.Element {
  return (
    <div class="row pages">
      <button type="button" class="btn is-small" disabled={offset === 0} onClick={() => setParams({ offset: Math.max(0, offset - PAGE) || null })}>
        Before
      </button>
      <span class="small soft">{`${exact(offset + 1)} to ${exact(Math.min(total, offset + PAGE))} of ${exact(total)} problems`}</span>
      <button type="button" class="btn is-small" disabled={offset + PAGE >= total} onClick={() => setParams({ offset: offset + PAGE })}>
        Next
      </button>
    </div>
  );
}
