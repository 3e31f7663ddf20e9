/** The one policy that the server's CSP names: it lets our own workers start, and nothing else. */
interface Policy {
  createScriptURL(url: string): string | URL;
}
interface Factory {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): Policy;
}

const factory = (globalThis as { trustedTypes?: Factory }).trustedTypes;

function ownScript(url: string): string {
  const absolute = new URL(url, location.href);
  if (absolute.origin !== location.origin) throw new TypeError(`not a script of this page: ${url}`);
  return absolute.href;
}

const policy: Policy = factory?.createPolicy("laconic", { createScriptURL: ownScript }) ?? { createScriptURL: ownScript };

/** `import url from "./x.worker?worker&url"` and then `startWorker(url)`. */
export function startWorker(url: string): Worker {
  return new Worker(policy.createScriptURL(url) as string, { type: "module" });
}
