/** The logs of every process: the end first, followed as they grow, searched on the server. */

import type { JSX } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { LogLine, Logs } from "../api_types";
import { ago, bytes, exact, utc } from "../format";
import { useKeys } from "../keyboard";
import { now } from "../live";
import { useApi } from "../resource";
import { href, param, setParams } from "../router";
import { stripAnsi, visible } from "../text/plain";
import { UrlSegmented, ViewHead } from "../ui/controls";
import { Empty, Loaded, Skeleton } from "../ui/states";
import { useLog } from "./logs/use_log";
import "./logs.css";

export default function LogsView(): JSX.Element {
  const logs = useApi<Logs>("logs", {}, ["state", "events"]);
  useKeys(
    "Logs",
    useMemo(
      () => [
        { keys: "/", what: "search the log", run: () => document.getElementById("log-search")?.focus() },
        { keys: "f", what: "follow its end", run: () => setParams({ follow: param("follow") === "0" ? null : 0 }) },
      ],
      [],
    ),
  );
  return (
    <div class="logs">
      <Loaded resource={logs} what="The logs" height={400} empty={(data) => (data.files.length ? null : ["This run has no logs", "Processes write theirs below logs/ in the run's folder."])}>
        {(data) => {
          const file = data.files.find((one) => one.id === param("file")) ?? data.files[0];
          return (
            <>
              <ViewHead title="Logs" what={file ? `${bytes(file.bytes)}, last written ${ago(file.modified_us, now.value)}` : ""}>
                <select class="field" aria-label="Log" value={file?.id} onChange={(event) => setParams({ file: event.currentTarget.value, at: null })}>
                  {data.files.map((one) => (
                    <option key={one.id} value={one.id}>
                      {`${one.name} (${bytes(one.bytes)})`}
                    </option>
                  ))}
                </select>
                <LogSearch />
                <UrlSegmented
                  name="level"
                  label="from"
                  options={[
                    { value: "", label: "all" },
                    { value: "WARNING", label: "warning" },
                    { value: "ERROR", label: "error" },
                  ]}
                />
                <button type="button" class="btn" aria-pressed={param("follow") !== "0"} title="Stay at the end as it grows (f)" onClick={() => setParams({ follow: param("follow") === "0" ? null : 0 })}>
                  Follow
                </button>
              </ViewHead>
              {file && <Log key={`${file.id} ${param("level") ?? ""} ${param("q") ?? ""} ${param("at") ?? ""}`} file={file.id} size={file.bytes} />}
            </>
          );
        }}
      </Loaded>
    </div>
  );
}

function LogSearch(): JSX.Element {
  return (
    <input
      id="log-search"
      class="field log-search"
      type="search"
      defaultValue={param("q") ?? ""}
      placeholder="Regular expression"
      aria-label="Search the log by a regular expression"
      spellcheck={false}
      onChange={(event) => setParams({ q: event.currentTarget.value || null })}
    />
  );
}

function Log({ file, size }: { file: string; size: number }): JSX.Element {
  const query = { file, level: param("level"), q: param("q"), at: param("at") };
  const follow = param("follow") !== "0" && query.at === null;
  const log = useLog(query, size, follow);
  const body = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const element = body.current;
    if (element && follow && atEnd.current) element.scrollTop = element.scrollHeight;
  }, [log.lines, follow]);
  if (log.lines === null) return log.problem === null ? <Skeleton height={400} /> : <Empty title="The log could not be read">{log.problem}</Empty>;
  return (
    <div
      class="card log-body"
      ref={body}
      tabIndex={0}
      role="log"
      aria-label="Lines of the log"
      onScroll={(event) => {
        const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
        atEnd.current = scrollHeight - scrollTop - clientHeight < 24;
      }}
    >
      <p class="log-edge small dim">
        {log.hasEarlier ? (
          <button type="button" class="btn is-small" disabled={log.busy} onClick={() => void log.earlier(body.current)}>
            {log.busy ? "Reading…" : "Earlier lines"}
          </button>
        ) : (
          "The log begins here."
        )}
        {query.q || query.level ? ` ${exact(log.lines.length)} lines match in ${bytes(log.searched)} of ${bytes(size)}.` : ""}
      </p>
      {log.lines.length === 0 && <Empty title="No line">{query.q || query.level ? "No line matches in what was looked through." : "Nothing was written yet."}</Empty>}
      {log.lines.map((line) => (
        <Line key={line.at} line={line} />
      ))}
      {log.problem !== null && <p class="banner is-warn">{log.problem}</p>}
    </div>
  );
}

/** A line of the log; the time opens what else went on then. */
function Line({ line }: { line: LogLine }): JSX.Element {
  const whole = visible(stripAnsi(line.text));
  // Time and level have columns of their own.
  const text = line.at_us !== null && line.level !== null ? whole.replace(/^\d{4}-\d\d-\d\d[ T][\d:.,]+Z? +[A-Z]+:? +/, "") : whole;
  return (
    <div class={`log-line is-${(line.level ?? "none").toLowerCase()}`}>
      {line.at_us === null ? (
        <span class="log-time" />
      ) : (
        <a class="log-time" href={href("pipeline", { at: line.at_us })} title={`${utc(line.at_us)}: the pipeline at that time`}>
          {utc(line.at_us).slice(11, 19)}
        </a>
      )}
      <span class="log-level">{line.level ?? ""}</span>
      <span class="log-text">
        {text}
        {line.cut !== null && <span class="dim">{` … ${exact(line.cut)} characters, cut`}</span>}
      </span>
    </div>
  );
}

