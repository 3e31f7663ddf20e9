/** V4: what another filter would have kept of what was written. */
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Kept, WhatIf, WhatIfFilter, WhatIfResult } from "../api_types";
import { filterPatch, filtersOf } from "../filters";
import { change, exact, number, percent, plural, words } from "../format";
import { useApi } from "../resource";
import { href, numberParam, param, paramList, setParams } from "../router";
import { Card, Segmented, ViewHead } from "../ui/controls";
import { FateLabel } from "../ui/fates";
import { FilterBar } from "../ui/filter_bar";
import { Loaded, Value } from "../ui/states";
import { KeptCurve } from "./whatif/curve";
import { replay, type Mode, type Replay } from "./whatif/replay";
import "./whatif/whatif.css";

export default function WhatIfPage(): JSX.Element {
  const whatif = useApi<WhatIf>("whatif", filtersOf(), ["rollouts", "fates"]);
  return (
    <>
      <ViewHead title="What-if" what={whatif.data?.note} />
      <FilterBar without={["reason", "fate", "failed"]} />
      <Loaded resource={whatif} what="The replay" height={480} empty={(data) => (data.rollouts ? null : ["No rollouts here", "Either none was judged yet or the filters leave none."])}>
        {(data) => <Bench data={data} />}
      </Loaded>
    </>
  );
}

/** Changes of the other filters, as the address has them: `set=repetition:0.3`, `drop=cues`. */
function changesInForce(): { set: Map<string, number>; drop: Set<string> } {
  const pairs = paramList("set").flatMap((text): [string, number][] => {
    const cut = text.lastIndexOf(":");
    const value = Number(text.slice(cut + 1));
    return cut > 0 && Number.isFinite(value) ? [[text.slice(0, cut), value]] : [];
  });
  return { set: new Map(pairs), drop: new Set(paramList("drop")) };
}

function Bench({ data }: { data: WhatIf }): JSX.Element {
  const mode: Mode = (param("mode") as Mode | null) ?? (data.one_budget ? "length" : "factor");
  const replayed = useMemo(() => replay(data, mode), [data, mode]);
  const now = mode === "factor" ? 1 : data.one_budget ? data.budget_max : null;
  const [low, high] = sliderRange(data, replayed, now);
  const inAddress = numberParam(mode);
  const start = inAddress ?? now ?? high;
  const [tried, setTried] = useState(start);
  useEffect(() => setTried(start), [start, mode]);
  const pick = (value: number): void => {
    setTried(value);
    setParams({ [mode]: value === now ? null : value }, { replace: true });
  };
  const { set, drop } = changesInForce();
  const hasOthers = set.size > 0 || drop.size > 0;
  const changed = hasOthers || tried !== now;
  const applied = useApi<WhatIfResult>(
    inAddress !== null || hasOthers ? "whatif/apply" : null,
    { ...filtersOf(), [mode]: start, set: paramList("set"), drop: paramList("drop") },
    ["rollouts"],
  );
  const ofAddress = applied.data !== null && !applied.isOld && tried === start ? applied.data : null;
  const local = tried === now && !hasOthers ? data.current : { ...data.current, ...replayed.kept(tried) };
  const kept = hasOthers ? (ofAddress?.kept ?? null) : local;
  return (
    <div class="whatif">
      <div class="stack" style={{ gap: "16px" }}>
        <Card
          title={mode === "length" ? "Length budget L" : "Factor on each problem's budget"}
          unit={mode === "length" ? "tokens" : ""}
          actions={
            <Segmented
              label="Budget"
              options={[{ value: "length", label: "one L" }, { value: "factor", label: "factor", disabled: data.by_factor.factor.length === 0, title: "On the budget that each problem has" }]}
              value={mode}
              onChange={(value) => setParams({ mode: value, length: null, factor: null })}
            />
          }
        >
          <BudgetSlider mode={mode} low={low} high={high} now={now} tried={tried} onMove={setTried} onPick={pick} />
          {data.cap !== null && mode === "length" && tried > data.cap && (
            <p class="small worse">{`Beyond ${exact(data.cap)} tokens nothing was ever written: not observed.`}</p>
          )}
          {mode === "length" && !data.one_budget && <p class="small dim">{`Problems had budgets of their own, ${exact(data.budget_min ?? 0)} to ${exact(data.budget_max ?? 0)}.`}</p>}
        </Card>
        {data.filters.map((filter) => (
          <FilterSlider key={filter.name} filter={filter} value={set.get(filter.name) ?? filter.threshold} isDropped={drop.has(filter.name)} />
        ))}
        <Override changed={changed} result={ofAddress} />
      </div>
      <div class="stack" style={{ gap: "16px" }}>
        <Outcome kept={kept} current={data.current} problems={data.problems} rollouts={data.rollouts} changed={changed} />
        <KeptCurve replayed={replayed} now={now} tried={tried} cap={data.cap} low={low} high={high} onPick={pick} />
        <Reasons current={data.current} kept={ofAddress?.kept ?? null} changed={changed} />
      </div>
    </div>
  );
}

function sliderRange(data: WhatIf, replayed: Replay, now: number | null): [number, number] {
  const [low, high] = replayed.range;
  if (replayed.mode === "factor") return [Math.max(0.05, Math.floor(low * 20) / 20), Math.max(2, Math.ceil(high * 10) / 10)];
  const top = Math.max(high, data.cap ?? 0, now ?? 0);
  return [Math.max(1, Math.min(low, now ?? low)), Math.ceil(top * 1.25)];
}

function BudgetSlider(props: { mode: Mode; low: number; high: number; now: number | null; tried: number; onMove: (value: number) => void; onPick: (value: number) => void }): JSX.Element {
  const step = props.mode === "length" ? 1 : 0.01;
  const label = props.mode === "length" ? "Length budget in tokens" : "Factor on the budgets";
  return (
    <div class="row">
      <input
        type="range"
        class="slider"
        aria-label={label}
        min={props.low}
        max={props.high}
        step={step}
        value={props.tried}
        onInput={(event) => props.onMove(event.currentTarget.valueAsNumber)}
        onChange={(event) => props.onPick(event.currentTarget.valueAsNumber)}
      />
      <input
        type="number"
        class="field num"
        aria-label={`${label}, exact`}
        min={0}
        step={step}
        value={props.tried}
        onChange={(event) => Number.isFinite(event.currentTarget.valueAsNumber) && props.onPick(event.currentTarget.valueAsNumber)}
      />
      <button type="button" class="btn is-small" disabled={props.now === null || props.tried === props.now} onClick={() => props.now !== null && props.onPick(props.now)}>
        {props.now === null ? "as run" : `as run: ${props.mode === "length" ? exact(props.now) : `${props.now}×`}`}
      </button>
    </div>
  );
}

function FilterSlider({ filter, value, isDropped }: { filter: WhatIfFilter; value: number | null; isDropped: boolean }): JSX.Element {
  const drops = paramList("drop");
  const range = rangeOf(filter);
  const reading = isDropped ? "left out" : filter.pass_when === null ? "a selector: on or left out" : value === null ? "its limit differs" : `passes when ${filter.pass_when === "<=" ? "≤" : "≥"} ${number(value)}`;
  return (
    <Card
      title={words(filter.name)}
      unit={reading}
      actions={
        <label class="labelled">
          <input type="checkbox" checked={!isDropped} onChange={() => setParams({ drop: isDropped ? drops.filter((name) => name !== filter.name) : [...drops, filter.name] }, { replace: true })} />
          on
        </label>
      }
    >
      {range && <ThresholdSlider filter={filter} range={range} value={value ?? range[1]} isDropped={isDropped} />}
      {filter.without_value > 0 && <p class="small dim">{`${plural(filter.without_value, "rollout")} without a value: counted as passing.`}</p>}
    </Card>
  );
}

/** From the least to the greatest value, the limit of the run included; null when it cannot be moved. */
function rangeOf({ min, max, threshold, pass_when }: WhatIfFilter): [number, number] | null {
  if (pass_when === null || min === null || max === null) return null;
  return [Math.min(min, threshold ?? min), Math.max(max, threshold ?? max)];
}

function ThresholdSlider({ filter, range, value, isDropped }: { filter: WhatIfFilter; range: [number, number]; value: number; isDropped: boolean }): JSX.Element {
  const [moved, setMoved] = useState(value);
  useEffect(() => setMoved(value), [value]);
  const others = paramList("set").filter((text) => !text.startsWith(`${filter.name}:`));
  const pick = (next: number): void => setParams({ set: next === filter.threshold ? others : [...others, `${filter.name}:${next}`] }, { replace: true });
  const isWhole = [filter.threshold, ...filter.quantiles].every((one) => one === null || Number.isInteger(one));
  const step = isWhole ? 1 : Number(((range[1] - range[0]) / 200 || 0.01).toPrecision(1));
  return (
    <div class="row">
      <input
        type="range"
        class="slider"
        aria-label={`Threshold of ${words(filter.name)}`}
        disabled={isDropped}
        min={range[0]}
        max={range[1]}
        step={step}
        value={moved}
        onInput={(event) => setMoved(event.currentTarget.valueAsNumber)}
        onChange={(event) => pick(event.currentTarget.valueAsNumber)}
      />
      <span class="num reading">{number(moved)}</span>
      <button type="button" class="btn is-small" disabled={filter.threshold === null || value === filter.threshold} onClick={() => filter.threshold !== null && pick(filter.threshold)}>
        {filter.threshold === null ? "as run" : `as run: ${number(filter.threshold)}`}
      </button>
    </div>
  );
}

function Outcome({ kept, current, problems, rollouts, changed }: { kept: Kept | null; current: Kept; problems: number; rollouts: number; changed: boolean }): JSX.Element {
  const tile = (label: string, of: (one: Kept) => number | null, show: (value: number) => string, wanted: "up" | "down" | "none"): JSX.Element => {
    const [was, is] = [of(current), kept ? of(kept) : null];
    const delta = changed && was !== null && is !== null ? change(is - was, wanted, show) : null;
    return (
      <div class="tile">
        <div class="label clip">{label}</div>
        <div class={`value nowrap ${kept ? "" : "is-updating"}`}>
          <Value of={is} show={show} why="not_applicable" />
        </div>
        <div class="delta clip">
          {delta ? (
            <>
              {delta.text}
              {delta.word && <span class={delta.word}>{` ${delta.word}`}</span>}
              {`, was ${was === null ? "n/a" : show(was)}`}
            </>
          ) : (
            "as it was run"
          )}
        </div>
      </div>
    );
  };
  return (
    <div>
      <div class="tiles">
        {tile("kept", (one) => one.share, percent, "none")}
        {tile("mean tokens kept", (one) => one.mean_tokens, number, "down")}
        {tile(`problems left of ${exact(problems)}`, (one) => problems - one.problems_without, exact, "up")}
        {tile("pass rate of problems", (one) => one.pass_rate, percent, "none")}
      </div>
      <p class="small soft whatif-sum">
        {kept && `${exact(kept.kept)} of ${exact(rollouts)} rollouts kept. `}
        {kept && kept.not_observed > 0 && `${plural(kept.not_observed, "rollout")} cut off below this budget: nobody knows. `}
        {kept && kept.without_value > 0 && `${plural(kept.without_value, "rollout")} lack a filter's value. `}
        {"As run: "}
        <a href={href("rollouts", filterPatch({ ...(filtersOf() as object), accepted: true }))}>{exact(current.kept)}</a>
        {", the same number as in the "}
        <a href={href("funnel", filtersOf())}>funnel</a>.
      </p>
    </div>
  );
}

function Reasons({ current, kept, changed }: { current: Kept; kept: Kept | null; changed: boolean }): JSX.Element | null {
  const names = [...new Set([...Object.keys(current.reasons), ...Object.keys(kept?.reasons ?? {})])];
  if (names.length === 0) return null;
  names.sort((a, b) => (current.reasons[b] ?? 0) - (current.reasons[a] ?? 0));
  return (
    <Card title="First reason of rejection" unit="rollouts">
      <table class="table">
        <thead>
          <tr>
            <th>reason</th>
            <th class="num">as run</th>
            <th class="num">tried</th>
            <th class="num">change</th>
          </tr>
        </thead>
        <tbody>
          {names.map((name) => {
            const [was, is] = [current.reasons[name] ?? 0, changed ? (kept ? (kept.reasons[name] ?? 0) : null) : (current.reasons[name] ?? 0)];
            return (
              <tr key={name}>
                <td>
                  <FateLabel name={name} />
                </td>
                <td class="num">{exact(was)}</td>
                <td class="num">{is === null ? <span class="dim">counting</span> : exact(is)}</td>
                <td class="num soft">{is === null ? <span class="dim">counting</span> : change(is - was, "none", exact).text}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Card>
  );
}

function Override({ changed, result }: { changed: boolean; result: WhatIfResult | null }): JSX.Element {
  const [copied, setCopied] = useState(false);
  useEffect(() => setCopied(false), [result]);
  const copy = async (): Promise<void> => {
    if (!result) return;
    try {
      await navigator.clipboard.writeText(result.override);
      setCopied(true);
    } catch {
      setCopied(false); // The text is there to be selected by hand.
    }
  };
  return (
    <Card title="As a setting of the next run">
      {!changed ? (
        <p class="soft">Move a slider: the override and the command that replays it stand here.</p>
      ) : !result ? (
        <p class="dim">asking</p>
      ) : (
        <div class="stack">
          <div class="row">
            <code class="mono code-line">{result.override}</code>
            <button type="button" class="btn is-small push" onClick={() => void copy()}>
              {copied ? "Copied" : "Copy"}
            </button>
          </div>
          <div class="small dim">
            The same numbers in a terminal: <code class="mono">{result.command}</code>
          </div>
        </div>
      )}
    </Card>
  );
}

