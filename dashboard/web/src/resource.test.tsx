import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { refreshAll } from "./live";
import { useApi, type Resource } from "./resource";

let shown: Resource<{ n: number }> | null = null;

function Probe({ path }: { path: string }) {
  shown = useApi<{ n: number }>(path, { run: "r" }, ["rollouts"]);
  return null;
}

function answerAfter(ms: number, status = 200) {
  let asked = 0;
  return vi.spyOn(globalThis, "fetch").mockImplementation(
    (_, init) =>
      new Promise((resolve, reject) => {
        asked += 1;
        const body = JSON.stringify(status === 200 ? { n: asked } : { error: { code: "unreadable", message: "cannot read it" } });
        const timer = setTimeout(() => resolve(new Response(body, { status })), ms);
        init?.signal?.addEventListener("abort", () => {
          clearTimeout(timer);
          reject(new DOMException("aborted", "AbortError"));
        });
      }),
  );
}

const wait = (ms: number) => act(async () => void (await vi.advanceTimersByTimeAsync(ms)));

describe("useApi", () => {
  const root = document.createElement("div");
  beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] }));
  afterEach(() => {
    render(null, root);
    vi.useRealTimers();
    vi.restoreAllMocks();
    shown = null;
  });

  it("gets its answer however often the data changes meanwhile, and asks again afterwards", async () => {
    const fetch = answerAfter(60);
    await act(() => render(<Probe path="funnel" />, root));

    for (let tick = 0; tick < 10; tick += 1) {
      await act(() => refreshAll());
      await wait(5);
    }
    await wait(60);

    expect(shown?.data).toEqual({ n: 1 });
    expect(fetch).toHaveBeenCalledTimes(1);
    await wait(1200);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it("drops the answer to a question that is no longer asked, and says that the old data is old", async () => {
    answerAfter(30);
    await act(() => render(<Probe path="funnel" />, root));
    await wait(50);

    await act(() => render(<Probe path="lengths" />, root));

    expect(shown).toMatchObject({ data: { n: 1 }, isOld: true, loading: true });
    await wait(50);
    expect(shown).toMatchObject({ data: { n: 2 }, isOld: false, loading: false });
  });

  it("keeps the last data through an error, whose words are the server's, and asks again by itself", async () => {
    answerAfter(5);
    await act(() => render(<Probe path="funnel" />, root));
    await wait(20);
    vi.restoreAllMocks();
    answerAfter(5, 503);

    await act(() => shown?.retry());
    await wait(20);

    expect(shown?.data).toEqual({ n: 1 });
    expect(shown?.error?.message).toBe("cannot read it");
    vi.restoreAllMocks();
    answerAfter(5);
    await wait(6500);
    expect(shown?.error).toBeNull();
  });
});
