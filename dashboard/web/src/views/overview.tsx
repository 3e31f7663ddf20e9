/** V1: is the run well, and is it getting where it should? On one screen. */
import type { JSX } from "preact";
import type { Alarm, ChartSpec, Metrics, Overview, RunSeries } from "../api_types";
import { LineChart } from "../charts/lines";
import { distinctWords, duration, exact, plural, withoutUnit, words } from "../format";
import { latest } from "../live";
import { useApi } from "../resource";
import { href, param, setParams } from "../router";
import { Card, Segmented, Time, ViewHead } from "../ui/controls";
import { Empty, Loaded } from "../ui/states";
import { RolloutBar } from "./overview/rollout_bar";
import { TileGrid } from "./overview/tiles";

const ALL = "all";

export default function OverviewPage(): JSX.Element {
  const overview = useApi<Overview>("overview", {}, ["state", "rollouts", "fates", "metrics", "events", "evals", "alarms"]);
  const isAll = param("metrics") === ALL;
  return (
    <>
      <ViewHead title="Overview" what={overview.data ? <Progress data={overview.data} /> : undefined}>
        <Segmented
          label="Metrics"
          options={[{ value: "curated", label: "Six charts" }, { value: ALL, label: "All metrics" }]}
          value={isAll ? ALL : "curated"}
          onChange={(value) => setParams({ metrics: value === ALL ? ALL : null })}
        />
      </ViewHead>
      <Loaded resource={overview} what="The overview" height={600}>
        {(data) => (
          <div class="stack" style={{ gap: "12px" }}>
            <Troubles data={data} />
            {!isAll && <TileGrid tiles={data.tiles} />}
            {!isAll && <RolloutBar counts={data.counts} />}
            {isAll ? <AllMetrics /> : <Charts charts={data.charts} />}
            {!isAll && <Links links={data.links} />}
          </div>
        )}
      </Loaded>
    </>
  );
}

function Progress({ data }: { data: Overview }): JSX.Element {
  const step = data.steps === null ? `step ${exact(data.step)}` : `step ${exact(data.step)} of ${exact(data.steps)}`;
  const parts = [
    words(data.phase ?? data.info.status),
    step,
    `version ${exact(data.version)}`,
    ...(data.seconds === null ? [] : [`${duration(data.seconds)} so far`]),
    ...(data.eta_s === null || data.info.status === "finished" ? [] : [`about ${duration(data.eta_s)} to go`]),
  ];
  return <>{parts.join(" · ")}</>;
}

const LEVEL_CLASS: Record<Alarm["level"], string> = { critical: "is-bad", warning: "is-warn", tip: "" };
const MOST_ALARMS = 2;

/** Stall, last error and the worst alarms; nothing when all is well. */
function Troubles({ data }: { data: Overview }): JSX.Element | null {
  const alarms = (latest.value?.alarms ?? data.alarms).filter((alarm) => alarm.until_us === null && alarm.acked === null);
  const isCritical = alarms.some((alarm) => alarm.level === "critical");
  const shown = alarms.filter((alarm) => !isCritical || alarm.level !== "tip").slice(0, MOST_ALARMS);
  if (!data.stalled && !data.last_error && shown.length === 0) return null;
  return (
    <div class="stack" style={{ gap: "4px" }}>
      {data.stalled && (
        <p class="banner is-bad" role="alert" style={{ margin: 0 }}>
          <span class="strong">{data.stalled}</span>
          {data.progress_us !== null && (
            <span class="soft">
              last progress <Time us={data.progress_us} />
            </span>
          )}
        </p>
      )}
      {data.last_error && (
        <p class="banner is-warn" style={{ margin: 0 }}>
          <span class="strong nowrap">Last error</span>
          <span class="clip mono" title={data.last_error.text}>
            {data.last_error.text}
          </span>
          <a class="push nowrap" href={href("logs", { level: "ERROR" })}>
            <Time us={data.last_error.at_us} />
          </a>
        </p>
      )}
      {shown.map((alarm) => (
        <a key={alarm.id} class={`banner ${LEVEL_CLASS[alarm.level]}`} style={{ margin: 0, color: "inherit" }} href={href("health")}>
          <span class="strong nowrap">{alarm.title}</span>
          <span class="clip soft">{alarm.text}</span>
          <span class="push nowrap dim">
            since <Time us={alarm.since_us} />
          </span>
        </a>
      ))}
      {alarms.length > shown.length && (
        <a class="small" href={href("health")}>
          {plural(alarms.length - shown.length, "more alarm")}
        </a>
      )}
    </div>
  );
}

function Charts({ charts }: { charts: readonly ChartSpec[] }): JSX.Element {
  const names = [...new Set(charts.flatMap((chart) => chart.names))];
  const metrics = useApi<Metrics>(names.length ? "metrics" : null, { names }, ["metrics", "events"]);
  if (names.length === 0) return <NoSteps />;
  return (
    <Loaded resource={metrics} what="The metrics" height={380} empty={(data) => (data.series[0]?.step.length ? null : NO_STEPS)}>
      {({ series }) => {
        const [run] = series;
        return run && <div class="grid" style={{ rowGap: "12px" }}>{charts.map((chart) => <MetricChart key={chart.title} chart={chart} run={run} height={120} class={charts.length > 4 ? "w4" : "w6"} />)}</div>;
      }}
    </Loaded>
  );
}

const NO_STEPS: [string, string] = ["No optimizer step yet", "The first step that is taken fills these charts."];

function NoSteps(): JSX.Element {
  return <Empty title={NO_STEPS[0]}>{NO_STEPS[1]}</Empty>;
}

function MetricChart({ chart, run, height, class: name }: { chart: ChartSpec; run: RunSeries; height: number; class: string }): JSX.Element {
  const labels = distinctWords(chart.names);
  return (
    <LineChart
      title={chart.title}
      unit={chart.unit}
      height={height}
      class={name}
      x={{ values: run.step, kind: "step" }}
      series={chart.names.map((one, index) => ({
        label: labels[index] ?? words(one),
        values: run.columns[one] ?? run.step.map(() => null),
        nan: run.nan[one],
      }))}
      marks={run.marks}
      zeroBased={chart.zero_based}
    />
  );
}

/** Names that only say where a row belongs. */
const NOT_METRICS = new Set(["step", "steps", "at_us", "version"]);

function AllMetrics(): JSX.Element {
  const metrics = useApi<Metrics>("metrics", {}, ["metrics", "events"]);
  const wanted = (param("name") ?? "").toLowerCase();
  return (
    <Loaded resource={metrics} what="The metrics" height={600} empty={(data) => (data.series[0]?.step.length ? null : NO_STEPS)}>
      {({ series }) => {
        const [run] = series;
        if (!run) return null;
        const names = run.available.filter((one) => !NOT_METRICS.has(one) && !one.endsWith("_us") && one.toLowerCase().includes(wanted));
        return (
          <>
            <div class="row" style={{ marginBottom: "12px" }}>
              <input class="field" type="search" placeholder="name contains" aria-label="Name contains" value={param("name") ?? ""} onInput={(event) => setParams({ name: event.currentTarget.value }, { replace: true })} />
              <span class="soft">{`${exact(names.length)} of ${exact(run.available.length)} recorded names, by optimizer step`}</span>
            </div>
            <div class="grid" style={{ rowGap: "12px" }}>
              {names.map((one) => (
                <MetricChart key={one} chart={{ title: withoutUnit(one), unit: unitOf(one), names: [one], zero_based: false }} run={run} height={120} class="w3" />
              ))}
            </div>
          </>
        );
      }}
    </Loaded>
  );
}

function unitOf(name: string): string {
  if (name.endsWith("_per_s")) return "per second";
  if (name.endsWith("_s")) return "seconds";
  if (name.endsWith("_ms")) return "milliseconds";
  if (name.endsWith("_bytes")) return "bytes";
  return "";
}

function Links({ links }: { links: Overview["links"] }): JSX.Element | null {
  const safe = links.filter((link) => /^https?:\/\//.test(link.url));
  if (safe.length === 0) return null;
  return (
    <Card>
      <div class="row wrap">
        <span class="dim">Elsewhere</span>
        {safe.map((link) => (
          <a key={link.url} href={link.url} rel="noreferrer noopener" target="_blank">
            {link.label}
          </a>
        ))}
      </div>
    </Card>
  );
}
