/** How good and how long at each checkpoint, and which problems flipped between two of them. */

import type { JSX } from "preact";
import type { EvalRow, Evals } from "../api_types";
import { LineChart } from "../charts/lines";
import { count, exact, interval, number, percent, plural } from "../format";
import { useApi } from "../resource";
import { param, setParams } from "../router";
import { oneLine } from "../text/plain";
import { Time, ViewHead } from "../ui/controls";
import { Loaded, NotAvailable } from "../ui/states";
import { Disagreements } from "./evals/disagreements";
import { FlipsCard } from "./evals/flips_card";
import "./link.css";
import "./evals.css";
import "./problem.css";
import "./rollouts.css";

export default function EvalsView(): JSX.Element {
  const evals = useApi<Evals>("evals", {}, ["evals"]);
  return (
    <>
      <ViewHead title="Evals" what="held-out problems, never filtered" />
      <Loaded resource={evals} what="The evaluations" height={420} empty={(data) => (data.rows.length ? null : ["No evaluation yet", "Evaluations before the first step, every eval.every steps and after the last fill this."])}>
        {(data) => {
          const benchmarks = [...new Set(data.rows.map((row) => row.benchmark))];
          const chosen = benchmarks.find((name) => name === param("benchmark")) ?? benchmarks[0] ?? "";
          const rows = data.rows.filter((row) => row.benchmark === chosen);
          return (
            <>
              {benchmarks.length > 1 && <Benchmarks names={benchmarks} chosen={chosen} />}
              <div class="grid">
                <Curve rows={rows} title="Accuracy" unit="share right, pass@1; band: 95 %" value={(row) => row.pass_at_1} low={(row) => row.pass_low} high={(row) => row.pass_high} show={(value) => percent(value, Number.isInteger(Math.round(value * 1000) / 10) ? 0 : 1)} />
                <Curve rows={rows} title="Tokens" unit="mean of a response; band: 95 %" value={(row) => row.mean_tokens} low={(row) => row.tokens_low} high={(row) => row.tokens_high} show={number} />
              </div>
              <Checkpoints rows={rows} />
              {rows.length > 1 && <FlipsCard rows={rows} benchmark={chosen} />}
              <Disagreements data={data.disagreements} />
            </>
          );
        }}
      </Loaded>
    </>
  );
}

function Benchmarks({ names, chosen }: { names: readonly string[]; chosen: string }): JSX.Element {
  return (
    <div class="tabs" role="tablist" aria-label="Benchmarks">
      {names.map((name) => (
        <button key={name} type="button" role="tab" aria-selected={name === chosen} onClick={() => setParams({ benchmark: name === names[0] ? null : name })}>
          {oneLine(name)}
        </button>
      ))}
    </div>
  );
}

interface CurveProps {
  rows: readonly EvalRow[];
  title: string;
  unit: string;
  value: (row: EvalRow) => number;
  low: (row: EvalRow) => number;
  high: (row: EvalRow) => number;
  show: (value: number) => string;
}

function Curve({ rows, title, unit, value, low, high, show }: CurveProps): JSX.Element {
  const ordered = [...new Map(rows.map((row) => [row.version, row])).values()].sort((one, other) => one.version - other.version);
  return (
    <LineChart
      class="w6"
      title={title}
      unit={unit}
      x={{ values: ordered.map((row) => row.version), kind: "version" }}
      series={[{ label: title.toLowerCase(), values: ordered.map(value) }]}
      bands={[{ label: "95 % interval", low: ordered.map(low), high: ordered.map(high), token: "accent" }]}
      format={show}
      zeroBased
      group="evals"
    />
  );
}

function Checkpoints({ rows }: { rows: readonly EvalRow[] }): JSX.Element {
  const ks = [...new Set(rows.flatMap((row) => row.pass_at_k.map((one) => one.k)))].filter((k) => k > 1).sort((one, other) => one - other);
  const hasMajority = rows.some((row) => row.maj_at_k !== null);
  return (
    <section class="card is-flush scroll-x evals-table" aria-label="Checkpoints">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Checkpoint</th>
            <th scope="col" class="num">Version</th>
            <th scope="col" class="num">pass@1, %</th>
            {hasMajority && <th scope="col" class="num">maj@k, %</th>}
            {ks.map((k) => (
              <th key={k} scope="col" class="num">{`pass@${k}, %`}</th>
            ))}
            <th scope="col" class="num">Mean tokens</th>
            <th scope="col" class="num">Median</th>
            <th scope="col" class="num">90 %</th>
            <th scope="col" class="num">Cut off</th>
            <th scope="col" class="num">Problems × samples</th>
            <th scope="col" class="num">Evaluated</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.label} title={settingsText(row)}>
              <td class="strong">{oneLine(row.label)}</td>
              <td class="num">{exact(row.version)}</td>
              <td class="num strong">{interval(row.pass_at_1 * 100, ((row.pass_high - row.pass_low) / 2) * 100)}</td>
              {hasMajority && <td class="num">{row.maj_at_k === null ? <NotAvailable why="not_applicable" detail="It needs more than one sample of each problem." /> : (row.maj_at_k * 100).toFixed(1)}</td>}
              {ks.map((k) => {
                const found = row.pass_at_k.find((one) => one.k === k);
                return (
                  <td key={k} class="num">
                    {found ? interval(found.value * 100, ((found.high - found.low) / 2) * 100) : <NotAvailable why="not_applicable" detail={`It needs ${k} samples of each problem.`} />}
                  </td>
                );
              })}
              <td class="num strong">{interval(row.mean_tokens, (row.tokens_high - row.tokens_low) / 2, row.mean_tokens < 100 ? 1 : 0)}</td>
              <td class="num">{count(Math.round(row.p50_tokens))}</td>
              <td class="num">{count(Math.round(row.p90_tokens))}</td>
              <td class="num">{percent(row.truncated)}</td>
              <td class="num">{`${exact(row.problems)} × ${number(row.samples)}`}</td>
              <td class="num">{row.at_us === null ? <NotAvailable /> : <Time us={row.at_us} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function settingsText(row: EvalRow): string {
  const all = Object.entries(row.settings).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
  return all.length ? `Sampled with ${all.join(", ")}` : `${plural(row.problems, "problem")}; its sampling settings were not recorded`;
}

