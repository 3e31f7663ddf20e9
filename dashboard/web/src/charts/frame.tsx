/** What every chart has around it: title with unit, legend, its data as a table, export. */
import type { ComponentChildren, JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { number } from "../format";
import { setParams } from "../router";
import { Icon, ICONS } from "../ui/icons";
import { Menu } from "../ui/controls";
import { downloadCsv, downloadPng, downloadSvg, type Draw, type TableData } from "./export";

export interface LegendKey {
  readonly label: string;
  readonly color: string;
  readonly kind: "line" | "dash" | "area" | "dot";
}

interface FrameProps {
  title: string;
  unit?: string | undefined;
  height: number;
  legend?: readonly LegendKey[];
  /** The data behind the picture. */
  table: () => TableData;
  /** Draws the picture for an export. */
  draw: Draw;
  /** Is a part of the x axis shown? Then a button shows all again. */
  zoomed?: boolean;
  actions?: ComponentChildren;
  class?: string | undefined;
  /** Without a card of its own. */
  bare?: boolean;
  children: ComponentChildren;
}

const MOST_ROWS = 2000;

export function ChartFrame(props: FrameProps): JSX.Element {
  const [hasTable, setTable] = useState(false);
  const ref = useRef<HTMLDivElement>(null);
  const { title } = props;
  const width = (): number => ref.current?.clientWidth ?? 800;
  return (
    <section class={`${props.bare ? "" : "card"} ${props.class ?? ""}`} aria-label={title}>
      <div class="card-head">
        <h2 class="clip">{title}</h2>
        {props.unit && <span class="unit small dim nowrap">{props.unit}</span>}
        <span class="push">
          {props.actions}
          {props.zoomed && (
            <button type="button" class="btn is-quiet is-icon is-small" title="Show all (double click)" aria-label="Show all" onClick={() => setParams({ zoom: null })}>
              <Icon path={ICONS.reset} size={14} />
            </button>
          )}
          <Menu label={<Icon path={ICONS.more} weight={2.4} />} title={`${title}: table and export`} class="btn is-quiet is-icon is-small">
            <button type="button" onClick={() => setTable(!hasTable)}>
              {hasTable ? "Hide the table" : "Show as a table"}
            </button>
            <button type="button" onClick={() => downloadCsv(title, props.table())}>
              Save CSV
            </button>
            <button type="button" onClick={() => downloadPng(title, props.draw, width(), props.height)}>
              Save PNG
            </button>
            <button type="button" onClick={() => downloadSvg(title, props.draw, width(), props.height)}>
              Save SVG
            </button>
          </Menu>
        </span>
      </div>
      {props.legend && props.legend.length > 0 && <Legend keys={props.legend} />}
      <div class="chart" ref={ref}>
        {props.children}
      </div>
      {hasTable && <DataTable data={props.table()} />}
    </section>
  );
}

export function Legend({ keys }: { keys: readonly LegendKey[] }): JSX.Element {
  return (
    <ul class="legend">
      {keys.map((key) => (
        <li key={key.label} class="key">
          <svg class="swatch" width="14" height="10" viewBox="0 0 14 10" aria-hidden="true" style={{ color: key.color }}>
            {key.kind === "area" && <rect y="1" width="14" height="8" fill="currentColor" />}
            {key.kind === "dot" && <circle cx="7" cy="5" r="4" fill="currentColor" />}
            {(key.kind === "line" || key.kind === "dash") && (
              <path d="M0 5h14" stroke="currentColor" stroke-width="2" stroke-dasharray={key.kind === "dash" ? "4 3" : undefined} />
            )}
          </svg>
          {key.label}
        </li>
      ))}
    </ul>
  );
}

function DataTable({ data }: { data: TableData }): JSX.Element {
  const isNumber = data.columns.map((_, column) => data.rows.some((row) => typeof row[column] === "number"));
  return (
    <div class="data-table scroll" tabIndex={0}>
      <table class="table">
        <thead>
          <tr>
            {data.columns.map((name, column) => (
              <th key={name} class={isNumber[column] ? "num" : undefined}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {data.rows.slice(0, MOST_ROWS).map((row, index) => (
            <tr key={index}>
              {row.map((value, column) => (
                <td key={column} class={isNumber[column] ? "num" : undefined}>
                  {value === null ? <span class="dim">n/a</span> : typeof value === "number" ? number(value) : value}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {data.rows.length > MOST_ROWS && <p class="note small">{`The first ${MOST_ROWS} of ${data.rows.length} rows; the CSV has all.`}</p>}
    </div>
  );
}
