/** From the byte ends of tokens to pieces of text: the page needs no tokenizer. */

export interface TokenPiece {
  /** Number of the token in its rollout. */
  index: number;
  text: string;
  /** The token ends inside a character; the piece that completes it has the text. */
  partial: boolean;
}

/**
 * The text of every token, of `ends`, the offset in UTF-8 bytes at which each one ends.
 *
 * Joined, the pieces are the text as far as the last end. A character that several tokens
 * write belongs to the one that finishes it.
 */
export function tokenPieces(text: string, ends: readonly number[]): TokenPiece[] {
  const pieces: TokenPiece[] = [];
  let unit = 0;
  let bytes = 0;
  for (let index = 0; index < ends.length; index++) {
    const end = ends[index] ?? bytes;
    const from = unit;
    while (unit < text.length) {
      const code = text.codePointAt(unit) ?? 0;
      const size = utf8Size(code);
      if (bytes + size > end) break;
      bytes += size;
      unit += code > 0xffff ? 2 : 1;
    }
    pieces.push({ index, text: text.slice(from, unit), partial: bytes < end && unit < text.length });
  }
  return pieces;
}

/** A half surrogate was written as the replacement character or a question mark: three bytes at most. */
function utf8Size(code: number): number {
  if (code < 0x80) return 1;
  if (code < 0x800) return 2;
  return code < 0x10000 ? 3 : 4;
}

/** Values to steps of a colour ramp, 0 to `steps - 1`; null where there is no value. */
export function rampSteps(values: readonly (number | null)[], low: number, high: number, steps: number): (number | null)[] {
  const width = high - low;
  return values.map((value) => {
    if (value === null || Number.isNaN(value)) return null;
    const share = width > 0 ? (value - low) / width : 0;
    return Math.min(steps - 1, Math.max(0, Math.floor(share * steps)));
  });
}
