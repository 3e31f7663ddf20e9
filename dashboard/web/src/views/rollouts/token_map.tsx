/** A whole response as one line of values: where the model hesitated. A click goes there. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { colors } from "../../theme";

interface Props {
  values: readonly (number | null)[];
  low: number;
  high: number;
  label: string;
  onPick: (index: number) => void;
}

const HEIGHT = 36;

export function TokenMap({ values, low, high, label, onPick }: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const palette = colors.value;
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const draw = (): void => {
      const width = element.clientWidth;
      const scale = devicePixelRatio || 1;
      element.width = Math.round(width * scale);
      element.height = Math.round(HEIGHT * scale);
      const context = element.getContext("2d");
      if (!context || !width) return;
      context.scale(scale, scale);
      context.fillStyle = palette.accent;
      highest(values, Math.floor(width)).forEach((value, x) => {
        if (value === null) return;
        const height = Math.max(1, ((Math.min(value, high) - low) / (high - low || 1)) * HEIGHT);
        context.fillRect(x, HEIGHT - height, 1, height);
      });
    };
    draw();
    const watch = new ResizeObserver(draw);
    watch.observe(element);
    return () => watch.disconnect();
  }, [values, low, high, palette]);
  return (
    <canvas
      ref={canvas}
      class="token-map"
      role="img"
      aria-label={`${label} over the response`}
      title="Highest value of each stretch of the response. A click goes there."
      onClick={(event) => {
        const share = event.offsetX / Math.max(1, event.currentTarget.clientWidth);
        onPick(Math.min(values.length - 1, Math.floor(share * values.length)));
      }}
    />
  );
}

/** The highest value of each of `columns` equal stretches, so that no spike is lost. */
export function highest(values: readonly (number | null)[], columns: number): (number | null)[] {
  const result: (number | null)[] = new Array<number | null>(columns).fill(null);
  if (!values.length || columns <= 0) return result;
  const stretch = values.length / columns;
  for (let column = 0; column < columns; column++) {
    const from = Math.floor(column * stretch);
    const to = Math.max(from + 1, Math.floor((column + 1) * stretch));
    for (let at = from; at < Math.min(to, values.length); at++) {
      const value = values[at] ?? null;
      const most = result[column] ?? null;
      if (value !== null && (most === null || value > most)) result[column] = value;
    }
  }
  return result;
}
