/** One problem through the versions of the weights: how long, how right, and what changed in the words. */

import type { JSX } from "preact";
import { useMemo, useRef } from "preact/hooks";
import type { ProblemDetail } from "../api_types";
import { filtersOf } from "../filters";
import { exact, number, percent, plural } from "../format";
import { useKeys } from "../keyboard";
import { useApi } from "../resource";
import { href, param, setParams } from "../router";
import { oneLine } from "../text/plain";
import { RolloutText } from "../text/rollout_text";
import { Card, CountLink, FilterChips, ViewHead } from "../ui/controls";
import { Empty, Loaded, NotAvailable, Value } from "../ui/states";
import { DiffCard } from "./problem/diff_card";
import { EvalCard } from "./problem/eval_card";
import { ProblemList } from "./problem/problem_list";
import { pairOf, neighbour } from "./problem/pair";
import { VersionChart } from "./problem/version_chart";
import "./rollouts.css";
import "./link.css";
import "./problem.css";

export default function Problem(): JSX.Element {
  const id = param("id");
  return id === null ? <ProblemList /> : <OneProblem key={id} id={id} />;
}

function OneProblem({ id }: { id: string }): JSX.Element {
  const filters = filtersOf();
  const sort = param("sort");
  const problem = useApi<ProblemDetail>("problem", { ...filters, sort, id }, ["rollouts", "fates", "evals"]);
  const data = problem.data;
  const show = (next: string | null): void => {
    if (next !== null) setParams({ id: next, a: null, b: null });
  };
  const pair = data ? pairOf(data, param("a"), param("b")) : null;
  const step = (side: "a" | "b", by: number): void => {
    const now = pair?.[side] ?? null;
    const next = data && now ? neighbour(data.rollouts, now, by) : null;
    if (next) setParams({ [side]: next }, { replace: true });
  };
  const keys = useRef({ step, previous: () => undefined as void, next: () => undefined as void, swap: () => undefined as void });
  keys.current = {
    step,
    previous: () => show(data?.previous ?? null),
    next: () => show(data?.next ?? null),
    swap: () => pair && setParams({ a: pair.b, b: pair.a }, { replace: true }),
  };
  useKeys(
    "Problem",
    useMemo(
      () => [
        { keys: "j", what: "next problem", run: () => keys.current.next() },
        { keys: "k", what: "problem before", run: () => keys.current.previous() },
        { keys: "]", what: "right side: later rollout", run: () => keys.current.step("b", 1) },
        { keys: "[", what: "right side: earlier rollout", run: () => keys.current.step("b", -1) },
        { keys: "}", what: "left side: later rollout", run: () => keys.current.step("a", 1) },
        { keys: "{", what: "left side: earlier rollout", run: () => keys.current.step("a", -1) },
        { keys: "x", what: "swap the sides", run: () => keys.current.swap() },
        { keys: "Escape", what: "all problems", run: () => setParams({ id: null, a: null, b: null }) },
      ],
      [],
    ),
  );
  return (
    <>
      <ViewHead title="Problem" what={<bdi class="mono">{oneLine(id)}</bdi>}>
        <button type="button" class="btn" disabled={!data?.previous} title="Problem before (k)" onClick={() => show(data?.previous ?? null)}>
          ↑ Before
        </button>
        <button type="button" class="btn" disabled={!data?.next} title="Next problem (j)" onClick={() => show(data?.next ?? null)}>
          ↓ Next
        </button>
        <button type="button" class="btn" title="Esc" onClick={() => setParams({ id: null, a: null, b: null })}>
          All problems
        </button>
      </ViewHead>
      <FilterChips />
      <Loaded resource={problem} what="The problem" height={420}>
        {(detail) => (
          <>
            <div class="grid">
              <Card class="w7 problem-text" title="What is asked" unit={detail.problem.source ?? ""}>
                <div class="problem-scroll">
                  <RolloutText text={detail.problem.text} math />
                </div>
                <p class="problem-gold">
                  <span class="dim small">Gold answer</span> <Value of={detail.problem.gold} show={(gold) => oneLine(gold)} />
                </p>
              </Card>
              <Card class="w5" title="So far">
                <Summary detail={detail} />
              </Card>
              {detail.rollouts.length ? (
                <VersionChart detail={detail} a={pair?.a ?? null} b={pair?.b ?? null} />
              ) : (
                <Card class="w12" title="Tokens by version">
                  <Empty title="No rollout of this problem passes the filters">Take a filter away, or wait for the problem's next group.</Empty>
                </Card>
              )}
            </div>
            {pair && <DiffCard detail={detail} a={pair.a} b={pair.b} />}
            <EvalCard rows={detail.evals} />
          </>
        )}
      </Loaded>
    </>
  );
}

function Summary({ detail }: { detail: ProblemDetail }): JSX.Element {
  const { summary } = detail;
  const id = summary.problem_id;
  const versions = detail.by_version.filter((one) => one.mean_tokens !== null);
  const [first, last] = [versions[0], versions.at(-1)];
  const shortest = detail.rollouts.find((row) => row.rollout_id === detail.shortest_correct);
  return (
    <dl class="facts">
      <dt>Rollouts</dt>
      <dd>
        <CountLink value={summary.rollouts} filters={{ problem_id: [id] }} />
        {summary.first_version !== null && ` by versions ${exact(summary.first_version)} to ${exact(summary.last_version ?? summary.first_version)}`}
      </dd>
      <dt>Right</dt>
      <dd>
        <CountLink value={summary.correct} filters={{ problem_id: [id], verdict: ["correct"] }} />
        {summary.pass_rate !== null && ` (${percent(summary.pass_rate)})`}
      </dd>
      <dt>Accepted</dt>
      <dd>
        <CountLink value={summary.accepted} filters={{ problem_id: [id], accepted: true }} />
        {", trained "}
        <CountLink value={summary.trained} filters={{ problem_id: [id], fate: ["trained"] }} />
      </dd>
      <dt>First solved</dt>
      <dd>{detail.first_solved_version === null ? <NotAvailable why="not_yet" detail="No version has solved it yet." /> : `by version ${exact(detail.first_solved_version)}`}</dd>
      <dt>Shortest right</dt>
      <dd>
        {detail.shortest_correct === null ? (
          <NotAvailable why="not_yet" detail="No right rollout yet." />
        ) : (
          <>
            <a href={href("rollouts", { problem_id: id, open: detail.shortest_correct })}>{plural(summary.shortest_correct ?? shortest?.n_tokens ?? 0, "token")}</a>
            {shortest?.last_version !== null && shortest !== undefined && ` by version ${exact(shortest.last_version ?? 0)}`}
          </>
        )}
      </dd>
      <dt>Mean tokens</dt>
      <dd>
        {first && last ? (
          <>
            {`${number(first.mean_tokens ?? 0)} by version ${exact(first.version)}`}
            {last !== first && ` → ${number(last.mean_tokens ?? 0)} by version ${exact(last.version)}`}
          </>
        ) : (
          <NotAvailable why="not_yet" />
        )}
      </dd>
      <dt>Difficulty</dt>
      <dd>
        <Value of={summary.difficulty} show={number} why="not_recorded" />
      </dd>
    </dl>
  );
}
