/** From the first token to the optimizer step, as one bar and one list. */

import type { JSX } from "preact";
import type { RolloutDetail } from "../../api_types";
import { duration, utc, words } from "../../format";

export function Life({ detail }: { detail: RolloutDetail }): JSX.Element {
  const { life } = detail;
  const start = Math.min(...life.map((one) => one.start_us));
  const end = Math.max(...life.map((one) => one.end_us ?? one.start_us));
  const whole = Math.max(1, end - start);
  return (
    <section aria-label="Its life">
      <h3>Its life</h3>
      {life.length === 0 ? (
        <p class="small dim">No times were recorded.</p>
      ) : (
        <ol class="life">
          {life.map((one) => {
            const length = one.end_us === null ? null : one.end_us - one.start_us;
            return (
              <li key={`${one.what} ${one.start_us}`} title={`${utc(one.start_us)}${one.end_us === null ? "" : ` to ${utc(one.end_us)}`}`}>
                <span>{words(one.what)}</span>
                <span class="life-track" aria-hidden="true">
                  <span
                    class={length === null || length === 0 ? "life-part is-point" : "life-part"}
                    style={{ left: `${((one.start_us - start) / whole) * 100}%`, width: `${((length ?? 0) / whole) * 100}%` }}
                  />
                </span>
                <span class="num dim">{length === null || length === 0 ? `+${duration((one.start_us - start) / 1e6)}` : duration(length / 1e6)}</span>
              </li>
            );
          })}
        </ol>
      )}
    </section>
  );
}
