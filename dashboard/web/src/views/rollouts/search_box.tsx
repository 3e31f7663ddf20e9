/** Search of the texts by a regular expression; it goes off when typing pauses. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { param, setParams } from "../../router";

const PAUSE_MS = 350;

export function SearchBox(): JSX.Element {
  const inForce = param("q") ?? "";
  const [text, setText] = useState(inForce);
  useEffect(() => setText(inForce), [inForce]);
  useEffect(() => {
    if (text === inForce) return;
    const timer = setTimeout(() => setParams({ q: text || null }, { replace: inForce !== "" && text !== "" }), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <input
      id="rollout-search"
      class="field search"
      type="search"
      value={text}
      placeholder="Search texts: regular expression"
      aria-label="Search the texts by a regular expression"
      title="Regular expression (RE2) on the whole response. (?i) ignores case.   /"
      spellcheck={false}
      onInput={(event) => setText(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key === "Enter") setParams({ q: text || null });
      }}
    />
  );
}
