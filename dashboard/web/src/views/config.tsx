/** What the run was configured with, where each value came from, and how to do it again. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Config } from "../api_types";
import { download } from "../charts/export";
import { exact, plural } from "../format";
import { useApi } from "../resource";
import { param, paramList, setParams } from "../router";
import { oneLine, visible } from "../text/plain";
import { Card, Time, UrlSegmented, ViewHead } from "../ui/controls";
import { Empty, Loaded, NotAvailable } from "../ui/states";
import "./config.css";

type Entry = Config["entries"][number];

export default function ConfigView(): JSX.Element {
  const config = useApi<Config>("config");
  return (
    <>
      <ViewHead title="Config" what={config.data ? summary(config.data.entries) : ""}>
        <input class="field search" type="search" defaultValue={param("search") ?? ""} placeholder="Key, value or words" aria-label="Find a key" onInput={(event) => setParams({ search: event.currentTarget.value || null }, { replace: true })} />
        <UrlSegmented
          name="show"
          label="show"
          options={[
            { value: "all", label: "all" },
            { value: "set", label: "set by hand" },
          ]}
        />
        {config.data && (
          <button type="button" class="btn" onClick={() => config.data && download("resolved.yaml", new Blob([config.data.yaml], { type: "text/yaml" }))}>
            Save YAML
          </button>
        )}
      </ViewHead>
      <Loaded resource={config} what="The configuration" height={400} empty={(data) => (data.entries.length ? null : ["No configuration", "resolved.yaml is written when a run starts."])}>
        {(data) => (
          <>
            <Again config={data} />
            <Keys entries={data.entries} />
            <Fingerprints of={data.fingerprints} />
          </>
        )}
      </Loaded>
    </>
  );
}

function summary(entries: readonly Entry[]): string {
  const set = entries.filter((entry) => entry.is_default === false).length;
  return `${plural(entries.length, "key")}, ${exact(set)} of them not at the default`;
}

function Again({ config }: { config: Config }): JSX.Element {
  const [done, setDone] = useState("");
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(config.command);
      setDone("copied");
    } catch {
      setDone("the browser did not let it be copied");
    }
    setTimeout(() => setDone(""), 2500);
  };
  return (
    <Card
      title="To do it again"
      actions={
        <>
          <span class="small dim" role="status">
            {done}
          </span>
          <button type="button" class="btn is-small" onClick={() => void copy()}>
            Copy
          </button>
        </>
      }
    >
      <pre class="command">{visible(config.command)}</pre>
      {config.starts.length > 0 && (
        <ol class="starts small soft">
          {config.starts.map((start, at) => (
            <li key={at}>
              {start.at_us === null ? <NotAvailable /> : <Time us={start.at_us} />}
              <code>{oneLine(start.command.join(" "))}</code>
              {start.pid !== null && <span class="dim">{`process ${start.pid}`}</span>}
            </li>
          ))}
        </ol>
      )}
    </Card>
  );
}

function Keys({ entries }: { entries: readonly Entry[] }): JSX.Element {
  const search = (param("search") ?? "").toLowerCase();
  const picked = paramList("key");
  const isSetOnly = param("show") === "set";
  const shown = entries.filter(
    (entry) =>
      (!isSetOnly || entry.is_default === false) &&
      (picked.length === 0 || picked.some((key) => entry.key === key || entry.key.startsWith(`${key}.`))) &&
      (!search || [entry.key, entry.value, entry.description ?? ""].some((text) => text.toLowerCase().includes(search))),
  );
  const sections = [...new Set(shown.map((entry) => sectionOf(entry.key)))];
  return (
    <>
      {picked.length > 0 && (
        <div class="chips">
          <button type="button" class="chip is-on" onClick={() => setParams({ key: null })}>
            <span class="label">key</span>
            <span>{picked.join(" or ")}</span>
            <span class="close">×</span>
          </button>
        </div>
      )}
      {shown.length === 0 && <Empty title="No key has these words" />}
      {sections.map((section) => (
        <section key={section} class="card is-flush config-section" aria-label={section || "the run"}>
          <h2>{section || "the run"}</h2>
          <table class="table config-table">
            <tbody>
              {shown
                .filter((entry) => sectionOf(entry.key) === section)
                .map((entry) => (
                  <Key key={entry.key} entry={entry} />
                ))}
            </tbody>
          </table>
        </section>
      ))}
    </>
  );
}

function sectionOf(key: string): string {
  const dot = key.indexOf(".");
  return dot < 0 ? "" : key.slice(0, dot);
}

function Key({ entry }: { entry: Entry }): JSX.Element {
  const isDimmed = entry.is_default === true;
  const name = entry.key.slice(sectionOf(entry.key).length).replace(/^\./, "");
  return (
    <tr class={isDimmed ? "is-default" : ""}>
      <th scope="row" class="mono" title={entry.key}>
        {oneLine(name)}
      </th>
      <td class="mono config-value">{visible(entry.value)}</td>
      <td class="small config-source">
        {entry.source === null ? <NotAvailable why="not_recorded" detail="This run did not record where its values came from." /> : oneLine(entry.source)}
        {entry.is_default === false && entry.default !== null && <span class="dim">{`, default ${oneLine(entry.default)}`}</span>}
      </td>
      <td class="small config-words">{entry.description ? oneLine(entry.description).replaceAll("``", "") : ""}</td>
    </tr>
  );
}

function Fingerprints({ of }: { of: Record<string, string> }): JSX.Element {
  const entries = Object.entries(of);
  return (
    <Card class="config-section" title="Fingerprints" unit="what it ran with">
      {entries.length === 0 ? (
        <Empty title="None were recorded" />
      ) : (
        <dl class="facts small">
          {entries.map(([name, value]) => (
            <>
              <dt>{oneLine(name.replaceAll("_", " "))}</dt>
              <dd class="mono">{oneLine(value)}</dd>
            </>
          ))}
        </dl>
      )}
    </Card>
  );
}
