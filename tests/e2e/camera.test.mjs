// The camera: a live score from a fake video, keeping a frame, stopping when hidden, and every way it can be refused.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { host, launch, scratch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

const FAKE = "--use-fake-device-for-media-stream";

async function camera(t, args) {
  const browser = await launch(args);
  t.after(() => browser.close());
  return browser;
}

test("the camera gives a live score, a frame can be kept, and it stops when the page is hidden", async (t) => {
  const video = join(scratch(t), "camera.y4m");
  writeFileSync(video, pictures.y4m());
  const browser = await camera(t, [FAKE, "--use-fake-ui-for-media-stream", `--use-file-for-fake-video-capture=${video}`]);
  const { url } = await host(t);
  await visit(browser, url, {}, async (person, page) => {
    await person.hook("start-camera").click();
    const first = await person.until("the camera has a score", () => document.querySelector('[data-testid="camera-score"]')?.dataset.score);
    assert.ok(Number(first) >= 0 && Number(first) <= 1, `a score between 0 and 1: ${first}`);
    // the video moves, so a live score does too
    const seen = await person.until("the live score changes", (first) => {
      const now = document.querySelector('[data-testid="camera-score"]')?.dataset.score;
      return now && now !== first && now;
    }, first);
    assert.ok(Number(seen) >= 0 && Number(seen) <= 1);
    await person.screenshot("camera-wide");
    const live = () => page.evaluate(() => [...document.querySelectorAll("video")].some((v) => v.srcObject?.getTracks().some((track) => track.readyState === "live")));
    assert.equal(await live(), true, "the camera is on");

    // a frozen picture is scored again by other classes, as the same picture would be when it is kept
    await person.hook("camera-freeze").click();
    await person.until("the picture is frozen", () => document.querySelector('[data-testid="camera-score"]').dataset.state === "frozen");
    await page.waitForTimeout(300);
    const frozen = await person.hook("camera-score").getAttribute("data-score");
    await person.setClasses("orange");
    const anew = await person.until("the frozen picture has another score", (frozen) => {
      const now = document.querySelector('[data-testid="camera-score"]').dataset.score;
      return now !== frozen && now;
    }, frozen);
    await person.hook("camera-keep").click();
    const [kept] = await person.settled(1);
    assert.equal(kept.state, "done", JSON.stringify(kept));
    assert.ok(Math.abs(kept.score - Number(anew)) < 0.02, `${kept.score} against ${anew}`);

    await page.evaluate(() => {
      Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
      Object.defineProperty(document, "hidden", { value: true, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await person.until("the camera is off when nobody looks", () =>
      ![...document.querySelectorAll("video")].some((v) => v.srcObject?.getTracks().some((track) => track.readyState === "live")));
    assert.match(await person.hook("notice").innerText(), /The camera was turned off while the page was out of sight\./);
    await page.evaluate(() => Object.defineProperty(document, "hidden", { value: false, configurable: true }));
    await person.hook("start-camera").click();
    await page.getByRole("button", { name: "Stop the camera" }).press("Enter");
    await person.until("the focus is on the button that starts it", () => document.activeElement?.dataset.testid === "start-camera");
  });
});

for (const [what, args] of [
  ["refused", [FAKE, "--deny-permission-prompts"]],
  ["absent", ["--use-fake-ui-for-media-stream"]],
]) {
  test(`a camera that is ${what} is said so, and the page goes on`, async (t) => {
    const browser = await camera(t, args);
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      const before = await page.evaluate(() => document.body.innerText);
      await person.hook("start-camera").click();
      const pattern = { refused: "refus|denied|not allowed|permission|blocked", absent: "no camera|not found|absent" }[what];
      await person.until(`the page says that the camera is ${what}`, ([before, pattern]) =>
        document.body.innerText.split("\n").some((line) => new RegExp(pattern, "i").test(line) && !before.includes(line)), [before, pattern]);
      await person.screenshot(`camera-${what}-wide`);
      await person.pick({ name: "after.png", bytes: pictures.blob(1) });
      const [card] = await person.settled(1);
      assert.equal(card.state, "done");
    });
  });
}
