/** Curves of several runs over one axis. Pure. */

import type { RunSeries } from "../../api_types";

export type Axis = "step" | "tokens" | "time";

export interface Aligned {
  x: number[];
  lines: { run: string; values: (number | null)[] }[];
}

/** Every run's values at its own places; between them there is nothing, which charts join over. */
export function align(series: readonly RunSeries[], name: string, axis: Axis): Aligned {
  const places = series.map((one) => (axis === "step" ? one.step : axis === "tokens" ? one.generated_tokens : one.seconds));
  const x = [...new Set(places.flat().filter((value): value is number => value !== null))].sort((a, b) => a - b);
  const lines = series.map((one, at) => {
    const values = new Map<number, number | null>();
    (places[at] ?? []).forEach((place, index) => {
      if (place !== null) values.set(place, one.columns[name]?.[index] ?? null);
    });
    return { run: one.run, values: axis === "step" ? x.map((place) => values.get(place) ?? null) : between(x, values) };
  });
  return { x, lines };
}

/** Off the step axis runs share no places: a value between two of a run lies on the line between them. */
function between(x: readonly number[], values: ReadonlyMap<number, number | null>): (number | null)[] {
  const known = [...values].sort(([one], [other]) => one - other);
  let next = 0;
  return x.map((place) => {
    while (next < known.length && (known[next]?.[0] ?? 0) < place) next++;
    const [right, left] = [known[next], known[next - 1]];
    if (right?.[0] === place) return right[1];
    if (!right || !left || right[1] === null || left[1] === null) return null;
    return left[1] + ((right[1] - left[1]) * (place - left[0])) / (right[0] - left[0]);
  });
}
