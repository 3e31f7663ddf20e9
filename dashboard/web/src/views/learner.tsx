/** The learner's curves: loss, gradients, tokens, agreement with the engines, time and memory. */

import type { JSX } from "preact";
import type { Learner, Metrics, RunSeries } from "../api_types";
import { LineChart } from "../charts/lines";
import { exact, number, plural, words } from "../format";
import { useApi } from "../resource";
import { param, setParams } from "../router";
import { Card, UrlSegmented, ViewHead } from "../ui/controls";
import { Empty, Loaded, NotAvailable } from "../ui/states";
import { smoothed } from "./learner/smooth";
import "./learner.css";

type Chart = Learner["charts"][number];
const FACTORS = ["1", "5", "20"] as const;

export default function LearnerView(): JSX.Element {
  const learner = useApi<Learner>("learner", {}, ["metrics"]);
  const all = param("all") !== null;
  const names = learner.data?.charts.flatMap((chart) => chart.names) ?? [];
  const metrics = useApi<Metrics>(learner.data ? "metrics" : null, all ? {} : { names }, ["metrics"]);
  return (
    <>
      <ViewHead title="Learner" what={learner.data ? stepsText(learner.data) : ""}>
        <UrlSegmented name="x" label="" options={[{ value: "step", label: "steps" }, { value: "time", label: "time" }]} />
        <UrlSegmented name="smooth" label="smooth" options={FACTORS.map((value) => ({ value, label: value === "1" ? "off" : value, title: value === "1" ? "" : `mean of ${value} steps` }))} />
        <button type="button" class="btn" aria-pressed={all} onClick={() => setParams({ all: all ? null : 1 })}>
          All metrics
        </button>
      </ViewHead>
      {learner.data?.batch_unequal && <p class="banner is-warn">{learner.data.batch_text}</p>}
      <Loaded resource={learner} what="The learner" height={400}>
        {(data) => (
          <Loaded resource={metrics} what="The metrics" height={400} empty={(answer) => (answer.series[0]?.step.length ? null : ["No step yet", "The first optimizer step fills these charts."])}>
            {(answer) => {
              const series = answer.series[0];
              if (!series) return null;
              return all ? <AllMetrics series={series} /> : <Groups learner={data} series={series} />;
            }}
          </Loaded>
        )}
      </Loaded>
    </>
  );
}

function stepsText(learner: Learner): string {
  const parts = [learner.batch_unequal ? "" : learner.batch_text];
  if (learner.skipped_steps > 0) parts.push(`${plural(learner.skipped_steps, "step")} skipped`);
  if (learner.diverged_steps > 0) parts.push(`${exact(learner.diverged_steps)} not finite`);
  return parts.filter(Boolean).join("; ");
}

function Groups({ learner, series }: { learner: Learner; series: RunSeries }): JSX.Element {
  const groups = [...new Set(learner.charts.map((chart) => chart.group))];
  if (groups.length === 0) return <Empty title="No metric of the learner was recorded" />;
  return (
    <>
      {groups.map((group) => (
        <section key={group} class="learner-group" aria-label={group}>
          <h2>{group}</h2>
          <div class="grid">
            {learner.charts
              .filter((chart) => chart.group === group)
              .map((chart, _, inGroup) => (
                <MetricChart key={chart.title} chart={chart} series={series} width={inGroup.length === 1 ? "w12" : inGroup.length === 2 || inGroup.length === 4 ? "w6" : "w4"} />
              ))}
          </div>
        </section>
      ))}
    </>
  );
}

function MetricChart({ chart, series, width }: { chart: Chart; series: RunSeries; width: string }): JSX.Element {
  const known = chart.names.filter((name) => series.columns[name]?.some((value) => value !== null) || series.nan[name]?.length);
  if (known.length === 0) {
    return (
      <Card class={width} title={chart.title} unit={chart.unit === "share" ? "" : chart.unit}>
        <Empty title="No value">
          <NotAvailable why={Object.values(chart.missing)[0]} />
        </Empty>
      </Card>
    );
  }
  return <Curves title={chart.title} unit={chart.unit} zeroBased={chart.zero_based} names={known} series={series} width={width} />;
}

function Curves(props: { title: string; unit: string; zeroBased: boolean; names: readonly string[]; series: RunSeries; width: string }): JSX.Element {
  const { names, series } = props;
  const factor = Number(param("smooth") ?? 1);
  const isTime = param("x") === "time" && series.at_us.every((at) => at !== null);
  const lines = names.flatMap((name) => {
    const raw = { label: words(name), values: series.columns[name] ?? [], nan: series.nan[name] };
    return factor > 1 ? [{ ...raw, label: `${words(name)}, raw`, faint: true }, { label: words(name), values: smoothed(raw.values, factor) }] : [raw];
  });
  return (
    <LineChart
      class={props.width}
      title={props.title}
      unit={factor > 1 && props.unit !== "share" ? [props.unit, `mean of ${factor} steps`].filter(Boolean).join("; ") : props.unit}
      x={isTime ? { values: series.at_us as number[], kind: "time" } : { values: series.step, kind: "step" }}
      series={lines}
      marks={series.marks}
      zeroBased={props.zeroBased}
      group="learner"
      {...(props.unit === "share" ? {} : { format: number })}
    />
  );
}

function AllMetrics({ series }: { series: RunSeries }): JSX.Element {
  const search = param("search") ?? "";
  const names = series.available.filter((name) => !name.endsWith("_us") && name.toLowerCase().includes(search.toLowerCase()));
  return (
    <>
      <div class="row chips">
        <input class="field search" type="search" defaultValue={search} placeholder="Name of a metric" aria-label="Find a metric" onInput={(event) => setParams({ search: event.currentTarget.value || null }, { replace: true })} />
        <span class="small dim">{`${exact(names.length)} of ${exact(series.available.length)} metrics`}</span>
      </div>
      <div class="grid">
        {names.slice(0, 60).map((name) => (
          <Curves key={name} title={name} unit="" zeroBased={false} names={[name]} series={series} width="w4" />
        ))}
      </div>
      {names.length > 60 && <p class="note">Only the first 60 are drawn: narrow the search.</p>}
    </>
  );
}
