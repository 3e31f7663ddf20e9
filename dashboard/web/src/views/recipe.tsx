/** What the run does, in plain words and in the order in which it is done. */

import type { JSX } from "preact";
import type { Recipe, RecipeLine } from "../api_types";
import { exact, percent } from "../format";
import { useApi } from "../resource";
import { href } from "../router";
import { oneLine } from "../text/plain";
import { CountLink, ViewHead } from "../ui/controls";
import { Loaded } from "../ui/states";
import "./recipe.css";

const PARTS: Record<RecipeLine["part"], string> = {
  data: "Data", prompt: "Prompt", generate: "Generate", judge: "Judge", filter: "Filter", select: "Select", objective: "Objective", publish: "Publish", evaluate: "Evaluate",
};
/** Where the counts of a part can be seen in full. */
const VIEW_OF: Partial<Record<RecipeLine["part"], [view: string, label: string]>> = {
  generate: ["generators", "generators"],
  judge: ["funnel", "funnel"],
  filter: ["funnel", "funnel"],
  select: ["funnel", "funnel"],
  objective: ["learner", "learner"],
  publish: ["pipeline", "pipeline"],
  evaluate: ["evals", "evals"],
};

export default function RecipeView(): JSX.Element {
  const recipe = useApi<Recipe>("recipe", {}, ["rollouts", "fates"]);
  return (
    <>
      <ViewHead title="Recipe" what={recipe.data ? oneLine(recipe.data.title) : ""} />
      <Loaded resource={recipe} what="The recipe" height={400} empty={(data) => (data.lines.length ? null : ["No recipe", "resolved.yaml is written when a run starts."])}>
        {(data) => (
          <ol class="card recipe">
            {data.lines.map((line, at) => (
              <Line key={`${line.part} ${line.name} ${at}`} line={line} isNewPart={data.lines[at - 1]?.part !== line.part} />
            ))}
          </ol>
        )}
      </Loaded>
    </>
  );
}

function Line({ line, isNewPart }: { line: RecipeLine; isNewPart: boolean }): JSX.Element {
  const view = VIEW_OF[line.part];
  return (
    <li class={isNewPart ? "recipe-line is-new" : "recipe-line"}>
      <span class="recipe-part">{isNewPart ? PARTS[line.part] : ""}</span>
      <div class="recipe-what">
        <p>
          <span class="strong mono">{oneLine(line.name)}</span> <span>{oneLine(line.text)}</span>
        </p>
        <p class="small dim recipe-links">
          {line.config_keys.map((key) => (
            <a key={key} class="mono" href={href("config", { key })} title="Its value and where it came from">
              {key}
            </a>
          ))}
          {view && <a href={href(view[0])}>{view[1]}</a>}
        </p>
      </div>
      <Counts line={line} />
    </li>
  );
}

/** What a part let through, and where its link leads: to these, or to those that it rejected. */
function Counts({ line }: { line: RecipeLine }): JSX.Element {
  const { seen, passed, filters } = line;
  const shown = passed ?? seen;
  if (shown === null) return <span class="recipe-counts" />;
  const share = passed === null || !seen ? null : passed / seen;
  const isOfRejected = filters?.reason !== undefined && seen !== null && passed !== null;
  return (
    <div class="recipe-counts">
      <span class="num">
        {isOfRejected ? exact(shown) : <CountLink value={shown} filters={filters} />}
        {seen !== null && passed !== null && <span class="dim">{` of ${exact(seen)}`}</span>}
        {isOfRejected && (
          <span class="small dim recipe-rejected">
            {"rejected "}
            <CountLink value={seen - passed} filters={filters} />
          </span>
        )}
      </span>
      {share !== null && (
        <>
          <span class="recipe-track" aria-hidden="true">
            <span style={{ width: `${share * 100}%` }} />
          </span>
          <span class="small dim num">{percent(share)}</span>
        </>
      )}
    </div>
  );
}
