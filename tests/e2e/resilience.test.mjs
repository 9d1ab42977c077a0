// What may break outside of the page: the worker dies, the network goes, the site lies under a path.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { asked, host, launch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

describe("resilience", () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  test("a killed worker is replaced: new pictures are scored, earlier ones keep their scores and follow the classes", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      await person.pick({ name: "before.png", bytes: pictures.blob(1) });
      const [before] = await person.settled(1);
      assert.equal(page.workers().length, 1, "one worker");
      await page.workers()[0].evaluate(() => self.close());
      await person.pick({ name: "after.png", bytes: pictures.blob(2) }, { name: "later.png", bytes: pictures.blob(3) });
      const cards = await person.settled(3, 90_000);
      const [first, after, later] = cards;
      assert.deepEqual([first.state, first.score], ["done", before.score], "the earlier score stays");
      // the picture that the worker died on may be marked; the queue goes on behind it
      assert.ok(["done", "failed"].includes(after.state));
      if (after.state === "failed") assert.match(after.text, /worker/i);
      assert.equal(later.state, "done", JSON.stringify(later));
      await person.addClass("orange");
      await person.until("the earlier picture is scored again with the new class", (old) =>
        Number([...document.querySelectorAll('[data-testid="result"]')].find((card) => card.dataset.name === "before.png").dataset.score) !== old, before.score);
      // and to the very number that a fresh page gives
      const again = (await person.result("before.png")).score;
      await person.pick({ name: "twin.png", bytes: pictures.blob(1) });
      await person.settled(4);
      assert.equal((await person.result("twin.png")).score, again);
    });
  });

  test("with the network cut after loading it still scores, and it opens again from its own store", async (t) => {
    const server = await host(t);
    await visit(browser, server.url, { allowed: [/Failed to load resource|ERR_|fetch/i] }, async (person, page) => {
      await person.until("the service worker has the whole page", async () => {
        if (!navigator.serviceWorker) throw new Error("no service workers here");
        await navigator.serviceWorker.ready;
        const paths = [];
        for (const name of await caches.keys()) for (const request of await (await caches.open(name)).keys()) paths.push(new URL(request.url).pathname);
        return navigator.serviceWorker.controller !== null && [".gguf", ".wasm", ".css", ".js"].every((end) => paths.some((path) => path.endsWith(end)));
      });
      await server.close();
      await person.pick({ name: "cut.png", bytes: pictures.blob(1) });
      const [cut] = await person.settled(1);
      assert.equal(cut.state, "done", JSON.stringify(cut));
      await page.reload({ waitUntil: "domcontentloaded" });
      await person.ready();
      await person.pick({ name: "cut.png", bytes: pictures.blob(1) });
      const [again] = await person.settled(1);
      assert.equal(again.score, cut.score);
    });
  });

  test("a page that is cut off while loading says so and tries again", async (t) => {
    const server = await host(t);
    await visit(browser, server.url, { ready: false, allowed: [/Failed to load resource|ERR_|fetch/i], context: { serviceWorkers: "block" } }, async (person, page) => {
      await person.ready();
      let cut = true;
      await page.route(/\.gguf(\?|$)/, (route) => (cut ? route.abort() : route.continue()));
      await page.goto("about:blank");
      await page.goto(server.url, { waitUntil: "domcontentloaded" });
      await person.until("the model has failed", () => document.querySelector('[data-testid="model-status"]')?.dataset.state === "failed");
      await person.screenshot("model-failed-wide");
      cut = false;
      await page.getByRole("button", { name: /what now/i }).click();
      await page.getByRole("button", { name: /load the model|again|retry/i }).first().click();
      await person.until("the model is ready after the second try", () => document.querySelector('[data-testid="model-status"]')?.dataset.state === "ready");
      await person.pick({ name: "after.png", bytes: pictures.blob(1) });
      assert.equal((await person.settled(1))[0].state, "done");
    });
  });

  test("the worker's program and the model do not wait for the page's program, nor is lost what the worker says before it", async (t) => {
    // the second is as a link that was shared
    for (const [fragment, broken] of [["", false], ["#normal=dog&model=mini", false], ["", true]]) {
      let release;
      const held = new Promise((done) => (release = done));
      const isWorkers = (path) => /\/worker(-relaxed)?_bg\.wasm$/.test(path);
      const server = await host(t, { wait: (path) => (path.endsWith("/page_bg.wasm") ? held : broken && isWorkers(path) ? Promise.reject(new Error("gone")) : undefined) });
      const allowed = broken ? [/Failed to load resource|500/] : [];
      await visit(browser, server.url + fragment, { ready: false, allowed, context: { serviceWorkers: "block" } }, async (person, page) => {
        const wanted = broken ? [isWorkers] : [isWorkers, (path) => path.endsWith("/weights/manifest.json"), (path) => path.endsWith(".gguf")];
        const deadline = Date.now() + 30_000;
        while (!wanted.every((is) => server.requests.some(is))) {
          assert.ok(Date.now() < deadline, `only ${server.requests.join(" ")} was asked for`);
          await new Promise((done) => setTimeout(done, 50));
        }
        // long enough for whatever the worker says
        await new Promise((done) => setTimeout(done, 1500));
        assert.equal(await page.locator('[data-testid="model-status"]').count(), 0, "the page's program is not there yet");
        release();
        if (broken) {
          await person.until("the page says that the worker's program is missing", () =>
            document.querySelector('[data-testid="model-status"]')?.dataset.state === "failed" && /worker stopped .*_bg\.wasm/.test(document.querySelector('[role="alert"]')?.textContent ?? ""));
          return;
        }
        await person.ready();
        const count = (end) => server.requests.filter((path) => path.endsWith(end)).length;
        assert.deepEqual([count(".gguf"), count("/weights/manifest.json"), count("/worker-boot.js")], [1, 1, 1], "each is asked for once");
        await person.pick({ name: "one.png", bytes: pictures.blob(1) });
        assert.equal((await person.settled(1))[0].state, "done");
      });
      await server.close();
    }
  });

  test("a link that names another model has the default one not fetched", async (t) => {
    const server = await host(t);
    await visit(browser, `${server.url}#normal=dog&model=none-such`, { ready: false, context: { serviceWorkers: "block" } }, async (person) => {
      await person.until("the page says that there is no such model", () => /none-such/.test(document.body.textContent));
      assert.ok(!server.requests.some((path) => path.endsWith(".gguf")), server.requests.join(" "));
    });
  });

  test("it works under a sub-path, asks nothing outside of it, and with cross-origin isolation as without", async (t) => {
    const isolation = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
    const scores = [];
    for (const headers of [{}, isolation]) {
      const server = await host(t, { base: "/some/where/", headers });
      await visit(browser, server.url, {}, async (person, page) => {
        assert.equal(await page.evaluate(() => crossOriginIsolated), headers === isolation);
        await person.pick({ name: "sub.png", bytes: pictures.blob(1) });
        const [card] = await person.settled(1);
        assert.equal(card.state, "done", JSON.stringify(card));
        scores.push(card.score);
        await person.clickSample();
        assert.ok((await person.settled(2)).every((card) => card.state === "done"));
        // a browser asks for /favicon.ico by itself where the page names none
        const outside = server.requests.filter((path) => !path.startsWith("/some/where/"));
        assert.deepEqual(outside, [], "every request stays under the path");
      });
    }
    assert.equal(scores[0], scores[1]);
  });

  test("the content policy is there and bites: no other host, no inline script", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, { allowed: [/violates|Failed to (load|fetch)|Refused|blocked/i] }, async (person, page) => {
      const outcome = await page.evaluate(async () => {
        const reached = await fetch("https://example.org/").then(() => "reached", () => "refused");
        const script = document.createElement("script");
        script.textContent = "window.inlineRan = true";
        document.body.append(script);
        return { reached, inline: window.inlineRan ?? "refused" };
      });
      assert.deepEqual(outcome, { reached: "refused", inline: "refused" });
      const told = person.seen.violations.join(" | ");
      for (const directive of ["connect-src", "script-src"]) assert.ok(told.includes(directive), `${directive} spoke: ${told}`);
      // these were our own doing
      person.seen.violations.length = 0;
    });
  });

  test("nothing is sent: after loading, scoring and re-scoring make no request at all", async (t) => {
    const server = await host(t);
    await visit(browser, server.url, { context: { serviceWorkers: "block" } }, async (person) => {
      await person.page.waitForLoadState("networkidle");
      const before = server.requests.length;
      await person.pick({ name: "private.png", bytes: pictures.blob(1) });
      await person.settled(1);
      await person.addClass("orange");
      await person.paste({ name: "image.png", bytes: pictures.blob(2) });
      await person.settled(2);
      assert.deepEqual(asked(server, before), []);
    });
  });
});
