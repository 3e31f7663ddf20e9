/** Questions of one's own to the recorded tables: read only, bounded, never in the way. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { address, Failure, get, getText, withRun } from "../api";
import type { Session, SqlResult, SqlTables } from "../api_types";
import { download } from "../charts/export";
import { duration, exact, plural } from "../format";
import { useApi } from "../resource";
import { href, param, setParams } from "../router";
import { oneLine } from "../text/plain";
import { ViewHead } from "../ui/controls";
import { Empty, Loaded } from "../ui/states";
import "./link.css";
import "./sql.css";

export default function SqlView(): JSX.Element {
  const session = useApi<Session>("session", { run: null });
  if (session.data && !session.data.sql) {
    return (
      <>
        <ViewHead title="SQL" />
        <Empty title="SQL is off on this page">It was started with --no-sql. The command laconic query asks the same tables.</Empty>
      </>
    );
  }
  return <Workbench />;
}

type Answer = { sql: string; result: SqlResult } | { sql: string; problem: string };

function Workbench(): JSX.Element {
  const tables = useApi<SqlTables>("sql/tables");
  const [text, setText] = useState(param("sql") ?? "");
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [since, setSince] = useState<number | null>(null);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  useEffect(() => {
    if (text === "" && tables.data?.examples[0]) setText(tables.data.examples[0].sql);
  }, [tables.data]);
  const run = async (sql: string): Promise<void> => {
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    setSince(performance.now());
    setParams({ sql }, { replace: true });
    try {
      setAnswer({ sql, result: await get<SqlResult>("sql", withRun({ q: sql }), abort.signal) });
    } catch (error) {
      if (!abort.signal.aborted) setAnswer({ sql, problem: error instanceof Failure ? error.message : String(error) });
    }
    if (running.current === abort) setSince(null);
  };
  const stop = (): void => {
    running.current?.abort();
    setSince(null);
  };
  useEffect(() => {
    const asked = param("sql");
    if (asked) void run(asked);
  }, []);
  const limits = tables.data?.limits;
  return (
    <>
      <ViewHead title="SQL" what={limits ? `read only; at most ${exact(limits.seconds)} s and ${exact(limits.rows)} rows` : ""} />
      <div class="sql">
        <div class="sql-main">
          <form
            class="card sql-form"
            onSubmit={(event) => {
              event.preventDefault();
              void run(text);
            }}
          >
            <textarea
              class="field mono"
              rows={Math.max(5, Math.min(16, text.split("\n").length + 1))}
              value={text}
              spellcheck={false}
              aria-label="SQL: one SELECT"
              placeholder="SELECT …"
              onInput={(event) => setText(event.currentTarget.value)}
              onKeyDown={(event) => {
                if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
                  event.preventDefault();
                  void run(text);
                }
              }}
            />
            <div class="row">
              {since === null ? (
                <button type="submit" class="btn is-main" disabled={!text.trim()}>
                  Run
                </button>
              ) : (
                <button type="button" class="btn" onClick={stop}>
                  Stop
                </button>
              )}
              <span class="small dim">
                <kbd>Ctrl</kbd> <kbd>Enter</kbd>
              </span>
              <span class="push small dim mono command-line">{`laconic query RUN "…"`}</span>
            </div>
          </form>
          {answer === null ? (since === null ? <Empty title="Nothing was asked yet">An example is a click away; a SELECT of your own runs with Ctrl and Enter.</Empty> : <p class="note">Running…</p>) : <div class={since === null ? "" : "is-updating"}>{"problem" in answer ? <Problem text={answer.problem} /> : <Table sql={answer.sql} result={answer.result} />}</div>}
        </div>
        <aside class="sql-side">
          <Loaded resource={tables} what="The tables" height={300}>
            {(data) => (
              <>
                <section class="card" aria-label="Examples">
                  <h2>Examples</h2>
                  <ul class="sql-examples">
                    {data.examples.map((example) => (
                      <li key={example.title}>
                        <button
                          type="button"
                          class="link"
                          onClick={() => {
                            setText(example.sql);
                            void run(example.sql);
                          }}
                        >
                          {example.title}
                        </button>
                      </li>
                    ))}
                  </ul>
                </section>
                <section class="card" aria-label="Tables">
                  <h2>Tables</h2>
                  {data.tables.map((table) => (
                    <details key={table.name} class="sql-table">
                      <summary>
                        <span class="mono">{table.name}</span> <span class="small dim">{table.description}</span>
                      </summary>
                      <ul>
                        {table.columns.map((column) => (
                          <li key={column.name} title={column.description ?? undefined}>
                            <button type="button" class="link mono" onClick={() => setText(`${text}${/\s$/.test(text) || text === "" ? "" : " "}${column.name}`)}>
                              {column.name}
                            </button>
                            <span class="small dim">{column.type.toLowerCase()}</span>
                          </li>
                        ))}
                      </ul>
                    </details>
                  ))}
                </section>
              </>
            )}
          </Loaded>
        </aside>
      </div>
    </>
  );
}

function Problem({ text }: { text: string }): JSX.Element {
  return (
    <div class="banner is-bad sql-problem" role="alert">
      <pre>{text}</pre>
    </div>
  );
}

/** Rows in the page; all of them are in the CSV. */
const SHOWN = 500;

function Table({ sql, result }: { sql: string; result: SqlResult }): JSX.Element {
  const [problem, setProblem] = useState<string | null>(null);
  const isNumber = result.columns.map((column) => /INT|DOUBLE|FLOAT|DECIMAL|REAL/i.test(column.type) && !/\[\]/.test(column.type));
  const save = async (): Promise<void> => {
    try {
      download("query.csv", new Blob([await getText("sql", withRun({ q: sql, format: "csv" }))], { type: "text/csv" }));
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <section class="card is-flush sql-result" aria-label="Result">
      <div class="row sql-sum small">
        <span class="strong">{plural(result.rows.length, "row")}</span>
        <span class="dim">{`in ${duration(result.seconds)}`}</span>
        {result.truncated && <span class="worse">There are more: only the first were kept.</span>}
        {result.rows.length > SHOWN && <span class="dim">{`The first ${exact(SHOWN)} are shown.`}</span>}
        {problem && <span class="worse">{problem}</span>}
        <span class="push row">
          <a class="small" href={address("sql", withRun({ q: sql }))} target="_blank" rel="noreferrer">
            JSON
          </a>
          <button type="button" class="btn is-small" onClick={() => void save()}>
            CSV
          </button>
        </span>
      </div>
      {result.rows.length === 0 ? (
        <Empty title="No row" />
      ) : (
        <div class="scroll sql-rows" tabIndex={0}>
          <table class="table">
            <thead>
              <tr>
                {result.columns.map((column, at) => (
                  <th key={at} scope="col" class={isNumber[at] ? "num" : ""} title={column.type}>
                    {column.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {result.rows.slice(0, SHOWN).map((row, at) => (
                <tr key={at}>
                  {row.map((value, column) => (
                    <td key={column} class={isNumber[column] ? "num" : "sql-cell"}>
                      <Cell name={result.columns[column]?.name ?? ""} value={value} />
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Cell({ name, value }: { name: string; value: unknown }): JSX.Element {
  if (value === null) return <span class="dim">null</span>;
  if (typeof value === "number") return <>{Number.isInteger(value) ? exact(value) : String(Number(value.toPrecision(7)))}</>;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (name === "rollout_id" && typeof value === "string") {
    return (
      <a class="mono" href={href("rollouts", { open: value })}>
        {oneLine(value)}
      </a>
    );
  }
  if (name === "problem_id" && typeof value === "string") {
    return (
      <a class="mono" href={href("problem", { id: value })}>
        {oneLine(value)}
      </a>
    );
  }
  return <bdi title={text.length > 120 ? oneLine(text).slice(0, 2000) : undefined}>{oneLine(text).slice(0, 120) + (text.length > 120 ? "…" : "")}</bdi>;
}
