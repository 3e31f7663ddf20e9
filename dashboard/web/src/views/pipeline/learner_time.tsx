/** Where the learner's wall time went: one bar whose parts are all of it. */

import type { JSX } from "preact";
import type { Pipeline } from "../../api_types";
import { duration, percent } from "../../format";
import { Card } from "../../ui/controls";
import { Empty } from "../../ui/states";

type Part = Pipeline["learner_time"][number];

export function LearnerTime({ parts }: { parts: readonly Part[] }): JSX.Element {
  const total = parts.reduce((sum, part) => sum + part.seconds, 0);
  return (
    <Card title="The learner's time" unit={total > 0 ? `of ${duration(total)}` : ""} class="learner-time">
      {total <= 0 ? (
        <Empty title="No step yet">The first optimizer step fills this.</Empty>
      ) : (
        <>
          <div class="time-bar" role="img" aria-label={parts.map((part) => `${part.label} ${percent(part.share)}`).join(", ")}>
            {parts.map((part) => (
              <span key={part.what} class={`time-part is-${part.what}`} style={{ flexGrow: part.share }} title={`${part.label}: ${percent(part.share)}, ${duration(part.seconds)}`}>
                {part.share >= 0.08 ? percent(part.share, 0) : ""}
              </span>
            ))}
          </div>
          <ul class="time-legend">
            {parts.map((part) => (
              <li key={part.what}>
                <span class={`time-swatch is-${part.what}`} aria-hidden="true" />
                <span>{part.label}</span>
                <span class="strong">{percent(part.share)}</span>
                <span class="dim">{duration(part.seconds)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </Card>
  );
}
