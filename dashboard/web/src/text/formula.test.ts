// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { formulaTree, showFormula, type VirtualNode } from "./formula";

async function shown(tex: string, display = false): Promise<HTMLElement> {
  const element = document.createElement("span");
  element.textContent = tex;
  await showFormula(element, tex, display);
  return element;
}

describe("showFormula", () => {
  it("builds nodes and names the formula for a screen reader", async () => {
    const element = await shown("\\frac{1}{2}");
    expect(element.querySelector(".mfrac")).not.toBeNull();
    expect(element.getAttribute("aria-label")).toBe("\\frac{1}{2}");
  });

  it.each(["\\vec{x}", "\\overbrace{a+b}", "\\widehat{abc}", "\\fbox{a}", "\\undefined", "\\sqrt[3]{x}", "\\cancel{x}", "x^"])(
    "writes no style attribute as text: %s",
    async (tex) => {
      const attributes = (node: VirtualNode): string[] => [
        ...Object.keys(node.attributes ?? {}),
        ...(node.children ?? []).flatMap(attributes),
      ];
      expect(attributes(await formulaTree(tex, false))).not.toContain("style");
    },
  );

  it.each([
    "\\href{javascript:alert(1)}{x}",
    "\\url{javascript:alert(1)}",
    "\\includegraphics{https://evil.example/a.png}",
    "\\htmlStyle{position:fixed}{x}",
    "\\htmlClass{evil}{x}",
    "\\htmlData{a=b}{x}",
    "<img src=x onerror=alert(1)>",
  ])("lets nothing out of %s", async (tex) => {
    const element = await shown(tex);
    expect(element.querySelectorAll("a, img, script, iframe, .evil, [data-a]").length).toBe(0);
    for (const node of element.querySelectorAll<HTMLElement>("*")) expect(node.style.position).not.toBe("fixed");
  });

  it("stops a formula that would expand for ever and a box of a kilometre", async () => {
    const bomb = await shown("\\def\\a{\\a\\a}\\a");
    expect(bomb.textContent).toContain("\\def");
    const rule = await shown("\\rule{1em}{50000em}");
    const heights = [...rule.querySelectorAll<HTMLElement>("*")].map((node) => parseFloat(node.style.height || "0"));
    expect(Math.max(...heights)).toBeLessThan(60);
  });

  it("keeps definitions of one formula from the next", async () => {
    await shown("\\gdef\\R{evil}");
    expect((await shown("\\R")).textContent).not.toContain("evil");
  });
});
