// What a visitor has to fetch, held by a budget.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { dist, noThreads } from "./harness.mjs";

const files = (folder) => readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)]));
const all = files(dist).map((path) => ({ name: relative(dist, path), path, bytes: statSync(path).size }));
const zipped = ({ path }) => gzipSync(readFileSync(path), { level: 9 }).length;

test("the page, the worker and the model stay within their budgets", (t) => {
  const one = (pattern) => {
    const found = all.filter(({ name }) => pattern.test(name));
    assert.equal(found.length, 1, `one file like ${pattern} among: ${all.map(({ name }) => name).join(", ")}`);
    return found[0];
  };
  for (const [what, pattern, limit, size] of [
    ["page wasm, gzip", /page[^/]*\.wasm$/, 600e3, zipped],
    ["worker wasm, gzip", /worker_bg\.wasm$/, 2.5e6, zipped],
    ["worker wasm with relaxed SIMD, gzip", /worker-relaxed_bg\.wasm$/, 2.5e6, zipped],
    ...(noThreads ? [] : [["worker wasm with threads, gzip", /worker-threads_bg\.wasm$/, 2.5e6, zipped]]),
    ["embedded model", /\.gguf$/, 10e6, ({ bytes }) => bytes],
  ]) {
    const file = one(pattern);
    const bytes = size(file);
    t.diagnostic(`${what}: ${(bytes / 1e3).toFixed(0)} kB of ${(limit / 1e3).toFixed(0)} kB (${file.name})`);
    assert.ok(bytes > 1000 && bytes <= limit, `${what}: ${bytes} bytes, at most ${limit}`);
  }
});

test("nothing in dist is fetched from another place or from the root", () => {
  for (const { name, path } of all) {
    if (!/\.(html|css|js|json|webmanifest)$/.test(name)) continue;
    const text = readFileSync(path, "utf8");
    assert.doesNotMatch(text, /\b(src|href|import)\s*[=(]\s*["']?(https?:)?\/\//i, `${name} fetches nothing from elsewhere`);
    assert.doesNotMatch(text, /\b(src|href)="\/(?!\/)/, `${name} has no path from the root, which a sub-path would break`);
  }
});

test("the sources of screenshots stay out of dist", () => {
  assert.deepEqual(all.filter(({ name }) => /screenshot/i.test(name)).map(({ name }) => name), []);
});
