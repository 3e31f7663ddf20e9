/** The server counts characters as code points, JavaScript as UTF-16 units. */

/** Where in `text` the code point number `points` begins; the text's length when it has fewer. */
export function unitsOf(text: string, points: number): number {
  let unit = 0;
  for (let seen = 0; seen < points && unit < text.length; seen++) {
    unit += (text.codePointAt(unit) ?? 0) > 0xffff ? 2 : 1;
  }
  return unit;
}
