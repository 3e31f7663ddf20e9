/** One optimizer step as swim-lanes: who did what, when. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Lanes, Metrics } from "../../api_types";
import { useApi } from "../../resource";
import { numberParam, setParams } from "../../router";
import { Card } from "../../ui/controls";
import { Loaded } from "../../ui/states";
import { LaneChart } from "./lane_chart";

export function LanesCard({ first, last }: { first: number | null; last: number | null }): JSX.Element | null {
  const ofTime = useStepAt(numberParam("at"));
  const asked = numberParam("step") ?? ofTime;
  // A run that goes on would pull the lanes away from under the reader: the step is held.
  const [newest, setNewest] = useState(last);
  useEffect(() => {
    if (newest === null) setNewest(last);
  }, [last]);
  const step = asked ?? newest;
  const lanes = useApi<Lanes>(last === null ? null : "lanes", { step });
  if (first === null || last === null || step === null) return null;
  const go = (to: number): void => setParams({ step: Math.max(first, Math.min(last, to)), at: null }, { replace: true });
  const data = lanes.data;
  const actions = (
    <span class="row">
      <button type="button" class="btn is-small" disabled={step <= first} onClick={() => go(step - 1)} aria-label="Step before">
        ←
      </button>
      <label class="labelled">
        step
        <input class="field lanes-step" type="number" min={first} max={last} value={step} onChange={(event) => go(Number(event.currentTarget.value) || last)} />
      </label>
      <button type="button" class="btn is-small" disabled={step >= last} onClick={() => go(step + 1)} aria-label="Next step">
        →
      </button>
      <button type="button" class="btn is-small" disabled={asked === null && newest === last} onClick={() => (setNewest(last), setParams({ step: null, at: null }))}>
        Newest
      </button>
    </span>
  );
  if (data === null || lanes.error || data.lanes.length === 0) {
    return (
      <Card class="lanes-card" title={TITLE} actions={actions}>
        <Loaded resource={lanes} what="The lanes" height={220} empty={() => ["Nothing was recorded of this step", "Steps whose rollouts are on disk have lanes."]}>
          {() => null}
        </Loaded>
      </Card>
    );
  }
  return <LaneChart title={TITLE} lanes={data} actions={actions} isOld={lanes.isOld} />;
}

const TITLE = "One step as lanes";

/** The step that was on its way at a time: the first that ended then or later. */
function useStepAt(us: number | null): number | null {
  const metrics = useApi<Metrics>(us === null ? null : "metrics", { names: ["train_s"] });
  const series = metrics.data?.series[0];
  if (us === null || !series) return null;
  const place = series.at_us.findIndex((at) => at !== null && at >= us);
  return series.step[place] ?? series.step.at(-1) ?? null;
}
