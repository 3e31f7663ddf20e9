import { afterEach, describe, expect, it } from "vitest";
import { addGroup, match, onKey } from "./keyboard";

const pressed: string[] = [];
const bind = (keys: string) => ({ keys, what: keys, run: () => void pressed.push(keys) });

function press(key: string, target: EventTarget = document.body, modifiers: KeyboardEventInit = {}): void {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...modifiers });
  Object.defineProperty(event, "target", { value: target });
  onKey(event);
}

describe("keys", () => {
  let remove = (): void => undefined;
  afterEach(() => {
    remove();
    pressed.length = 0;
  });

  it("run alone and in sequence", () => {
    remove = addGroup({ title: "t", bindings: [bind("f"), bind("g f")] });

    press("f");
    press("g");
    press("f");

    expect(pressed).toEqual(["f", "g f"]);
  });

  it("leave typing, shortcuts of the browser and a focused button alone", () => {
    remove = addGroup({ title: "t", bindings: [bind("f"), bind("Enter")] });

    press("f", document.createElement("input"));
    press("f", document.createElement("textarea"));
    press("f", document.body, { ctrlKey: true });
    press("Enter", document.createElement("button"));

    expect(pressed).toEqual([]);
  });

  it("belong to the newest group that wants them", () => {
    const [page, view] = [{ title: "page", bindings: [bind("[")] }, { title: "view", bindings: [bind("[")] }];

    expect(match([page, view], null, "[")).toBe(view.bindings[0]);
  });
});
