/** A long text in blocks that are put on the page one after the other. */

import { scanMath, type Segment } from "./math";

/** Characters of a block: some screens of text, drawn in a few milliseconds. */
const BLOCK = 6_000;

/** Segments in blocks of about `size` characters, cut at line ends where there are any. */
export function textBlocks(text: string, withMath: boolean, size = BLOCK): Segment[][] {
  const segments: Segment[] = withMath ? scanMath(text) : text ? [{ kind: "text", text }] : [];
  const blocks: Segment[][] = [];
  let block: Segment[] = [];
  let room = size;
  for (const segment of segments.flatMap((one) => cut(one, size))) {
    const length = segment.kind === "math" ? segment.raw.length : segment.text.length;
    if (length > room && block.length) {
      blocks.push(block);
      block = [];
      room = size;
    }
    block.push(segment);
    room -= length;
  }
  if (block.length) blocks.push(block);
  return blocks;
}

function cut(segment: Segment, size: number): Segment[] {
  if (segment.kind === "math" || segment.text.length <= size) return [segment];
  const pieces: Segment[] = [];
  let from = 0;
  while (from < segment.text.length) {
    let end = Math.min(segment.text.length, from + size);
    if (end < segment.text.length) {
      const line = segment.text.lastIndexOf("\n", end - 1);
      if (line > from) end = line + 1;
      else if (isHighSurrogate(segment.text.charCodeAt(end - 1))) end--;
    }
    pieces.push({ ...segment, text: segment.text.slice(from, end) });
    from = end;
  }
  return pieces;
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
