// Further workers that see pictures while many wait, where threads do not share the work on each: the same scores in the same order, nothing
// fetched twice, nothing lost when one dies, gone with the model and with the work.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { serve } from "../../scripts/serve.mjs";
import { asked, commandLine, dist, host, launch, noThreads, repository, scratch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

const COUNT = 300;
const SIDE = 256;
const name = (i) => `many-${String(i).padStart(4, "0")}.png`;
const some = Array.from({ length: COUNT }, (_, i) => ({ name: name(i), bytes: pictures.blob(i, SIDE) }));
/// The service worker would isolate the page, and fetches files for later.
const context = { serviceWorkers: "block" };
const hands = (page) => page.workers().filter((worker) => worker.url().includes("/hand.js"));

async function drop(person, files) {
  const transfer = await person.transfer(files);
  for (const kind of ["dragenter", "dragover", "drop"]) await person.page.dispatchEvent("main", kind, { dataTransfer: transfer });
}

/// The workers that the model's details name, once they name `count`; the panel is open.
const workers = (person, count) => person.until(`${count} workers`, (count) => {
  const kernel = document.querySelector('[data-testid="kernel"]')?.innerText ?? "";
  return count === 1 ? kernel.endsWith("1 thread") : kernel.endsWith(`1 thread, ${count} workers`);
}, count);

const allDone = (person, count = COUNT) => person.settled(count, 240_000);

/// What the page exports of scored pictures, to the last digit.
async function exported(person) {
  const [download] = await Promise.all([person.page.waitForEvent("download"), person.export("json")]);
  return readFileSync(await download.path(), "utf8").trim().split("\n").map((line) => JSON.parse(line)).filter(({ entries }) => entries)
    .map(({ path, score, entries }) => ({ path, score, cosines: entries.map((entry) => entry.cosine) }));
}

/// Has the hands that there are count the pictures that they see; afterwards `seen` answers how many that are.
const count = (page) => Promise.all(hands(page).map((hand) => hand.evaluate(() => {
  if (self.counted !== undefined) return;
  self.counted = 0;
  const post = self.postMessage.bind(self);
  self.postMessage = (message, ...rest) => {
    if (message[0].startsWith('{"Seen"')) self.counted++;
    return post(message, ...rest);
  };
})));
const seen = async (page) => (await Promise.all(hands(page).map((hand) => hand.evaluate(() => self.counted ?? 0).catch(() => 0)))).reduce((a, b) => a + b, 0);

describe("hands", () => {
  let browser;
  /// The scores of one worker alone.
  let alone;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  test("one worker alone, where the address asks for one thread", async (t) => {
    const { url } = await host(t);
    await visit(browser, `${url}?threads=1`, { context }, async (person, page) => {
      await drop(person, some);
      const cards = await allDone(person);
      assert.ok(cards.every((card) => card.state === "done"));
      assert.equal(page.workers().length, 1);
      alone = await exported(person);
      assert.deepEqual(alone.map(({ path }) => path), some.map(({ name }) => name));
    });
  });

  test("with hands the scores are the same, answers come in order of arrival, and nothing is fetched twice; in the end they go", async (t) => {
    const server = await host(t);
    await visit(browser, `${server.url}?workers=3`, { context }, async (person, page) => {
      await page.waitForLoadState("networkidle");
      await person.hook("model-status").click();
      const memory = () => person.hook("memory").innerText();
      assert.doesNotMatch(await memory(), /other/);
      const before = server.requests.length;
      await page.evaluate(() => {
        window.finished = [];
        new MutationObserver((changes) => {
          const now = changes.map(({ target }) => target).filter(({ dataset }) => dataset?.testid === "result" && ["done", "failed"].includes(dataset.state));
          // what is shown in one frame has no order
          window.finished.push(...now.map(({ dataset }) => dataset.name).sort());
        }).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"] });
      });
      await drop(person, some);
      await workers(person, 3);
      assert.equal(hands(page).length, 2);
      await count(page);
      assert.match(await memory(), /and .* in the other workers$/);
      const cards = await allDone(person);
      assert.ok(cards.every((card) => card.state === "done"));
      const byHands = await seen(page);
      t.diagnostic(`hands saw ${byHands} of ${COUNT} since they were counted`);
      assert.ok(byHands > 0, "hands see pictures");
      const finished = [...new Set(await page.evaluate(() => window.finished))];
      assert.equal(finished.length, COUNT);
      assert.deepEqual(finished, [...finished].sort(), "in the order of arrival");
      assert.deepEqual(await exported(person), alone, "to the last digit");
      const fetched = asked(server, before).map((path) => path.split("/").at(-1)).sort();
      for (const file of fetched) assert.match(file, /^(hand|worker|worker-relaxed)\.js$/, "no model and no program again");
      assert.ok(fetched.length <= 4, `two small scripts for each hand at most: ${fetched}`);
      await workers(person, 1);
      for (let i = 0; i < 100 && hands(page).length; i++) await page.waitForTimeout(200);
      assert.deepEqual(hands(page), [], "they go when there is nothing to do");
    });
  });

  for (const [how, end] of [
    ["is closed", () => self.close()],
    ["throws", () => void setTimeout(() => { throw new Error("a trap"); })],
  ]) {
    test(`a hand that ${how} loses nothing, and another takes its place`, async (t) => {
      const { url } = await host(t);
      await visit(browser, `${url}?workers=2`, { context }, async (person, page) => {
        await person.hook("model-status").click();
        await drop(person, some);
        await workers(person, 2);
        const [first] = hands(page);
        await first.evaluate(end).catch(() => {});
        await person.until("all but a few are done", (count) => document.querySelectorAll('[data-testid="result"][data-state="done"]').length > count, COUNT / 2, 240_000);
        const cards = await allDone(person);
        assert.ok(cards.every((card) => card.state === "done"), JSON.stringify(cards.filter((card) => card.state !== "done")));
        assert.deepEqual(await exported(person), alone);
        assert.ok(hands(page).every((hand) => hand !== first), "the first has gone");
        assert.ok(person.seen.console.some((line) => /a further worker has ended/.test(line)), person.seen.console.join("\n"));
      });
    });
  }

  test("the first worker dies with its hands at work: they go, others come, and nothing is lost", async (t) => {
    const { url } = await host(t);
    await visit(browser, `${url}?workers=2&variant=plain`, { context }, async (person, page) => {
      await person.hook("model-status").click();
      await drop(person, some);
      await workers(person, 2);
      const old = page.workers();
      await old.find((worker) => worker.url().includes("/worker-boot.js")).evaluate(() => self.close());
      await person.until("it is being replaced", () => document.querySelector('[data-testid="model-status"]').dataset.state === "loading");
      await person.ready();
      const cards = await allDone(person);
      // the picture that it was at, if any, may have been its end
      const failed = cards.filter((card) => card.state !== "done").map((card) => card.name);
      assert.ok(failed.length <= 1, `${failed}`);
      assert.deepEqual(await exported(person), alone.filter(({ path }) => !failed.includes(path)));
      for (let i = 0; i < 100 && page.workers().some((worker) => old.includes(worker)); i++) await page.waitForTimeout(200);
      assert.ok(page.workers().every((worker) => !old.includes(worker)), "the dead one took its hands along");
    });
  });

  test("a queue with hands is stopped, and taken up again", async (t) => {
    const { url } = await host(t);
    await visit(browser, `${url}?workers=3`, { context }, async (person, page) => {
      await person.hook("model-status").click();
      await drop(person, some);
      await workers(person, 3);
      await person.removePicture(name(1));
      await person.hook("cancel").click();
      await person.until("nothing waits after the stop", () => !document.querySelector('[data-testid="result"][data-state="queued"], [data-testid="result"][data-state="scoring"]'));
      const there = await person.results();
      assert.ok(there.length < COUNT - 1 && there.every((card) => card.state === "done"), `${there.length} are done`);
      await person.undo();
      await allDone(person, COUNT - 1);
      assert.deepEqual(await exported(person), alone.filter(({ path }) => path !== name(1)));
      assert.equal(page.workers().length, 3, "the same hands go on");
    });
  });

  test("while the camera is on it is not kept waiting: hands see the pictures; one that kills two of them is refused in one line", async (t) => {
    const folder = join(scratch(t), "dist");
    cpSync(dist, folder, { recursive: true });
    const killer = pictures.blob(COUNT + 1, 200);
    assert.ok(some.every(({ bytes }) => bytes.length !== killer.length));
    // a hand ends when it is given the killer
    writeFileSync(join(folder, "hand.js"), `self.addEventListener('message', (event) => {
      if (event.data[1]?.[0]?.byteLength !== ${killer.length}) return;
      event.stopImmediatePropagation();
      self.close();
    });\n${readFileSync(join(dist, "hand.js"), "utf8")}`);
    const server = await serve({ folder });
    t.after(() => server.close());
    const video = join(scratch(t), "camera.y4m");
    writeFileSync(video, pictures.y4m());
    const browser = await launch(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", `--use-file-for-fake-video-capture=${video}`]);
    t.after(() => browser.close());
    await visit(browser, `${server.url}?workers=2`, { context }, async (person, page) => {
      await person.hook("model-status").click();
      await person.hook("start-camera").click();
      const score = () => document.querySelector('[data-testid="camera-score"]')?.dataset.score;
      await person.until("the camera has a score", score);
      await drop(person, some);
      await workers(person, 2);
      // from here on this worker is the camera's
      await person.pick({ name: "killer.png", bytes: killer });
      const live = await page.evaluate(score);
      await person.until("the live score changes while pictures wait", (live) => {
        const now = document.querySelector('[data-testid="camera-score"]')?.dataset.score;
        return now && now !== live && document.querySelector('[data-testid="result"][data-state="queued"]');
      }, live);
      const cards = await allDone(person, COUNT + 1);
      const failed = cards.filter((card) => card.state !== "done");
      assert.deepEqual(failed.map((card) => card.name), ["killer.png"]);
      // far down in the grid a card is not drawn
      await person.filterBy("failed");
      await person.until("it says why", () => /2 workers stopped on this picture/.test(document.querySelector('[data-testid="result"]').innerText));
      assert.equal(cards.length, COUNT + 1);
      assert.equal(person.seen.console.filter((line) => /a further worker has ended/.test(line)).length, 2);
      assert.equal(await person.hook("model-status").getAttribute("data-state"), "ready", "the first worker lives");
    });
  });

  test("another model ends the hands; its own open its file from the store", async (t) => {
    const folder = scratch(t);
    const model = join(folder, "another.gguf");
    const tool = process.env.ODDLENS_CLI ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "debug/oddlens");
    execFileSync(tool, ["model", "convert", join(repository, "weights/mini.gguf"), model, "--quant", "f16"]);
    const few = some.slice(-12).map(({ name, bytes }) => {
      writeFileSync(join(folder, name), bytes);
      return join(folder, name);
    });
    const server = await host(t);
    await visit(browser, `${server.url}?workers=2`, { context }, async (person, page) => {
      const lines = commandLine(few, "--normal", (await person.chips()).join(","), "--model", model);
      await person.hook("model-status").click();
      await drop(person, some);
      await workers(person, 2);
      const old = hands(page);
      const before = server.requests.length;
      await person.hook("pick-model").setInputFiles([{ name: "another.gguf", mimeType: "application/octet-stream", buffer: readFileSync(model) }]);
      await person.until("the file's model is in use", () => /^own-/.test(document.querySelector('[data-testid="model-status"]').dataset.model ?? ""), undefined, 240_000);
      await workers(person, 2);
      const fresh = hands(page).filter((hand) => !old.includes(hand));
      assert.equal(fresh.length, 1);
      const cards = await allDone(person);
      assert.ok(cards.every((card) => card.state === "done"));
      const told = new Map((await exported(person)).map((line) => [line.path, line]));
      for (const line of lines) {
        const { cosines } = told.get(line.path.split("/").at(-1));
        for (const [i, entry] of line.entries.entries()) assert.ok(Math.abs(entry.cosine - cosines[i]) <= 1e-5, `${line.path}: page ${cosines[i]}, command line ${entry.cosine}`);
      }
      for (let i = 0; i < 100 && hands(page).some((hand) => old.includes(hand)); i++) await page.waitForTimeout(200);
      assert.ok(hands(page).every((hand) => !old.includes(hand)), "the old model's hands have gone");
      const fetched = asked(server, before).filter((path) => /\.(gguf|wasm)$/.test(path) && !path.endsWith("/mini.gguf"));
      assert.deepEqual(fetched, []);
    });
  });

  for (const [query, count, how] of [["?workers=2", 1, "a model too small for threads has hands"], ["?threads=2", 0, "threads that are asked for have none"]]) {
    test(`isolated, ${how}, and the scores are the same`, { skip: noThreads }, async (t) => {
      const server = await host(t, { isolated: true });
      await visit(browser, `${server.url}${query}`, { context }, async (person, page) => {
        await drop(person, some);
        if (count > 0) {
          await person.hook("model-status").click();
          await workers(person, 1 + count);
        }
        const cards = await allDone(person);
        assert.ok(cards.every((card) => card.state === "done"));
        assert.equal(hands(page).length, count);
        assert.equal(server.requests.filter((path) => path.endsWith("_bg.wasm") && path.includes("worker")).length, 1, "one program, fetched once");
        assert.deepEqual(await exported(person), alone);
      });
    });
  }
});
