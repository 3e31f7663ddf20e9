import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import preact from "@preact/preset-vite";
import { defineConfig, type Plugin } from "vite";

const ROOT = import.meta.dirname;
const OUT = resolve(ROOT, "../server/static");

/** What the built page depends on; tests/unit/test_dashboard_bundle.py names the same files. */
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "public", "src"];

function filesUnder(path: string): string[] {
  if (statSync(path).isFile()) return /\.test\.tsx?$|\.md$/.test(path) ? [] : [path];
  return readdirSync(path).flatMap((name) => filesUnder(join(path, name)));
}

/** SHA-256 over `name NUL bytes NUL` of every source, names sorted by their bytes. */
function hashOfSources(): string {
  const files = SOURCES.flatMap((name) => filesUnder(join(ROOT, name)));
  const named = files.map((file) => [relative(ROOT, file).split(sep).join("/"), file] as const);
  named.sort(([a], [b]) => (a < b ? -1 : 1));
  const hash = createHash("sha256");
  for (const [name, file] of named) {
    hash.update(name).update("\0").update(readFileSync(file)).update("\0");
  }
  return hash.digest("hex");
}

/** Writes BUILD.json beside the page, so that a stale page is found without Node. */
function buildStamp(): Plugin {
  return {
    name: "build-stamp",
    apply: "build",
    closeBundle() {
      writeFileSync(join(OUT, "BUILD.json"), `${JSON.stringify({ sources: hashOfSources() })}\n`);
    },
  };
}

/** KaTeX names each font three times; every browser that runs this page reads woff2. */
function woff2Only(): Plugin {
  return {
    name: "woff2-only",
    enforce: "pre",
    transform(code, id) {
      if (!id.includes("katex") || !id.split("?")[0]?.endsWith(".css")) return null;
      return code.replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)/g, "");
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [preact(), woff2Only(), buildStamp()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    target: "es2022",
    reportCompressedSize: true,
  },
  worker: { format: "es" },
  server: { proxy: { "/api": process.env["LACONIC_SERVER"] ?? "http://127.0.0.1:8421" } },
  test: { environment: "happy-dom", include: ["src/**/*.test.ts", "src/**/*.test.tsx", "tests/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
