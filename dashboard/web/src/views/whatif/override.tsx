/** What was tried as a setting to copy. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { WhatIfResult } from "../../api_types";
import { Card } from "../../ui/controls";

export function Override({ changed, result }: { changed: boolean; result: WhatIfResult | null }): JSX.Element {
  const [copied, setCopied] = useState(false);
  useEffect(() => setCopied(false), [result]);
  const copy = async (): Promise<void> => {
    if (!result) return;
    try {
      await navigator.clipboard.writeText(result.override);
      setCopied(true);
    } catch {
      setCopied(false); // The text is there to be selected by hand.
    }
  };
  return (
    <Card title="As a setting of the next run">
      {!changed ? (
        <p class="soft">Move a slider: the override and the command that replays it stand here.</p>
      ) : !result ? (
        <p class="dim">asking</p>
      ) : (
        <div class="stack">
          <div class="row">
            <code class="mono code-line">{result.override}</code>
            <button type="button" class="btn is-small push" onClick={() => void copy()}>
              {copied ? "Copied" : "Copy"}
            </button>
          </div>
          <div class="small dim">
            The same numbers in a terminal: <code class="mono">{result.command}</code>
          </div>
        </div>
      )}
    </Card>
  );
}

