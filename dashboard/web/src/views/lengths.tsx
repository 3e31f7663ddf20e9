/** V2: how long answers are, by the version that wrote them. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { LengthPair, Lengths, Population } from "../api_types";
import { LengthHeatmap, versionText, wholeBounds } from "../charts/heatmap";
import { Histogram, type Side } from "../charts/histogram";
import { LineChart } from "../charts/lines";
import { filterPatch, filtersOf } from "../filters";
import { change, exact, number } from "../format";
import { useKeys } from "../keyboard";
import { useApi } from "../resource";
import { go, href, numberParam, param, setParams } from "../router";
import { UrlSegmented, ViewHead } from "../ui/controls";
import { FilterBar } from "../ui/filter_bar";
import { Loaded } from "../ui/states";

const POPULATIONS: readonly { value: Population; label: string }[] = [
  { value: "generated", label: "generated" },
  { value: "accepted", label: "accepted" },
  { value: "rejected", label: "rejected" },
  { value: "correct", label: "correct" },
  { value: "wrong", label: "wrong" },
  { value: "trained", label: "trained" },
];

export default function LengthsPage(): JSX.Element {
  const part = param("part") ?? "tokens";
  const isLog = param("scale") === "log";
  const lengths = useApi<Lengths>("lengths", { ...filtersOf(), part, log: isLog ? 1 : 0 }, ["rollouts", "fates"]);
  return (
    <>
      <ViewHead title="Lengths" what={lengths.data ? <Counted data={lengths.data} /> : undefined}>
        <UrlSegmented name="part" label="of" options={[{ value: "tokens", label: "response" }, { value: "think", label: "thinking" }, { value: "answer", label: "answer" }]} />
        <UrlSegmented name="scale" label="axis" options={[{ value: "linear", label: "linear" }, { value: "log", label: "log" }]} />
      </ViewHead>
      <FilterBar hide={["population"]} before={<UrlSegmented name="population" label="" options={POPULATIONS} />} />
      <Loaded resource={lengths} what="The lengths" height={420} empty={nothing}>
        {(data) => (
          <>
            <LengthHeatmap data={data} title={`Lengths of ${data.population} rollouts`} isLog={isLog} onOpen={(column, bin) => openCell(data, column, bin)} />
            <div class="grid is-even" style={{ marginTop: "16px" }}>
              <PairCard data={data} isLog={isLog} />
              <LineChart
                title="Cut off at the cap"
                unit="share"
                class="w4"
                height={256}
                x={{ values: data.versions.map(([first]) => first), kind: "version" }}
                series={[{ label: "cut off", values: data.truncated.map((n, v) => (data.rows[v] ? n / (data.rows[v] ?? 1) : null)), token: "truncated" }]}
                zeroBased
              />
            </div>
          </>
        )}
      </Loaded>
    </>
  );
}

function nothing(data: Lengths): [string, string] | null {
  if (data.total > 0) return null;
  if (data.not_measured > 0) return ["This length was not recorded", `${exact(data.not_measured)} rollouts have no such length.`];
  return ["No rollouts here", "Either none was written yet or the filters leave none."];
}

function Counted({ data }: { data: Lengths }): JSX.Element {
  return (
    <>
      <a href={href("rollouts", filterPatch(filtersOf() as never))}>{`${exact(data.total)} rollouts`}</a>
      {data.not_measured > 0 && `, ${exact(data.not_measured)} more without a length`}
    </>
  );
}

/** The rollouts of one cell. Only the whole response can be filtered by length. */
function openCell(data: Lengths, column: number, bin: number): void {
  const [version_min, version_max] = data.versions[column] ?? [0, 0];
  const lengths = data.part === "tokens" && bin >= 0 ? wholeBounds(data.edges, bin) : null;
  const filters = filtersOf();
  go("rollouts", {
    ...filters,
    version_min,
    version_max,
    ...(bin < 0 ? { finish_reason: ["length"] } : {}),
    ...(lengths ? { tokens_min: lengths[0], tokens_max: lengths[1] } : {}),
  });
}

/** Two versions over each other, with the difference of their medians. */
function PairCard({ data, isLog }: { data: Lengths; isLog: boolean }): JSX.Element {
  const all = data.versions.map(([first]) => first);
  const last = data.versions.at(-1)?.[1] ?? 0;
  const a = numberParam("a") ?? all[0] ?? 0;
  const b = numberParam("b") ?? last;
  const pair = useApi<LengthPair>("lengths/compare", { ...filtersOf(), part: data.part, log: isLog ? 1 : 0, a, b }, ["rollouts", "fates"]);
  const keys = useMemo(() => {
    const move = (step: number): void => setParams({ b: Math.min(last, Math.max(all[0] ?? 0, b + step)) }, { replace: true });
    return [
      { keys: "[", what: "compare with the version before", run: () => move(-1) },
      { keys: "]", what: "compare with the next version", run: () => move(1) },
    ];
  }, [b, last, all[0]]);
  useKeys("Lengths", keys);
  return (
    <div class="w8">
      <Loaded resource={pair} what="The comparison" height={300}>
        {(found) => <Pair pair={found} isLog={isLog} low={all[0] ?? 0} high={last} a={a} b={b} />}
      </Loaded>
    </div>
  );
}

function Pair({ pair, isLog, low, high, a, b }: { pair: LengthPair; isLog: boolean; low: number; high: number; a: number; b: number }): JSX.Element {
  const sides = useMemo<Side[]>(
    () => [
      { ...pair.a, label: versionText([pair.a.version, pair.a.version]), token: "ink3", dash: true },
      { ...pair.b, label: versionText([pair.b.version, pair.b.version]), token: "accent" },
    ],
    [pair],
  );
  return (
    <Histogram
      title="Two versions"
      unit="share of each one's rollouts"
      edges={pair.edges}
      sides={sides}
      isLog={isLog}
      actions={
        <span class="row">
          <VersionField name="a" value={a} low={low} high={high} />
          <VersionField name="b" value={b} low={low} high={high} />
        </span>
      }
      note={<Difference pair={pair} />}
    />
  );
}

function VersionField({ name, value, low, high }: { name: "a" | "b"; value: number; low: number; high: number }): JSX.Element {
  return (
    <label class="labelled">
      {name === "a" ? "version" : "against"}
      <input
        class="field"
        style={{ width: "72px", height: "24px" }}
        type="number"
        min={low}
        max={high}
        value={value}
        onChange={(event) => setParams({ [name]: event.currentTarget.value }, { replace: true })}
      />
    </label>
  );
}

function Difference({ pair }: { pair: LengthPair }): JSX.Element {
  const { median_difference: difference, low, high } = pair;
  if (difference === null) return <span class="dim">one of the two has no rollouts here</span>;
  const { text, word } = change(difference, "down");
  return (
    <span>
      {"median "}
      <span class="strong">{`${text} tokens`}</span> {word && <span class={word}>{word}</span>}
      {low !== null && high !== null && <span class="dim">{` (95 % interval ${number(low)} to ${number(high)}, over groups)`}</span>}
    </span>
  );
}
