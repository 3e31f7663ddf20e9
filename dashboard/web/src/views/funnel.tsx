/** V3: what became of every rollout, and what each loss cost. */
import type { JSX } from "preact";
import type { Funnel, FunnelStage, ProblemRow, ReasonRow } from "../api_types";
import { versionText } from "../charts/heatmap";
import { downloadCsv } from "../charts/export";
import { filterPatch, filtersOf } from "../filters";
import { count, duration, exact, percent, words } from "../format";
import { useApi } from "../resource";
import { href, param } from "../router";
import { Card, CountLink, UrlSegmented, ViewHead } from "../ui/controls";
import { FateLabel, lookOf } from "../ui/fates";
import { FilterBar } from "../ui/filter_bar";
import { Empty, Loaded, NotAvailable } from "../ui/states";
import "./funnel.css";

type Unit = "rollouts" | "tokens" | "gpu_seconds";
type Amount = Pick<FunnelStage, "rollouts" | "tokens" | "gpu_seconds">;

const UNITS: readonly { value: Unit; label: string }[] = [
  { value: "rollouts", label: "rollouts" },
  { value: "tokens", label: "tokens" },
  { value: "gpu_seconds", label: "engine time" },
];

export default function FunnelPage(): JSX.Element {
  const funnel = useApi<Funnel>("funnel", filtersOf(), ["rollouts", "fates"]);
  const unit = (param("unit") ?? "rollouts") as Unit;
  return (
    <>
      <ViewHead title="Funnel" what="from the first token to the gradient">
        <UrlSegmented name="unit" label="in" options={UNITS} />
      </ViewHead>
      <FilterBar without={["reason", "fate"]} />
      <Loaded
        resource={funnel}
        what="The funnel"
        height={480}
        empty={(data) => (data.stages[0]?.rollouts ? null : ["No rollouts here", "Either none was judged yet or the filters leave none."])}
      >
        {(data) => (
          <div class="stack" style={{ gap: "16px" }}>
            <Stages data={data} unit={unit} />
            <Reasons data={data} />
            <NeverAccepted data={data} />
          </div>
        )}
      </Loaded>
    </>
  );
}

function amount(of: Amount, unit: Unit): number | null {
  return of[unit];
}

function amountText(value: number, unit: Unit): string {
  return unit === "gpu_seconds" ? duration(value) : count(value);
}

function Stages({ data, unit }: { data: Funnel; unit: Unit }): JSX.Element {
  const first = data.stages[0];
  const whole = first ? amount(first, unit) : null;
  const save = (): void =>
    downloadCsv("funnel", {
      columns: ["stage", "rollouts", "tokens", "engine seconds", "lost rollouts", "lost tokens", "lost engine seconds"],
      rows: data.stages.map((stage) => [stage.stage, stage.rollouts, stage.tokens, stage.gpu_seconds, stage.lost.rollouts, stage.lost.tokens, stage.lost.gpu_seconds]),
    });
  return (
    <Card
      title="Stages"
      unit={UNITS.find(({ value }) => value === unit)?.label ?? ""}
      actions={
        <button type="button" class="btn is-quiet is-small" onClick={save}>
          Save CSV
        </button>
      }
    >
      <div class="scroll">
        <table class="table funnel">
          <thead>
            <tr>
              <th>reached</th>
              <th aria-hidden="true" />
              <th class="num">{unit === "rollouts" ? "rollouts" : UNITS.find(({ value }) => value === unit)?.label}</th>
              {unit !== "rollouts" && <th class="num">rollouts</th>}
              <th class="num">of all</th>
              <th class="num">of the stage before</th>
              <th class="num">lost on the way</th>
            </tr>
          </thead>
          <tbody>
            {data.stages.map((stage, index) => (
              <StageRow key={stage.stage} stage={stage} before={data.stages[index - 1] ?? null} whole={whole} unit={unit} />
            ))}
          </tbody>
        </table>
      </div>
      <Identity data={data} />
    </Card>
  );
}

function StageRow({ stage, before, whole, unit }: { stage: FunnelStage; before: FunnelStage | null; whole: number | null; unit: Unit }): JSX.Element {
  const value = amount(stage, unit);
  const lost = amount(stage.lost, unit);
  const previous = before ? amount(before, unit) : null;
  return (
    <tr>
      <td class="nowrap strong">{stage.label}</td>
      <td class="bar-cell">
        <a class="bar" href={href("rollouts", filterPatch(stage.filters))} tabIndex={-1} aria-hidden="true">
          <span class="is-kept" style={{ width: width(value, whole) }} />
          <span class="is-lost" style={{ width: width(lost, whole) }} />
        </a>
      </td>
      {unit !== "rollouts" && <td class="num">{value === null ? <NotAvailable /> : amountText(value, unit)}</td>}
      <td class="num">
        <CountLink value={stage.rollouts} filters={stage.filters} />
      </td>
      <td class="num soft">{value === null || !whole ? <NotAvailable why="not_applicable" /> : percent(value / whole)}</td>
      <td class="num soft">{before === null ? <span class="dim">all</span> : value === null || !previous ? <NotAvailable why="not_applicable" /> : percent(value / previous)}</td>
      <td class="num">
        {before === null ? (
          <span class="dim">none before</span>
        ) : stage.lost.rollouts === 0 ? (
          <span class="is-zero">0</span>
        ) : (
          <>
            {unit !== "rollouts" && lost !== null && <span class="soft">{`${amountText(lost, unit)} in `}</span>}
            <CountLink value={stage.lost.rollouts} filters={stage.lost_filters} />
          </>
        )}
      </td>
    </tr>
  );
}

function width(value: number | null, whole: number | null): string {
  return value === null || !whole ? "0" : `${(100 * value) / whole}%`;
}

/** The sum that must come out even. */
function Identity({ data }: { data: Funnel }): JSX.Element {
  const { issued, accepted, rejected, running, unaccounted } = data.counts;
  const dropped = Object.entries(data.counts.recorder_dropped).filter(([, n]) => n > 0);
  return (
    <p class="small soft funnel-sum">
      {`Whole run: ${exact(accepted)} accepted + ${exact(rejected)} rejected + ${exact(running)} being written = ${exact(issued - unaccounted)} of ${exact(issued)} issued. `}
      <span class={unaccounted ? "worse" : ""}>{`${exact(unaccounted)} unaccounted.`}</span>
      {data.waiting > 0 && ` ${exact(data.waiting)} accepted ones wait for their step.`}
      {data.trained_rejected > 0 && ` ${exact(data.trained_rejected)} rejected ones were trained with their whole group; they are in no bar.`}
      {dropped.length > 0 && <span class="worse">{` Not recorded: ${dropped.map(([kind, n]) => `${exact(n)} ${kind}`).join(", ")}.`}</span>}
    </p>
  );
}

function Reasons({ data }: { data: Funnel }): JSX.Element {
  if (data.reasons.length === 0) return <Card title="Reasons of rejection"><Empty title="Nothing was rejected">Each reason that a filter gives gets a row here.</Empty></Card>;
  const all = data.stages[0]?.rollouts ?? 0;
  const strongest = Math.max(1e-9, ...data.reasons.flatMap((row) => row.by_version.map((n, v) => n / Math.max(1, data.version_rows[v] ?? 0))));
  return (
    <Card title="Reasons of rejection" unit="share of each weight version's rollouts; a cell opens them">
      <div class="scroll">
        <table class="table reasons">
          <thead>
            <tr>
              <th>first reason</th>
              <th class="num">rollouts</th>
              <th class="num">of all</th>
              <th class="num">tokens</th>
              <th>
                <span class="row version-ends">
                  <span>{versionText(data.versions[0])}</span>
                  <span class="push">{versionText(data.versions.at(-1))}</span>
                </span>
              </th>
            </tr>
          </thead>
          <tbody>
            {data.reasons.map((row) => (
              <ReasonLine key={row.reason} row={row} data={data} all={all} strongest={strongest} />
            ))}
          </tbody>
        </table>
      </div>
      <div class="row small dim version-scale">
        <span>0</span>
        {[0.2, 0.4, 0.6, 0.8, 1].map((step) => (
          <span key={step} class="cell" style={{ opacity: opacity(step) }} />
        ))}
        <span>{`${percent(strongest, 0)} of a version's rollouts`}</span>
      </div>
    </Card>
  );
}

function opacity(strength: number): number {
  return strength <= 0 ? 0 : 0.08 + 0.92 * Math.sqrt(strength);
}

function ReasonLine({ row, data, all, strongest }: { row: ReasonRow; data: Funnel; all: number; strongest: number }): JSX.Element {
  const color = `var(--${lookOf(row.reason).token})`;
  return (
    <tr>
      <td>
        <FateLabel name={row.reason} />
      </td>
      <td class="num">
        <CountLink value={row.rollouts} filters={row.filters} />
      </td>
      <td class="num soft">{all ? percent(row.rollouts / all) : <NotAvailable why="not_applicable" />}</td>
      <td class="num soft">{count(row.tokens)}</td>
      <td>
        <span class="cells">
          {row.by_version.map((n, v) => {
            const of = data.version_rows[v] ?? 0;
            const text = `${versionText(data.versions[v])}: ${exact(n)} of ${exact(of)} rollouts, ${words(row.reason)}`;
            const [version_min, version_max] = data.versions[v] ?? [0, 0];
            const style = { background: color, opacity: opacity(n / Math.max(1, of) / strongest) };
            if (n === 0) return <span key={v} class="cell is-empty" title={text} />;
            return (
              <a key={v} class="cell" title={text} aria-label={text} href={href("rollouts", { ...filterPatch(row.filters), version_min, version_max })}>
                <span style={style} />
              </a>
            );
          })}
        </span>
      </td>
    </tr>
  );
}

function NeverAccepted({ data }: { data: Funnel }): JSX.Element {
  const { problems, of, sample } = data.never_accepted;
  return (
    <Card title="Problems without an accepted rollout" unit={`${exact(problems)} of ${exact(of)} problems`}>
      {problems === 0 ? (
        <Empty title="Every problem has an accepted rollout" />
      ) : (
        <div class="scroll">
          <table class="table">
            <thead>
              <tr>
                <th>problem</th>
                <th>text</th>
                <th>gold</th>
                <th class="num">rollouts</th>
                <th class="num">correct</th>
                <th class="num">shortest correct</th>
              </tr>
            </thead>
            <tbody>
              {sample.map((row) => (
                <ProblemLine key={row.problem_id} row={row} />
              ))}
            </tbody>
          </table>
          {problems > sample.length && <p class="small dim funnel-sum">{`The ${exact(sample.length)} with the most rollouts.`}</p>}
        </div>
      )}
    </Card>
  );
}

function ProblemLine({ row }: { row: ProblemRow }): JSX.Element {
  return (
    <tr>
      <td class="mono nowrap">
        <a href={href("problem", { id: row.problem_id })}>{row.problem_id}</a>
      </td>
      <td class="clip cut-text" title={row.text ?? undefined}>
        {row.text ?? <NotAvailable />}
      </td>
      <td class="mono clip cut-gold">{row.gold ?? <NotAvailable />}</td>
      <td class="num">
        <CountLink value={row.rollouts} filters={{ problem_id: [row.problem_id] }} />
      </td>
      <td class="num">
        <CountLink value={row.correct} filters={{ problem_id: [row.problem_id], verdict: ["correct"] }} />
      </td>
      <td class="num">{row.shortest_correct === null ? <NotAvailable detail="No rollout of it was right." /> : exact(row.shortest_correct)}</td>
    </tr>
  );
}
