import type { JSX } from "preact";

/** A 16x16 icon of strokes in the text's colour. */
export function Icon({ path, size = 16, weight = 1.4 }: { path: string; size?: number; weight?: number }): JSX.Element {
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width={weight} stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

export const ICONS = {
  pause: "M5 3v10M11 3v10",
  play: "M4 2.5l9 5.5-9 5.5z",
  light: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
  dark: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7z",
  system: "M2 3h12v8H2zM5.5 14h5M8 11v3",
  help: "M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.8-1.1 1.6M8 12.6v.1",
  menu: "M2 4h12M2 8h12M2 12h12",
  more: "M3 8h.1M8 8h.1M13 8h.1",
  collapse: "M10 3L5 8l5 5",
  expand: "M6 3l5 5-5 5",
  table: "M2 3h12v10H2zM2 6.5h12M6.5 3v10",
  download: "M8 2v8M5 7l3 3 3-3M3 14h10",
  reset: "M3 8a5 5 0 1 0 2-4M3 2v3h3",
} as const;
