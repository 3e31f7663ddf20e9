import type { ComponentType, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { needsToken } from "../api";
import type { RunInfo, Runs } from "../api_types";
import { connection, goneMessage, latest, togglePause } from "../live";
import { addGroup } from "../keyboard";
import { useApi } from "../resource";
import { go, href, route, runParam } from "../router";
import { nextTheme } from "../theme";
import { Icon, ICONS } from "../ui/icons";
import { Skeleton } from "../ui/states";
import { loadView, viewInfo, VIEWS } from "../views/registry";
import { Help, isHelpOpen } from "./help";
import { Login } from "./login";
import { StatusBar } from "./status_bar";

const NARROW_KEY = "laconic.rail";

export function App(): JSX.Element {
  const runs = useApi<Runs>("runs", { run: null }, ["events"]);
  const [isNarrow, setNarrow] = useState(() => localStorage.getItem(NARROW_KEY) === "narrow");
  const [isOpen, setOpen] = useState(false);
  const { view } = route.value;
  useEffect(pageKeys, []);
  useEffect(() => setOpen(false), [view]);
  useEffect(() => {
    localStorage.setItem(NARROW_KEY, isNarrow ? "narrow" : "wide");
  }, [isNarrow]);
  useEffect(() => {
    document.title = `${viewInfo(view)?.title ?? "Laconic"} · ${runParam.value ?? runs.data?.runs[0]?.name ?? "Laconic"}`;
  }, [view, runParam.value, runs.data]);
  if (needsToken.value) return <Login />;
  const list = runs.data?.runs ?? [];
  return (
    <div class={`shell ${isNarrow ? "is-narrow" : ""} ${isOpen ? "is-open" : ""}`}>
      <StatusBar runs={list} onMenu={() => setOpen(!isOpen)} />
      <Rail isNarrow={isNarrow} onCollapse={() => setNarrow(!isNarrow)} />
      <main class="main" id="main">
        <RunBanner info={list.find((run) => run.name === runParam.value) ?? list[0] ?? null} />
        {runs.error && runs.data === null ? (
          <div class="note" role="alert">
            <p class="strong">The page has no data</p>
            <p>{runs.error.message}</p>
            <button type="button" class="btn" onClick={runs.retry}>
              Try again
            </button>
          </div>
        ) : (
          <CurrentView key={`${runParam.value ?? ""} ${view}`} id={view} />
        )}
      </main>
      <Help />
    </div>
  );
}

/** What is wrong with the run's folder stands above every view. */
function RunBanner({ info }: { info: RunInfo | null }): JSX.Element | null {
  if (connection.value === "gone") {
    return <p class="banner is-bad" role="alert">{`${goneMessage.value ?? "The run's folder is gone."} What is shown is the last that was read.`}</p>;
  }
  if (info?.problem) return <p class="banner is-warn" role="alert">{info.problem}</p>;
  return null;
}

function Rail({ isNarrow, onCollapse }: { isNarrow: boolean; onCollapse: () => void }): JSX.Element {
  const groups = [...new Set(VIEWS.map((view) => view.group))];
  const alarms = latest.value?.alarms.filter((alarm) => alarm.until_us === null && alarm.acked === null && alarm.level !== "tip") ?? [];
  return (
    <nav class="rail" aria-label="Views">
      {groups.map((group) => (
        <div key={group}>
          {group !== groups[0] && <hr />}
          <h3>{group}</h3>
          {VIEWS.filter((view) => view.group === group).map((view) => (
            <a key={view.id} href={href(view.id)} title={`${view.title} (g ${view.key})`} aria-current={route.value.view === view.id ? "page" : undefined}>
              <Icon path={view.icon} />
              <span>{view.title}</span>
              {view.id === "health" && alarms.length > 0 && !isNarrow && (
                <span class={`badge ${alarms.some((alarm) => alarm.level === "critical") ? "is-bad" : "is-warn"}`}>{alarms.length}</span>
              )}
            </a>
          ))}
        </div>
      ))}
      <button type="button" class="btn is-quiet is-icon collapse only-wide" onClick={onCollapse} aria-label={isNarrow ? "Widen the list of views" : "Narrow the list of views"}>
        <Icon path={isNarrow ? ICONS.expand : ICONS.collapse} />
      </button>
    </nav>
  );
}

const loaded = new Map<string, ComponentType>();

function CurrentView({ id }: { id: string }): JSX.Element {
  const [state, setState] = useState<{ view: ComponentType | null; problem: string | null }>({ view: loaded.get(id) ?? null, problem: null });
  useEffect(() => {
    if (state.view) return;
    loadView(id)
      .then((view) => {
        loaded.set(id, view);
        setState({ view, problem: null });
      })
      .catch((error: Error) => setState({ view: null, problem: error.message }));
  }, [id]);
  if (state.problem !== null) {
    return (
      <div class="note" role="alert">
        <p class="strong">This view could not be opened</p>
        <p>{state.problem}</p>
        <a class="btn" href={href("overview")}>
          Overview
        </a>
      </div>
    );
  }
  const View = state.view;
  return View ? <View /> : <Skeleton height={320} />;
}

function pageKeys(): () => void {
  const removePage = addGroup({
    title: "Everywhere",
    bindings: [
      { keys: "?", what: "these keys", run: () => (isHelpOpen.value = !isHelpOpen.value) },
      { keys: "t", what: "theme: system, light, dark", run: nextTheme },
      { keys: "p", what: "pause, go on", run: togglePause },
    ],
  });
  const removeViews = addGroup({
    title: "Views",
    bindings: VIEWS.map((view) => ({ keys: `g ${view.key}`, what: view.title.toLowerCase(), run: () => go(view.id) })),
  });
  return () => {
    removePage();
    removeViews();
  };
}
