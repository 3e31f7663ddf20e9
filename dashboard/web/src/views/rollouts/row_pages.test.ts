import { describe, expect, it, vi } from "vitest";
import { RowPages } from "./row_pages";

function server(total: number) {
  const asked: number[] = [];
  const ask = vi.fn(async (_path: string, query: Record<string, unknown>, signal?: AbortSignal) => {
    const offset = query["offset"] as number;
    asked.push(offset);
    await Promise.resolve();
    if (signal?.aborted) throw new DOMException("gone", "AbortError");
    const rows = Array.from({ length: Math.min(100, total - offset) }, (_, n) => ({ rollout_id: `r${offset + n}` }));
    return { total, offset, rows, without_text: 0, incomplete: false };
  });
  return { ask: ask as never, asked };
}

const settle = () => new Promise((done) => setTimeout(done));

describe("RowPages", () => {
  it("asks once for what is looked at", async () => {
    const { ask, asked } = server(1_000);
    const pages = new RowPages({}, () => undefined, ask);
    pages.want(0, 30);
    pages.want(5, 40);
    await settle();
    pages.want(90, 130);
    await settle();
    expect(asked).toEqual([0, 100]);
    expect(pages.row(121)?.rollout_id).toBe("r121");
    expect(pages.indexOf("r121")).toBe(121);
    expect([pages.row(500), pages.total]).toEqual([null, 1_000]);
  });

  it("gives up a page that the reader has passed", async () => {
    const { ask } = server(1_000);
    const pages = new RowPages({}, () => undefined, ask);
    pages.want(300, 320);
    pages.want(700, 720);
    await settle();
    expect(pages.row(305)).toBeNull();
    expect(pages.row(705)?.rollout_id).toBe("r705");
    pages.want(300, 320);
    await settle();
    expect(pages.row(305)?.rollout_id).toBe("r305");
  });

  it("asks again for a page that it gave up a moment ago", async () => {
    const { ask } = server(1_000);
    const pages = new RowPages({}, () => undefined, ask);
    pages.want(300, 320);
    pages.want(700, 720);
    pages.want(300, 320);
    await settle();
    expect(pages.row(305)?.rollout_id).toBe("r305");
  });

  it("keeps a bounded number of pages, those near the reader", async () => {
    const { ask } = server(100_000);
    const pages = new RowPages({}, () => undefined, ask);
    for (let at = 0; at < 80; at++) {
      pages.want(at * 100, at * 100 + 50);
      await settle();
    }
    expect(pages.row(7_905)?.rollout_id).toBe("r7905");
    expect(pages.row(5)).toBeNull();
  });

  it("keeps its rows through an error and says what it was", async () => {
    const { ask } = server(1_000);
    let broken = false;
    const flaky = (async (...args: never[]) => {
      if (broken) throw new Error("away");
      return (ask as (...a: never[]) => unknown)(...args);
    }) as never;
    const pages = new RowPages({}, () => undefined, flaky);
    pages.want(0, 10);
    await settle();
    broken = true;
    pages.want(200, 210);
    await settle();
    expect(pages.error?.message).toContain("away");
    expect(pages.row(3)?.rollout_id).toBe("r3");
  });
});
