// The page and the command line are one instrument: the same files, the same scores.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { commandLine, host, launch, scratch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

test("page and command line agree to 1e-4 on every format, size and orientation", async (t) => {
  const browser = await launch();
  t.after(() => browser.close());
  const { url } = await host(t);
  const folder = scratch(t);
  await visit(browser, url, {}, async (person) => {
    const wave = (x, y) => [128 + 100 * Math.sin(x / 9), 128 + 100 * Math.cos(y / 7), (x * 3 + y * 5) % 256].map(Math.round);
    const colours = Array.from({ length: 128 }, (_, i) => [i * 2, 255 - i * 2, (i * 5) % 256]);
    const jpeg = await person.encode("image/jpeg", 400, 300, 3);
    const files = {
      "rgb.png": pictures.png(200, 150, wave),
      "grey.png": pictures.png(64, 64, (x, y) => [(x * y) % 256]),
      "rgba.png": pictures.png(120, 80, (x, y) => [...wave(x, y), (x * 2) % 256]),
      "grey16.png": pictures.png(90, 90, (x, y) => [x * 700 + y], 16),
      "rgb16.png": pictures.png(90, 60, (x, y) => [x * 700, y * 1000, 30000], 16),
      "one.png": pictures.png(1, 1, () => [200, 30, 60]),
      "line.png": pictures.png(1, 300, (x, y) => [y % 256, 60, 90]),
      "wide.png": pictures.png(2000, 37, wave),
      "plain.jpg": jpeg,
      "turned.jpg": pictures.orientedJpeg(jpeg, 6),
      "large.jpg": await person.encode("image/jpeg", 2400, 1600, 5),
      "lossy.webp": await person.encode("image/webp", 320, 240, 7),
      "map.bmp": pictures.bmp(101, 77, wave),
      "strip.tiff": pictures.tiff(99, 70, wave),
      "moving.gif": pictures.gif(80, 60, colours, [(x, y) => (x + y) % 128, (x) => x % 128]),
      "broken.png": pictures.noise(400),
    };
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
    const names = Object.keys(files);
    await person.setClasses("orange", "school bus");
    await person.setThreshold(0.42);
    await person.pick(...names.map((name) => ({ name, bytes: files[name] })));
    const page = await person.settled(names.length);
    const told = commandLine(names.map((name) => join(folder, name)), "--normal", "orange,school bus", "--threshold", "0.42");
    assert.equal(told.length, names.length, "a line for each file");
    let worst = 0;
    for (const [i, name] of names.entries()) {
      const line = told[i];
      assert.ok(line.path.endsWith(name), `the order given: ${line.path} and ${name}`);
      const card = page.find((card) => card.name === name);
      if (name === "broken.png") {
        assert.ok(line.error && card.state === "failed", `both refuse ${name}: ${JSON.stringify(line)} ${JSON.stringify(card)}`);
        continue;
      }
      assert.equal(card.state, "done", JSON.stringify(card));
      assert.equal(line.error, undefined, JSON.stringify(line));
      worst = Math.max(worst, Math.abs(card.score - line.score));
      assert.ok(Math.abs(card.score - line.score) <= 1e-4, `${name}: page ${card.score}, command line ${line.score}`);
      assert.equal(card.verdict, line.verdict, `${name}: the verdict at ${card.score}`);
    }
    t.diagnostic(`largest difference of a score: ${worst}`);
    const scores = page.filter((card) => card.state === "done").map((card) => card.score);
    assert.ok(new Set(scores).size > 10, `the pictures differ, so agreement means something: ${scores}`);
    assert.ok(scores.some((score) => score > 0.01 && score < 0.99), `not all are saturated: ${scores}`);
    const turned = page.find((card) => card.name === "turned.jpg"), plain = page.find((card) => card.name === "plain.jpg");
    assert.notEqual(turned.score, plain.score, "the orientation is honoured");
  });
});
