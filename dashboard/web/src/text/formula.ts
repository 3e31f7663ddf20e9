/** Formulas as nodes. KaTeX is fetched when the first one is to be shown. */

/** What limits a formula that a model wrote: no links, no HTML, few expansions, no giant boxes. */
const OPTIONS = {
  trust: false,
  throwOnError: false,
  strict: "ignore" as const,
  maxExpand: 200,
  maxSize: 20,
  output: "html" as const,
};

export interface VirtualNode {
  attributes?: Record<string, string>;
  children?: VirtualNode[];
  toNode(): Node;
}

type RenderTree = (tex: string, options: object) => VirtualNode;

const FONTS_MS = 1500;

let loading: Promise<RenderTree> | null = null;

function load(): Promise<RenderTree> {
  loading ??= Promise.all([import("katex"), import("katex/dist/katex.min.css")])
    .then(async ([module]) => {
      await fontsReady();
      return (module as unknown as { __renderToDomTree: RenderTree }).__renderToDomTree;
    })
    .catch((error: unknown) => {
      loading = null; // the next formula tries again
      throw error;
    });
  return loading;
}

/** Until its fonts are there the source of a formula is better than a gap; after a while it goes on without. */
async function fontsReady(): Promise<void> {
  const fonts = document.fonts as FontFaceSet | undefined;
  if (!fonts) return;
  const loaded = Promise.all([fonts.load("1em KaTeX_Main"), fonts.load("italic 1em KaTeX_Math")]);
  await Promise.race([loaded.catch(() => undefined), new Promise((done) => setTimeout(done, FONTS_MS))]);
}

/** Puts the formula in place of what `element` shows; on any failure its source stays there. */
export async function showFormula(element: HTMLElement, tex: string, display: boolean): Promise<void> {
  try {
    const tree = await formulaTree(tex, display);
    element.replaceChildren(tree.toNode());
    element.querySelectorAll<HTMLElement>("[data-style]").forEach(putStyleBack);
    element.setAttribute("role", "math");
    element.setAttribute("aria-label", tex);
  } catch (error) {
    element.title = `not shown as a formula: ${String(error).slice(0, 200)}`;
  }
}

/** The formula as KaTeX lays it out, without style attributes. */
export async function formulaTree(tex: string, display: boolean): Promise<VirtualNode> {
  const renderTree = await load();
  const tree = renderTree(tex, { ...OPTIONS, displayMode: display });
  setStylesAside(tree);
  return tree;
}

/** KaTeX writes a few style attributes, which the page's policy forbids: they go through the object model. */
function setStylesAside(node: VirtualNode): void {
  const style = node.attributes?.["style"];
  if (node.attributes && style !== undefined) {
    delete node.attributes["style"];
    node.attributes["data-style"] = style;
  }
  node.children?.forEach(setStylesAside);
}

function putStyleBack(element: HTMLElement): void {
  element.style.cssText += element.dataset["style"] ?? "";
  delete element.dataset["style"];
}
