// Models from afar: fetched when asked for, gone on with after cuts and closed pages, checked, kept; from a server that behaves like a
// model hub, and from the same server when it misbehaves.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { commandLine, dist, file, host, launch, repository, scratch, visit } from "./harness.mjs";
import { hub } from "./hub.mjs";
import { randomClip } from "./random_clip.mjs";

const tool = process.env.ODDLENS_CLI ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "debug/oddlens");
const FILE = "/someone/a-clip/resolve/main/model.gguf";
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
/// The tests provoke broken connections, of which the browser tells the console.
const allowed = [/Failed to load resource|ERR_|fetch/i];

const offered = (bytes, more) => ({
  id: "far", name: "A far model", file: "far.gguf", bytes: bytes.length, sha256: sha256(bytes), threshold: 0.5,
  threshold_source: "None.", can: "Everything that the tests ask.", cannot: "More.", memory_bytes: 20_000_000, ...more,
});

/// The page with another model in its manifest.
async function site(t, entry, extra = {}) {
  const folder = join(scratch(t), "site");
  cpSync(dist, folder, { recursive: true });
  const path = join(folder, "weights/manifest.json");
  const manifest = JSON.parse(readFileSync(path));
  manifest.models.push(entry);
  writeFileSync(path, JSON.stringify(manifest));
  for (const [name, bytes] of Object.entries(extra)) writeFileSync(join(folder, "weights", name), bytes);
  return host(t, { folder });
}

const line = (page, id = "far") => page.locator(`[data-testid="model"][data-model="${id}"]`);
const openPanel = (person) => person.hook("model-status").click();
const inUse = (person, id = "far") => person.until(`${id} is in use`, (id) => {
  const status = document.querySelector('[data-testid="model-status"]')?.dataset;
  return status?.state === "ready" && status.model === id;
}, id);
const notice = (person, pattern) => person.until(`a notice says ${pattern}`, (pattern) =>
  [...document.querySelectorAll('[data-testid="notice"] p')].map((p) => p.innerText).find((line) => new RegExp(pattern).test(line)), pattern.source);
const partial = async (page) => Number(await line(page).getAttribute("data-partial"));
const press = async (page, word) => {
  const button = line(page).locator('[data-testid="use-model"]');
  await button.filter({ hasText: word }).click();
};
/// Files in the store that are models, whole or not: neither lists nor what a model knows by heart.
const stored = (page) => page.evaluate(async () => {
  const names = [];
  for await (const name of (await (await navigator.storage.getDirectory()).getDirectoryHandle("models")).keys()) names.push(name);
  return names.filter((name) => !/\.(json|texts)$/.test(name));
});
const controlled = (person) => person.until("the service worker has the page", async () => {
  await navigator.serviceWorker.ready;
  return navigator.serviceWorker.controller !== null;
});

describe("downloads", () => {
  const ours = file("weights", "mini.gguf");
  const folder = mkdtempSync(join(tmpdir(), "oddlens-e2e-"));
  let browser, halves;
  after(() => browser.close());
  after(() => rmSync(folder, { recursive: true, force: true }));
  before(async () => {
    browser = await launch();
    // 16-bit floats: a file that the page has to convert
    const path = join(folder, "halves.gguf");
    execFileSync(tool, ["model", "convert", join(repository, "weights/mini.gguf"), path, "--quant", "f16"]);
    halves = { path, bytes: readFileSync(path) };
  });

  const setting = async (t, bytes = ours, more = {}) => {
    const far = await hub(t, { [FILE]: bytes });
    const server = await site(t, offered(bytes, { address: far.url + FILE, ...more }));
    return { far, server, options: { allowed, abroad: [far.url] } };
  };

  test("a model of the menu is fetched, converted, scores as the command line does with it, and is there again offline", async (t) => {
    const { far, server, options } = await setting(t, halves.bytes);
    const [expected] = commandLine([join(repository, "www/samples/oranges-two.jpg")], "--normal", "orange", "--model", halves.path);
    await visit(browser, server.url, options, async (person, page) => {
      assert.equal(far.requests.length, 0, "nothing is fetched that nobody asked for");
      await person.setClasses("orange");
      await person.pick({ name: "a.jpg", bytes: file("www/samples", "oranges-two.jpg") });
      const [before] = await person.settled(1);
      await openPanel(person);
      assert.match(await line(page).innerText(), /10\.8 MB/);
      assert.match(await line(page).innerText(), /20\.0 MB in memory/);
      await person.screenshot("downloads-menu-wide");
      await press(page, "Download");
      await inUse(person);
      const [card] = await person.settled(1);
      assert.ok(Math.abs(card.score - expected.score) < 1e-4, `${card.score} against ${expected.score}`);
      await person.until("it is kept", () => document.querySelector('[data-testid="model"][data-model="far"]').dataset.kept === "true");
      await controlled(person);
      await page.waitForTimeout(500);
      await far.close();
      await server.close();
      await page.reload({ waitUntil: "domcontentloaded" });
      await inUse(person);
      await person.pick({ name: "a.jpg", bytes: file("www/samples", "oranges-two.jpg") });
      assert.equal((await person.settled(1))[0].score, card.score);
      // back to the site's own, and the far one is deleted
      await openPanel(person);
      await page.locator('[data-testid="model"][data-model="mini"] [data-testid="use-model"]').click();
      await inUse(person, "mini");
      assert.equal((await person.settled(1))[0].score, before.score);
      await line(page).locator('[data-testid="delete-model"]').click();
      await person.until("it is deleted", () => document.querySelector('[data-testid="model"][data-model="far"]')?.dataset.kept !== "true");
    });
  });

  for (const percent of [1, 50, 99]) {
    test(`a connection that breaks after ${percent} % is gone on with`, async (t) => {
      const { far, server, options } = await setting(t);
      const at = Math.round((ours.length * percent) / 100);
      far.cuts = [at];
      await visit(browser, server.url, options, async (person, page) => {
        await openPanel(person);
        await press(page, "Download");
        await inUse(person);
        const [first, second, ...more] = far.requests.map((r) => r.start);
        // what was under way when the connection broke may be lost
        assert.ok(first === 0 && second > at - 1_000_000 && second <= at && !more.length, `${at}: ${JSON.stringify(far.requests)}`);
      });
    });
  }

  test("where nothing more comes, what has come waits for a click; a host without ranges begins anew", async (t) => {
    const { far, server, options } = await setting(t);
    const half = ours.length >> 1;
    far.cuts = [half];
    far.brokenAfterCut = true;
    await visit(browser, server.url, options, async (person, page) => {
      await openPanel(person);
      await press(page, "Download");
      const said = await notice(person, /stays in use/);
      assert.match(said, new RegExp(`${half} of ${ours.length} bytes are kept`));
      assert.doesNotMatch(said, /\n/);
      await person.until("the half is shown", (half) => document.querySelector('[data-testid="model"][data-model="far"]').dataset.partial === String(half), half);
      assert.match(await line(page).innerText(), /50 % of it here/);
      far.broken = false;
      far.ranges = false;
      far.requests.length = 0;
      await press(page, "Resume");
      await inUse(person);
      assert.deepEqual(far.requests.map((r) => r.start), [0]);
    });
  });

  test("a pause keeps what has come, over a closed page, too", async (t) => {
    const { far, server, options } = await setting(t);
    far.pace = 30;
    await visit(browser, server.url, options, async (person, page, context) => {
      await openPanel(person);
      await press(page, "Download");
      await person.until("some has come", () => Number(document.querySelector("#model-panel progress")?.value) > 1e6);
      await person.hook("stop-loading").click();
      await inUse(person, "mini");
      const had = await person.until("the part is shown", () => Number(document.querySelector('[data-testid="model"][data-model="far"]').dataset.partial));
      assert.ok(had > 1e6 && had < ours.length, `${had}`);
      assert.equal(await page.locator('[data-testid="notice"]').count(), 0, "a pause is no trouble");
      await press(page, "Resume");
      await person.until("more has come", (had) => Number(document.querySelector("#model-panel progress")?.value) > had + 5e5, had);
      await page.close();
      const again = await context.newPage();
      far.requests.length = 0;
      far.pace = 0;
      await again.goto(server.url);
      await again.locator('[data-testid="model-status"][data-state="ready"]').click();
      assert.ok((await partial(again)) > had, "what had come is there");
      await press(again, "Resume");
      await again.locator('[data-testid="model-status"][data-model="far"]').waitFor();
      assert.ok(far.requests[0].start > had && far.requests.length === 1, JSON.stringify(far.requests));
    });
  });

  test("two tabs fetch and convert a model once", async (t) => {
    const { far, server, options } = await setting(t, halves.bytes);
    far.pace = 60;
    await visit(browser, server.url, options, async (person, page, context) => {
      await openPanel(person);
      await press(page, "Download");
      const other = await context.newPage();
      await other.goto(server.url);
      await other.locator('[data-testid="model-status"][data-state="ready"]').click();
      // what the first is fetching is not for the second to delete
      await line(other).locator('[data-testid="delete-model"]').click();
      await other.locator('[data-testid="notice"]', { hasText: /could not be deleted: another tab is fetching it/ }).waitFor();
      await press(other, "Resume");
      for (const tab of [page, other]) await tab.locator('[data-testid="model-status"][data-state="ready"][data-model="far"]').waitFor();
      assert.equal(far.requests.length, 1, JSON.stringify(far.requests));
      await other.close();
      assert.deepEqual((await stored(page)).length, 1, `one file is left: ${await stored(page)}`);
    });
  });

  test("a link to a model on another host fetches nothing; a pause while the model is converted keeps what has come", async (t) => {
    const { far, server, options } = await setting(t, halves.bytes);
    await visit(browser, `${server.url}#model=far`, options, async (person, page) => {
      await inUse(person, "mini");
      await notice(person, /lies on another host/);
      await page.getByRole("button", { name: "Dismiss" }).click();
      assert.equal(far.requests.length, 0);
      await openPanel(person);
      // its configuration is asked for when all bytes are there
      far.holdsBeside = true;
      await press(page, "Download");
      await person.until("all has come", () => {
        const bar = document.querySelector("#model-panel progress");
        return bar && bar.value === bar.max;
      });
      await page.waitForTimeout(300);
      await person.hook("stop-loading").click();
      await inUse(person, "mini");
      await person.until("all of it is kept", (all) => document.querySelector('[data-testid="model"][data-model="far"]').dataset.partial === String(all), halves.bytes.length);
      far.holdsBeside = false;
      far.requests.length = 0;
      await press(page, "Resume");
      await inUse(person);
      assert.equal(far.requests.filter((r) => r.path === FILE).length, 0, "nothing is fetched twice");
      assert.equal((await stored(page)).length, 1, `${await stored(page)}`);
    });
  });

  test("wrong bytes, a web page, a missing file: one line, nothing kept, and the page goes on", async (t) => {
    const { far, server, options } = await setting(t);
    const bad = {
      "SHA-256": () => (far.wrong = true),
      "web page": () => ((far.wrong = false), (far.page = true)),
      "answered 404": () => ((far.page = false), (far.files = {})),
      "expected \\d+ bytes, the server has": () => (far.files = { [FILE]: Buffer.concat([ours, ours]) }),
    };
    await visit(browser, server.url, options, async (person, page) => {
      await openPanel(person);
      for (const [words, misbehave] of Object.entries(bad)) {
        misbehave();
        await press(page, /Download|Resume/);
        const said = await notice(person, new RegExp(words));
        assert.match(said, /A far model: .*stays in use\.$/);
        await inUse(person, "mini");
        await person.until("nothing is kept", () => document.querySelector('[data-testid="model"][data-model="far"]').dataset.partial === "0");
        await page.getByRole("button", { name: "Dismiss" }).click();
      }
      far.files = { [FILE]: ours };
      await press(page, "Download");
      await inUse(person);
    });
  });

  test("silence is a broken connection", async (t) => {
    const { far, server, options } = await setting(t);
    far.stallAt = 2_000_000;
    await visit(browser, server.url, options, async (person, page) => {
      await openPanel(person);
      await press(page, "Download");
      await person.until("it stalls", () => Number(document.querySelector("#model-panel progress")?.value) > 1e6);
      await person.until("it is tried again and given up", () => [...document.querySelectorAll('[data-testid="notice"] p')].some((p) => /nothing came for \d+ s/.test(p.innerText)), undefined, 90_000);
      far.stallAt = Infinity;
      await press(page, "Resume");
      await inUse(person);
      assert.equal(far.requests.at(-1).start, 2_000_000);
    });
  });

  test("with a full store the model works all the same, and is not kept", async (t) => {
    const { far, server, options } = await setting(t);
    await visit(browser, server.url, options, async (person, page, context) => {
      const session = await context.newCDPSession(page);
      await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.url).origin, quotaSize: 3_000_000 });
      await openPanel(person);
      await press(page, "Download");
      await inUse(person);
      assert.equal(await line(page).getAttribute("data-kept"), "false");
      await person.clickSample();
      assert.equal((await person.settled(1))[0].state, "done");
      assert.deepEqual(far.requests.map((r) => r.start), [0]);
    });
  });

  test("from an address that somebody types, checked by what the hub declares", async (t) => {
    const { far, server, options } = await setting(t);
    await visit(browser, server.url, options, async (person, page) => {
      await openPanel(person);
      const fetch = async (address) => {
        await person.hook("model-address").fill(address);
        await person.hook("model-address").press("Enter");
      };
      await fetch("not an address");
      await notice(person, /a model's address: expected https/);
      await page.getByRole("button", { name: "Dismiss" }).click();
      far.wrong = true;
      await fetch(far.url + FILE);
      await notice(person, /SHA-256/);
      await page.getByRole("button", { name: "Dismiss" }).click();
      far.wrong = false;
      await fetch(far.url + FILE);
      const id = await person.until("it is in use", () => {
        const { state, model } = document.querySelector('[data-testid="model-status"]').dataset;
        return state === "ready" && /^own-/.test(model) && model;
      });
      assert.match(await line(page, id).innerText(), /a-clip, model\.gguf/);
      await person.until("the address names it", (id) => location.hash.includes(`model=${id}`), id);
      await page.reload();
      await inUse(person, id);
    });
  });

  test("a file of the hub's form, with its configuration beside it: fetched, or dropped", async (t) => {
    const { bytes, config } = randomClip();
    const path = join(folder, "model.safetensors");
    writeFileSync(path, bytes);
    writeFileSync(join(folder, "config.json"), config);
    const [expected] = commandLine([join(repository, "www/samples/teapot.jpg")], "--normal", "a teapot seen from above", "--model", path);
    const far = await hub(t, { "/a/b/resolve/main/model.safetensors": bytes, "/a/b/resolve/main/config.json": Buffer.from(config) });
    const server = await site(t, offered(bytes, { address: `${far.url}/a/b/resolve/main/model.safetensors` }));
    await visit(browser, server.url, { allowed, abroad: [far.url] }, async (person, page) => {
      await person.setClasses("a teapot seen from above");
      await person.pick({ name: "a.jpg", bytes: file("www/samples", "teapot.jpg") });
      await person.settled(1);
      const [before] = await person.settled(1);
      await openPanel(person);
      await press(page, "Download");
      // random weights: it has to be wanted all the same
      const doubt = /self-test.*got [01].*near chance.*stays in use/;
      await notice(person, doubt);
      assert.equal((await person.settled(1))[0].score, before.score);
      await inUse(person, "mini");
      assert.equal(await line(page).getAttribute("data-kept"), "false");
      await person.screenshot("downloads-doubtful-wide");
      await person.hook("use-doubtful").click();
      await inUse(person);
      const close = async () => {
        const [card] = await person.settled(1);
        assert.ok(Math.abs(card.score - expected.score) < 1e-4, `${card.score} against ${expected.score}`);
      };
      await close();
      // it reads any text: when there is nothing else to do it learns what most people ask for
      const known = () => page.evaluate(async () => {
        const models = await (await navigator.storage.getDirectory()).getDirectoryHandle("models");
        for await (const [name, handle] of models.entries()) if (name.endsWith(".texts")) return (await handle.getFile()).size;
        return 0;
      });
      for (const start = Date.now(); (await known()) < 1000 * 4 * 32; ) {
        assert.ok(Date.now() - start < 60_000, `${await known()} bytes of known texts`);
        await page.waitForTimeout(200);
      }
      await page.reload({ waitUntil: "domcontentloaded" });
      await inUse(person);
      await person.pick({ name: "a.jpg", bytes: file("www/samples", "teapot.jpg") });
      await close();
      const [far1] = await person.settled(1);
      await person.setClasses("horse");
      const [known1] = await person.settled(1);
      assert.notEqual(known1.score, far1.score);
      await person.setClasses("a teapot seen from above");
      await openPanel(person);
      await page.locator('[data-testid="model"][data-model="mini"] [data-testid="use-model"]').click();
      await inUse(person, "mini");
      const octets = "application/octet-stream";
      await person.drop({ name: "model.safetensors", bytes, type: octets }, { name: "config.json", bytes: Buffer.from(config), type: "application/json" });
      await notice(person, doubt);
      await person.hook("use-doubtful").click();
      await person.until("the dropped one is in use", () => /^own-/.test(document.querySelector('[data-testid="model-status"]').dataset.model ?? ""));
      await close();
    });
  });

  test("a model that lies beside the page in parts is put together", async (t) => {
    const cuts = [0, 3_000_000, 6_000_000, ours.length];
    const parts = cuts.slice(1).map((end, i) => ({ file: `far.part${i + 1}`, bytes: ours.subarray(cuts[i], end) }));
    const entry = offered(ours, { parts: parts.map(({ file, bytes }) => ({ file, bytes: bytes.length, sha256: sha256(bytes) })) });
    const server = await site(t, entry, Object.fromEntries(parts.map(({ file, bytes }) => [file, bytes])));
    await visit(browser, server.url, { allowed }, async (person, page) => {
      await openPanel(person);
      await press(page, "Download");
      await inUse(person);
      await controlled(person);
      await page.waitForTimeout(500);
      await server.close();
      await page.reload({ waitUntil: "domcontentloaded" });
      await inUse(person);
    });
  });
});
