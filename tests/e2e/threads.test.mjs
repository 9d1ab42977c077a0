// Threads over shared memory: used where the page is cross-origin isolated, left alone where it is not, the same scores either way.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { commandLine, file, host, launch, noThreads, repository, scratch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";
import { LARGE_VISION, randomClip } from "./random_clip.mjs";

const program = /\/(worker-threads|helper)/;

describe("threads", { skip: noThreads }, () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  /// The scores of the same three pictures.
  const score = async (person) => {
    await person.pick(...[1, 2, 3].map((i) => ({ name: `${i}.png`, bytes: pictures.blob(i) })));
    const cards = await person.settled(3, 90_000);
    assert.ok(cards.every((card) => card.state === "done"), JSON.stringify(cards));
    return cards.map((card) => card.score);
  };

  test("isolated, the program with threads is used, alone or with helpers; not isolated, it is not even fetched; the scores are the same", async (t) => {
    const scores = [];
    for (const [isolated, query, fetched] of [
      [false, "", []],
      [true, "", ["worker-threads.js", "worker-threads_bg.wasm"]],
      [true, "?threads=2", ["helper.js", "worker-threads.js", "worker-threads_bg.wasm"]],
      [true, "?threads=1", []],
    ]) {
      const server = await host(t, { base: "/some/where/", isolated });
      // the service worker keeps files for later, which is not use
      await visit(browser, server.url + query, { context: { serviceWorkers: "block" } }, async (person) => {
        scores.push(await score(person));
        const names = new Set(server.requests.map((path) => path.split("/").at(-1)));
        assert.deepEqual([...names].filter((name) => program.test(`/${name}`)).sort(), fetched, `isolated: ${isolated}, ${query}`);
        const others = [...names].filter((name) => /^worker(-relaxed)?_bg/.test(name)).length;
        assert.equal(others, fetched.length ? 0 : 1, `one program is fetched: ${[...names]}`);
        await person.hook("model-status").click();
        const kernel = await person.hook("kernel").innerText();
        assert.match(kernel, fetched.includes("helper.js") ? /, 2 threads$/ : /, 1 thread$/);
      });
    }
    for (const other of scores.slice(1)) assert.deepEqual(other, scores[0]);
  });

  test("a large model has threads without being told to, also from the store, and the command line's scores", { skip: availableParallelism() < 2 && "one core" }, async (t) => {
    const { bytes, config } = randomClip(1, LARGE_VISION);
    const folder = scratch(t);
    // by path: so many bytes do not go through the browser's protocol
    const paths = ["model.safetensors", "config.json"].map((name) => join(folder, name));
    writeFileSync(paths[0], bytes);
    writeFileSync(paths[1], config);
    const shown = ["teapot.jpg", "school-bus.jpg", "oranges-two.jpg"];
    const expected = commandLine(shown.map((name) => join(repository, "www/samples", name)), "--normal", "a teapot seen from above", "--model", paths[0]);
    const server = await host(t, { isolated: true });
    await visit(browser, server.url, {}, async (person, page) => {
      await person.setClasses("a teapot seen from above");
      await person.hook("model-status").click();
      await person.hook("pick-model").setInputFiles(paths);
      // random weights have to be wanted all the same
      await person.hook("use-doubtful").click();
      for (const visit of ["first", "from the store"]) {
        await person.until("the dropped model is in use", () => /^own-/.test(document.querySelector('[data-testid="model-status"][data-state="ready"]')?.dataset.model ?? ""));
        await person.pick(...shown.map((name) => ({ name, bytes: file("www/samples", name) })));
        const cards = await person.settled(shown.length, 90_000);
        for (const [i, { score, state }] of cards.entries()) {
          assert.ok(state === "done" && Math.abs(score - expected[i].score) < 1e-4, `${visit}: ${score} against ${expected[i].score}`);
        }
        // its panel is open on the first visit
        if (visit !== "first") await person.hook("model-status").click();
        assert.match(await person.hook("kernel").innerText(), /, [2-8] threads$/, visit);
        await person.until("the address names it", () => location.hash.includes("model=own-"));
        await page.reload();
      }
    });
  });

  test("a worker that dies takes its helpers along and is replaced", async (t) => {
    const { url } = await host(t, { isolated: true });
    await visit(browser, `${url}?threads=2`, {}, async (person, page) => {
      const [before] = await score(person);
      const workers = () => page.workers().map((worker) => new URL(worker.url()).pathname.split("/").at(-1));
      t.diagnostic(`workers: ${workers()}`);
      const boot = page.workers().find((worker) => worker.url().includes("worker-boot.js"));
      await boot.evaluate(() => self.close());
      await person.pick({ name: "again.png", bytes: pictures.blob(1) });
      await person.settled(4, 90_000);
      await person.pick({ name: "later.png", bytes: pictures.blob(1) });
      await person.settled(5, 90_000);
      assert.equal((await person.result("later.png")).score, before);
      // a helper that waits for work is ended by force, which Chromium takes a second or two for
      for (let i = 0; i < 100 && workers().length > 2; i++) await page.waitForTimeout(200);
      assert.deepEqual(workers().sort(), ["helper.js", "worker-boot.js"]);
    });
  });

  test("a host without headers: the first visit goes without threads, the next ones with them, also offline", async (t) => {
    const server = await host(t, { base: "/some/where/" });
    await visit(browser, server.url, { allowed: [/Failed to load resource|ERR_|fetch/i] }, async (person, page, context) => {
      const isolated = (page) => page.evaluate(() => crossOriginIsolated);
      assert.equal(await isolated(page), false);
      const scores = await score(person);
      await person.until("the service worker has the whole page", async () => {
        await navigator.serviceWorker.ready;
        const paths = [];
        for (const name of await caches.keys()) for (const request of await (await caches.open(name)).keys()) paths.push(new URL(request.url).pathname);
        return navigator.serviceWorker.controller !== null && [".gguf", ".wasm", ".css", ".js"].every((end) => paths.some((path) => path.endsWith(end)));
      });
      assert.equal(await isolated(page), false, "nothing is reloaded behind one's back");
      assert.ok(!server.requests.some((path) => program.test(path)), "what cannot be used yet is not fetched");

      // offline at once: without the program that was never fetched
      await context.setOffline(true);
      await page.reload({ waitUntil: "domcontentloaded" });
      await person.ready();
      assert.equal(await isolated(page), true);
      assert.deepEqual(await score(person), scores);

      await context.setOffline(false);
      await page.reload({ waitUntil: "domcontentloaded" });
      await person.ready();
      assert.equal(await isolated(page), true);
      assert.deepEqual(await score(person), scores);
      assert.ok(server.requests.some((path) => program.test(path)), "now the program with threads is used");

      await server.close();
      await page.reload({ waitUntil: "domcontentloaded" });
      await person.ready();
      assert.equal(await isolated(page), true);
      assert.deepEqual(await score(person), scores);
    });
  });
});
