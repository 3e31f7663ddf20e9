/** What our charts draw with: a canvas on the page, a text of SVG for export. */

export type Pen = Pick<
  CanvasRenderingContext2D,
  | "fillStyle" | "strokeStyle" | "lineWidth" | "globalAlpha" | "font" | "textAlign" | "textBaseline"
  | "beginPath" | "closePath" | "moveTo" | "lineTo" | "arc" | "rect" | "fill" | "stroke" | "fillRect" | "fillText" | "setLineDash"
  | "save" | "restore" | "clip" | "measureText"
>;

export const AXIS_FONT = "11px system-ui, sans-serif";
export const LABEL_FONT = "12px system-ui, sans-serif";

interface State {
  fillStyle: string;
  strokeStyle: string;
  lineWidth: number;
  globalAlpha: number;
  font: string;
  textAlign: CanvasTextAlign;
  textBaseline: CanvasTextBaseline;
  dash: readonly number[];
  depth: number;
}

const ANCHORS: Partial<Record<CanvasTextAlign, string>> = { center: "middle", right: "end", end: "end" };
const BASELINES: Partial<Record<CanvasTextBaseline, string>> = { middle: "central", top: "hanging" };

/** Writes SVG elements; implements what `Pen` names, no more. */
export class SvgPen {
  fillStyle = "#000";
  strokeStyle = "#000";
  lineWidth = 1;
  globalAlpha = 1;
  font = AXIS_FONT;
  textAlign: CanvasTextAlign = "left";
  textBaseline: CanvasTextBaseline = "alphabetic";
  private dash: readonly number[] = [];
  private path = "";
  private readonly out: string[] = [];
  private readonly saved: State[] = [];
  private clips = 0;
  private depth = 0;

  constructor(
    private readonly width: number,
    private readonly height: number,
    private readonly measure: (text: string, font: string) => number,
  ) {}

  beginPath(): void {
    this.path = "";
  }
  closePath(): void {
    this.path += "Z";
  }
  moveTo(x: number, y: number): void {
    this.path += `M${r(x)} ${r(y)}`;
  }
  lineTo(x: number, y: number): void {
    this.path += `${this.path ? "L" : "M"}${r(x)} ${r(y)}`;
  }
  rect(x: number, y: number, w: number, h: number): void {
    this.path += `M${r(x)} ${r(y)}h${r(w)}v${r(h)}h${r(-w)}Z`;
  }
  arc(x: number, y: number, radius: number, from: number, to: number): void {
    const isWhole = Math.abs(to - from) >= 2 * Math.PI - 1e-6;
    const end = isWhole ? from + Math.PI : to;
    const point = (angle: number): string => `${r(x + radius * Math.cos(angle))} ${r(y + radius * Math.sin(angle))}`;
    this.path += `M${point(from)}A${r(radius)} ${r(radius)} 0 ${end - from > Math.PI ? 1 : 0} 1 ${point(end)}`;
    if (isWhole) this.path += `A${r(radius)} ${r(radius)} 0 0 1 ${point(from)}Z`;
  }
  fill(): void {
    this.out.push(`<path d="${this.path}" fill="${escape(this.fillStyle)}"${this.alpha()}/>`);
  }
  stroke(): void {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
    this.out.push(
      `<path d="${this.path}" fill="none" stroke="${escape(this.strokeStyle)}" stroke-width="${r(this.lineWidth)}"${dash}${this.alpha()}/>`,
    );
  }
  fillRect(x: number, y: number, w: number, h: number): void {
    this.out.push(`<rect x="${r(x)}" y="${r(y)}" width="${r(w)}" height="${r(h)}" fill="${escape(this.fillStyle)}"${this.alpha()}/>`);
  }
  fillText(text: string, x: number, y: number): void {
    const [, weight, size, family] = /^(?:(\d+) )?(\d+(?:\.\d+)?)px (.*)$/.exec(this.font) ?? [];
    const anchor = ANCHORS[this.textAlign];
    const baseline = BASELINES[this.textBaseline];
    this.out.push(
      `<text x="${r(x)}" y="${r(y)}" fill="${escape(this.fillStyle)}" font-size="${size ?? 11}" font-family="${escape(family ?? "sans-serif")}"` +
        `${weight ? ` font-weight="${weight}"` : ""}${anchor ? ` text-anchor="${anchor}"` : ""}` +
        `${baseline ? ` dominant-baseline="${baseline}"` : ""}${this.alpha()}>${escape(text)}</text>`,
    );
  }
  setLineDash(dash: number[]): void {
    this.dash = [...dash];
  }
  save(): void {
    const { fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, dash, depth } = this;
    this.saved.push({ fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, dash, depth });
  }
  restore(): void {
    const state = this.saved.pop();
    if (!state) return;
    for (; this.depth > state.depth; this.depth -= 1) this.out.push("</g>");
    Object.assign(this, state);
  }
  /** Everything up to the matching `restore` stays inside the path. */
  clip(): void {
    this.clips += 1;
    this.depth += 1;
    this.out.push(`<clipPath id="c${this.clips}"><path d="${this.path}"/></clipPath><g clip-path="url(#c${this.clips})">`);
  }
  measureText(text: string): TextMetrics {
    return { width: this.measure(text, this.font) } as TextMetrics;
  }

  svg(): string {
    const size = `width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}"`;
    return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>${this.out.join("")}${"</g>".repeat(this.depth)}</svg>\n`;
  }

  private alpha(): string {
    return this.globalAlpha < 1 ? ` opacity="${r(this.globalAlpha)}"` : "";
  }
}

function r(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Also drops what XML cannot hold. */
export function escape(text: string): string {
  return text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
