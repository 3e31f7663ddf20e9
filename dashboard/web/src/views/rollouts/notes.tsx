/** Tags and notes that people leave at a rollout. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { post } from "../../api";
import type { Annotate, Annotations, RolloutDetail, RunInfo, Runs } from "../../api_types";
import { useApi } from "../../resource";
import { oneLine, visible } from "../../text/plain";
import { Time } from "../../ui/controls";

export function Notes({ detail }: { detail: RolloutDetail }): JSX.Element {
  const runs = useApi<Runs>("runs", { run: null });
  const info: RunInfo | null = runs.data?.runs.find((run) => run.name === detail.run) ?? null;
  const [mine, setMine] = useState<Annotations | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [tag, setTag] = useState("");
  const [note, setNote] = useState("");
  const { tags, notes } = mine ?? detail;
  const send = async (change: Pick<Annotate, "tag" | "untag" | "note">): Promise<void> => {
    try {
      const body: Annotate = { run: detail.run, rollout_id: detail.rollout.rollout_id, ...change };
      setMine(await post<Annotations>("annotate", body));
      setProblem(null);
    } catch (error) {
      setProblem(String((error as Error).message));
    }
  };
  const isOff = info !== null && !info.writable;
  return (
    <section aria-label="Tags and notes">
      <h3>Tags and notes</h3>
      <div class="row wrap">
        {tags.map((one) => (
          <span key={one} class="tag">
            <bdi>{oneLine(one)}</bdi>
            {!isOff && (
              <button type="button" aria-label={`Take the tag ${one} away`} onClick={() => void send({ untag: one })}>
                ×
              </button>
            )}
          </span>
        ))}
        {tags.length === 0 && notes.length === 0 && <span class="small dim">None yet.</span>}
      </div>
      <ul class="notes">
        {notes.map((one) => (
          <li key={`${one.at_us} ${one.text}`}>
            <span class="pre">{visible(one.text)}</span>
            <span class="small dim">
              {one.by === null ? "" : `${oneLine(one.by)}, `}
              <Time us={one.at_us} />
            </span>
          </li>
        ))}
      </ul>
      {isOff ? (
        <p class="small dim">{info.read_only_why ?? "The run's folder cannot be written, so tags and notes are off."}</p>
      ) : (
        <div class="stack">
          <form
            class="row"
            onSubmit={(event) => {
              event.preventDefault();
              if (tag.trim()) void send({ tag: tag.trim() }).then(() => setTag(""));
            }}
          >
            <input class="field grow" value={tag} maxLength={60} placeholder="Tag" aria-label="Tag" onInput={(event) => setTag(event.currentTarget.value)} />
            <button type="submit" class="btn is-small" disabled={!tag.trim()}>
              Add
            </button>
          </form>
          <form
            class="row"
            onSubmit={(event) => {
              event.preventDefault();
              if (note.trim()) void send({ note: note.trim() }).then(() => setNote(""));
            }}
          >
            <input class="field grow" value={note} maxLength={2000} placeholder="Note" aria-label="Note" onInput={(event) => setNote(event.currentTarget.value)} />
            <button type="submit" class="btn is-small" disabled={!note.trim()}>
              Add
            </button>
          </form>
        </div>
      )}
      {problem && (
        <p class="small worse" role="alert">
          {problem}
        </p>
      )}
    </section>
  );
}
