/** The views in the order of the rail. A view is `views/<id>.tsx` with a component as default export. */
import type { ComponentType } from "preact";

export interface ViewInfo {
  readonly id: string;
  readonly title: string;
  /** After `g`. */
  readonly key: string;
  readonly group: string;
  /** 16x16 icon, strokes of a path. */
  readonly icon: string;
}

export const VIEWS: readonly ViewInfo[] = [
  { id: "overview", title: "Overview", key: "o", group: "Watch", icon: "M2 9h5v5H2zM9 9h5v5H9zM2 2h12v5H2z" },
  { id: "health", title: "Health", key: "h", group: "Watch", icon: "M1 8h3l2-5 4 10 2-5h3" },
  { id: "logs", title: "Logs", key: "l", group: "Watch", icon: "M2 3h12M2 6.5h8M2 10h12M2 13.5h6" },
  { id: "rollouts", title: "Rollouts", key: "r", group: "Rollouts", icon: "M2 2h12v12H2zM2 6h12M2 10h12M6 6v8" },
  { id: "problem", title: "Problem", key: "b", group: "Rollouts", icon: "M2 13l4-5 3 3 5-8M2 2v12h12" },
  { id: "lengths", title: "Lengths", key: "e", group: "Rollouts", icon: "M2 14V9M5 14V4M8 14V6M11 14v-4M14 14v-2" },
  { id: "funnel", title: "Funnel", key: "f", group: "Rollouts", icon: "M1.5 2.5h13L10 8v5l-4 1.5V8z" },
  { id: "whatif", title: "What-if", key: "w", group: "Rollouts", icon: "M2 4h12M2 12h12M5 2v4M11 10v4" },
  { id: "pareto", title: "Pareto", key: "p", group: "Results", icon: "M2 2v12h12M4 12c1-6 4-8 9-8.5" },
  { id: "evals", title: "Evals", key: "v", group: "Results", icon: "M2 8l4 4 8-9" },
  { id: "compare", title: "Compare", key: "c", group: "Results", icon: "M2 3h5v10H2zM9 3h5v10H9z" },
  { id: "pipeline", title: "Pipeline", key: "i", group: "System", icon: "M1 8h4M11 8h4M5 5h6v6H5z" },
  { id: "generators", title: "Generators", key: "n", group: "System", icon: "M2 3h12v4H2zM2 9h12v4H2zM11 5h1M11 11h1" },
  { id: "learner", title: "Learner", key: "a", group: "System", icon: "M2 2v12h12M4 5c2 5 5 6 9 6" },
  { id: "recipe", title: "Recipe", key: "y", group: "Run", icon: "M4 2h8v12H4zM6 5h4M6 8h4M6 11h2" },
  { id: "config", title: "Config", key: "s", group: "Run", icon: "M6 3L2 8l4 5M10 3l4 5-4 5" },
  { id: "sql", title: "SQL", key: "q", group: "Run", icon: "M2 4c0-3 12-3 12 0v8c0 3-12 3-12 0zM2 4c0 3 12 3 12 0M2 8c0 3 12 3 12 0" },
];

const modules = import.meta.glob<{ default: ComponentType }>("./*.tsx");

export function viewInfo(id: string): ViewInfo | null {
  return VIEWS.find((view) => view.id === id) ?? null;
}

/** The component of a view; its code is fetched on first use. */
export async function loadView(id: string): Promise<ComponentType> {
  const load = viewInfo(id) && modules[`./${id}.tsx`];
  if (!load) throw new Error(`There is no view named ${id}.`);
  return (await load()).default;
}
