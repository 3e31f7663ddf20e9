/** Questions to the server. Addresses are relative, so that any prefix works. */
import { signal } from "@preact/signals";
import type { ApiError } from "./api_types";
import { runParam } from "./router";

export type QueryValue = string | number | boolean | readonly (string | number)[] | null | undefined;
export type Query = Readonly<Record<string, QueryValue>>;

/** An answer that is no data: what failed and, in the server's words, the way out. */
export class Failure extends Error {
  readonly status: number;
  readonly code: string;
  readonly parameter: string | null;

  constructor(status: number, code: string, message: string, parameter: string | null = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.parameter = parameter;
  }
}

/** True from the first answer that asked for a token until a login. */
export const needsToken = signal(false);

export function address(path: string, query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) params.append(name, String(one));
  }
  const text = params.toString();
  return `api/${path}${text ? `?${text}` : ""}`;
}

/** Adds the run that the page shows, unless the query names runs itself. */
export function withRun(query: Query): Query {
  return "run" in query ? query : { run: runParam.value, ...query };
}

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await ask(address(path, query), signal ? { signal } : {})).json() as Promise<T>;
}

export async function getText(path: string, query: Query = {}): Promise<string> {
  return (await ask(address(path, query), {})).text();
}

export async function post<T>(path: string, body: unknown): Promise<T | null> {
  const headers = { "Content-Type": "application/json", "X-Laconic": "1" };
  const response = await ask(address(path), { method: "POST", headers, body: JSON.stringify(body) });
  return response.status === 204 ? null : ((await response.json()) as T);
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Failure(0, "offline", "The server of this page does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const failure = await asFailure(response);
  if (failure.status === 401) needsToken.value = true;
  throw failure;
}

async function asFailure(response: Response): Promise<Failure> {
  try {
    const { error } = (await response.json()) as ApiError;
    return new Failure(response.status, error.code, error.message, error.parameter ?? null);
  } catch {
    return new Failure(response.status, "http", `The server answered ${response.status} ${response.statusText}`);
  }
}
