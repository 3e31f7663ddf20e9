/**
 * What changes while the page is open. One visible tab of a browser holds the stream and tells the
 * others: browsers allow six connections to a host. A lost stream comes back with back-off, and
 * between two tries the same answer is polled for.
 */
import { computed, effect, signal } from "@preact/signals";
import { address, get, needsToken } from "./api";
import type { LiveUpdate } from "./api_types";
import { runParam } from "./router";

export type Topic = LiveUpdate["changed"][number];
const TOPICS: readonly Topic[] = ["state", "rollouts", "fates", "metrics", "events", "evals", "alarms", "annotations"];

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
/** A stream that stays mute this long after it opened sits behind a proxy that buffers. */
const MUTE_MS = 10_000;

export const latest = signal<LiveUpdate | null>(null);
/** `performance.now()` of the last word from the server about the run. */
export const heardAt = signal<number | null>(null);
export const connection = signal<"connecting" | "stream" | "polling" | "offline" | "gone">("connecting");
export const goneMessage = signal<string | null>(null);
export const paused = signal(false);
/** Rollouts that came while the page was paused. */
export const missed = signal(0);
/** Ticks once a second: ages are drawn from it. */
export const now = signal(Date.now() * 1000);

const versions = signal<Readonly<Record<Topic, number>>>(zeroes());

function zeroes(): Record<Topic, number> {
  return Object.fromEntries(TOPICS.map((topic) => [topic, 0])) as Record<Topic, number>;
}

/** A number that grows when data of one of these topics changed, and stands still while paused. */
export function versionOf(topics: readonly Topic[]): number {
  return topics.reduce((sum, topic) => sum + versions.value[topic], 0);
}

export function togglePause(): void {
  paused.value = !paused.value;
  if (!paused.value) {
    missed.value = 0;
    if (heldBack) take(heldBack);
    heldBack = null;
    bump(TOPICS);
  }
}

/** Fetch everything that is shown again. */
export function refreshAll(): void {
  bump(TOPICS);
}

let heldBack: LiveUpdate | null = null;

function bump(topics: readonly Topic[]): void {
  const next = { ...versions.value };
  for (const topic of topics) next[topic] += 1;
  versions.value = next;
}

function take(update: LiveUpdate): void {
  latest.value = update;
  bump(update.changed);
}

/** An update from the stream, a poll or another tab. `isBaseline`: it says how things stand, nothing new. */
export function receive(update: LiveUpdate, isBaseline = false): void {
  heardAt.value = performance.now();
  if (isBaseline) {
    latest.value = update;
    return;
  }
  if (paused.value) {
    missed.value += update.new_rows["meta"] ?? 0;
    heldBack = update;
  } else {
    take(update);
  }
}

type Message = { run: string | null; update: LiveUpdate };

class Follower {
  private stream: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private wait = FIRST_WAIT_MS;
  private cursor: string | null = null;
  private hasStreamed = false;
  private readonly stop = new AbortController();
  private readonly channel: BroadcastChannel | null;

  constructor(private readonly run: string | null) {
    this.channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("laconic.live");
    this.channel?.addEventListener("message", (event: MessageEvent<Message>) => {
      if (event.data.run === this.run) this.heard(event.data.update, "stream");
    });
    void this.poll().finally(() => this.lead());
  }

  close(): void {
    this.stop.abort();
    this.channel?.close();
    this.stream?.close();
    clearTimeout(this.timer);
  }

  private lead(): void {
    if (this.stop.signal.aborted) return;
    const name = `laconic.live.${location.pathname}.${this.run ?? ""}`;
    if (typeof navigator.locks === "undefined" || this.channel === null) this.open();
    else {
      const untilClosed = (): Promise<void> => {
        this.open();
        return new Promise((done) => this.stop.signal.addEventListener("abort", () => done()));
      };
      navigator.locks.request(name, { signal: this.stop.signal }, untilClosed).catch(() => undefined);
    }
  }

  private open(): void {
    if (this.stop.signal.aborted) return;
    // The first stream asks for no place to go on from: it answers at once, so a mute one is found.
    const after = this.hasStreamed ? this.cursor : null;
    const stream = new EventSource(address("live", { run: this.run, after }));
    this.stream = stream;
    const mute = setTimeout(() => this.reopen(), MUTE_MS);
    stream.addEventListener("open", () => {
      if (!this.hasStreamed) return;
      clearTimeout(mute);
      connection.value = "stream";
    });
    stream.addEventListener("update", (event: MessageEvent<string>) => {
      clearTimeout(mute);
      this.hasStreamed = true;
      this.wait = FIRST_WAIT_MS;
      const update = JSON.parse(event.data) as LiveUpdate;
      this.channel?.postMessage({ run: this.run, update } satisfies Message);
      this.heard(update, "stream");
    });
    stream.addEventListener("gone", (event: MessageEvent<string>) => {
      clearTimeout(mute);
      stream.close();
      connection.value = "gone";
      goneMessage.value = (JSON.parse(event.data) as { message: string }).message;
    });
    stream.addEventListener("error", () => {
      clearTimeout(mute);
      this.reopen();
    });
  }

  private reopen(): void {
    this.stream?.close();
    if (this.stop.signal.aborted) return;
    void this.poll();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(LONGEST_WAIT_MS, this.wait * 2);
  }

  private async poll(): Promise<void> {
    try {
      const update = await get<LiveUpdate>("live/poll", { run: this.run, after: this.cursor }, this.stop.signal);
      this.heard(update, "polling");
    } catch {
      if (!this.stop.signal.aborted) connection.value = "offline";
    }
  }

  private heard(update: LiveUpdate, by: "stream" | "polling"): void {
    const isSame = update.cursor === this.cursor && connection.value !== by;
    const isBaseline = this.cursor === null || isSame;
    this.cursor = update.cursor;
    connection.value = by;
    goneMessage.value = null;
    receive(update, isBaseline);
  }
}

/** How long nothing was heard, in seconds; null while the stream stands. */
export const silence = computed(() => {
  void now.value;
  if (connection.value === "stream" || heardAt.value === null) return null;
  return (performance.now() - heardAt.value) / 1000;
});

/** Follow the run of the address for as long as the page is visible. Call once. */
export function startLive(): void {
  const visible = signal(document.visibilityState !== "hidden");
  document.addEventListener("visibilitychange", () => {
    visible.value = document.visibilityState !== "hidden";
  });
  setInterval(() => {
    if (visible.peek()) now.value = Date.now() * 1000;
  }, 1000);
  let shown: string | null = null;
  effect(() => {
    const run = runParam.value;
    if (!visible.value || needsToken.value) return;
    if (run !== shown) latest.value = null;
    shown = run;
    const follower = new Follower(run);
    return () => follower.close();
  });
}
