import type { JSX } from "preact";
import type { Tile } from "../../api_types";
import { filterPatch } from "../../filters";
import { change, count, number, percent } from "../../format";
import { href } from "../../router";
import { Value } from "../../ui/states";

const SHOW: Record<Tile["unit"], (value: number) => string> = {
  share: percent,
  tokens: (value) => (value >= 10_000 ? count(value) : number(value)),
  "tokens/s": count,
  versions: number,
  "": number,
};
const UNIT_TEXT: Record<Tile["unit"], string> = { share: "", tokens: "tokens", "tokens/s": "tokens/s", versions: "versions", "": "" };

export function TileGrid({ tiles }: { tiles: readonly Tile[] }): JSX.Element {
  return (
    <div class="tiles">
      {tiles.map((tile) => (
        <OneTile key={tile.key} tile={tile} />
      ))}
    </div>
  );
}

function OneTile({ tile }: { tile: Tile }): JSX.Element {
  const content = (
    <>
      <div class="label clip">{tile.label}</div>
      <div class="value nowrap">
        <Value of={tile.value} show={SHOW[tile.unit]} why={tile.why} />
        {tile.value !== null && UNIT_TEXT[tile.unit] && <span class="unit">{UNIT_TEXT[tile.unit]}</span>}
      </div>
      <Delta tile={tile} />
    </>
  );
  if (tile.filters === null) {
    return (
      <div class="tile" title={tile.detail}>
        {content}
      </div>
    );
  }
  return (
    <a class="tile" title={`${tile.detail} Open the rollouts.`} href={href("rollouts", filterPatch(tile.filters))}>
      {content}
    </a>
  );
}

/** What changed since the start, with a sign and a word; else what the figure is of. */
function Delta({ tile }: { tile: Tile }): JSX.Element {
  if (tile.change === null || tile.value === null) return <div class="delta clip">{tile.detail}</div>;
  const { text } = change(tile.change, "none", SHOW[tile.unit]);
  const word = tile.direction === "same" || text === "±0" ? null : tile.direction;
  return (
    <div class="delta clip">
      {text} {word && <span class={word}>{word}</span>} since the start
    </div>
  );
}
