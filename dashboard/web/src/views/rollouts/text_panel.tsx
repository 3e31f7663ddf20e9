/** The problem, the thinking and the answer; as prose with formulas, as written, or token by token. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get, withRun } from "../../api";
import type { RolloutDetail, TextSlice } from "../../api_types";
import { exact } from "../../format";
import { param } from "../../router";
import { RolloutText } from "../../text/rollout_text";
import { UrlSegmented } from "../../ui/controls";
import { Skeleton } from "../../ui/states";
import { TokenView } from "./token_view";

export function TextPanel({ detail }: { detail: RolloutDetail }): JSX.Element {
  const mode = param("text") ?? "math";
  const { text, problem } = detail;
  const [isProblemOpen, setProblemOpen] = useState(true);
  const isMath = mode === "math";
  const thinkEnd = text.answer_start;
  return (
    <section aria-label="Text">
      <div class="text-head">
        <UrlSegmented
          name="text"
          label="Text"
          options={[
            { value: "math", label: "math" },
            { value: "raw", label: "raw" },
            { value: "tokens", label: "tokens", disabled: !detail.has_tokens, title: detail.has_tokens ? "" : tokensWhy(detail) },
          ]}
        />
        <span class="small dim">{text.recorded ? `${exact(text.characters)} characters` : ""}</span>
      </div>
      {problem && (
        <Part title="Problem" isOpen={isProblemOpen} onToggle={() => setProblemOpen(!isProblemOpen)}>
          <RolloutText text={problem.text} math={isMath} />
        </Part>
      )}
      {!text.recorded ? (
        <p class="banner">{text.why_not ?? "Its text was not recorded."}</p>
      ) : mode === "tokens" ? (
        detail.has_tokens ? (
          <TokenView detail={detail} />
        ) : (
          <p class="banner">{tokensWhy(detail)}</p>
        )
      ) : thinkEnd !== null ? (
        <>
          <Part title="Thinking" detail={`${exact(thinkEnd)} characters`}>
            <SlicedText key={`think ${detail.rollout.rollout_id}`} id={detail.rollout.rollout_id} from={0} to={thinkEnd} math={isMath} />
          </Part>
          <Part title="Answer" detail={`${exact(text.characters - thinkEnd)} characters`} class="is-answer">
            <SlicedText key={`answer ${detail.rollout.rollout_id}`} id={detail.rollout.rollout_id} from={thinkEnd} to={text.characters} math={isMath} />
          </Part>
        </>
      ) : (
        <Part title="Response" detail="its thinking has no end mark">
          <SlicedText key={detail.rollout.rollout_id} id={detail.rollout.rollout_id} from={0} to={text.characters} math={isMath} />
        </Part>
      )}
    </section>
  );
}

function tokensWhy(detail: RolloutDetail): string {
  return detail.tokens_why === "sampled_out"
    ? "Tokens are recorded for a sample of rollouts, and this one is not in it."
    : "This run recorded no tokens.";
}

function Part(props: { title: string; detail?: string; class?: string; isOpen?: boolean; onToggle?: () => void; children: ComponentChildren }): JSX.Element {
  const isOpen = props.isOpen ?? true;
  return (
    <section class={`text-part ${props.class ?? ""}`} aria-label={props.title}>
      <h3>
        {props.onToggle ? (
          <button type="button" class="part-toggle" aria-expanded={isOpen} onClick={props.onToggle}>
            {`${isOpen ? "▾" : "▸"} ${props.title}`}
          </button>
        ) : (
          props.title
        )}
        {props.detail && <span class="dim">{props.detail}</span>}
      </h3>
      {isOpen && props.children}
    </section>
  );
}

/** Characters of a request: what a screenful of scrolling needs, not a megabyte at once. */
const SLICE = 100_000;

/** The characters `from` to `to` of a rollout's text, the next slice on demand. */
export function SlicedText({ id, from, to, math }: { id: string; from: number; to: number; math: boolean }): JSX.Element {
  const [text, setText] = useState("");
  const [at, setAt] = useState(from);
  const [wanted, setWanted] = useState(Math.min(to, from + SLICE));
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    if (at >= wanted || problem !== null) return;
    const abort = new AbortController();
    get<TextSlice>("rollout/text", withRun({ id, from: at, characters: wanted - at }), abort.signal)
      .then((slice) => {
        setText((old) => old + slice.text);
        setAt(wanted);
      })
      .catch((error: Error) => {
        if (!abort.signal.aborted) setProblem(error.message);
      });
    return () => abort.abort();
  }, [id, at, wanted, problem]);
  if (from >= to) return <p class="dim">Nothing.</p>;
  return (
    <>
      {at === from && problem === null ? <Skeleton height={120} /> : <RolloutText text={text} math={math} />}
      {problem !== null && (
        <p class="banner is-warn" role="alert">
          {problem}
          <button type="button" class="btn is-small push" onClick={() => setProblem(null)}>
            Try again
          </button>
        </p>
      )}
      {at > from && at < to && (
        <button type="button" class="btn is-small" onClick={() => setWanted(Math.min(to, at + SLICE))}>
          {`Next ${exact(Math.min(SLICE, to - at))} of ${exact(to - at)} more characters`}
        </button>
      )}
    </>
  );
}
