/** The limits that can be tried. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { WhatIfFilter } from "../../api_types";
import { exact, number, plural, words } from "../../format";
import { paramList, setParams } from "../../router";
import { Card } from "../../ui/controls";
import type { Mode } from "./replay";

export function BudgetSlider(props: { mode: Mode; low: number; high: number; now: number | null; tried: number; onMove: (value: number) => void; onPick: (value: number) => void }): JSX.Element {
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

export function FilterSlider({ filter, value, isDropped }: { filter: WhatIfFilter; value: number | null; isDropped: boolean }): JSX.Element {
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
