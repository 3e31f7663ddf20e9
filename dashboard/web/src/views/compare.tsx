/** Runs beside each other: outcome, curves, and the keys in which they differ. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { Compare, Metrics, RunInfo, Runs } from "../api_types";
import { LineChart, type Series } from "../charts/lines";
import { count, duration, exact, number, percent, words } from "../format";
import { useApi } from "../resource";
import { href, param, paramList, runParam, setParams } from "../router";
import { oneLine } from "../text/plain";
import { Card, UrlSegmented, ViewHead } from "../ui/controls";
import { Empty, Loaded, NotAvailable } from "../ui/states";
import { align, type Axis } from "./compare/align";
import { Dropdown } from "./rollouts/facets";
import "./compare.css";
import "./rollouts.css";

/** Colours tell no more runs than these apart. */
const MOST_RUNS = 6;

export default function CompareView(): JSX.Element {
  const runs = useApi<Runs>("runs", { run: null }, ["events"]);
  return (
    <Loaded resource={runs} what="The runs">
      {(data) => {
        const readable = data.runs.filter((run) => run.status !== "unreadable" && run.status !== "empty");
        return readable.length < 2 ? (
          <>
            <ViewHead title="Compare" />
            <Empty title="There is one run only">Start the page with several run folders, laconic dashboard RUN RUN …, to see them beside each other.</Empty>
          </>
        ) : (
          <Compared runs={readable} />
        );
      }}
    </Loaded>
  );
}

function Compared({ runs }: { runs: readonly RunInfo[] }): JSX.Element {
  const asked = paramList("with").filter((name) => runs.some((run) => run.name === name));
  const first = runParam.value ?? runs[0]?.name ?? "";
  const names = (asked.length ? asked : [first, ...runs.map((run) => run.name).filter((name) => name !== first)]).slice(0, asked.length ? MOST_RUNS : 3);
  const baseline = names.find((name) => name === param("baseline")) ?? names[0] ?? "";
  const compare = useApi<Compare>("compare", { run: names, baseline }, ["metrics", "evals"]);
  const toggle = (name: string): void => setParams({ with: names.includes(name) ? names.filter((one) => one !== name) : [...names, name] });
  return (
    <>
      <ViewHead title="Compare" what={`${exact(names.length)} of ${exact(runs.length)} runs`}>
        <Dropdown label="Runs" detail={String(names.length)} isOn>
          <ul class="facet-values">
            {runs.map((run) => (
              <li key={run.name}>
                <label>
                  <input type="checkbox" checked={names.includes(run.name)} disabled={names.includes(run.name) ? names.length <= 2 : names.length >= MOST_RUNS} onChange={() => toggle(run.name)} />
                  <span class="clip">{oneLine(run.name)}</span>
                </label>
              </li>
            ))}
          </ul>
        </Dropdown>
        <label class="labelled">
          baseline
          <select class="field" value={baseline} onChange={(event) => setParams({ baseline: event.currentTarget.value })}>
            {names.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      </ViewHead>
      <Loaded resource={compare} what="The comparison" height={400}>
        {(data) => (
          <>
            <Outcome data={data} />
            <Curves names={names} all={data.names.filter(isCurve)} />
            <ConfigDiff data={data} />
          </>
        )}
      </Loaded>
    </>
  );
}

function show(value: number, unit: string): string {
  if (unit === "share") return percent(value);
  if (unit === "s") return duration(value);
  return unit === "tokens" || unit === "rollouts" ? count(value) : number(value);
}

/** Nothing where the two figures read alike. */
function Word({ word, isAlike }: { word: Compare["outcome"][number]["words"][number]; isAlike: boolean }): JSX.Element {
  const shown = word === null || word === "same" || isAlike ? "" : word;
  return <span class={`compare-word ${shown}`}>{shown}</span>;
}

function Outcome({ data }: { data: Compare }): JSX.Element {
  const base = data.runs.findIndex((run) => run.name === data.baseline);
  return (
    <section class="card is-flush scroll-x" aria-label="Outcome">
      <table class="table compare-table">
        <thead>
          <tr>
            <th scope="col">Outcome</th>
            {data.runs.map((run) => (
              <th key={run.name} scope="col" class="num">
                <a href={href("overview", { run: run.name })}>{oneLine(run.name)}</a>
                <span class="compare-kind small dim">{[run.name === data.baseline ? "baseline" : "", run.synthetic ? "synthetic" : ""].filter(Boolean).join(", ")}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {data.outcome.map((row) => (
            <tr key={row.key}>
              <th scope="row">
                {row.label}
                {row.unit && !["share", "s"].includes(row.unit) && !row.label.toLowerCase().includes(row.unit) && <span class="dim"> {row.unit}</span>}
              </th>
              {row.values.map((value, at) => (
                <td key={data.runs[at]?.name} class="num">
                  {value === null ? <NotAvailable why={row.why[at]} /> : show(value, row.unit)}
                  <Word word={row.words[at] ?? null} isAlike={value !== null && show(value, row.unit) === show(row.values[base] ?? NaN, row.unit)} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Times of day and counters of steps are places on an axis, no curves. */
function isCurve(name: string): boolean {
  return !/_us$|^(step|steps|version|seconds)$/.test(name);
}

const USUAL = ["mean_tokens", "loss", "accepted_tokens_mean", "grad_norm"];

function Curves({ names, all }: { names: readonly string[]; all: readonly string[] }): JSX.Element {
  const asked = paramList("metric").filter((name) => all.includes(name));
  const chosen = asked.length ? asked : USUAL.filter((name) => all.includes(name));
  const axis = (param("align") ?? "step") as Axis;
  const metrics = useApi<Metrics>(chosen.length ? "metrics" : null, { run: names, names: chosen }, ["metrics"]);
  const toggle = (name: string): void => setParams({ metric: chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name] });
  return (
    <section class="compare-curves" aria-label="Curves">
      <div class="view-head">
        <h2>Curves</h2>
        <div class="row push">
          <UrlSegmented
            name="align"
            label="aligned by"
            options={[
              { value: "step", label: "step" },
              { value: "tokens", label: "generated tokens" },
              { value: "time", label: "time" },
            ]}
          />
          <Dropdown label="Metrics" detail={String(chosen.length)} isOn={asked.length > 0}>
            <ul class="facet-values">
              {all.map((name) => (
                <li key={name}>
                  <label>
                    <input type="checkbox" checked={chosen.includes(name)} onChange={() => toggle(name)} />
                    <span class="clip">{words(name)}</span>
                  </label>
                </li>
              ))}
            </ul>
          </Dropdown>
        </div>
      </div>
      {chosen.length === 0 ? (
        <Empty title="No metric is picked" />
      ) : (
        <Loaded resource={metrics} what="The metrics" height={220}>
          {(data) => (
            <div class="grid">
              {chosen.map((name) => (
                <RunCurves key={name} name={name} data={data} axis={axis} width={chosen.length === 1 ? "w12" : "w6"} />
              ))}
            </div>
          )}
        </Loaded>
      )}
    </section>
  );
}

function RunCurves({ name, data, axis, width }: { name: string; data: Metrics; axis: Axis; width: string }): JSX.Element {
  const aligned = useMemo(() => align(data.series, name, axis), [data, name, axis]);
  const series: Series[] = aligned.lines.map((line) => ({ label: oneLine(line.run), values: line.values }));
  const unit = { step: "", tokens: "over generated tokens", time: "over seconds" }[axis];
  return <LineChart class={width} title={words(name)} unit={unit} x={{ values: aligned.x, kind: axis === "step" ? "step" : "number" }} series={series} format={number} group={`compare ${axis}`} />;
}

function ConfigDiff({ data }: { data: Compare }): JSX.Element {
  const isAll = param("keys") === "all";
  const rows = data.config.filter((row) => isAll || row.differs);
  const differing = data.config.filter((row) => row.differs).length;
  return (
    <Card
      class="compare-config"
      title="Configuration"
      unit={`${exact(differing)} of ${exact(data.config.length)} keys differ`}
      actions={
        <UrlSegmented
          name="keys"
          label="show"
          options={[
            { value: "differing", label: "differing" },
            { value: "all", label: "all" },
          ]}
        />
      }
    >
      {rows.length === 0 ? (
        <Empty title="Their configurations are the same" />
      ) : (
        <div class="scroll-x">
          <table class="table compare-table">
            <thead>
              <tr>
                <th scope="col">Key</th>
                {data.runs.map((run) => (
                  <th key={run.name} scope="col">
                    {oneLine(run.name)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.key} class={row.differs ? "" : "dim"}>
                  <th scope="row" class="mono">
                    {oneLine(row.key)}
                  </th>
                  {row.values.map((value, at) => (
                    <td key={data.runs[at]?.name} class={row.differs ? "mono strong" : "mono"}>
                      {value === null ? <NotAvailable why="not_applicable" detail="This run has no such key." /> : oneLine(value)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}
