import type { JSX } from "preact";
import type { Filters, RunCounts } from "../../api_types";
import { exact, percent } from "../../format";
import { CountLink } from "../../ui/controls";

import { FateMark, lookOf } from "../../ui/fates";

/** Smaller shares have their percentage on hover. */
const LEAST_PERCENT = 0.05;

interface Share {
  readonly name: string;
  readonly label: string;
  readonly count: number;
  readonly filters: Filters | null;
}

/** issued = accepted + rejected + running, drawn to scale; what is missing is said in red. */
export function RolloutBar({ counts }: { counts: RunCounts }): JSX.Element {
  const dropped = Object.entries(counts.dropped).filter(([, count]) => count > 0);
  const shares: Share[] = [
    { name: "trained", label: "trained", count: counts.trained, filters: { fate: ["trained"] } },
    { name: "waiting", label: "waiting", count: counts.waiting, filters: { fate: ["waiting"] } },
    ...dropped.map(([name, count]) => ({ name, label: name, count, filters: { accepted: true, fate: [name] } as Filters })),
    { name: "rejected", label: "rejected", count: counts.rejected, filters: { accepted: false } },
    ...(counts.running > 0 ? [{ name: "running", label: "being written", count: counts.running, filters: null }] : []),
  ];
  const lost = Object.values(counts.recorder_dropped).reduce((sum, count) => sum + count, 0);
  return (
    <section class="card" aria-label="Rollouts issued">
      <div class="row wrap" style={{ columnGap: "16px" }}>
        <h2>{`${exact(counts.issued)} rollouts issued`}</h2>
        {shares.map((share) => (
          <span key={share.name} class="row" style={{ gap: "6px" }} title={counts.issued > 0 ? `${percent(share.count / counts.issued)} of all` : undefined}>
            <FateMark name={share.name} />
            <CountLink value={share.count} filters={share.count ? share.filters : null} />
            <span class="soft">{share.label}</span>
            {counts.issued > 0 && share.count / counts.issued >= LEAST_PERCENT && <span class="dim small">{percent(share.count / counts.issued)}</span>}
          </span>
        ))}
        <span class={`push ${counts.unaccounted ? "worse" : "dim"}`}>{`${exact(counts.unaccounted)} unaccounted`}</span>
        {lost > 0 && <span class="worse">{`${exact(lost)} not recorded`}</span>}
      </div>
      <div class="share-bar" aria-hidden="true">
        {shares.map((share) =>
          share.count > 0 ? (
            <span key={share.name} style={{ flexGrow: share.count, background: `var(--${lookOf(share.name).token})` }} class={`is-${lookOf(share.name).shape}`} />
          ) : null,
        )}
      </div>
    </section>
  );
}
