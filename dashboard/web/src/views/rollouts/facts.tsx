/** Everything else that is known of a rollout. */

import type { JSX } from "preact";
import type { RolloutDetail, Why } from "../../api_types";
import { count, duration, exact, number, utc } from "../../format";
import { href } from "../../router";
import { oneLine } from "../../text/plain";
import { NotAvailable } from "../../ui/states";

type Show = (value: never) => JSX.Element | string;

export function Facts({ detail }: { detail: RolloutDetail }): JSX.Element {
  const { rollout, missing } = detail;
  const all: Record<string, unknown> = { ...detail, ...rollout };
  return (
    <section aria-label="Facts">
      <h3>Facts</h3>
      <dl class="facts small">
        {FACTS.map(([key, label, show, whyNot]) => {
          const value = all[key];
          return (
            <Fact key={key} label={label}>
              {value === null || value === undefined ? <NotAvailable why={missing[key] ?? whyNot?.(detail)} /> : show(value as never)}
            </Fact>
          );
        })}
        {rollout.dup_of !== null && (
          <Fact label="Same text as">
            <a class="mono" href={href("rollouts", { open: rollout.dup_of })}>
              {rollout.dup_of}
            </a>
          </Fact>
        )}
      </dl>
    </section>
  );
}

function Fact({ label, children }: { label: string; children: preact.ComponentChildren }): JSX.Element {
  return (
    <>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </>
  );
}

const plain: Show = (value) => <bdi>{oneLine(String(value))}</bdi>;
const milliseconds: Show = (value) => duration((value as number) / 1000);
const group: Show = (value) => (
  <a class="mono" href={href("rollouts", { group_id: value as string })} title="The rollouts of this group">
    {oneLine(String(value))}
  </a>
);
const generator: Show = (value) => (
  <a href={href("generators", { open: value as string })}>
    <bdi>{oneLine(String(value))}</bdi>
  </a>
);
/** What only a trained rollout has. */
const ifTrained = ({ rollout }: RolloutDetail): Why =>
  rollout.fate === "trained" ? "not_recorded" : rollout.fate === "waiting" ? "not_yet" : "not_applicable";

const FACTS: readonly [key: string, label: string, show: Show, whyNot?: (detail: RolloutDetail) => Why][] = [
  ["group_id", "Group", group],
  ["sample", "Sample", exact as Show],
  ["attempt", "Attempt", exact as Show],
  ["generator_id", "Generator", generator],
  ["first_version", "First version", exact as Show],
  ["last_version", "Last version", exact as Show],
  ["trained_version", "Trained version", exact as Show, ifTrained],
  ["source", "Source", plain],
  ["template_id", "Template", plain],
  ["origin", "Origin", plain],
  ["level", "Length asked for", plain, () => "not_applicable"],
  ["temperature", "Temperature", number as Show],
  ["top_p", "top_p", number as Show],
  ["max_tokens", "Cap", count as Show],
  ["n_prompt", "Prompt tokens", exact as Show],
  ["logp_mean", "Mean log prob., engine", number as Show],
  ["learner_logp_mean", "Mean log prob., learner", number as Show, ifTrained],
  ["entropy_mean", "Mean entropy", number as Show],
  ["repetition", "Repetition", number as Show],
  ["reward", "Reward", number as Show, () => "not_applicable"],
  ["weight", "Weight in the loss", number as Show, ifTrained],
  ["loss_tokens", "Tokens in the loss", exact as Show, ifTrained],
  ["propensity", "Propensity", number as Show],
  ["gen_ms", "Written for", milliseconds],
  ["verify_ms", "Judged for", milliseconds],
  ["queue_ms", "Queued for", milliseconds, ifTrained],
  ["start_us", "Began", utc as Show],
  ["end_us", "Ended", utc as Show],
];
