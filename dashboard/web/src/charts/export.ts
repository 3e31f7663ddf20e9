/** Data and pictures as files. */
import { colors } from "../theme";
import { SvgPen, type Pen } from "./pen";

export interface TableData {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number | null)[])[];
}

/** Draws the whole chart, axes and all, into a box. */
export type Draw = (pen: Pen, width: number, height: number) => void;

const TITLE_HEIGHT = 28;
const PNG_SCALE = 2;

/** RFC 4180; a text that a spreadsheet would run as a formula gets an apostrophe in front. */
export function csv({ columns, rows }: TableData): string {
  const cell = (value: string | number | null): string => {
    if (value === null) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

export function download(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function downloadCsv(name: string, data: TableData): void {
  download(`${fileName(name)}.csv`, new Blob([csv(data)], { type: "text/csv" }));
}

export function downloadSvg(title: string, draw: Draw, width: number, height: number): void {
  const measurer = document.createElement("canvas").getContext("2d");
  const measure = (text: string, font: string): number => {
    if (!measurer) return text.length * 6;
    measurer.font = font;
    return measurer.measureText(text).width;
  };
  const svg = svgOf(title, draw, width, height, measure);
  download(`${fileName(title)}.svg`, new Blob([svg], { type: "image/svg+xml" }));
}

export function svgOf(title: string, draw: Draw, width: number, height: number, measure: (text: string, font: string) => number): string {
  const pen = new SvgPen(width, height + TITLE_HEIGHT, measure);
  withTitle(pen as unknown as Pen, title, width, height + TITLE_HEIGHT);
  const shifted = shift(pen, TITLE_HEIGHT);
  draw(shifted, width, height);
  return pen.svg();
}

export function downloadPng(title: string, draw: Draw, width: number, height: number): void {
  const canvas = document.createElement("canvas");
  canvas.width = width * PNG_SCALE;
  canvas.height = (height + TITLE_HEIGHT) * PNG_SCALE;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.scale(PNG_SCALE, PNG_SCALE);
  withTitle(pen, title, width, height + TITLE_HEIGHT);
  pen.translate(0, TITLE_HEIGHT);
  draw(pen, width, height);
  canvas.toBlob((blob) => blob && download(`${fileName(title)}.png`, blob));
}

function withTitle(pen: Pen, title: string, width: number, height: number): void {
  pen.fillStyle = colors.value.surface;
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = colors.value.ink;
  pen.font = "600 13px system-ui, sans-serif";
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillText(title, 8, TITLE_HEIGHT / 2);
}

/** A pen whose origin lies `dy` lower. */
function shift(pen: SvgPen, dy: number): Pen {
  const moved: Record<string, (...args: never[]) => void> = {
    moveTo: (x: number, y: number) => pen.moveTo(x, y + dy),
    lineTo: (x: number, y: number) => pen.lineTo(x, y + dy),
    rect: (x: number, y: number, w: number, h: number) => pen.rect(x, y + dy, w, h),
    arc: (x: number, y: number, radius: number, from: number, to: number) => pen.arc(x, y + dy, radius, from, to),
    fillRect: (x: number, y: number, w: number, h: number) => pen.fillRect(x, y + dy, w, h),
    fillText: (text: string, x: number, y: number) => pen.fillText(text, x, y + dy),
  };
  return new Proxy(pen as unknown as Pen, {
    get: (_, name) => {
      const value = moved[name as string] ?? (pen as unknown as Record<string | symbol, unknown>)[name];
      return typeof value === "function" && !(name in moved) ? value.bind(pen) : value;
    },
    set: (_, name, value) => Reflect.set(pen, name, value),
  });
}

function fileName(title: string): string {
  return title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "chart";
}
