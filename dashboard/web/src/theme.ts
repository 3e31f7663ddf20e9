/** Dark, light or as the system says. Canvas code reads its colours here and follows a change. */
import { computed, signal } from "@preact/signals";

export type Choice = "system" | "light" | "dark";
const KEY = "laconic.theme";
const CHOICES: readonly Choice[] = ["system", "light", "dark"];

const media = typeof matchMedia === "undefined" ? null : matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(media?.matches ?? false);
media?.addEventListener("change", (event) => {
  systemIsDark.value = event.matches;
});

export const choice = signal<Choice>(stored());
export const theme = computed<"light" | "dark">(() =>
  choice.value === "system" ? (systemIsDark.value ? "dark" : "light") : choice.value,
);

const LIGHT = {
  canvas: "#F6F7F8",
  surface: "#FFFFFF",
  sunken: "#EDF0F2",
  line: "#D9DEE3",
  ink: "#1B232B",
  ink2: "#47525D",
  ink3: "#5F6A75",
  trained: "#00825F",
  waiting: "#0072B2",
  filtered: "#A97100",
  wrong: "#C25500",
  truncated: "#B4608F",
  stale: "#66717C",
  accent: "#00629B",
};

export type Token = keyof typeof LIGHT;

const DARK: Record<Token, string> = {
  canvas: "#11161B",
  surface: "#181E24",
  sunken: "#20272E",
  line: "#303942",
  ink: "#E4E8EC",
  ink2: "#B4BDC6",
  ink3: "#8C97A2",
  trained: "#009E73",
  waiting: "#56B4E9",
  filtered: "#E69F00",
  wrong: "#D55E00",
  truncated: "#CC79A7",
  stale: "#8C97A2",
  accent: "#6CBEF0",
};

/** Colours of the theme that is shown; a component that reads it is drawn anew on a change. */
export const colors = computed<Record<Token, string>>(() => (theme.value === "dark" ? DARK : LIGHT));

export function nextTheme(): void {
  setTheme(CHOICES[(CHOICES.indexOf(choice.value) + 1) % CHOICES.length] ?? "system");
}

export function setTheme(next: Choice): void {
  choice.value = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // A browser that forbids storage still shows the choice until it is closed.
  }
}

function stored(): Choice {
  try {
    const value = localStorage.getItem(KEY) as Choice;
    return CHOICES.includes(value) ? value : "system";
  } catch {
    return "system";
  }
}
