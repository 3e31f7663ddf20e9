/** Which rows of a list of any length are in sight, and where they stand. Pure. */

/** Browsers give up on boxes of some 33 million pixels; beyond this the scroll bar is scaled. */
export const MAX_HEIGHT = 12_000_000;

export interface RowWindow {
  /** First row to draw, and the one after the last. */
  first: number;
  end: number;
  /** Height of the whole list, and where the first drawn row stands in it. */
  height: number;
  top: number;
}

const OVERSCAN = 8;

export function rowWindow(scrollTop: number, viewport: number, total: number, rowHeight: number): RowWindow {
  const fits = Math.max(1, Math.ceil(viewport / rowHeight));
  const full = total * rowHeight;
  const height = Math.min(full, Math.max(MAX_HEIGHT, viewport));
  const at = firstRow(scrollTop, viewport, total, rowHeight);
  const first = Math.max(0, Math.floor(at) - OVERSCAN);
  const end = Math.min(total, Math.floor(at) + fits + OVERSCAN + 1);
  // The row that is first in sight stands where the reader scrolled to, whatever the scale is.
  const top = scrollTop - (at - first) * rowHeight;
  return { first, end, height, top: Math.max(0, Math.min(top, height - (end - first) * rowHeight)) };
}

/** Number of the first row in sight; its fraction is how much of it has left. */
export function firstRow(scrollTop: number, viewport: number, total: number, rowHeight: number): number {
  const full = total * rowHeight;
  const height = Math.min(full, Math.max(MAX_HEIGHT, viewport));
  if (full <= viewport) return 0;
  const share = Math.min(1, Math.max(0, scrollTop / (height - viewport)));
  return (share * (full - viewport)) / rowHeight;
}

/** Where to scroll to so that this row is in sight; null when it is already. */
export function scrollFor(row: number, scrollTop: number, viewport: number, total: number, rowHeight: number): number | null {
  const full = total * rowHeight;
  if (full <= viewport) return null;
  const height = Math.min(full, Math.max(MAX_HEIGHT, viewport));
  const first = firstRow(scrollTop, viewport, total, rowHeight);
  const fits = viewport / rowHeight;
  let wanted = first;
  if (row < first) wanted = row;
  else if (row + 1 > first + fits) wanted = row + 1 - fits;
  else return null;
  return (wanted * rowHeight * (height - viewport)) / (full - viewport);
}
