/** What a model wrote, as text nodes only; with its formulas set, if wanted. */

import { memo } from "preact/compat";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { showFormula } from "./formula";
import type { Segment } from "./math";
import { visible } from "./plain";
import { textBlocks } from "./text_blocks";

/** Blocks that are drawn at once; the others come when the reader gets near. */
const AT_ONCE = 3;

export function RolloutText({ text, math }: { text: string; math: boolean }) {
  const blocks = useMemo(() => textBlocks(text, math), [text, math]);
  const [shown, end] = useGrowing(blocks.length, AT_ONCE, blocks);
  return (
    <div class={math ? "reading" : "reading is-raw"} dir="auto">
      {blocks.slice(0, shown).map((block, at) => (
        <Block key={at} block={block} />
      ))}
      {shown < blocks.length && <div ref={end} class="grow-mark" aria-hidden="true" />}
    </div>
  );
}

const Block = memo(function Block({ block }: { block: Segment[] }) {
  return (
    <>
      {block.map((segment, at) => {
        if (segment.kind === "math") return <Formula key={at} segment={segment} />;
        if (segment.kind === "code") return <code key={at}>{visible(segment.text)}</code>;
        return visible(segment.text);
      })}
    </>
  );
});

function Formula({ segment }: { segment: Extract<Segment, { kind: "math" }> }) {
  const host = useRef<HTMLSpanElement>(null);
  const { tex, display, raw } = segment;
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    // KaTeX owns what is inside: the source until it is set, and again when that fails.
    element.textContent = visible(raw);
    void showFormula(element, tex, display);
  }, [tex, display, raw]);
  return <span ref={host} class={display ? "formula is-display" : "formula"} title={visible(raw)} />;
}

/** How many of `total` pieces to draw; grows by doubling while `end` is near the window. */
export function useGrowing(total: number, first: number, of: unknown) {
  const [shown, setShown] = useState(first);
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => setShown(first), [of]);
  useEffect(() => {
    const mark = end.current;
    if (!mark || shown >= total) return;
    const watch = new IntersectionObserver(
      (seen) => {
        if (seen.some((one) => one.isIntersecting)) setShown((old) => old + Math.max(4, Math.min(16, old)));
      },
      { rootMargin: "1500px" },
    );
    watch.observe(mark);
    return () => watch.disconnect();
  }, [shown, total, of]);
  return [Math.min(shown, total), end] as const;
}
