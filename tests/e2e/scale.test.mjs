// Five hundred pictures at once: in order, with progress, and it can be stopped, while the page stays awake.

import assert from "node:assert/strict";
import { test } from "node:test";
import { host, launch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

const many = Array.from({ length: 500 }, (_, i) => ({ name: `many-${String(i).padStart(3, "0")}.png`, bytes: pictures.blob(i, 64) }));

test("500 pictures are scored in the order of arrival, with progress and cancel, and the page never sleeps", async (t) => {
  const browser = await launch();
  t.after(() => browser.close());
  const { url } = await host(t);
  await visit(browser, url, {}, async (person, page) => {
    const transfer = await person.transfer(many);
    await page.evaluate(() => {
      window.blocks = [];
      new PerformanceObserver((list) => window.blocks.push(...list.getEntries().map((entry) => Math.round(entry.duration)))).observe({ type: "longtask" });
      // the order in which cards become done, and whether a later one overtook an earlier one
      const finished = new Set();
      window.finished = finished;
      window.removed = 0;
      const note = (changes) => {
        for (const { removedNodes } of changes) for (const node of removedNodes) if (node.dataset?.testid === "result") window.removed++;
        for (const card of document.querySelectorAll('[data-testid="result"]')) {
          if (["done", "failed"].includes(card.dataset.state)) finished.add(card.dataset.name);
        }
      };
      new MutationObserver(note).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"] });
    });
    const began = Date.now();
    for (const kind of ["dragenter", "dragover", "drop"]) await page.dispatchEvent("main", kind, { dataTransfer: transfer });
    await person.until("progress is shown while most still wait", () => {
      const { done, total } = document.querySelector('[data-testid="progress"]')?.dataset ?? {};
      return Number(total) === 500 && Number(done) > 0 && document.querySelectorAll('[data-testid="result"][data-state="done"]').length < 400;
    });
    await person.screenshot("many-wide");
    await person.until("a hundred are done", () => document.querySelectorAll('[data-testid="result"][data-state="done"]').length >= 100, undefined, 120_000);
    await person.hook("cancel").click();
    await person.until("nothing waits after the stop", () => !document.querySelector('[data-testid="result"][data-state="queued"], [data-testid="result"][data-state="scoring"]'));
    const seconds = (Date.now() - began) / 1000;
    const { done, finished, blocks, removed } = await page.evaluate(() => ({
      done: document.querySelectorAll('[data-testid="result"][data-state="done"]').length,
      finished: [...window.finished], blocks: window.blocks, removed: window.removed,
    }));
    assert.ok(done >= 100 && done < 500, `the stop came in time: ${done} done`);
    assert.deepEqual(finished, [...finished].sort(), "in the order of arrival");
    // a card that is made anew is forgotten by a screen reader and costs the page its time
    assert.ok(removed <= 500, `cards are kept while others come: ${removed} were taken out, at most the cancelled ones should be`);
    const worst = Math.max(0, ...blocks);
    t.diagnostic(`${done} pictures in ${seconds.toFixed(1)} s; tasks over 50 ms: ${blocks.length}, the longest ${worst} ms`);
    assert.ok(worst < 200, `the page was blocked for ${worst} ms (tasks over 50 ms: ${blocks})`);
    // the cancelled ones come back with an undo, and go away again
    await person.undo();
    await person.until("the cancelled ones are back", () => document.querySelectorAll('[data-testid="result"]').length === 500);
    await person.hook("cancel").click();
    await person.until("nothing waits after the second stop", () => !document.querySelector('[data-testid="result"][data-state="queued"], [data-testid="result"][data-state="scoring"]'));
    // and it takes up work again
    await person.pick({ name: "zz.png", bytes: pictures.blob(1) });
    await person.until("a picture after the stop is scored", () => document.querySelector('[data-testid="result"][data-name="zz.png"]')?.dataset.state === "done");
  });
});
