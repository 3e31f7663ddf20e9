/** V5: has the model become shorter without becoming worse? */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { EqualRow, Pareto, ParetoPoint, Runs } from "../api_types";
import { exact, number, percent } from "../format";
import { useApi } from "../resource";
import { go, param, paramList, runParam, setParams } from "../router";
import { Card, Segmented, ViewHead } from "../ui/controls";
import { Loaded, NotAvailable } from "../ui/states";
import { ParetoChart } from "./pareto/chart";

export default function ParetoPage(): JSX.Element {
  const runs = useApi<Runs>("runs", { run: null }, ["events"]);
  const names = runs.data?.runs.map((run) => run.name) ?? [];
  const own = runParam.value ?? names[0] ?? null;
  const shown = own === null ? [] : [own, ...paramList("with").filter((name) => name !== own && names.includes(name))];
  const pareto = useApi<Pareto>(own === null ? null : "pareto", { run: shown }, ["evals"]);
  return (
    <>
      <ViewHead title="Pareto" what={pareto.data?.note} />
      {names.length > 1 && <Overlays names={names.filter((name) => name !== own)} />}
      <Loaded
        resource={pareto}
        what="The evaluations"
        height={480}
        empty={(data) => (data.points.length ? null : ["No evaluation yet", "The first evaluation of a checkpoint, or of the base model, fills this."])}
      >
        {(data) => <Plane data={data} runs={shown} />}
      </Loaded>
    </>
  );
}

function Overlays({ names }: { names: readonly string[] }): JSX.Element {
  const chosen = paramList("with");
  return (
    <div class="chips" aria-label="Runs laid over it">
      <span class="small dim">laid over it</span>
      {names.map((name) => {
        const isOn = chosen.includes(name);
        return (
          <button key={name} type="button" class={`chip ${isOn ? "is-on" : ""}`} aria-pressed={isOn} onClick={() => setParams({ with: isOn ? chosen.filter((one) => one !== name) : [...chosen, name] })}>
            {name}
          </button>
        );
      })}
    </div>
  );
}

function Plane({ data, runs }: { data: Pareto; runs: readonly string[] }): JSX.Element {
  const benchmark = param("benchmark") ?? data.benchmarks[0] ?? "";
  const points = useMemo(() => data.points.filter((point) => point.benchmark === benchmark), [data, benchmark]);
  const frontier = useMemo(() => new Set(data.frontier.flatMap((index) => data.points[index] ?? [])), [data]);
  const open = (point: ParetoPoint): void => {
    if (point.kind === "checkpoint") go("evals", { run: point.run, b: point.label });
  };
  return (
    <div class="stack" style={{ gap: "16px" }}>
      {data.benchmarks.length > 1 && (
        <div class="row">
          <Segmented label="Benchmark" options={data.benchmarks.map((name) => ({ value: name, label: name }))} value={benchmark} onChange={(value) => setParams({ benchmark: value })} />
        </div>
      )}
      <EqualTable rows={data.equal.filter((row) => row.benchmark === benchmark)} />
      <ParetoChart points={points} frontier={frontier} runs={runs} onOpen={open} />
      <PointTable points={points} frontier={frontier} />
    </div>
  );
}

function EqualTable({ rows }: { rows: readonly EqualRow[] }): JSX.Element | null {
  if (rows.length === 0) return null;
  return (
    <Card title="Against the base model" unit="read off the run's own line between its checkpoints">
      <div class="scroll">
        <table class="table">
          <thead>
            <tr>
              <th>run</th>
              <th class="num">base accuracy</th>
              <th class="num">base tokens</th>
              <th class="num">tokens at equal accuracy</th>
              <th class="num">change</th>
              <th class="num">accuracy at equal tokens</th>
              <th class="num">change</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <EqualLine key={row.run} row={row} />
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function EqualLine({ row }: { row: EqualRow }): JSX.Element {
  const { tokens_at_equal_accuracy: tokens, accuracy_at_equal_tokens: accuracy } = row;
  const fewer = tokens === null ? null : tokens / row.base_tokens - 1;
  const gained = accuracy === null ? null : accuracy - row.base_accuracy;
  const word = (isGood: boolean): JSX.Element => <span class={isGood ? "better" : "worse"}>{isGood ? "better" : "worse"}</span>;
  return (
    <tr>
      <td class="strong">{row.run}</td>
      <td class="num">{percent(row.base_accuracy)}</td>
      <td class="num">{number(row.base_tokens)}</td>
      <td class="num strong">{tokens === null ? <NotAvailable detail={row.why} /> : number(tokens)}</td>
      <td class="num">{fewer === null ? <NotAvailable detail={row.why} /> : <>{`${fewer > 0 ? "+" : ""}${percent(fewer)} `}{Math.abs(fewer) >= 0.0005 && word(fewer < 0)}</>}</td>
      <td class="num strong">{accuracy === null ? <NotAvailable detail={row.why} /> : percent(accuracy)}</td>
      <td class="num">{gained === null ? <NotAvailable detail={row.why} /> : <>{`${gained > 0 ? "+" : ""}${(gained * 100).toFixed(1).replace("-", "−")} points `}{Math.abs(gained) >= 0.0005 && word(gained > 0)}</>}</td>
    </tr>
  );
}

const KINDS: Record<ParetoPoint["kind"], string> = { checkpoint: "● checkpoint", base: "◇ base", imported: "■ imported" };

function PointTable({ points, frontier }: { points: readonly ParetoPoint[]; frontier: ReadonlySet<ParetoPoint> }): JSX.Element {
  return (
    <Card title="Evaluated" unit="mean and 95 % bootstrap interval over problems">
      <div class="scroll">
        <table class="table">
          <thead>
            <tr>
              <th>run</th>
              <th>kind</th>
              <th>label</th>
              <th class="num">version</th>
              <th class="num">accuracy</th>
              <th class="num">tokens</th>
              <th class="num">cut off</th>
              <th class="num">n</th>
              <th class="num">k</th>
              <th>sampling</th>
              <th>frontier</th>
            </tr>
          </thead>
          <tbody>
            {points.map((point) => (
              <tr key={`${point.run} ${point.label} ${point.settings}`}>
                <td class="clip">{point.run}</td>
                <td class="nowrap">{KINDS[point.kind]}</td>
                <td class="clip">{point.label}</td>
                <td class="num">{point.version === null ? <NotAvailable why="not_applicable" /> : exact(point.version)}</td>
                <td class="num">{withEnds(point.accuracy, point.accuracy_low, point.accuracy_high, (value) => (value * 100).toFixed(1))}</td>
                <td class="num">{withEnds(point.tokens, point.tokens_low, point.tokens_high, tokensText)}</td>
                <td class="num">{percent(point.truncated)}</td>
                <td class="num">{exact(point.problems)}</td>
                <td class="num">{exact(point.samples)}</td>
                <td class="small soft clip settings-cell" title={point.settings_text}>{point.settings_text}</td>
                <td>{frontier.has(point) ? "yes" : <span class="dim">no</span>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

/** One digit behind the point in every row, so that they compare. */
function tokensText(value: number): string {
  return value < 1000 ? value.toFixed(1) : number(value);
}

function withEnds(value: number, low: number, high: number, show: (value: number) => string): JSX.Element {
  return (
    <>
      {show(value)} <span class="dim small">{`${show(low)} to ${show(high)}`}</span>
    </>
  );
}
