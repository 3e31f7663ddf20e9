/** The engines: which one is alive, how fast, how far behind, and which is not like the others. */

import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { EngineHistory, EngineRow, Filters, Generators, Why } from "../api_types";
import { LineChart, type Series } from "../charts/lines";
import { count, duration, exact, percent } from "../format";
import { useApi } from "../resource";
import { href, param, setParams } from "../router";
import { oneLine } from "../text/plain";
import { Card, CountLink, Time, ViewHead } from "../ui/controls";
import { Empty, Loaded, NotAvailable } from "../ui/states";
import "./generators.css";

interface Gauge {
  key: keyof EngineRow & string;
  label: string;
  show: (value: number) => string;
  title?: string;
}

const GAUGES: readonly Gauge[] = [
  { key: "version", label: "Version", show: exact },
  { key: "lag", label: "Lag", show: exact, title: "Versions behind the learner" },
  { key: "running", label: "Running", show: exact, title: "Requests that it writes" },
  { key: "waiting", label: "Waiting", show: exact, title: "Requests that wait for a slot" },
  { key: "kv_use", label: "KV", show: (value) => percent(value, 0), title: "Use of the key-value cache" },
  { key: "tokens_per_s", label: "Tokens/s", show: count },
  { key: "prefix_hit_share", label: "Prefix hits", show: (value) => percent(value, 0) },
  { key: "preemptions", label: "Preempted", show: exact },
  { key: "ttft_ms", label: "First token", show: (value) => duration(value / 1000), title: "Time to the first token" },
  { key: "itl_ms", label: "Per token", show: (value) => duration(value / 1000), title: "Time between tokens" },
  { key: "stalled_s", label: "Stalled", show: duration, title: "Seconds that it stood still to take weights" },
  { key: "restarts", label: "Restarts", show: exact },
];

export default function GeneratorsView(): JSX.Element {
  const generators = useApi<Generators>("generators", {}, ["state", "events"]);
  const open = param("open");
  useEffect(() => {
    if (open) document.getElementById(`engine-${open}`)?.scrollIntoView({ block: "nearest" });
  }, [open, generators.data === null]);
  return (
    <>
      <ViewHead title="Generators" what={generators.data ? `${exact(generators.data.engines.length)} engines` : ""} />
      <Loaded resource={generators} what="The engines" height={400} empty={(data) => (data.engines.length ? null : ["No engine has reported", "Engines report once they serve; a run that is over keeps their last word."])}>
        {(data) => (
          <>
            <section class="card is-flush scroll-x engines" aria-label="Engines">
              <EngineTable data={data} open={open} />
            </section>
            <div class="grid">
              <History title="Tokens a second" unit="tokens/s" column="tokens_per_s" data={data} open={open} />
              <History title="Running requests" unit="requests" column="running" data={data} open={open} />
              <History title="Use of the key-value cache" unit="share" column="kv_use" data={data} open={open} />
              <History title="Waiting requests" unit="requests" column="waiting" data={data} open={open} />
            </div>
            <EngineEvents data={data} />
          </>
        )}
      </Loaded>
    </>
  );
}

function EngineTable({ data, open }: { data: Generators; open: string | null }): JSX.Element {
  const shown = GAUGES.filter((gauge) => data.engines.some((engine) => engine[gauge.key] !== null));
  const hidden = GAUGES.filter((gauge) => !shown.includes(gauge));
  return (
    <>
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Engine</th>
            <th scope="col">State</th>
            {shown.map((gauge) => (
              <th key={gauge.key} scope="col" class="num" title={gauge.title}>
                {gauge.label}
              </th>
            ))}
            <th scope="col" class="num">Rollouts</th>
            <th scope="col" class="num">Accepted</th>
          </tr>
        </thead>
        <tbody>
          {data.engines.map((engine) => (
            <EngineLine key={engine.name} engine={engine} gauges={shown} isOpen={engine.name === open} />
          ))}
        </tbody>
        <tfoot>
          {(["min", "median", "max"] as const).map((which) => (
            <tr key={which} class="spread">
              <th scope="row">{{ min: "lowest", median: "median", max: "highest" }[which]}</th>
              <td />
              {shown.map((gauge) => {
                const spread = data.spread[gauge.key] ?? spreadOfColumn(data.engines, gauge.key);
                return (
                  <td key={gauge.key} class="num">
                    {spread ? gauge.show(spread[which]) : <NotAvailable why="not_applicable" />}
                  </td>
                );
              })}
              <td colSpan={2} />
            </tr>
          ))}
        </tfoot>
      </table>
      {hidden.length > 0 && <p class="small dim engines-note">{`Not recorded by this run: ${hidden.map((gauge) => gauge.label.toLowerCase()).join(", ")}.`}</p>}
    </>
  );
}

/** Of what the server keeps no spread for. */
function spreadOfColumn(engines: readonly EngineRow[], key: Gauge["key"]): Record<"min" | "median" | "max", number> | null {
  const values = engines.map((engine) => engine[key]).filter((value): value is number => typeof value === "number").sort((a, b) => a - b);
  const [min, median, max] = [values[0], values[Math.floor((values.length - 1) / 2)], values.at(-1)];
  return min === undefined || median === undefined || max === undefined ? null : { min, median, max };
}

function EngineLine({ engine, gauges, isOpen }: { engine: EngineRow; gauges: readonly Gauge[]; isOpen: boolean }): JSX.Element {
  return (
    <tr id={`engine-${engine.name}`} class={isOpen ? "is-open" : ""} onClick={() => setParams({ open: isOpen ? null : engine.name })}>
      <td>
        <span class="strong nowrap">{oneLine(engine.name)}</span>
        <span class="small dim engine-place">
          {[engine.node, engine.gpu].filter(Boolean).map((one) => `${oneLine(one ?? "")} `)}
          {engine.log === null ? "no log" : <a href={href("logs", { file: engine.log })}>log</a>}
        </span>
      </td>
      <td>
        {engine.silent ? (
          <span class="engine-state is-silent">{engine.silent}</span>
        ) : (
          <span class="engine-state">{oneLine(engine.state)}</span>
        )}
        <span class="small dim engine-place">{engine.heartbeat_us === null ? <NotAvailable why={engine.missing["heartbeat_us"]} /> : <Time us={engine.heartbeat_us} />}</span>
      </td>
      {gauges.map((gauge) => {
        const value = engine[gauge.key] as number | null;
        const isOutlier = engine.outlier.includes(gauge.key);
        return (
          <td key={gauge.key} class={isOutlier ? "num is-outlier" : "num"} title={isOutlier ? `${gauge.label}: far from the other engines` : undefined}>
            {value === null ? <NotAvailable why={engine.missing[gauge.key] as Why | undefined} /> : gauge.show(value)}
            {isOutlier && <span aria-label="unlike the others"> ▲</span>}
          </td>
        );
      })}
      <td class="num">
        <CountLink value={engine.rollouts} filters={engine.filters} short />
      </td>
      <td class="num">
        <CountLink value={engine.accepted} filters={{ ...engine.filters, accepted: true } as Filters} short />
      </td>
    </tr>
  );
}

/** More engines than colours can tell apart: the middle, the extremes and the one that is picked. */
const MOST_LINES = 6;

function History(props: { title: string; unit: string; column: string; data: Generators; open: string | null }): JSX.Element | null {
  const { title, unit, column, data, open } = props;
  const histories = data.history.filter((one) => one.columns[column]?.some((value) => value !== null));
  if (data.history.length === 0) {
    return column === "tokens_per_s" ? (
      <Card class="w12" title="Over time">
        <Empty title="No history of the engines">
          <NotAvailable why={data.history_why} />
          {" for this run: only the newest gauges were kept."}
        </Empty>
      </Card>
    ) : null;
  }
  if (histories.length === 0) return null;
  const times = [...new Set(histories.flatMap((one) => one.at_us))].sort((a, b) => a - b);
  return (
    <LineChart
      class="w6"
      title={title}
      unit={unit}
      x={{ values: times, kind: "time" }}
      series={histories.length <= MOST_LINES ? histories.map((one) => lineOf(one, column, times, open)) : spreadOf(histories, column, times, open)}
      zeroBased
      group="engines"
    />
  );
}

function aligned(history: EngineHistory, column: string, times: readonly number[]): (number | null)[] {
  const known = new Map(history.at_us.map((at, index) => [at, history.columns[column]?.[index] ?? null]));
  return times.map((at) => known.get(at) ?? null);
}

function lineOf(history: EngineHistory, column: string, times: readonly number[], open: string | null): Series {
  return { label: oneLine(history.name), values: aligned(history, column, times), faint: open !== null && open !== history.name };
}

function spreadOf(histories: readonly EngineHistory[], column: string, times: readonly number[], open: string | null): Series[] {
  const all = histories.map((one) => aligned(one, column, times));
  const at = (index: number): number[] => all.map((values) => values[index] ?? null).filter((value): value is number => value !== null).sort((a, b) => a - b);
  const sorted = times.map((_, index) => at(index));
  const series: Series[] = [
    { label: "highest", values: sorted.map((values) => values.at(-1) ?? null), dash: true, token: "stale" },
    { label: "median", values: sorted.map((values) => values[Math.floor(values.length / 2)] ?? null) },
    { label: "lowest", values: sorted.map((values) => values[0] ?? null), dash: true, token: "stale" },
  ];
  const picked = histories.find((one) => one.name === open);
  return picked ? [...series, { label: oneLine(picked.name), values: aligned(picked, column, times), token: "filtered" }] : series;
}

function EngineEvents({ data }: { data: Generators }): JSX.Element {
  return (
    <Card class="engine-events" title="What happened to engines">
      {data.events.length === 0 ? (
        <Empty title="Nothing yet">Starts, restarts and losses of engines are listed here.</Empty>
      ) : (
        <div class="scroll">
          <table class="table">
            <tbody>
              {data.events.slice(0, 100).map((event, at) => (
                <tr key={at}>
                  <td class="event-time">
                    <Time us={event.at_us} />
                  </td>
                  <td class="strong nowrap">{event.kind.replaceAll("_", " ")}</td>
                  <td>{oneLine(event.text)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

