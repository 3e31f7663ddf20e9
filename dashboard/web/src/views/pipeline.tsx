/** Where the time goes between generators and learner, and what waits for what. */

import type { JSX } from "preact";
import type { Pipeline } from "../api_types";
import { LineChart } from "../charts/lines";
import { duration, exact, number, percent, plural } from "../format";
import { useApi } from "../resource";
import { href } from "../router";
import { oneLine } from "../text/plain";
import { Card, CountLink, ViewHead } from "../ui/controls";
import { FateLabel } from "../ui/fates";
import { Empty, Loaded, NotAvailable, Value } from "../ui/states";
import { LanesCard } from "./pipeline/lanes_card";
import { LearnerTime } from "./pipeline/learner_time";
import "./pipeline.css";

export default function PipelineView(): JSX.Element {
  const pipeline = useApi<Pipeline>("pipeline", { points: 600 }, ["metrics", "fates", "state"]);
  return (
    <>
      <ViewHead title="Pipeline" what="generators, queue, learner, weights" />
      <Loaded resource={pipeline} what="The pipeline" height={480} empty={(data) => (data.last_step === null && data.gauges.at_us.length === 0 ? ["Nothing has flowed yet", "The first optimizer step fills this."] : null)}>
        {(data) => (
          <>
            <p class={`verdict-line card ${data.bottleneck === "none" || data.bottleneck === "unknown" ? "" : "is-slow"}`}>
              <span class="small dim">Bottleneck</span>
              <span class="verdict-text">{data.sentence}</span>
            </p>
            <LearnerTime parts={data.learner_time} />
            <div class="grid">
              <Queue data={data} />
              <Rates data={data} />
            </div>
            <LanesCard first={data.first_step} last={data.last_step} />
            <div class="grid">
              <StepTimes data={data} />
              <LagOverTime data={data} />
              <LagTable data={data} />
              <LagByGenerator data={data} />
              <Drops data={data} />
            </div>
          </>
        )}
      </Loaded>
    </>
  );
}

function Queue({ data }: { data: Pipeline }): JSX.Element {
  const { gauges } = data;
  if (gauges.at_us.length === 0) {
    return (
      <Card class="w6" title="Queue and its capacity" unit="rollouts">
        <Empty title="No history of the queue">
          <NotAvailable why={data.gauges_why} />
          {" for this run: its gauges were not kept over time."}
        </Empty>
      </Card>
    );
  }
  return (
    <LineChart
      class="w6"
      title="Queue and its capacity"
      unit="rollouts; groups that are written"
      x={{ values: gauges.at_us, kind: "time" }}
      series={[
        { label: "queued", values: gauges.queued },
        { label: "capacity", values: gauges.capacity, dash: true, token: "filtered" },
        { label: "groups out", values: gauges.running_groups, token: "stale" },
        { label: "judging", values: gauges.judging, token: "truncated" },
      ].filter((one) => one.values.some((value) => value !== null)) as Parameters<typeof LineChart>[0]["series"]}
      zeroBased
    />
  );
}

function Rates({ data }: { data: Pipeline }): JSX.Element {
  return (
    <LineChart
      class="w6"
      title="Tokens written and trained"
      unit="tokens a second"
      x={{ values: data.steps.step, kind: "step" }}
      series={[
        { label: "written", values: data.steps.generated_tokens_per_s, token: "waiting" },
        { label: "trained", values: data.steps.trained_tokens_per_s, token: "trained" },
      ]}
      zeroBased
      group="pipeline"
    />
  );
}

function StepTimes({ data }: { data: Pipeline }): JSX.Element {
  return (
    <LineChart
      class="w6"
      title="Time of a step"
      unit="seconds"
      x={{ values: data.steps.step, kind: "step" }}
      series={[
        { label: "waits for data", values: data.steps.wait_s, token: "filtered" },
        { label: "fetches", values: data.steps.fetch_s, token: "stale" },
        { label: "computes", values: data.steps.compute_s, token: "trained" },
        { label: "publishes", values: data.steps.publish_s, token: "waiting" },
      ]}
      format={duration}
      zeroBased
      group="pipeline"
    />
  );
}

function LagOverTime({ data }: { data: Pipeline }): JSX.Element {
  const limit = data.max_lag === null ? [] : [{ label: "allowed", values: data.steps.step.map(() => data.max_lag), dash: true, token: "filtered" as const }];
  return (
    <LineChart
      class="w6"
      title="Largest lag of a step"
      unit="versions"
      x={{ values: data.steps.step, kind: "step" }}
      series={[{ label: "lag", values: data.steps.lag_max }, ...limit]}
      zeroBased
      group="pipeline"
      format={exact}
    />
  );
}

function LagTable({ data }: { data: Pipeline }): JSX.Element {
  const all = data.lag.reduce((sum, row) => sum + row.rollouts, 0);
  const most = Math.max(1, ...data.lag.map((row) => row.rollouts));
  const violations = data.lag_violations;
  return (
    <Card class="w4" title="Lag of trained rollouts" unit={data.max_lag === null ? "" : `allowed: ${exact(data.max_lag)}`}>
      {data.lag.length === 0 ? (
        <Empty title="Nothing was trained yet">The first optimizer step fills this.</Empty>
      ) : (
        <>
          <table class="table is-bars">
            <tbody>
              {data.lag.map((row) => {
                const isOver = data.max_lag !== null && row.lag > data.max_lag;
                return (
                  <tr key={row.lag}>
                    <th scope="row" class="num">
                      {exact(row.lag)}
                    </th>
                    <td class="bar-cell">
                      <span class={isOver ? "bar is-bad" : "bar"} style={{ width: `${(row.rollouts / most) * 100}%` }} />
                    </td>
                    <td class="num">
                      <CountLink value={row.rollouts} filters={row.filters} />
                    </td>
                    <td class="num dim">{percent(row.rollouts / Math.max(1, all))}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
          <p class="small soft">
            {"Median "}
            <Value of={data.lag_p50} show={number} />
            {", 95 % are within "}
            <Value of={data.lag_p95} show={number} />
            {". "}
            {data.max_lag === null ? (
              ""
            ) : (
              <span class={violations > 0 ? "worse" : ""}>{violations > 0 ? `${plural(violations, "rollout")} above the allowed lag.` : "None is above the allowed lag."}</span>
            )}
          </p>
        </>
      )}
    </Card>
  );
}

function LagByGenerator({ data }: { data: Pipeline }): JSX.Element {
  return (
    <Card class="w4" title="Lag by generator" unit="versions">
      {data.lag_by_generator.length === 0 ? (
        <Empty title="Nothing was trained yet" />
      ) : (
        <div class="scroll lag-scroll">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Generator</th>
                <th scope="col" class="num">Trained</th>
                <th scope="col" class="num">Median</th>
                <th scope="col" class="num">95 %</th>
                <th scope="col" class="num">Most</th>
              </tr>
            </thead>
            <tbody>
              {data.lag_by_generator.map((row) => (
                <tr key={row.generator_id}>
                  <td class="clip">
                    <a href={href("generators", { open: row.generator_id })}>
                      <bdi>{oneLine(row.generator_id)}</bdi>
                    </a>
                  </td>
                  <td class="num">
                    <CountLink value={row.rollouts} filters={{ generator_id: [row.generator_id], fate: ["trained"] }} short />
                  </td>
                  <td class="num">{number(row.p50)}</td>
                  <td class="num">{number(row.p95)}</td>
                  <td class="num">{number(row.max)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function Drops({ data }: { data: Pipeline }): JSX.Element {
  return (
    <Card class="w4" title="Accepted, but not trained">
      {data.drops.every((drop) => drop.rollouts === 0) ? (
        <Empty title="Nothing was dropped">Every accepted rollout was trained or still waits.</Empty>
      ) : (
        <table class="table">
          <tbody>
            {data.drops.map((drop) => (
              <tr key={drop.fate}>
                <td>
                  <FateLabel name={drop.fate} />
                </td>
                <td class={drop.rollouts === 0 ? "num is-zero" : "num"}>
                  <CountLink value={drop.rollouts} filters={drop.filters} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}
