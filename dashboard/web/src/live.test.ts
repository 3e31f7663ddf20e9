import { beforeEach, describe, expect, it } from "vitest";
import type { LiveUpdate } from "./api_types";
import { latest, missed, paused, receive, togglePause, versionOf } from "./live";

function update(step: number, rows: number, changed: LiveUpdate["changed"]): LiveUpdate {
  return { run: "r", cursor: String(step), as_of_us: 0, phase: "learn", step, version: step, heartbeat_us: 0, stalled: null, new_rows: { meta: rows }, changed, tiles: [], alarms: [], counts: {} } as unknown as LiveUpdate;
}

describe("live updates", () => {
  beforeEach(() => {
    if (paused.value) togglePause();
  });

  it("make only those ask again whose data changed", () => {
    const [metrics, evals] = [versionOf(["metrics"]), versionOf(["evals"])];

    receive(update(1, 4, ["metrics"]));

    expect(versionOf(["metrics"])).toBe(metrics + 1);
    expect(versionOf(["evals"])).toBe(evals);
    expect(latest.value?.step).toBe(1);
  });

  it("that only say how things stand make nobody ask again", () => {
    const before = versionOf(["rollouts", "state"]);

    receive(update(9, 400, ["rollouts", "state"]), true);

    expect(latest.value?.step).toBe(9);
    expect(versionOf(["rollouts", "state"])).toBe(before);
  });

  it("are counted and held back while the page is paused, and shown when it goes on", () => {
    receive(update(1, 0, ["state"]));
    togglePause();
    const before = versionOf(["rollouts"]);

    receive(update(2, 30, ["rollouts"]));
    receive(update(3, 12, ["rollouts"]));

    expect(missed.value).toBe(42);
    expect(latest.value?.step).toBe(1);
    expect(versionOf(["rollouts"])).toBe(before);

    togglePause();

    expect(missed.value).toBe(0);
    expect(latest.value?.step).toBe(3);
    expect(versionOf(["rollouts"])).toBeGreaterThan(before);
  });
});
