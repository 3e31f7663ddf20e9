/** Takes a rollout home: its id, text, record, a command or a link. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { address, get, withRun } from "../../api";
import type { RolloutDetail, TextSlice } from "../../api_types";
import { Menu } from "../../ui/controls";

export function CopyMenu({ detail }: { detail: RolloutDetail }): JSX.Element {
  const [done, setDone] = useState<string | null>(null);
  const id = detail.rollout.rollout_id;
  const whole = (path: string): string => new URL(address(path, withRun({ id })), location.href).href;
  const copy = (what: string, text: () => string | Promise<string>) => async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(await text());
      setDone(`${what} copied`);
    } catch (error) {
      setDone(`not copied: ${String((error as Error).message)}`);
    }
    setTimeout(() => setDone(null), 2500);
  };
  const text = async (): Promise<string> => {
    const slice = await get<TextSlice>("rollout/text", withRun({ id, characters: Math.max(1, detail.text.characters) }));
    return slice.text;
  };
  return (
    <>
      {done && (
        <span class="small soft nowrap" role="status">
          {done}
        </span>
      )}
      <Menu label="Copy" title="Copy" class="btn is-quiet is-small">
        <button type="button" onClick={() => void copy("Id", () => id)()}>
          Its id
        </button>
        <button type="button" disabled={!detail.text.recorded} onClick={() => void copy("Text", text)()}>
          Its text
        </button>
        <button type="button" onClick={() => void copy("JSON", () => JSON.stringify(detail, null, 2))()}>
          JSON
        </button>
        <button type="button" onClick={() => void copy("Command", () => `curl -s ${quoted(whole("rollout"))}`)()}>
          curl command
        </button>
        <button type="button" onClick={() => void copy("Link", () => location.href)()}>
          Link to this page
        </button>
      </Menu>
    </>
  );
}

/** For a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
