// Files that are no pictures, or broken, or meant to do harm: each gets one clear line, and the page and its other
// pictures go on.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { file, host, launch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

describe("bad files", () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  test("each says in one line what is wrong, and the good one among them is scored", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      const jpeg = await person.encode("image/jpeg", 200, 150);
      const bad = [
        { name: "notes.txt", bytes: Buffer.from("Dear diary, today I saw a dog.\n".repeat(20)) },
        { name: "truncated.jpg", bytes: jpeg.subarray(0, Math.floor(jpeg.length / 3)) },
        { name: "empty.png", bytes: Buffer.alloc(0) },
        { name: "huge.png", bytes: pictures.hugePng() },
        { name: "drawing.svg", bytes: pictures.svg() },
        { name: "photo.heic", bytes: pictures.heic() },
        { name: "noise.jpg", bytes: pictures.noise(5000) },
        { name: "head-only.png", bytes: pictures.blob(1).subarray(0, 40) },
      ];
      await person.drop(...bad, { name: "good.png", bytes: pictures.blob(2) });
      const cards = await person.settled(bad.length + 1);
      for (const { name } of bad) {
        const card = cards.find((card) => card.name === name);
        assert.ok(card, `${name} has a card`);
        // a JPEG that ends too early may be shown as far as it goes, if that is said; an SVG is drawn by no decoder of ours
        assert.equal(card.state, "failed", `${name} failed: ${JSON.stringify(card)}`);
        assert.ok(Number.isNaN(card.score) || card.score === undefined, `${name} has no score`);
        assert.ok(card.text.length > name.length + 10 && card.text.length < 400, `${name} is explained in a line: "${card.text}"`);
        assert.doesNotMatch(card.text, /undefined|\[object|panicked|unwrap|RuntimeError|unreachable/, `${name} is explained in plain words`);
        t.diagnostic(`${name}: ${card.text}`);
      }
      assert.match(cards.find((card) => card.name === "huge.png").text, /20.?000/, "how large the huge one is");
      assert.equal(cards.find((card) => card.name === "good.png").state, "done");
      assert.equal(await page.title().then((title) => title.includes("owned")), false, "no script of a picture ran");
      await person.screenshot("failures-wide");
      // and the bench still works
      await person.pick({ name: "after.png", bytes: pictures.blob(3) });
      const later = await person.settled(bad.length + 2);
      assert.equal(later.find((card) => card.name === "after.png").state, "done");
    });
  });

  test("an animated GIF is scored by its first frame", async (t) => {
    const { url } = await host(t);
    const colours = [[230, 120, 20], [40, 90, 200], [20, 20, 20]];
    const disc = (x, y) => (Math.hypot(x - 40, y - 30) < 22 ? 0 : 1);
    const plain = (x) => (x % 8 < 4 ? 2 : 1);
    await visit(browser, url, {}, async (person) => {
      await person.pick(
        { name: "moving.gif", bytes: pictures.gif(80, 60, colours, [disc, plain, plain]) },
        { name: "first.gif", bytes: pictures.gif(80, 60, colours, [disc]) },
        { name: "second.gif", bytes: pictures.gif(80, 60, colours, [plain]) },
      );
      const [moving, first, second] = await person.settled(3);
      for (const card of [moving, first, second]) assert.equal(card.state, "done", JSON.stringify(card));
      assert.equal(moving.score, first.score);
      assert.notEqual(moving.score, second.score, "the test can tell the frames apart");
    });
  });

  test("what only the browser can read is scored and marked so", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person) => {
      await person.pick({ name: "tiny.avif", bytes: file("tests/e2e/tiny.avif") }, { name: "ours.png", bytes: pictures.blob(1) });
      const [avif, ours] = await person.settled(2);
      assert.equal(avif.state, "done", JSON.stringify(avif));
      const dialog = await person.openDetails("tiny.avif");
      const marked = /browser/i;
      assert.match(avif.text + (await dialog.innerText()), marked, "the AVIF is marked as decoded by the browser");
      await person.page.keyboard.press("Escape");
      await dialog.waitFor({ state: "hidden" });
      const other = await person.openDetails("ours.png");
      assert.doesNotMatch(ours.text + (await other.innerText()), /by (the|this|your) browser|browser.s (own )?decoder/i, "our own is not");
    });
  });
});
