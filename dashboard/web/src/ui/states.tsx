/** What a reader sees when data is not there yet, not there at all, old or wrong. */
import type { ComponentChildren, JSX } from "preact";
import type { Why } from "../api_types";
import { ago } from "../format";
import { now } from "../live";
import type { Resource } from "../resource";

const WHY: Record<Why, string> = {
  not_recorded: "This run did not record it.",
  not_applicable: "It does not apply here.",
  not_yet: "Nothing has written it yet.",
  sampled_out: "Only a sample of rollouts records it, and this one is not in it.",
};

/** `n/a` with its reason on hover and focus. Never blank, never 0. */
export function NotAvailable({ why, detail }: { why?: Why | null | undefined; detail?: string | null | undefined }): JSX.Element {
  const reason = detail ?? WHY[why ?? "not_recorded"];
  return (
    <span class="na" tabIndex={0} title={reason} aria-label={`not available: ${reason}`}>
      n/a
    </span>
  );
}

/** A value or the reason why there is none; NaN is loud. */
export function Value<T extends number | string>(props: {
  of: T | null | undefined;
  show?: (value: T) => string;
  why?: Why | null | undefined;
  detail?: string | null | undefined;
}): JSX.Element {
  if (props.of === null || props.of === undefined) return <NotAvailable why={props.why} detail={props.detail} />;
  if (typeof props.of === "number" && Number.isNaN(props.of)) return <span class="nan">NaN</span>;
  return <>{props.show ? props.show(props.of) : String(props.of)}</>;
}

export function Skeleton({ height = 180 }: { height?: number }): JSX.Element {
  return <div class="skeleton" style={{ height: `${height}px` }} role="status" aria-label="Loading" />;
}

/** Nothing to show: why, and what will fill it. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="note">
      <p class="strong">{title}</p>
      {children && <p>{children}</p>}
    </div>
  );
}

export function ErrorNote({ resource, what }: { resource: Resource<unknown>; what: string }): JSX.Element {
  return (
    <div class="note" role="alert">
      <p class="strong">{`${what} could not be read`}</p>
      <p>{resource.error?.message}</p>
      <button type="button" class="btn" onClick={resource.retry}>
        Try again
      </button>
    </div>
  );
}

interface LoadedProps<T> {
  resource: Resource<T>;
  /** Names the data in an error: "The funnel". */
  what: string;
  height?: number;
  /** A title and reason when the data holds nothing. */
  empty?: (data: T) => [title: string, whatFillsIt: string] | null;
  children: (data: T) => ComponentChildren;
}

/** Skeleton, error with the last data and its age, empty, or the data. */
export function Loaded<T>({ resource, what, height = 180, empty, children }: LoadedProps<T>): JSX.Element {
  const { data, error, isOld } = resource;
  if (data === null) return error ? <ErrorNote resource={resource} what={what} /> : <Skeleton height={height} />;
  const nothing = empty?.(data) ?? null;
  return (
    <>
      {error && (
        <div class="banner is-warn" role="alert">
          <span>
            {`${error.message} Shown is what came ${resource.at ? ago(resource.at, now.value) : "before"}.`}
          </span>
          <button type="button" class="btn is-small push" onClick={resource.retry}>
            Try again
          </button>
        </div>
      )}
      <div class={isOld ? "is-updating" : undefined} aria-busy={resource.loading}>
        {nothing ? <Empty title={nothing[0]}>{nothing[1]}</Empty> : children(data)}
      </div>
    </>
  );
}
