import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { activeGroups } from "../keyboard";

export const isHelpOpen = signal(false);

const NAMES: Record<string, string> = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };

/** Every key that works right now. */
export function Help(): JSX.Element | null {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (isHelpOpen.value) ref.current?.showModal();
  }, [isHelpOpen.value]);
  if (!isHelpOpen.value) return null;
  const close = (): void => {
    isHelpOpen.value = false;
  };
  return (
    <dialog class="dialog" ref={ref} onClose={close} aria-labelledby="help-title">
      <div class="card-head">
        <h1 id="help-title">Keys</h1>
        <button type="button" class="btn is-small push" onClick={close}>
          Close
        </button>
      </div>
      <div class="keys">
        {activeGroups.value.map((group) => (
          <section key={group.title}>
            <h3>{group.title}</h3>
            <dl>
              {group.bindings.map((binding) => (
                <Binding key={binding.keys} keys={binding.keys} what={binding.what} />
              ))}
            </dl>
          </section>
        ))}
      </div>
    </dialog>
  );
}

function Binding({ keys, what }: { keys: string; what: string }): JSX.Element {
  return (
    <>
      <dt>
        {keys.split(" ").map((key) => (
          <kbd key={key}>{NAMES[key] ?? key}</kbd>
        ))}
      </dt>
      <dd>{what}</dd>
    </>
  );
}
