// The worker's three programs: all their kernels give the truth's numbers, and all give the command line's scores.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { commandLine, host, launch, noThreads, scratch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

// which of those that there are is the fastest is measured
const kernels = { plain: /^simd128-i16i8$/, relaxed: /^(simd128-i16i8|relaxed-u7i8-i(16|32))$/ };

for (const [variant, threads] of [["plain", 1], ["relaxed", 1], ["threads", 2]]) {
  const skip = variant === "threads" && noThreads;
  test(`the ${variant} program's kernels agree, and its bench says how fast it is`, { skip }, async (t) => {
    const browser = await launch();
    t.after(() => browser.close());
    const { url } = await host(t, { isolated: threads > 1 });
    const address = new URL(`?bench=embedded&runs=3&variant=${variant}&threads=${threads}`, url);
    await visit(browser, address.href, { ready: false }, async (person, page) => {
      const place = page.getByTestId("bench-result");
      await place.filter({ hasText: /\S/ }).waitFor();
      const result = JSON.parse(await place.textContent());
      assert.equal(result.error, undefined, "the bench checks every kernel before it times one");
      assert.deepEqual([result.variant, result.threads], [variant, threads]);
      assert.match(result.kernel, kernels[variant] ?? kernels.relaxed);
      for (const key of ["image_ms", "spread_ms", "text_ms", "texts_ms", "preprocess_ms", "peak_share"]) {
        assert.ok(Number.isFinite(result[key]) && result[key] >= 0, `${key}: ${result[key]}`);
      }
      t.diagnostic(`${variant}: a picture ${result.image_ms} ms, a prompt ${result.text_ms} ms, 12 megapixels ${result.preprocess_ms} ms`);
    });
  });

  test(`the ${variant} program gives the command line's scores`, { skip }, async (t) => {
    const browser = await launch();
    t.after(() => browser.close());
    const { url } = await host(t, { isolated: threads > 1 });
    const folder = scratch(t);
    await visit(browser, new URL(`?variant=${variant}&threads=${threads}`, url).href, {}, async (person) => {
      const files = Array.from({ length: 4 }, (_, i) => {
        const at = (x, y) => [128 + 100 * Math.sin(x / (5 + i)), 128 + 100 * Math.cos(y / 7), (x * 3 + y * i) % 256].map(Math.round);
        return { name: `${i}.png`, bytes: pictures.png(100 + 40 * i, 120, at) };
      });
      for (const { name, bytes } of files) writeFileSync(join(folder, name), bytes);
      await person.setClasses("orange", "school bus");
      await person.pick(...files);
      const page = await person.settled(files.length);
      const told = commandLine(files.map(({ name }) => join(folder, name)), "--normal", "orange,school bus");
      const differences = told.map((line, i) => Math.abs(line.score - page.find((card) => card.name === files[i].name).score));
      assert.ok(Math.max(...differences) <= 1e-5, `differences: ${differences}`);
    });
  });
}

test("what the bench cannot do it says", async (t) => {
  const browser = await launch();
  t.after(() => browser.close());
  const { url } = await host(t);
  for (const [query, message] of [["bench=vit-l", /vit-b-32, embedded/], ["bench=embedded&variant=quick", /plain, relaxed or threads/], ["bench=embedded&threads=2", /isolated|without threads/], ["bench=embedded&threads=0", /1 to 16/], ["bench=embedded&variant=plain&threads=2", /has one/], ["bench=embedded&only=sound", /image or text/]]) {
    await visit(browser, new URL(`?${query}`, url).href, { ready: false }, async (person, page) => {
      const place = page.getByTestId("bench-result");
      await place.filter({ hasText: /\S/ }).waitFor();
      assert.match(JSON.parse(await place.textContent()).error, message);
    });
  }
});
