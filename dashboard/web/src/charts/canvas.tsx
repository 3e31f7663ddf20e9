/** A canvas that fits its box, is sharp, and is drawn anew when data, theme or size change. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { theme } from "../theme";
import type { Draw } from "./export";

export interface Point {
  readonly x: number;
  readonly y: number;
}

interface CanvasProps {
  height: number;
  draw: Draw;
  /** What stands under the pointer: lines of a small box, or null. */
  describe?: (at: Point, width: number) => readonly string[] | null;
  onClick?: (at: Point, width: number) => void;
  onDrag?: (from: Point, to: Point, width: number) => void;
  onWheel?: (at: Point, delta: number, width: number) => void;
  onDoubleClick?: () => void;
  /** Whether a click here does something: the pointer says so. */
  isTarget?: (at: Point, width: number) => boolean;
  label: string;
}

/** A pointer that moved less than this was a click. */
const CLICK_PX = 4;

export function Canvas(props: CanvasProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const start = useRef<Point | null>(null);
  const [width, setWidth] = useState(0);
  const shown = theme.value;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = new ResizeObserver(() => setWidth(element.clientWidth));
    measure.observe(element);
    setWidth(element.clientWidth);
    return () => measure.disconnect();
  }, []);

  useEffect(() => {
    const pen = canvas.current?.getContext("2d");
    if (!pen || !canvas.current || width === 0) return;
    const ratio = devicePixelRatio || 1;
    canvas.current.width = Math.round(width * ratio);
    canvas.current.height = Math.round(props.height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    props.draw(pen, width, props.height);
  }, [width, props.height, props.draw, shown]);

  useEffect(() => {
    const element = canvas.current;
    const { onWheel } = props;
    if (!element || !onWheel) return;
    const turned = (event: WheelEvent): void => {
      event.preventDefault();
      onWheel(pointOf(event), event.deltaY, width);
    };
    element.addEventListener("wheel", turned, { passive: false });
    return () => element.removeEventListener("wheel", turned);
  }, [props.onWheel, width]);

  const hover = (event: PointerEvent): void => {
    const [element, at] = [tip.current, pointOf(event)];
    if (!element) return;
    const lines = props.describe?.(at, width) ?? null;
    if (canvas.current) canvas.current.style.cursor = props.isTarget?.(at, width) ? "pointer" : props.onDrag ? "grab" : "default";
    element.style.visibility = lines ? "visible" : "hidden";
    if (!lines) return;
    element.replaceChildren(...lines.map(lineNode));
    const isRight = at.x > width / 2;
    const top = Math.max(0, Math.min(at.y + 12, props.height - element.offsetHeight));
    element.style.transform = `translate(${isRight ? at.x - element.offsetWidth - 12 : at.x + 12}px, ${top}px)`;
  };
  const leave = (): void => {
    if (tip.current) tip.current.style.visibility = "hidden";
  };
  const release = (event: PointerEvent): void => {
    const [from, to] = [start.current, pointOf(event)];
    start.current = null;
    if (!from) return;
    if (Math.hypot(to.x - from.x, to.y - from.y) < CLICK_PX) props.onClick?.(to, width);
    else props.onDrag?.(from, to, width);
  };
  return (
    <div ref={box} style={{ position: "relative", height: `${props.height}px` }}>
      <canvas
        ref={canvas}
        role="img"
        aria-label={props.label}
        style={{ width: "100%", height: `${props.height}px`, touchAction: "pan-y" }}
        onPointerMove={hover}
        onPointerLeave={leave}
        onPointerDown={(event) => (start.current = pointOf(event))}
        onPointerUp={release}
        onDblClick={props.onDoubleClick}
      />
      <div ref={tip} class="chart-tip" />
    </div>
  );
}

function pointOf(event: MouseEvent): Point {
  return { x: event.offsetX, y: event.offsetY };
}

function lineNode(line: string, index: number): HTMLElement {
  const element = document.createElement("div");
  element.textContent = line;
  if (index === 0) element.className = "strong";
  return element;
}
