// Models from afar: fetched when asked for, gone on with after cuts and closed pages, checked, kept; from a server that behaves like a
// model hub, and from the same server when it misbehaves.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bake } from "../../www/bake.mjs";
import { commandLine, dist, file, host, launch, repository, scratch, visit } from "./harness.mjs";
import { hub } from "./hub.mjs";
import { archive, configurationOf, writeZip } from "./model_files.mjs";
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

/// The page with another model in its manifest; `extra` are files beside that, `options` the host's.
async function site(t, entry, extra = {}, options = {}) {
  const folder = join(scratch(t), "site");
  cpSync(dist, folder, { recursive: true });
  const path = join(folder, "weights/manifest.json");
  const manifest = JSON.parse(readFileSync(path));
  manifest.models.push(entry);
  writeFileSync(path, JSON.stringify(manifest));
  for (const [name, bytes] of Object.entries(extra)) writeFileSync(join(folder, "weights", name), bytes);
  return host(t, { folder, ...options });
}

const line = (page, id = "far") => page.locator(`[data-testid="model"][data-model="${id}"]`);
const openPanel = (person) => person.hook("model-status").click();
const inUse = (person, id = "far") => person.until(`${id} is in use`, (id) => {
  const status = document.querySelector('[data-testid="model-status"]')?.dataset;
  return status?.state === "ready" && status.model === id;
}, id);
/// It is in the store for later visits, which comes a moment after it is in use.
const isKept = (person, id = "far") => person.until("it is kept", (id) => document.querySelector(`[data-testid="model"][data-model="${id}"]`)?.dataset.kept === "true", id);
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
/// Bytes of what was made of a model that still comes.
const made = (page) => page.evaluate(async () => {
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("models");
  for await (const [name, file] of folder.entries()) if (/\.ahead$/.test(name)) return file.getFile().then(({ size }) => size, () => 0);
  return 0;
});
const until = async (page, what, condition) => {
  for (const start = Date.now(); !(await condition()); await page.waitForTimeout(100)) assert.ok(Date.now() - start < 60_000, what);
};
/// The SHA-256 of a kept model's file.
const keptSha256 = (page, id) => page.evaluate(async (id) => {
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("models");
  const list = JSON.parse(await (await (await folder.getFileHandle("models.json")).getFile()).text());
  return list.find((model) => model.id === id)?.sha256;
}, id);
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
      await isKept(person);
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

  for (const [how, changed, change] of [
    ["gets another file", () => halves.bytes, () => {}],
    ["gets another file and has no ranges", () => halves.bytes, (far) => (far.ranges = false)],
    ["gets a shorter file", () => ours, () => {}],
  ]) {
    test(`an address of which nobody tells the checksum ${how}: the new one is fetched from its beginning`, async (t) => {
      const was = changed() === ours ? halves.bytes : ours;
      const { far, server, options } = await setting(t, was, { bytes: 0, sha256: "" });
      far.declares = false;
      // behind the end of the shorter one
      far.cuts = [was === ours ? ours.length >> 1 : ours.length + (1 << 20)];
      far.brokenAfterCut = true;
      await visit(browser, server.url, options, async (person, page) => {
        await openPanel(person);
        await press(page, "Download");
        await notice(person, /bytes are kept/);
        far.files = { [FILE]: changed() };
        far.broken = false;
        change(far);
        await press(page, "Resume");
        await inUse(person);
      });
    });
  }

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
      await isKept(person);
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
      await isKept(person);
      assert.equal(far.requests.filter((r) => r.path === FILE).length, 0, "nothing is fetched twice");
      assert.equal((await stored(page)).length, 1, `${await stored(page)}`);
    });
  });

  test("16-bit floats are rounded while they come, and anew where they come anew: it is the model that the command line makes of the file", async (t) => {
    const { far, server, options } = await setting(t, halves.bytes);
    const converted = join(folder, "converted.gguf");
    execFileSync(tool, ["model", "convert", halves.path, converted, "--quant", "q8"]);
    // of what has come, 8 of each 16 bits
    const half = halves.bytes.length / 2, least = half / 3;
    await visit(browser, server.url, options, async (person, page) => {
      await openPanel(person);
      far.stallAt = half;
      await press(page, "Download");
      await until(page, "half of it is made", async () => (await made(page)) > least);
      await person.hook("stop-loading").click();
      await inUse(person, "mini");
      await until(page, "nothing is left of it", async () => (await made(page)) === 0);
      far.ranges = false;
      await press(page, "Resume");
      await until(page, "half of it is made", async () => (await made(page)) > least);
      await page.reload({ waitUntil: "domcontentloaded" });
      await inUse(person, "mini");
      await until(page, "a closed page leaves nothing of it", async () => (await made(page)) === 0);
      await openPanel(person);
      await press(page, /Download|Resume/);
      await until(page, "it comes anew", async () => far.requests.length === 3 && (await made(page)) > least);
      far.stallAt = Infinity;
      await inUse(person);
      await isKept(person);
      assert.equal(await keptSha256(page, "far"), sha256(readFileSync(converted)));
      await until(page, "one file is left", async () => (await stored(page)).length === 1);
    });
  });

  test("an archive's directory is fetched first, so that it can be rounded while it comes, too", async (t) => {
    const path = "/a/b/resolve/main/open_clip_pytorch_model.bin";
    const bytes = writeZip(archive("open-clip-training.pt", 90, 64));
    const config = Buffer.from(configurationOf("open-clip-training.pt"));
    const far = await hub(t, { [path]: bytes, "/a/b/resolve/main/open_clip_config.json": config });
    const server = await site(t, offered(bytes, { address: far.url + path }));
    await visit(browser, server.url, { allowed, abroad: [far.url] }, async (person, page) => {
      await openPanel(person);
      far.stallAt = bytes.length / 2;
      await press(page, "Download");
      await until(page, "most of it is made", async () => (await made(page)) > far.stallAt / 8);
      assert.deepEqual(far.requests.filter((r) => r.path === path).map((r) => r.start), [0, bytes.length - (1 << 18)]);
      far.stallAt = Infinity;
      // random weights: it has to be wanted all the same
      await person.hook("use-doubtful").click();
      await inUse(person);
      await isKept(person);
      const one = await keptSha256(page, "far");
      await person.drop({ name: "open_clip_pytorch_model.bin", bytes, type: "application/octet-stream" }, { name: "open_clip_config.json", bytes: config, type: "application/json" });
      await notice(person, /near chance/);
      await person.hook("use-doubtful").click();
      const own = await person.until("the dropped one is in use", () => /^own-/.exec(document.querySelector('[data-testid="model-status"]').dataset.model ?? "")?.input);
      await isKept(person, own);
      assert.equal(await keptSha256(page, own), one, "the same as of the whole file");
    });
  });

  test("a host that does not give an archive's end gives the archive all the same, and is not asked twice", async (t) => {
    const path = "/a/b/resolve/main/open_clip_pytorch_model.bin";
    const bytes = writeZip(archive("open-clip-training.pt", 90, 64));
    const config = Buffer.from(configurationOf("open-clip-training.pt"));
    const far = await hub(t, { [path]: bytes, "/a/b/resolve/main/open_clip_config.json": config });
    far.holdsRanges = true;
    const server = await site(t, offered(bytes, { address: far.url + path }));
    await visit(browser, server.url, { allowed, abroad: [far.url] }, async (person, page) => {
      await openPanel(person);
      await press(page, "Download");
      await person.hook("use-doubtful").click();
      await inUse(person);
      assert.deepEqual(far.requests.filter((r) => r.path === path).map((r) => r.start), [0, bytes.length - (1 << 18)]);
      await until(page, "one file is left", async () => (await stored(page)).length === 1);
    });
  });

  for (const [room, megabytes, kept] of [["what was made while it came", 15, "false"], ["that and the whole model", 22, "true"]]) {
    test(`a store with too little room for ${room} does without it`, async (t) => {
      const { server, options } = await setting(t, halves.bytes);
      await visit(browser, server.url, options, async (person, page, context) => {
        await controlled(person);
        await page.waitForTimeout(1000);
        const used = await page.evaluate(async () => (await navigator.storage.estimate()).usage);
        const session = await context.newCDPSession(page);
        await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.url).origin, quotaSize: used + megabytes * 1e6 });
        await openPanel(person);
        await press(page, "Download");
        await inUse(person);
        if (kept === "true") await isKept(person);
        assert.equal(await line(page).getAttribute("data-kept"), kept);
        await person.clickSample();
        assert.equal((await person.settled(1))[0].state, "done");
        const left = (await stored(page)).filter((name) => !/\.part$/.test(name));
        assert.equal(left.length, kept === "true" ? 1 : 0, `${left}`);
      });
    });
  }

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

  test("with a full store a stop while the rest is looked for keeps nothing, and says so", async (t) => {
    const { far, server, options } = await setting(t, halves.bytes);
    far.holdsBeside = true;
    await visit(browser, server.url, options, async (person, page, context) => {
      const session = await context.newCDPSession(page);
      await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.url).origin, quotaSize: 3_000_000 });
      await openPanel(person);
      await press(page, "Download");
      await person.until("all has come", (total) => Number(document.querySelector("#model-panel progress")?.value) === total, halves.bytes.length);
      await person.hook("stop-loading").click();
      await inUse(person, "mini");
      assert.match(await page.locator('[data-testid="status"]').innerText(), /stopped, with nothing of it kept/);
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
      await isKept(person, id);
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

  // a model of any words as a host has it: made by the command line, in parts of one tower each
  const hosted = async (t) => {
    const { bytes, config } = randomClip(7);
    const shelf = scratch(t);
    writeFileSync(join(shelf, "model.safetensors"), bytes);
    writeFileSync(join(shelf, "config.json"), config);
    const out = join(shelf, "weights");
    execFileSync(tool, ["model", "add", join(shelf, "model.safetensors"), "--out", out, "--id", "far", "--force", "--part-bytes", "4000000"], { stdio: "pipe" });
    const entry = JSON.parse(readFileSync(join(out, "manifest.json"))).models[0];
    const parts = Object.fromEntries(entry.parts.map(({ file }) => [file, readFileSync(join(out, file))]));
    const sums = entry.parts.map(({ bytes }) => bytes).reduce((all, n) => [...all, n + (all.at(-1) ?? 0)], []);
    const toSee = sums.indexOf(entry.front.bytes) + 1;
    assert.ok(toSee > 0 && toSee < entry.parts.length, `its front is whole parts, not all of them: ${entry.front.bytes} of ${sums}`);
    const say = (words, picture = "teapot.jpg") => commandLine([join(repository, "www/samples", picture)], "--normal", words, "--model", join(shelf, "model.safetensors"))[0].score;
    return { entry, parts, toSee, say, out };
  };
  const begin = async (person, page) => {
    await person.setClasses("horse");
    await person.pick({ name: "a.jpg", bytes: file("www/samples", "teapot.jpg") });
    await person.settled(1);
    await openPanel(person);
    await press(page, "Download");
    await inUse(person);
  };
  const near = (card, expected) => assert.ok(Math.abs(card.score - expected) < 1e-4, `${card.score} against ${expected}`);
  const whole = (person) => person.until("it is kept", () => document.querySelector('[data-testid="model"][data-model="far"]')?.dataset.kept === "true" && !document.querySelector('[data-testid="text-tower"]'));

  test("a model beside the page is in use when it can see; words of one's own wait for the rest, the usual ones do not", async (t) => {
    const { entry, parts, toSee, say } = await hosted(t);
    let release;
    const held = new Promise((done) => (release = done));
    const late = new Set(entry.parts.slice(toSee).map(({ file }) => file));
    const server = await site(t, entry, parts, { wait: (path) => (late.has(path.split("/").at(-1)) ? held : undefined) });
    await visit(browser, server.url, { allowed }, async (person, page) => {
      await begin(person, page);
      near((await person.settled(1))[0], say("horse"));
      const tower = person.hook("text-tower");
      assert.match(await tower.innerText(), /understands the usual words already/);
      assert.equal(Number(await tower.getAttribute("data-received")), entry.front.bytes);
      await person.screenshot("downloads-text-tower-wide");
      // more pictures, and other usual words, while the rest is awaited
      await person.pick({ name: "b.jpg", bytes: file("www/samples", "school-bus.jpg") });
      await person.setClasses("school bus");
      const two = await person.settled(2);
      near(two.find(({ name }) => name === "b.jpg"), say("school bus", "school-bus.jpg"));
      // words of one's own
      await person.setClasses("a teapot seen from above");
      await page.waitForTimeout(300);
      release();
      await whole(person);
      near((await person.settled(2)).find(({ name }) => name === "a.jpg"), say("a teapot seen from above"));
      assert.equal(server.requests.filter((path) => path.endsWith(entry.parts[0].file)).length, 1, "nothing is fetched twice");
      await controlled(person);
      await page.waitForTimeout(500);
      await server.close();
      await page.reload({ waitUntil: "domcontentloaded" });
      await inUse(person);
      await person.pick({ name: "a.jpg", bytes: file("www/samples", "teapot.jpg") });
      near((await person.settled(1))[0], say("a teapot seen from above"));
    });
  });

  test("a model that was baked into the page is what it begins with, and is there again without a network", async (t) => {
    const { say, out } = await hosted(t);
    const folder = join(scratch(t), "site");
    cpSync(dist, folder, { recursive: true });
    bake(out, join(folder, "weights"));
    const server = await host(t, { folder, base: "/some/where/" });
    await visit(browser, `${server.url}#normal=horse`, { allowed }, async (person, page) => {
      await inUse(person);
      await person.pick({ name: "a.jpg", bytes: file("www/samples", "teapot.jpg") });
      near((await person.settled(1))[0], say("horse"));
      await person.setClasses("a teapot seen from above");
      near((await person.settled(1))[0], say("a teapot seen from above"));
      await openPanel(person);
      await whole(person);
      await controlled(person);
      await page.waitForTimeout(500);
      await server.close();
      await page.reload({ waitUntil: "domcontentloaded" });
      await inUse(person);
    });
    // the make goal has the command line fill the folder, and Trunk's hook bake it
    const words = execFileSync("make", ["-n", "dist", "MODEL=vit-b-32"], { cwd: repository, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    assert.match(words, /ODDLENS_MODELS=dist-model\/weights scripts\/with-tools trunk build --release/);
    assert.match(words, /model fetch "vit-b-32" --out dist-model\/weights/);
  });

  test("a rest that does not come is said, leaves the usual words, and is fetched when it is wanted again", async (t) => {
    const { entry, parts, say } = await hosted(t);
    const last = entry.parts.at(-1).file;
    const server = await site(t, entry, parts);
    await visit(browser, server.url, { allowed }, async (person, page, context) => {
      let cut = true;
      await context.route(`**/${last}*`, (route) => (cut ? route.abort() : route.continue()));
      await begin(person, page);
      await person.until("it is said", () => /has not come/.test(document.querySelector('[data-testid="text-tower"]')?.innerText ?? ""));
      near((await person.settled(1))[0], say("horse"));
      // it is tried once more for words of one's own, and refused in one line
      await person.setClasses("a teapot seen from above");
      const refused = await person.until("the words are refused", () => [...document.querySelectorAll('[role="alert"], .bad')].map((e) => e.innerText).find((text) => /text tower has not come/.test(text)));
      assert.ok(!refused.includes("\n"), refused);
      near((await person.settled(1))[0], say("horse"));
      // and goes on when the network is there again
      cut = false;
      await person.hook("fetch-text-tower").click();
      await whole(person);
      near((await person.settled(1))[0], say("a teapot seen from above"));
      // what had come was not fetched again
      assert.equal(server.requests.filter((path) => path.endsWith(entry.parts[0].file)).length, 1);
    });
  });

  test("a page that is closed before the rest came goes on at the next visit, from the front that is kept", async (t) => {
    const { entry, parts, toSee, say } = await hosted(t);
    const late = new Set(entry.parts.slice(toSee).map(({ file }) => file));
    let release;
    const held = new Promise((done) => (release = done));
    const server = await site(t, entry, parts, { wait: (path) => (late.has(path.split("/").at(-1)) ? held : undefined) });
    await visit(browser, server.url, { allowed }, async (person, page) => {
      await person.setClasses("horse");
      await openPanel(person);
      await press(page, "Download");
      await inUse(person);
      await person.hook("pause-text-tower").click();
      await person.until("it is paused", () => /paused: \d+ of \d+ bytes are kept/.test(document.querySelector('[data-testid="text-tower"]')?.innerText ?? ""));
      await person.until("the address names it", () => location.hash.includes("model=far"));
      await page.reload({ waitUntil: "domcontentloaded" });
      await inUse(person);
      await person.pick({ name: "a.jpg", bytes: file("www/samples", "teapot.jpg") });
      near((await person.settled(1))[0], say("horse"));
      await openPanel(person);
      // deleted while it is in use and on its way: nothing of it stays in the store
      await line(page).locator('[data-testid="delete-model"]').click();
      await person.until("nothing of it is kept", async () => {
        for await (const name of (await (await navigator.storage.getDirectory()).getDirectoryHandle("models")).keys()) if (/^far-/.test(name)) return false;
        return true;
      });
      assert.equal(server.requests.filter((path) => path.endsWith(entry.parts[0].file)).length, 1);
      release();
    });
  });

  test("a front that is not what was promised is not used", async (t) => {
    const { entry, parts } = await hosted(t);
    const first = entry.parts[0].file;
    const wrong = Buffer.from(parts[first]);
    wrong[wrong.length - 1] ^= 1;
    const server = await site(t, entry, { ...parts, [first]: wrong });
    await visit(browser, server.url, { allowed }, async (person, page) => {
      await openPanel(person);
      await press(page, "Download");
      await notice(person, /its first \d+ bytes: expected SHA-256 .*stays in use/);
      await inUse(person, "mini");
      assert.equal(await partial(page), 0);
    });
  });

  test("a model that is refused as doubtful leaves the kept one of its name alone", async (t) => {
    const path = "/a/b/resolve/main/model.safetensors";
    const clips = [randomClip(1), randomClip(5)];
    const hubs = await Promise.all(clips.map(({ bytes, config }) => hub(t, { [path]: bytes, "/a/b/resolve/main/config.json": Buffer.from(config) })));
    const folder = join(scratch(t), "site");
    cpSync(dist, folder, { recursive: true });
    const manifest = join(folder, "weights/manifest.json");
    const own = JSON.parse(readFileSync(manifest));
    // the same name, first for the one, then for the other
    const offer = (i) => writeFileSync(manifest, JSON.stringify({ ...own, models: [...own.models, offered(clips[i].bytes, { address: hubs[i].url + path })] }));
    offer(0);
    const server = await host(t, { folder });
    await visit(browser, server.url, { allowed, abroad: hubs.map(({ url }) => url) }, async (person, page) => {
      const again = async (id) => {
        await page.goto("about:blank");
        await page.goto(`${server.url}#normal=horse&model=${id}`, { waitUntil: "domcontentloaded" });
        await inUse(person, id);
        await person.pick({ name: "a.jpg", bytes: file("www/samples", "teapot.jpg") });
        return (await person.settled(1))[0].score;
      };
      await person.setClasses("horse");
      await openPanel(person);
      await press(page, "Download");
      await notice(person, /near chance/);
      await person.hook("use-doubtful").click();
      await inUse(person);
      await isKept(person);
      const score = await again("far");
      const kept = await stored(page);
      assert.equal(kept.length, 1);
      offer(1);
      await again("mini");
      await openPanel(person);
      await press(page, "Download");
      await notice(person, /near chance/);
      assert.ok((await stored(page)).includes(kept[0]), "the kept one's file is still there");
      offer(0);
      assert.equal(await again("far"), score);
    });
  });
});
