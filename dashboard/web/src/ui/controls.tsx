/** Small parts that every view shares. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Filters } from "../api_types";
import { chipsOf, filterPatch, noFilters } from "../filters";
import { ago, count, exact, utc } from "../format";
import { now } from "../live";
import { href, route, setParams } from "../router";

/** The name of a view, what it shows, and on the right what can be set. */
export function ViewHead({ title, what, children }: { title: string; what?: ComponentChildren; children?: ComponentChildren }): JSX.Element {
  return (
    <header class="view-head">
      <h1>{title}</h1>
      {what !== undefined && <span class="what">{what}</span>}
      {children !== undefined && <div class="row wrap push">{children}</div>}
    </header>
  );
}

export function Card(props: {
  title?: string;
  unit?: string;
  actions?: ComponentChildren;
  class?: string;
  flush?: boolean;
  children: ComponentChildren;
}): JSX.Element {
  return (
    <section class={`card ${props.flush ? "is-flush" : ""} ${props.class ?? ""}`} aria-label={props.title}>
      {props.title !== undefined && (
        <div class="card-head">
          <h2>{props.title}</h2>
          {props.unit !== undefined && <span class="unit small dim">{props.unit}</span>}
          {props.actions !== undefined && <span class="push">{props.actions}</span>}
        </div>
      )}
      {props.children}
    </section>
  );
}

export interface Option<T extends string> {
  readonly value: T;
  readonly label: string;
  readonly disabled?: boolean;
  readonly title?: string;
}

/** One of a few, all of them in sight; the arrow keys move, as in any radio group. */
export function Segmented<T extends string>(props: {
  label: string;
  options: readonly Option<T>[];
  value: T;
  onChange: (value: T) => void;
}): JSX.Element {
  const usable = props.options.filter((option) => !option.disabled);
  const move = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : event.key === "ArrowLeft" || event.key === "ArrowUp" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const at = usable.findIndex((option) => option.value === props.value);
    const next = usable[(at + step + usable.length) % usable.length];
    if (!next) return;
    props.onChange(next.value);
    const buttons = (event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("button");
    buttons[props.options.indexOf(next)]?.focus();
  };
  return (
    <span class="seg" role="radiogroup" aria-label={props.label} onKeyDown={move}>
      {props.options.map((option) => (
        <button
          key={option.value}
          type="button"
          role="radio"
          aria-checked={option.value === props.value}
          tabIndex={option.value === props.value ? 0 : -1}
          disabled={option.disabled ?? false}
          title={option.title}
          onClick={() => props.onChange(option.value)}
        >
          {option.label}
        </button>
      ))}
    </span>
  );
}

/** A choice whose value lives in the address; the first option is the default and leaves no trace there. */
export function UrlSegmented<T extends string>(props: { name: string; label: string; options: readonly Option<T>[] }): JSX.Element {
  const first = props.options[0]?.value as T;
  const value = (route.value.params[props.name]?.[0] ?? first) as T;
  return (
    <span class="labelled">
      {props.label}
      <Segmented
        label={props.label}
        options={props.options}
        value={value}
        onChange={(next) => setParams({ [props.name]: next === first ? null : next })}
      />
    </span>
  );
}

/** A count, which opens the rollouts that it counts. */
export function CountLink(props: { value: number; filters: Filters | null; short?: boolean; title?: string }): JSX.Element {
  const text = props.short ? count(props.value) : exact(props.value);
  if (props.filters === null) return <span title={exact(props.value)}>{text}</span>;
  return (
    <a href={href("rollouts", filterPatch(props.filters))} title={props.title ?? `Open these ${exact(props.value)} rollouts`}>
      {text}
    </a>
  );
}

/** The filters in force as chips that can be taken away; `hide` names those that a view shows otherwise. */
export function FilterChips({ hide = [], before, children }: { hide?: readonly string[]; before?: ComponentChildren; children?: ComponentChildren }): JSX.Element | null {
  const chips = chipsOf(route.value.params).filter((chip) => !hide.includes(chip.label));
  if (chips.length === 0 && children === undefined) return null;
  return (
    <div class="chips" role="group" aria-label="Filters in force">
      {before}
      {chips.map((chip) => (
        <button key={chip.label} type="button" class="chip is-on" title="Take this filter away" onClick={() => setParams(chip.remove)}>
          <span class="label">{chip.label}</span>
          <span>{chip.value}</span>
          <span class="close" aria-hidden="true">
            ×
          </span>
        </button>
      ))}
      {chips.length > 1 && (
        <button type="button" class="btn is-quiet is-small" onClick={() => setParams(noFilters())}>
          Clear all
        </button>
      )}
      {children}
    </div>
  );
}

/** A relative time; the exact one in UTC on hover. */
export function Time({ us }: { us: number }): JSX.Element {
  return (
    <time class="nowrap" dateTime={new Date(us / 1000).toISOString()} title={utc(us)}>
      {ago(us, now.value)}
    </time>
  );
}

/** A button that opens a small list below it; Esc and a click elsewhere close it. */
export function Menu(props: { label: ComponentChildren; title: string; children: ComponentChildren; class?: string }): JSX.Element {
  const ref = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event): void => {
      const menu = ref.current;
      if (!menu?.open) return;
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !menu.contains(event.target as Node)) menu.open = false;
    };
    addEventListener("pointerdown", close);
    addEventListener("keydown", close);
    return () => {
      removeEventListener("pointerdown", close);
      removeEventListener("keydown", close);
    };
  }, []);
  const closeAfter = (event: MouseEvent): void => {
    if ((event.target as HTMLElement).closest("button, a") && ref.current) ref.current.open = false;
  };
  return (
    <details class="menu" ref={ref}>
      <summary class={props.class ?? "btn is-quiet is-icon"} title={props.title} aria-label={props.title} role="button">
        {props.label}
      </summary>
      <div class="popover" onClick={closeAfter}>
        {props.children}
      </div>
    </details>
  );
}
