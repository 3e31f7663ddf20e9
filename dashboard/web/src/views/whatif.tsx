/** V4: what another filter would have kept of what was written. */
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { WhatIf, WhatIfResult } from "../api_types";
import { filtersOf } from "../filters";
import { exact } from "../format";
import { useApi } from "../resource";
import { numberParam, param, paramList, setParams } from "../router";
import { Card, Segmented, ViewHead } from "../ui/controls";
import { FilterBar } from "../ui/filter_bar";
import { Loaded } from "../ui/states";
import { KeptCurve } from "./whatif/curve";
import { Outcome, Reasons } from "./whatif/outcome";
import { Override } from "./whatif/override";
import { replay, type Mode, type Replay } from "./whatif/replay";
import { BudgetSlider, FilterSlider } from "./whatif/sliders";
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
