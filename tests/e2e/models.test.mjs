// A visitor's own model file: picked or dropped, converted, kept for the next visit, deleted; and files that are no model, after each of
// which the page goes on with the one it had.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { commandLine, file, host, launch, repository, scratch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

const tool = process.env.ODDLENS_CLI ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "debug/oddlens");

/// The site's own model in 16 bits: another file, which the page has to convert.
function another(t) {
  const path = join(scratch(t), "another.gguf");
  execFileSync(tool, ["model", "convert", join(repository, "weights/mini.gguf"), path, "--quant", "f16"]);
  return path;
}

const inUse = (person) => person.hook("model-status").getAttribute("data-model");
const pickModel = (person, ...files) => person.hook("pick-model").setInputFiles(files.map(({ name, bytes }) => ({ name, mimeType: "application/octet-stream", buffer: bytes })));
const models = (page) => page.evaluate(() => [...document.querySelectorAll('[data-testid="model"]')].map((m) => ({ ...m.dataset })));

describe("models", () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  test("a file is loaded, scores as the command line does with it, is kept, found again offline, and deleted", async (t) => {
    const server = await host(t);
    const path = another(t);
    const sample = file("www/samples", "oranges-two.jpg");
    const [line] = commandLine([join(repository, "www/samples/oranges-two.jpg")], "--normal", "orange", "--model", path);
    await visit(browser, server.url, { allowed: [/Failed to load resource|ERR_|fetch/i] }, async (person, page) => {
      await person.setClasses("orange");
      await person.pick({ name: "a.jpg", bytes: sample });
      await person.settled(1);
      await person.hook("model-status").click();
      await pickModel(person, { name: "another.gguf", bytes: readFileSync(path) });
      await person.until("the file's model is in use", () => /^own-/.test(document.querySelector('[data-testid="model-status"]').dataset.model ?? ""));
      const id = await inUse(person);
      const [card] = await person.settled(1);
      assert.ok(Math.abs(card.score - line.score) < 1e-4, `${card.score} against ${line.score}`);
      await person.until("it is kept", () => [...document.querySelectorAll('[data-testid="model"]')].some((m) => m.dataset.kept === "true" && m.dataset.present === "true"));
      await person.screenshot("models-wide");
      // a second visit, without a network
      await person.until("the service worker has the page", async () => {
        await navigator.serviceWorker.ready;
        return navigator.serviceWorker.controller !== null;
      });
      await page.waitForTimeout(500);
      assert.match(page.url(), new RegExp(`model=${id}`));
      await server.close();
      const began = Date.now();
      await page.reload({ waitUntil: "domcontentloaded" });
      await person.until("the kept model is back", (id) => document.querySelector('[data-testid="model-status"]')?.dataset.model === id, id);
      t.diagnostic(`a kept model is ready ${Date.now() - began} ms after a reload without a network`);
      await person.pick({ name: "a.jpg", bytes: sample });
      const [again] = await person.settled(1);
      assert.equal(again.score, card.score);
      await person.hook("model-status").click();
      await person.hook("delete-model").click();
      await person.until("it is deleted", () => document.querySelectorAll('[data-testid="model"][data-kept="true"]').length === 0);
    });
  });

  test("a model dropped with its pictures is loaded, and they are scored by it", async (t) => {
    const { url } = await host(t);
    const path = another(t);
    await visit(browser, url, {}, async (person) => {
      await person.drop({ name: "another.gguf", bytes: readFileSync(path), type: "application/octet-stream" }, { name: "p.png", bytes: pictures.blob(3) });
      await person.until("the file's model is in use", () => /^own-/.test(document.querySelector('[data-testid="model-status"]').dataset.model ?? ""));
      const cards = await person.settled(1);
      assert.deepEqual(cards.map((c) => [c.name, c.state]), [["p.png", "done"]]);
    });
  });

  test("after files that are no model the page goes on with the one it had", async (t) => {
    const { url } = await host(t);
    const good = file("weights", "mini.gguf");
    const changed = (at, ...values) => { const b = Buffer.from(good); b.set(values, at); return b; };
    const safetensors = (header, body = Buffer.alloc(0)) => {
      const text = Buffer.from(header);
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(text.length));
      return Buffer.concat([size, text, body]);
    };
    const bad = {
      "empty.gguf": Buffer.alloc(0),
      "page.gguf": Buffer.from("<!doctype html><title>404</title>"),
      "pointer.safetensors": Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
      "noise.gguf": pictures.noise(5000),
      "picture.gguf": file("www/samples", "teapot.jpg"),
      "cut-1.gguf": good.subarray(0, 20),
      "cut-2.gguf": good.subarray(0, good.length >> 1),
      "cut-3.gguf": good.subarray(0, good.length - 1),
      "magic.gguf": Buffer.from("GGUF"),
      "version.gguf": changed(4, 99),
      "tensors.gguf": changed(8, 255, 255, 255, 255, 255, 255, 255, 127),
      "keys.gguf": changed(16, 255, 255, 255, 255, 255, 255, 255, 127),
      "key-length.gguf": changed(24, 255, 255, 255, 255),
      "zip.pt": Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), pictures.noise(200)]),
      "header.safetensors": safetensors("{"),
      "list.safetensors": safetensors("[1, 2]"),
      "none.safetensors": safetensors("{}"),
      "range.safetensors": safetensors('{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'),
      "other.safetensors": safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', Buffer.alloc(4)),
      "long.safetensors": Buffer.from([255, 255, 255, 255, 255, 255, 255, 127, 123, 125]),
    };
    await visit(browser, url, {}, async (person, page) => {
      await person.pick({ name: "a.png", bytes: pictures.blob(1) });
      const [before] = await person.settled(1);
      await person.hook("model-status").click();
      for (const [name, bytes] of Object.entries(bad)) {
        await pickModel(person, { name, bytes });
        const notice = await person.until(`${name} is refused`, (name) =>
          document.querySelector('[data-testid="model-status"]').dataset.state === "ready" &&
          [...document.querySelectorAll('[data-testid="notice"] p')].map((p) => p.innerText).find((line) => line.includes(`${name}:`)), name);
        assert.doesNotMatch(notice, /\n/, notice);
        assert.match(notice, /stays in use/);
        assert.equal(await inUse(person), "mini");
        await page.getByRole("button", { name: "Dismiss" }).click();
      }
      assert.equal((await person.result("a.png")).score, before.score);
      await person.pick({ name: "b.png", bytes: pictures.blob(2) });
      const cards = await person.settled(2);
      assert.equal(cards[1].state, "done");
      assert.ok((await models(page)).every((m) => m.kept === "false" && m.partial === "0"), "nothing of them is kept");
    });
  });
});
