/** The mean of the last `factor` values that are there; a gap stays a gap. */
export function smoothed(values: readonly (number | null)[], factor: number): (number | null)[] {
  const window: number[] = [];
  return values.map((value) => {
    if (value === null) return null;
    window.push(value);
    if (window.length > factor) window.shift();
    return window.reduce((sum, one) => sum + one, 0) / window.length;
  });
}
