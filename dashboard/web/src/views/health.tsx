/** V12: what is wrong, since when, what to do, and where to see it. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Failure, post, withRun } from "../api";
import type { Ack, Alarm, Health, Rule, Runs } from "../api_types";
import { plural } from "../format";
import { useApi, type Resource } from "../resource";
import { href, param, runParam, setParams } from "../router";
import { Card, Segmented, Time, ViewHead } from "../ui/controls";
import { Empty, Loaded } from "../ui/states";
import { VIEWS } from "./registry";
import "./health.css";

export default function HealthPage(): JSX.Element {
  const health = useApi<Health>("health", {}, ["state", "alarms", "annotations"]);
  const runs = useApi<Runs>("runs", { run: null });
  const info = runs.data?.runs.find((run) => run.name === runParam.value) ?? runs.data?.runs[0] ?? null;
  return (
    <>
      <ViewHead title="Health" what={health.data ? <>rules looked at <Time us={health.data.checked_us} /></> : undefined} />
      <Loaded resource={health} what="Health" height={320}>
        {(data) => (
          <div class="stack" style={{ gap: "16px" }}>
            <Alarms data={data} resource={health} whyNot={info?.writable === false ? (info.read_only_why ?? "The run's folder cannot be written.") : null} run={info?.name ?? null} />
            <Rules rules={data.rules} />
          </div>
        )}
      </Loaded>
    </>
  );
}

type Shown = "open" | "past";

function Alarms({ data, resource, whyNot, run }: { data: Health; resource: Resource<Health>; whyNot: string | null; run: string | null }): JSX.Element {
  const shown: Shown = param("alarms") === "past" ? "past" : "open";
  const open = data.alarms.filter((alarm) => alarm.until_us === null);
  const past = data.alarms.filter((alarm) => alarm.until_us !== null);
  // A critical alarm that nobody has seen to is the only thing worth reading.
  const mutes = open.some((alarm) => alarm.level === "critical" && alarm.acked === null);
  const list = shown === "past" ? past : open.filter((alarm) => !mutes || alarm.level !== "tip");
  const muted = open.length - (shown === "open" ? list.length : open.length);
  return (
    <Card
      title="Alarms"
      unit={`${open.length} open`}
      actions={
        <Segmented
          label="Alarms"
          options={[{ value: "open", label: `open ${open.length}` }, { value: "past", label: `past ${past.length}` }]}
          value={shown}
          onChange={(value) => setParams({ alarms: value === "open" ? null : value })}
        />
      }
    >
      {list.length === 0 ? (
        <Empty title={shown === "open" ? "Nothing is wrong that a rule knows of" : "No alarm has ended"}>
          {shown === "open" ? "The rules below say what is watched." : "An alarm that ends moves here."}
        </Empty>
      ) : (
        <ul>
          {list.map((alarm) => (
            <AlarmItem key={alarm.id} alarm={alarm} resource={resource} whyNot={whyNot} run={run} />
          ))}
        </ul>
      )}
      {muted > 0 && <p class="small dim">{`${plural(muted, "tip")} held back while a critical alarm is open.`}</p>}
    </Card>
  );
}

const WORDS: Record<Alarm["level"], string> = { critical: "critical", warning: "warning", tip: "tip" };

function AlarmItem({ alarm, resource, whyNot, run }: { alarm: Alarm; resource: Resource<Health>; whyNot: string | null; run: string | null }): JSX.Element {
  const view = VIEWS.find((one) => one.id === alarm.evidence?.view);
  return (
    <li class={`alarm is-${alarm.level}`}>
      <div class="row wrap">
        <span class={`level is-${alarm.level}`}>{WORDS[alarm.level]}</span>
        <span class="strong">{alarm.title}</span>
        <span class="dim small">
          since <Time us={alarm.since_us} />
          {alarm.until_us !== null && (
            <>
              {", ended "}
              <Time us={alarm.until_us} />
            </>
          )}
        </span>
        <span class="push row">
          {alarm.evidence && (
            <a class="btn is-small" href={href(alarm.evidence.view, alarm.evidence.params)}>
              {`Look: ${view?.title ?? alarm.evidence.view}`}
            </a>
          )}
          {alarm.until_us === null && <AckButton alarm={alarm} resource={resource} whyNot={whyNot} run={run} />}
        </span>
      </div>
      <p>{alarm.text}</p>
      <p class="soft">{alarm.advice}</p>
    </li>
  );
}

function AckButton({ alarm, resource, whyNot, run }: { alarm: Alarm; resource: Resource<Health>; whyNot: string | null; run: string | null }): JSX.Element {
  const [isWriting, setWriting] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  if (alarm.acked) {
    return (
      <span class="small dim" title={alarm.acked.note ?? undefined}>
        {"seen "}
        <Time us={alarm.acked.at_us} />
        {alarm.acked.by && ` by ${alarm.acked.by}`}
        {alarm.acked.note && `: ${alarm.acked.note}`}
      </span>
    );
  }
  if (!isWriting) {
    return (
      <button type="button" class="btn is-small" disabled={whyNot !== null} title={whyNot ?? "Say that somebody sees to it; it stops counting in the bar"} onClick={() => setWriting(true)}>
        Acknowledge
      </button>
    );
  }
  const send = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const note = String(new FormData(event.currentTarget as HTMLFormElement).get("note") ?? "").trim();
    try {
      await post<Health>("ack", { ...(withRun({}) as object), run, id: alarm.id, ...(note ? { note } : {}) } as Ack);
      setWriting(false);
      resource.retry();
    } catch (error) {
      setProblem(error instanceof Failure ? error.message : String(error));
    }
  };
  return (
    <form class="row" onSubmit={(event) => void send(event as unknown as SubmitEvent)}>
      <input class="field" name="note" placeholder="note (optional)" aria-label="Note" autofocus />
      <button type="submit" class="btn is-small">
        Acknowledge
      </button>
      <button type="button" class="btn is-quiet is-small" onClick={() => setWriting(false)}>
        Cancel
      </button>
      {problem && <span class="worse small">{problem}</span>}
    </form>
  );
}

const STATES: Record<Rule["state"], { mark: string; word: string; class: string }> = {
  ok: { mark: "●", word: "ok", class: "state-ok" },
  alarm: { mark: "▲", word: "alarm", class: "state-alarm" },
  unknown: { mark: "○", word: "cannot tell", class: "dim" },
};
const NOT_HERE = { mark: "○", word: "not here", class: "dim" };
const ORDER: readonly Rule["state"][] = ["alarm", "ok", "unknown"];

function Rules({ rules }: { rules: readonly Rule[] }): JSX.Element {
  const sorted = [...rules].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
  return (
    <Card title="Rules" unit={`${rules.length} watched, with no page open too`}>
      <div class="scroll">
        <table class="table">
          <thead>
            <tr>
              <th>state</th>
              <th>rule</th>
              <th>what it sees</th>
            </tr>
          </thead>
          <tbody>
            {sorted.map((rule) => {
              const state = rule.why === "not_applicable" ? NOT_HERE : STATES[rule.state];
              return (
                <tr key={rule.key}>
                  <td class={`nowrap ${state.class}`}>
                    <span aria-hidden="true">{state.mark}</span> {state.word}
                  </td>
                  <td>{rule.title}</td>
                  <td class={rule.state === "unknown" ? "dim" : "soft"}>{rule.text}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Card>
  );
}
