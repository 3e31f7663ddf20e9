/** Keys of the page and of the open view. None fires while somebody types. */
import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";

export interface Binding {
  /** As `KeyboardEvent.key`; two keys after each other are written `g o`. */
  readonly keys: string;
  readonly what: string;
  readonly run: (event: KeyboardEvent) => void;
}

export interface Group {
  readonly title: string;
  readonly bindings: readonly Binding[];
}

const groups = signal<readonly Group[]>([]);
/** What `?` lists: the page's own keys first, then those of the open view. */
export const activeGroups = groups;

const SEQUENCE_MS = 1200;
let pending: { key: string; at: number } | null = null;

export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT") return true;
  return target instanceof HTMLInputElement && !["checkbox", "radio", "range", "button"].includes(target.type);
}

export function addGroup(group: Group): () => void {
  groups.value = [...groups.value, group];
  return () => {
    groups.value = groups.value.filter((other) => other !== group);
  };
}

/** Keys that live as long as the component does. */
export function useKeys(title: string, bindings: readonly Binding[]): void {
  useEffect(() => addGroup({ title, bindings }), bindings);
}

/** The binding that this key completes, the newest group first. */
export function match(all: readonly Group[], first: string | null, key: string): Binding | null {
  const wanted = first === null ? key : `${first} ${key}`;
  for (const group of [...all].reverse()) {
    const found = group.bindings.find((binding) => binding.keys === wanted);
    if (found) return found;
  }
  return null;
}

export function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") (event.target as HTMLElement).blur();
    return;
  }
  const first = pending && performance.now() - pending.at < SEQUENCE_MS ? pending.key : null;
  pending = null;
  if (ownsKey(event.target, event.key)) return;
  const binding = match(groups.value, first, event.key) ?? (first ? match(groups.value, null, event.key) : null);
  if (binding) {
    event.preventDefault();
    binding.run(event);
  } else if (groups.value.some((group) => group.bindings.some((b) => b.keys.startsWith(`${event.key} `)))) {
    pending = { key: event.key, at: performance.now() };
  }
}

/** Enter and Space on a focused control are the control's; so are the arrows of a slider. */
function ownsKey(target: EventTarget | null, key: string): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (key === "Enter" || key === " ") return ["A", "BUTTON", "SUMMARY", "INPUT"].includes(target.tagName);
  return target instanceof HTMLInputElement && target.type === "range" && (key.startsWith("Arrow") || key === "Home" || key === "End");
}
