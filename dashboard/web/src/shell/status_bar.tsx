import type { JSX } from "preact";
import type { RunInfo } from "../api_types";
import { ago, count, duration, exact, utc, words } from "../format";
import { connection, latest, missed, now, paused, silence, togglePause } from "../live";
import { go, href, route, runParam } from "../router";
import { choice, nextTheme, type Choice } from "../theme";
import { Icon, ICONS } from "../ui/icons";
import { isHelpOpen } from "./help";

const THEMES: Record<Choice, string> = { system: "as the system", light: "light", dark: "dark" };
/** The state file is written once a second; three periods later it is old. */
const OLD_S = 5;

/** Always in sight: which run, where it is, whether what is shown is fresh, what is wrong. */
export function StatusBar({ runs, onMenu }: { runs: readonly RunInfo[]; onMenu: () => void }): JSX.Element {
  const info = runs.find((run) => run.name === runParam.value) ?? runs[0] ?? null;
  const update = latest.value;
  return (
    <header class="statusbar">
      <button type="button" class="btn is-quiet is-icon only-narrow" aria-label="Views" onClick={onMenu}>
        <Icon path={ICONS.menu} />
      </button>
      <a class="brand" href={href("overview")} title="Laconic: overview">
        <svg width="18" height="18" viewBox="0 0 16 16" aria-hidden="true">
          <rect width="16" height="16" rx="3" fill="var(--accent)" />
          <path d="M3 4.5h10M3 8h6M3 11.5h3" stroke="var(--surface)" stroke-width="1.6" stroke-linecap="round" />
        </svg>
        <span class="only-wide">Laconic</span>
      </a>
      <RunName runs={runs} info={info} />
      {info?.synthetic && <span class="synthetic" title="Made by laconic demo-data; no model wrote it">synthetic</span>}
      {update && (
        <>
          <Fact label="phase" value={words(update.phase ?? info?.status ?? "unknown")} class="only-wide" />
          <Fact label="step" value={exact(update.step)} class="only-wide" />
          <Fact label="version" value={exact(update.version)} class="only-wide" />
        </>
      )}
      <span class="push row">
        <Alarms />
        <Freshness info={info} />
        <PauseButton />
        <button type="button" class="btn is-quiet is-icon only-wide" onClick={nextTheme} title={`Theme: ${THEMES[choice.value]} (t)`} aria-label={`Theme: ${THEMES[choice.value]}. Change it`}>
          <Icon path={ICONS[choice.value]} />
        </button>
        <button type="button" class="btn is-quiet is-icon only-wide" onClick={() => (isHelpOpen.value = true)} title="Keys (?)" aria-label="Keys">
          <Icon path={ICONS.help} />
        </button>
      </span>
    </header>
  );
}

function Fact({ label, value, class: name }: { label: string; value: string; class?: string }): JSX.Element {
  return (
    <span class={`fact ${name ?? ""}`}>
      <span class="label">{label}</span>
      <span class="strong">{value}</span>
    </span>
  );
}

function RunName({ runs, info }: { runs: readonly RunInfo[]; info: RunInfo | null }): JSX.Element | null {
  if (!info) return null;
  if (runs.length < 2) return <span class="run-name clip" title={info.name}>{info.name}</span>;
  return (
    <select
      class="run-pick"
      aria-label="Run"
      value={info.name}
      onChange={(event) => go(route.value.view, { run: event.currentTarget.value })}
    >
      {runs.map((run) => (
        <option key={run.name} value={run.name}>
          {run.name}
        </option>
      ))}
    </select>
  );
}

function Alarms(): JSX.Element | null {
  const open = latest.value?.alarms.filter((alarm) => alarm.until_us === null && alarm.acked === null && alarm.level !== "tip") ?? [];
  if (open.length === 0) return null;
  const worst = open.some((alarm) => alarm.level === "critical") ? "is-bad" : "is-warn";
  return (
    <a class="btn is-quiet is-small" href={href("health")} title={open.map((alarm) => alarm.title).join("\n")}>
      <span class={`badge ${worst}`}>{open.length}</span>
      <span class="only-wide">{open.length === 1 ? "alarm" : "alarms"}</span>
    </a>
  );
}

function Freshness({ info }: { info: RunInfo | null }): JSX.Element {
  const update = latest.value;
  if (connection.value === "gone") return <span class="live is-old">folder is gone</span>;
  if (silence.value !== null && silence.value > OLD_S) {
    return <span class="live is-old" title="The server of this page does not answer; what is shown is old">{`no server for ${duration(Math.floor(silence.value))}`}</span>;
  }
  if (!update) return <span class="live">connecting</span>;
  const seen = update.heartbeat_us ?? update.as_of_us;
  const title = seen === null ? "Nothing was written yet" : `Last sign of life ${utc(seen)}`;
  if (info && ["finished", "stopped"].includes(info.status)) return <span class="live" title={title}>{info.status}</span>;
  if (seen === null) return <span class="live" title={title}>no data yet</span>;
  const isOld = (now.value - seen) / 1e6 > 3 * OLD_S;
  const by = connection.value === "polling" ? " (polling)" : "";
  return (
    <span class={`live ${isOld ? "is-old" : "is-live"}`} title={title + by}>
      {isOld ? `silent, ${ago(seen, now.value)}` : `live, ${ago(seen, now.value)}`}
    </span>
  );
}

function PauseButton(): JSX.Element {
  const isPaused = paused.value;
  return (
    <button type="button" class={`btn ${isPaused ? "is-small" : "is-quiet is-icon"}`} aria-pressed={isPaused} onClick={togglePause} title={isPaused ? "Go on (p)" : "Pause: freeze what is shown (p)"}>
      <Icon path={isPaused ? ICONS.play : ICONS.pause} />
      {isPaused && `${count(missed.value)} new`}
      {!isPaused && <span class="visually-hidden">Pause</span>}
    </button>
  );
}
