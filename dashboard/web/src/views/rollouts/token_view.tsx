/** The response token by token: how sure the model was, or what each token counts in the loss. */

import type { JSX } from "preact";
import { memo } from "preact/compat";
import { useMemo, useRef, useState } from "preact/hooks";
import type { RolloutDetail, TextSlice, Tokens } from "../../api_types";
import { exact, number, percent } from "../../format";
import { useApi } from "../../resource";
import { param } from "../../router";
import { visible } from "../../text/plain";
import { useGrowing } from "../../text/rollout_text";
import { rampSteps, tokenPieces, type TokenPiece } from "../../text/token_strip";
import { UrlSegmented } from "../../ui/controls";
import { Loaded } from "../../ui/states";
import { TokenMap } from "./token_map";

type Colour = "surprise" | "entropy" | "weight";
const STEPS = 6;
const BLOCK = 600;
/** A token view of more text than this helps nobody: the rest is cut and said so. */
const MAX_CHARACTERS = 400_000;

export function TokenView({ detail }: { detail: RolloutDetail }): JSX.Element {
  const id = detail.rollout.rollout_id;
  const characters = Math.min(MAX_CHARACTERS, detail.text.characters);
  const text = useApi<TextSlice>("rollout/text", { id, from: 0, characters });
  const tokens = useApi<Tokens>("rollout/tokens", { id });
  return (
    <Loaded resource={text} what="The text">
      {(slice) => (
        <Loaded resource={tokens} what="The tokens">
          {(data) => <Strip key={id} text={slice.text} tokens={data} />}
        </Loaded>
      )}
    </Loaded>
  );
}

function Strip({ text, tokens }: { text: string; tokens: Tokens }): JSX.Element {
  const has = { surprise: tokens.logp !== null, entropy: tokens.entropy !== null, weight: tokens.weight !== null };
  const asked = (param("colour") ?? "surprise") as Colour;
  const colour: Colour = has[asked] ? asked : has.surprise ? "surprise" : has.entropy ? "entropy" : "weight";
  const pieces = useMemo(() => tokenPieces(text, tokens.ends), [text, tokens]);
  const values = useMemo(() => valuesOf(tokens, colour), [tokens, colour]);
  const [low, high] = useMemo(() => scaleOf(values, colour), [values, colour]);
  const steps = useMemo(() => rampSteps(values, low, high, STEPS), [values, low, high]);
  const blocks = useMemo(() => blocksOf(pieces), [pieces]);
  const [jump, setJump] = useState<number | null>(null);
  const [shown, end] = useGrowing(blocks.length, 3, tokens);
  const upTo = jump === null ? shown : Math.max(shown, Math.min(blocks.length, Math.floor(jump / BLOCK) + 2));
  const host = useRef<HTMLDivElement>(null);
  const [tip, setTip] = useState<{ index: number; left: number; top: number } | null>(null);
  const hover = (event: PointerEvent): void => {
    const target = event.target as HTMLElement;
    const index = target.dataset?.["i"];
    const box = host.current?.getBoundingClientRect();
    if (index === undefined || !box) return setTip(null);
    const at = target.getClientRects()[0] ?? target.getBoundingClientRect();
    setTip({ index: Number(index), left: Math.min(at.left - box.left, box.width - 240), top: at.bottom - box.top + 4 });
  };
  const go = (index: number): void => {
    setJump(index);
    requestAnimationFrame(() => host.current?.querySelector(`[data-i="${index}"]`)?.scrollIntoView({ block: "center" }));
  };
  return (
    <div class="token-view">
      <div class="row wrap">
        <UrlSegmented
          name="colour"
          label="Colour"
          options={[
            { value: "surprise", label: "surprise", disabled: !has.surprise, title: "Minus log probability: how unlikely the engine thought the token" },
            { value: "entropy", label: "entropy", disabled: !has.entropy, title: has.entropy ? "How undecided the engine was at the token" : "This run recorded no entropies." },
            { value: "weight", label: "loss weight", disabled: !has.weight, title: has.weight ? "What the token counts in the loss" : "All tokens of it count alike." },
          ]}
        />
        <span class="ramp" aria-hidden="true">
          <span class="small dim">{number(low)}</span>
          {Array.from({ length: STEPS }, (_, step) => (
            <span key={step} class={`ramp-step tok-${step}`} />
          ))}
          <span class="small dim">{`${number(high)}${colour === "weight" ? "" : " nats or more"}`}</span>
        </span>
        {tokens.mask?.includes(false) && <span class="small dim">struck through: not in the loss</span>}
      </div>
      <TokenMap values={values} low={low} high={high} onPick={go} label={colour} />
      <div class="tokens" ref={host} dir="auto" onPointerOver={hover} onPointerLeave={() => setTip(null)}>
        {blocks.slice(0, upTo).map((block, at) => (
          <TokenBlock key={at} pieces={block} steps={steps} mask={tokens.mask} />
        ))}
        {upTo < blocks.length && <div ref={end} class="grow-mark" />}
        {tip && <TokenTip tip={tip} piece={pieces[tip.index]} tokens={tokens} />}
      </div>
      {pieces.length < tokens.ends.length && <p class="small dim">The rest is too long to be shown token by token.</p>}
    </div>
  );
}

const TokenBlock = memo(function TokenBlock({ pieces, steps, mask }: { pieces: readonly TokenPiece[]; steps: readonly (number | null)[]; mask: readonly boolean[] | null }) {
  return (
    <>
      {pieces.map((piece) => {
        const step = steps[piece.index] ?? null;
        const isOut = mask?.[piece.index] === false;
        if (piece.text === "" && !piece.partial) return null;
        return (
          <span key={piece.index} data-i={piece.index} class={`tok ${step === null ? "tok-none" : `tok-${step}`}${isOut ? " tok-out" : ""}`}>
            {piece.text === "" ? "·" : tokenText(piece.text)}
          </span>
        );
      })}
    </>
  );
});

/** A line end shows as a sign, so that its colour can be seen, and ends the line. */
function tokenText(text: string): string {
  return visible(text).replaceAll("\n", "⏎\n");
}

function TokenTip({ tip, piece, tokens }: { tip: { index: number; left: number; top: number }; piece: TokenPiece | undefined; tokens: Tokens }): JSX.Element | null {
  if (!piece) return null;
  const logp = tokens.logp?.[tip.index] ?? null;
  const facts: [string, string][] = [
    ["token", `${exact(tip.index + 1)} of ${exact(tokens.ends.length)}`],
    ["text", JSON.stringify(visible(piece.text)).slice(0, 60)],
  ];
  if (logp !== null) facts.push(["probability", `${percent(Math.exp(logp), 2)} (log ${number(logp)})`]);
  const entropy = tokens.entropy?.[tip.index];
  if (entropy !== null && entropy !== undefined) facts.push(["entropy", `${number(entropy)} nats`]);
  const weight = tokens.weight?.[tip.index];
  if (weight !== null && weight !== undefined) facts.push(["loss weight", number(weight)]);
  if (tokens.mask) facts.push(["in the loss", tokens.mask[tip.index] ? "yes" : "no"]);
  return (
    <div class="token-tip" role="tooltip" style={{ left: `${tip.left}px`, top: `${tip.top}px` }}>
      <dl class="facts small">
        {facts.map(([label, value]) => (
          <>
            <dt>{label}</dt>
            <dd>
              <bdi>{value}</bdi>
            </dd>
          </>
        ))}
      </dl>
    </div>
  );
}

function valuesOf(tokens: Tokens, colour: Colour): (number | null)[] {
  if (colour === "surprise") return (tokens.logp ?? []).map((logp) => (logp === null ? null : -logp));
  return (colour === "entropy" ? tokens.entropy : tokens.weight) ?? [];
}

/** Surprise and entropy have a fixed scale, so that two rollouts can be compared by eye. */
function scaleOf(values: readonly (number | null)[], colour: Colour): [number, number] {
  if (colour !== "weight") return [0, 3];
  const known = values.filter((value): value is number => value !== null);
  const high = known.reduce((most, value) => Math.max(most, value), 0);
  return [0, high || 1];
}

function blocksOf(pieces: readonly TokenPiece[]): TokenPiece[][] {
  const blocks: TokenPiece[][] = [];
  for (let at = 0; at < pieces.length; at += BLOCK) blocks.push(pieces.slice(at, at + BLOCK));
  return blocks;
}
