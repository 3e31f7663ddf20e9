/** Problems whose answer changed between two checkpoints; they add up to the change of accuracy. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { EvalRow, EvalSampleRow, EvalSamples, FlipRow, Flips } from "../../api_types";
import { change, exact, number, percent, plural, words } from "../../format";
import { useApi } from "../../resource";
import { href, param, setParams } from "../../router";
import { oneLine, oneLineMath } from "../../text/plain";
import { RolloutText } from "../../text/rollout_text";
import { useDiff } from "../../text/use_worker_diff";
import { Card, CountLink, Segmented } from "../../ui/controls";
import { FateMark } from "../../ui/fates";
import { Empty, Loaded, NotAvailable, Skeleton } from "../../ui/states";
import { DiffText } from "../problem/diff_text";

export function FlipsCard({ rows, benchmark }: { rows: readonly EvalRow[]; benchmark: string }): JSX.Element {
  const ordered = [...rows].sort((one, other) => one.version - other.version);
  const a = param("a") ?? ordered[0]?.label ?? "";
  const b = param("b") ?? ordered.at(-1)?.label ?? "";
  const flips = useApi<Flips>("evals/flips", { a, b, benchmark }, ["evals"]);
  const pick = (side: "a" | "b", value: string): JSX.Element => (
    <select class="field" aria-label={side === "a" ? "Earlier checkpoint" : "Later checkpoint"} value={value} onChange={(event) => setParams({ [side]: event.currentTarget.value, open: null })}>
      {ordered.map((row) => (
        <option key={row.label} value={row.label}>
          {`${row.label} · version ${row.version}`}
        </option>
      ))}
    </select>
  );
  return (
    <Card
      class="flips"
      title="Flips"
      actions={
        <span class="row small">
          from {pick("a", a)} to {pick("b", b)}
        </span>
      }
    >
      <Loaded resource={flips} what="The flips" height={240}>
        {(data) => (
          <>
            <FlipSum data={data} />
            {data.rows.length === 0 ? <Empty title="No problem changed between these two" /> : <FlipTable data={data} />}
          </>
        )}
      </Loaded>
    </Card>
  );
}

/** gained - lost = change, in percentage points, with the numbers in sight. */
function FlipSum({ data }: { data: Flips }): JSX.Element {
  const points = (share: number): string => (share * 100).toFixed(1);
  const difference = change((data.accuracy_b - data.accuracy_a) * 100, "up", (value) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(1)}`);
  return (
    <dl class="flip-sum">
      <div>
        <dt>{oneLine(data.a)}</dt>
        <dd>{percent(data.accuracy_a)}</dd>
      </div>
      <div>
        <dt>gained</dt>
        <dd class="better">{`+${points(data.gained)}`}</dd>
      </div>
      <div>
        <dt>lost</dt>
        <dd class="worse">{`−${points(Math.abs(data.lost))}`}</dd>
      </div>
      <div>
        <dt>{oneLine(data.b)}</dt>
        <dd>{percent(data.accuracy_b)}</dd>
      </div>
      <div>
        <dt>change, points</dt>
        <dd>
          {`${difference.text} `}
          <span class={difference.word}>{difference.word}</span>
        </dd>
      </div>
      <div class="flip-rest">
        <dt>{plural(data.problems, "problem")}</dt>
        <dd>{`${exact(data.same_right)} always right, ${exact(data.same_wrong)} always wrong, ${exact(data.mixed)} mixed as before, ${exact(data.changed)} changed`}</dd>
      </div>
    </dl>
  );
}

/** The largest changes; the rest on demand. */
const FIRST = 20;

function FlipTable({ data }: { data: Flips }): JSX.Element {
  const [kind, setKind] = useState<"all" | "lost" | "gained">("all");
  const open = param("open");
  const [isLong, setLong] = useState(false);
  const rows = data.rows.filter((row) => kind === "all" || (kind === "lost") === row.share_b < row.share_a);
  return (
    <>
      <div class="row flip-kinds">
        <Segmented
          label="Which flips"
          value={kind}
          onChange={setKind}
          options={[
            { value: "all", label: `all ${exact(data.changed)}` },
            { value: "lost", label: "lost" },
            { value: "gained", label: "gained" },
          ]}
        />
        {data.changed > data.rows.length && <span class="small dim">{`The ${exact(data.rows.length)} largest of ${exact(data.changed)} changes.`}</span>}
      </div>
      <div class="scroll-x">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Problem</th>
              <th scope="col">What is asked</th>
              <th scope="col">Gold</th>
              <th scope="col" class="num">{`Right, ${oneLine(data.a)}`}</th>
              <th scope="col" class="num">{`Right, ${oneLine(data.b)}`}</th>
              <th scope="col" class="num">Tokens</th>
              <th scope="col" class="num">Rollouts</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, isLong ? rows.length : FIRST).map((row) => (
              <>
                <FlipLine key={row.problem_id} row={row} isOpen={row.problem_id === open} />
                {row.problem_id === open && (
                  <tr key={`${row.problem_id} texts`}>
                    <td colSpan={7} class="flip-texts">
                      <FlipTexts id={row.problem_id} a={data.a} b={data.b} />
                    </td>
                  </tr>
                )}
              </>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > FIRST && !isLong && (
        <p class="flip-more">
          <button type="button" class="btn is-small" onClick={() => setLong(true)}>
            {`Show all ${exact(rows.length)}`}
          </button>
        </p>
      )}
    </>
  );
}

function FlipLine({ row, isOpen }: { row: FlipRow; isOpen: boolean }): JSX.Element {
  const word = row.share_b > row.share_a ? "gained" : "lost";
  return (
    <tr class={isOpen ? "is-open" : ""}>
      <td class="nowrap">
        <span class="outcome">
          <FateMark name={word === "gained" ? "correct" : "wrong"} />
          <span class="visually-hidden">{word}</span>
          <button type="button" class="link mono clip" aria-expanded={isOpen} title="Read both" onClick={() => setParams({ open: isOpen ? null : row.problem_id })}>
            {oneLine(row.problem_id)}
          </button>
        </span>
      </td>
      <td class="clip asked-cell">{row.problem === null ? <NotAvailable /> : oneLineMath(row.problem).slice(0, 240)}</td>
      <td class="clip gold-cell">{row.gold === null ? <NotAvailable /> : oneLine(row.gold)}</td>
      <td class="num">{percent(row.share_a, 0)}</td>
      <td class="num">{percent(row.share_b, 0)}</td>
      <td class="num nowrap">{`${number(row.tokens_a)} → ${number(row.tokens_b)}`}</td>
      <td class="num">{row.rollouts > 0 ? <CountLink value={row.rollouts} filters={{ problem_id: [row.problem_id] }} /> : <span class="dim" title="Training never asked it">0</span>}</td>
    </tr>
  );
}

function FlipTexts({ id, a, b }: { id: string; a: string; b: string }): JSX.Element {
  const samples = useApi<EvalSamples>("evals/samples", { id, label: a === b ? [a] : [a, b] });
  const [mode, setMode] = useState<"read" | "diff">("read");
  return (
    <Loaded resource={samples} what="The texts" height={160}>
      {(data) => (
        <>
          <div class="row flip-kinds">
            <Segmented
              label="Texts"
              value={mode}
              onChange={setMode}
              options={[
                { value: "read", label: "side by side" },
                { value: "diff", label: "what changed" },
              ]}
            />
            <a class="small" href={href("problem", { id })}>
              This problem through the versions
            </a>
          </div>
          <BothTexts left={data.rows.filter((row) => row.label === a)} right={data.rows.filter((row) => row.label === b)} mode={mode} />
        </>
      )}
    </Loaded>
  );
}

function BothTexts({ left, right, mode }: { left: readonly EvalSampleRow[]; right: readonly EvalSampleRow[]; mode: "read" | "diff" }): JSX.Element {
  const [at, setAt] = useState<[number, number]>([0, 0]);
  useEffect(() => setAt([0, 0]), [left.length, right.length]);
  const [one, other] = [left[at[0]], right[at[1]]];
  const texts: [string | null, string | null] = mode === "diff" ? [one?.text ?? null, other?.text ?? null] : [null, null];
  const { diff, error } = useDiff(...texts);
  return (
    <>
      <div class="diff-columns">
        <SampleHead rows={left} at={at[0]} onPick={(next) => setAt([next, at[1]])} />
        <SampleHead rows={right} at={at[1]} onPick={(next) => setAt([at[0], next])} />
      </div>
      {mode === "read" ? (
        <div class="diff-columns">
          <SampleText row={one} />
          <SampleText row={other} />
        </div>
      ) : error !== null ? (
        <p class="banner is-warn">{error}</p>
      ) : diff === null ? (
        one?.text == null || other?.text == null ? <Empty title="One of the texts was not recorded" /> : <Skeleton height={120} />
      ) : (
        <>
          {diff.note && <p class="small soft">{`Compared line by line: ${diff.note}.`}</p>}
          <DiffText diff={diff} mode="inline" />
        </>
      )}
    </>
  );
}

function SampleHead({ rows, at, onPick }: { rows: readonly EvalSampleRow[]; at: number; onPick: (at: number) => void }): JSX.Element {
  const row = rows[at];
  if (!row) return <p class="dim">No sample.</p>;
  return (
    <p class="row wrap small">
      <span class="strong">{`${oneLine(row.label)}, version ${exact(row.version)}`}</span>
      <FateMark name={row.finish_reason === "length" ? "truncated" : row.verdict} />
      {`${words(row.verdict)}, ${plural(row.n_tokens, "token")}`}
      {row.answer !== null && <bdi class="mono">{oneLine(row.answer).slice(0, 60)}</bdi>}
      {rows.length > 1 && (
        <select class="field" aria-label="Sample" value={at} onChange={(event) => onPick(Number(event.currentTarget.value))}>
          {rows.map((other, index) => (
            <option key={index} value={index}>
              {`sample ${other.sample}: ${words(other.verdict)}`}
            </option>
          ))}
        </select>
      )}
    </p>
  );
}

function SampleText({ row }: { row: EvalSampleRow | undefined }): JSX.Element {
  if (!row) return <div />;
  return <div class="sample-text">{row.text === null ? <NotAvailable /> : <RolloutText text={row.text} math />}</div>;
}
