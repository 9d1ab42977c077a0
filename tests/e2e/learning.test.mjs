// Labels, what they measure, and what is learned from them: by keyboard, by folder, by shelf, with the command line as judge.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { commandLine, file, host, launch, scratch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

const samples = JSON.parse(file("www/samples/samples.json"));
const sample = (name) => ({ name, bytes: file("www/samples", name) });
const oranges = samples.filter((s) => s.label === "orange").map((s) => s.file);
const others = samples.filter((s) => s.label !== "orange").map((s) => s.file);

/// Chance that an outlier has the larger margin, ties half: from the definition, pair by pair.
function auroc(normal, outliers) {
  let wins = 0;
  for (const o of outliers) for (const n of normal) wins += o > n ? 1 : o === n ? 0.5 : 0;
  return wins / (normal.length * outliers.length);
}

/// Average precision from the definition (no ties).
function averagePrecision(normal, outliers) {
  const all = [...normal.map((m) => [m, 0]), ...outliers.map((m) => [m, 1])].sort((a, b) => b[0] - a[0]);
  let hits = 0;
  let sum = 0;
  all.forEach(([, odd], i) => {
    hits += odd;
    if (odd) sum += hits / (i + 1);
  });
  return sum / outliers.length;
}

const settled = (person) => person.until("the comparison is up to date", () => document.querySelector('[data-testid="lab-panels"]')?.dataset.settled === "true");
const rest = async (person) => {
  await person.until("nothing learns", () => !document.querySelector('[data-testid="learn-progress"]'), undefined, 120_000);
  await settled(person);
};
const value = (person, hook) => person.hook(hook).getAttribute("data-value").then(Number);
const rows = (page) => page.evaluate(() => Object.fromEntries([...document.querySelectorAll('[data-testid="method-row"]')].map((r) => [r.dataset.method, { ...r.dataset, auroc: r.dataset.auroc === undefined ? undefined : Number(r.dataset.auroc) }])));
const shelf = (page, kind) => page.evaluate((kind) => ({ ...document.querySelector(`[data-testid="shelf"][data-kind="${kind}"]`).dataset }), kind);
const label = async (person, name, key) => {
  await person.card(name).locator("button.open").focus();
  await person.page.keyboard.press(key);
};

/// Samples, with "snack" as what is normal (a word that misleads this model), all labelled by folder.
async function labelledSamples(t, person, page, how = (name) => name) {
  const folder = scratch(t);
  for (const [kind, names] of [["normal", oranges], ["anomalous", others]]) {
    mkdirSync(join(folder, kind));
    for (const name of names) writeFileSync(join(folder, kind, how(name)), file("www/samples", name));
  }
  await person.setClasses("snack");
  await page.locator("input[webkitdirectory]").setInputFiles(folder);
  await person.settled(10);
  await person.hook("lab").click();
  await settled(person);
  return folder;
}

describe("labels and learning", () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  test("labelled by folder, the page measures what the command line's margins give", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      const folder = await labelledSamples(t, person, page);
      const lines = commandLine([folder], "--normal", "snack");
      const of = (kind) => lines.filter((l) => l.path.includes(`/${kind}/`)).map((l) => l.margin);
      const [normal, outliers] = [of("normal"), of("anomalous")];
      assert.deepEqual([normal.length, outliers.length], [5, 5]);
      assert.ok(Math.abs((await value(person, "auroc")) - auroc(normal, outliers)) < 1e-9, `${await value(person, "auroc")} against ${auroc(normal, outliers)}`);
      assert.ok(auroc(normal, outliers) < 1, "the word misleads, or this test would show little");
      assert.ok(Math.abs((await value(person, "average-precision")) - averagePrecision(normal, outliers)) < 1e-9);
      const interval = await page.evaluate(() => { const { low, high, value } = document.querySelector('[data-testid="auroc"]').dataset; return [low, value, high].map(Number); });
      assert.ok(interval[0] < interval[1] && interval[1] <= interval[2], `${interval}`);
      // and what the command line itself says of the folder
      const said = commandLine([folder], "--normal", "snack", "--labels", "folder").at(-1);
      const measured = JSON.stringify(said);
      for (const number of [await value(person, "auroc"), await value(person, "average-precision"), await value(person, "fpr95")]) {
        assert.ok(Object.values(said).some((v) => Math.abs(v - number) < 1e-9), `${number} is among ${measured}`);
      }
      // counts at the threshold, and again at another
      for (const threshold of [0.85, 0.9985]) {
        await person.setThreshold(threshold);
        const expected = [...lines.reduce((counts, l) => counts.map((n, i) => n + ([["normal", false], ["normal", true], ["anomalous", false], ["anomalous", true]][i].join() === [l.path.includes("/normal/") ? "normal" : "anomalous", l.score > threshold].join() ? 1 : 0)), [0, 0, 0, 0])];
        await person.until(`the counts are ${expected}`, (expected) => {
          const { normalPassed, falseAlarms, missed, hits } = document.querySelector('[data-testid="confusion"]').dataset;
          return [normalPassed, falseAlarms, missed, hits].join() === expected.join();
        }, expected);
      }
      assert.equal(await page.locator('[data-testid="roc"] polyline').count(), 1);
      // the histogram is by label, and its table says so
      assert.match(await page.locator('section[aria-label="Decision"]').innerText(), /labelled normal/);
      await page.evaluate(() => document.getElementById("judgement").scrollIntoView());
      await person.screenshot("judgement-wide");
    });
  });

  test("labels by keyboard, by shelf and by class folder, and back", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      await person.setClasses("orange");
      await person.pick(...[...oranges.slice(0, 2), ...others.slice(0, 2)].map(sample));
      await person.settled(4);
      const labels = () => page.evaluate(() => [...document.querySelectorAll('[data-testid="result"]')].map((c) => `${c.dataset.label ?? "-"} ${c.dataset.role ?? "-"}`));
      await label(person, oranges[0], "n");
      await page.keyboard.press("ArrowRight");
      await page.keyboard.press("n");
      await settled(person);
      // labels by hand are kept nowhere: the browser asks first, and who stays loses nothing
      const question = page.waitForEvent("dialog");
      await page.evaluate(() => void setTimeout(() => location.reload()));
      assert.equal((await question).type(), "beforeunload");
      // one kind only: no curve, and why
      assert.match(await person.hook("no-roc").innerText(), /only normal/);
      await label(person, others[0], "o");
      await settled(person);
      assert.ok((await value(person, "auroc")) > 0.99);
      await page.keyboard.press("e");
      await person.until("it is judged only", () => document.querySelector('[data-testid="shelf"][data-kind="outlier"]').dataset.judged === "1");
      assert.deepEqual(await labels(), ["normal example", "normal example", "outlier judged", "- -"]);
      await person.undo();
      await label(person, others[0], "o");
      await person.until("the same key takes the label off", () => document.querySelector('[data-testid="shelf"][data-kind="outlier"]').dataset.examples === "0");
      // a card dragged onto a shelf, and files dropped there
      await page.evaluate((name) => {
        const card = document.querySelector(`[data-testid="result"][data-name="${name}"]`);
        const dataTransfer = new DataTransfer();
        const fire = (target, kind) => target.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
        fire(card, "dragstart");
        const shelf = document.querySelector('[data-testid="shelf"][data-kind="outlier"]');
        if (fire(shelf, "dragover")) throw new Error("the shelf does not take cards");
        fire(shelf, "drop");
      }, others[1]);
      await person.until("the dragged card lies on the shelf", () => document.querySelector('[data-testid="shelf"][data-kind="outlier"]').dataset.examples === "1");
      const dataTransfer = await person.transfer([sample(oranges[2]), sample(oranges[3])]);
      for (const kind of ["dragover", "drop"]) await page.dispatchEvent('[data-testid="shelf"][data-kind="normal"]', kind, { dataTransfer });
      await person.settled(6);
      assert.equal((await shelf(page, "normal")).examples, "4");
      await person.hook("unlabel").press("Enter");
      assert.deepEqual([...new Set(await labels())], ["- -"]);
      assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), "start-tour", "the focus is not lost");
      // folders named after classes: what is normal is said by the classes, now and later
      const folder = scratch(t);
      for (const name of ["orange", "teapot"]) mkdirSync(join(folder, name));
      writeFileSync(join(folder, "orange", "a.jpg"), file("www/samples", oranges[0]));
      writeFileSync(join(folder, "teapot", "b.jpg"), file("www/samples", "teapot.jpg"));
      await page.locator("input[webkitdirectory]").setInputFiles(folder);
      await person.settled(8);
      assert.deepEqual((await labels()).slice(6), ["normal example", "outlier example"]);
      await person.setClasses("teapot");
      await person.until("labels follow the classes", () => [...document.querySelectorAll('[data-testid="result"]')].slice(6).map((c) => c.dataset.label).join() === "outlier,normal");
    });
  });

  test("methods learn, are judged by cross-validation, and may be cancelled; the worker may die", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      const folder = await labelledSamples(t, person, page);
      const before = await rows(page);
      assert.equal(before["zero-shot"].readiness, "ready");
      assert.equal(before.bce.readiness, "untrained");
      assert.equal(before.mcm.readiness, "lacking");
      // cancel
      const focused = () => page.evaluate(() => document.activeElement.dataset.testid);
      await person.hook("curve-start").click();
      await person.hook("learn-cancel").press("Enter");
      await rest(person);
      assert.equal(await focused(), "curve-start");
      await person.hook("learn").press("Enter");
      await rest(person);
      assert.equal(await focused(), "learn");
      const learned = await rows(page);
      for (const [method, row] of Object.entries(learned)) {
        if (method === "mcm") continue;
        assert.equal(row.readiness, "ready", method);
        assert.ok(row.auroc >= 0 && row.auroc <= 1, `${method}: ${row.auroc}`);
      }
      assert.ok(learned.bce.auroc > learned["zero-shot"].auroc, "pictures teach what the word does not");
      const ranked = Object.values(learned).map((row) => row.auroc ?? -1);
      assert.deepEqual(ranked, [...ranked].sort((a, b) => b - a), "best first");
      await page.locator('[data-testid="method-row"][data-method="bce"] [data-testid="use-method"]').click();
      await person.until("examples are marked", () => [...document.querySelectorAll('[data-testid="result"]')].every((c) => c.dataset.basis === "cross-validated"));
      await settled(person);
      assert.match(await person.hook("cross-validated").innerText(), /10 examples/);
      assert.equal(await person.hook("method").inputValue(), "bce");
      const scores = (await person.results()).map((card) => card.score);
      await person.screenshot("learned-wide");
      // the command line learns the same from the same examples
      const examples = ["--normal-examples", join(folder, "normal"), "--outlier-examples", join(folder, "anomalous")];
      const lines = commandLine([folder], "--normal", "snack", "--method", "bce", ...examples).filter((line) => line.path);
      assert.equal(lines.length, 10);
      for (const card of await person.results()) {
        const line = lines.find((line) => line.path.endsWith(card.name.split("/").slice(-2).join("/")));
        assert.ok(Math.abs(line.score - card.score) < 1e-4, `${card.name}: page ${card.score}, command line ${line.score}`);
      }
      // a picture that was not learned from is simply judged
      await person.pick({ name: "new.jpg", bytes: file("www/samples", "teapot.jpg") });
      await person.settled(11);
      await person.until("it is unseen", () => document.querySelector('[data-testid="result"][data-name="new.jpg"]').dataset.basis !== "cross-validated");
      // the worker dies: everything comes back by itself, and to the same numbers
      await page.workers()[0].evaluate(() => self.close());
      await person.until("the method has learned again", () => document.querySelector('[data-testid="method-row"][data-method="bce"]')?.dataset.inForce === "true" && document.querySelector('[data-testid="model-status"]').dataset.state === "ready", undefined, 90_000);
      await rest(person);
      await person.until("the old scores are back", (scores) => [...document.querySelectorAll('[data-testid="result"]')].slice(0, 10).every((c, i) => Math.abs(Number(c.dataset.score) - scores[i]) < 1e-6), scores);
      // another label: what was learned follows by itself, and its examples are judged by cross-validation
      await label(person, "new.jpg", "o");
      await person.until("it has learned from the new example, too", () => document.querySelector('[data-testid="result"][data-name="new.jpg"]').dataset.basis === "cross-validated");
      await rest(person);
      assert.equal((await rows(page)).bce.readiness, "ready");
    });
  });

  test("the curve, the one-outlier search and the advised threshold", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      await labelledSamples(t, person, page);
      await person.hook("curve-start").click();
      await rest(person);
      const curve = await page.evaluate(() => [...document.querySelectorAll('[data-testid="curve-table"] tbody tr')].map((row) => [row.dataset.method, [...row.querySelectorAll("td[data-mean]")].map((cell) => [Number(cell.dataset.outliers), Number(cell.dataset.mean)])]));
      assert.ok(curve.length >= 2, JSON.stringify(curve));
      for (const [method, points] of curve) for (const [, mean] of points) assert.ok(mean >= 0 && mean <= 1, `${method} ${points}`);
      assert.deepEqual(curve.find(([method]) => method === "zero-shot")[1].map(([n]) => n), [0, 1, 2]);
      await person.hook("search-method").selectOption("bce");
      await person.hook("search-start").click();
      await rest(person);
      assert.equal(await person.hook("search").getAttribute("data-count"), "5");
      const ranked = await page.evaluate(() => [...document.querySelectorAll('[data-testid="ranked"]')].map((r) => [r.dataset.name.split("/").pop(), Number(r.dataset.auroc)]));
      assert.ok(ranked.length >= 2 && ranked.every(([name]) => others.includes(name)), JSON.stringify(ranked));
      assert.ok(ranked[0][1] >= ranked.at(-1)[1]);
      // a promise: the largest of five normal scores for 20 %, and none for 1 %
      await page.locator('[data-testid="advise"][data-rate="0.2"]').click();
      await person.hook("advice").waitFor();
      const { threshold, normal } = await person.hook("advice").evaluate((e) => ({ ...e.dataset }));
      assert.equal(normal, "5");
      const highest = Math.max(...(await person.results()).filter((c) => oranges.some((o) => c.name.endsWith(o))).map((c) => c.score));
      assert.ok(Math.abs(Number(threshold) - highest) < 1e-6, `${threshold} against ${highest}`);
      await page.locator('[data-testid="advise"][data-rate="0.01"]').click();
      await person.until("too few is said plainly", () => /99/.test(document.querySelector('[data-testid="advice"]')?.innerText ?? ""));
      await page.evaluate(() => document.getElementById("curve-panel").scrollIntoView());
      await person.screenshot("curve-wide");
    });
  });

  test("heads are saved and loaded; those of others are refused in one line", async (t) => {
    const { url } = await host(t);
    let head;
    let scores;
    await visit(browser, url, {}, async (person, page) => {
      await labelledSamples(t, person, page);
      await person.hook("learn").click();
      await rest(person);
      const row = page.locator('[data-testid="method-row"][data-method="clip-oe"]');
      await row.locator('[data-testid="use-method"]').click();
      await person.pick({ name: "new.jpg", bytes: file("www/samples", "obelisk.jpg") });
      await person.settled(11);
      await row.locator("summary").click();
      const [download] = await Promise.all([page.waitForEvent("download"), row.locator('[data-testid="save-head"]').click()]);
      assert.match(download.suggestedFilename(), /\.json$/);
      head = readFileSync(await download.path());
      await settled(person);
      scores = (await person.result("new.jpg")).score;
    });
    await visit(browser, url, {}, async (person, page) => {
      await person.pick({ name: "new.jpg", bytes: file("www/samples", "obelisk.jpg") });
      await person.settled(1);
      await person.hook("lab").click();
      const load = (name, buffer) => person.hook("load-head").setInputFiles({ name, mimeType: "application/json", buffer });
      const parsed = JSON.parse(head);
      const other = JSON.stringify(parsed).replace(/"([0-9a-f]{64})"/, `"${"0".repeat(64)}"`);
      assert.notEqual(other, JSON.stringify(parsed), "a head names its model");
      for (const [name, bytes, words] of [
        ["other.json", Buffer.from(other), /model/],
        ["noise.json", pictures.noise(500), /expected/],
        ["cut.json", head.subarray(0, head.length >> 1), /head/],
        ["empty.json", Buffer.alloc(0), /head/],
        ["huge.json", Buffer.alloc(9 << 20, 32), /at most 8/],
        ["picture.json", file("www/samples", "teapot.jpg"), /head/],
      ]) {
        await load(name, bytes);
        await person.until(`${name} is refused`, (name) => (document.querySelector('[data-testid="learn-trouble"]')?.innerText ?? "").startsWith(`${name}: `), name);
        const line = await person.hook("learn-trouble").innerText();
        assert.match(line, words);
        assert.doesNotMatch(line, /\n/, line);
      }
      await load("head.json", head);
      await person.hook("head-loaded").waitFor();
      assert.deepEqual(await person.chips(), ["snack"], "what is normal came with it");
      await person.until("the head scores as it did", (score) => Math.abs(Number(document.querySelector('[data-testid="result"]').dataset.score) - score) < 1e-6, scores);
    });
  });

  test("what cannot be learned or measured is said, and nothing breaks", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      const same = [1, 2, 3].map((i) => pictures.blob(i));
      await person.pick(...same.map((bytes, i) => ({ name: `n${i}.png`, bytes })), ...same.map((bytes, i) => ({ name: `o${i}.png`, bytes })));
      await person.settled(6);
      await person.hook("lab").click();
      assert.equal(await page.evaluate(() => scrollY), 0, "setup and decision stay in sight");
      assert.ok(await person.hook("learn").isDisabled());
      assert.match(await person.hook("learn-missing").innerText(), /Label/);
      for (let i = 0; i < 3; i++) await label(person, `o${i}.png`, "o");
      await settled(person);
      assert.match(await person.hook("no-roc").innerText(), /only outliers/);
      assert.match(await person.hook("learn-missing").innerText(), /normal/);
      // outliers that are the normal pictures
      for (let i = 0; i < 3; i++) await label(person, `n${i}.png`, "n");
      await settled(person);
      assert.equal(await value(person, "auroc"), 0.5);
      await person.hook("learn").click();
      await rest(person);
      for (const [method, row] of Object.entries(await rows(page))) {
        if (row.auroc !== undefined) assert.ok(Number.isFinite(row.auroc) && row.auroc >= 0 && row.auroc <= 1, `${method}: ${row.auroc}`);
      }
      await person.pick({ name: "later.png", bytes: pictures.blob(9) });
      await person.settled(7);
      // examples that go away are no examples
      for (const name of ["n0.png", "n1.png", "n2.png"]) await person.removePicture(name);
      await settled(person);
      assert.equal((await shelf(page, "normal")).examples, "0");
      await person.undo();
      await person.until("they come back with their labels", () => document.querySelector('[data-testid="shelf"][data-kind="normal"]').dataset.examples === "1");
      // without a picture the panels can be folded, still
      await person.hook("clear").click();
      await person.hook("lab").click();
      await person.hook("lab-panels").waitFor({ state: "detached" });
      assert.equal(await person.hook("lab").count(), 0);
    });
  });

  test("the whole walk-through, by keyboard alone", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      const tabTo = async (hook) => {
        for (let i = 0; i < 60; i++) {
          if (await page.evaluate((hook) => document.activeElement?.dataset.testid === hook, hook)) return;
          await page.keyboard.press("Tab");
        }
        throw new Error(`60 times Tab does not lead to ${hook}`);
      };
      await tabTo("start-tour");
      await page.keyboard.press("Enter");
      for (let step = 1; step <= 7; step++) {
        await person.until(`step ${step} is there and has the focus`, (step) => document.querySelector('[data-testid="tour"]')?.dataset.step === String(step) && document.activeElement.closest('[data-testid="tour"]') !== null, step);
        await tabTo("tour-do");
        await page.keyboard.press("Enter");
        await person.until("it is done", () => document.querySelector('[data-testid="tour"]').dataset.done === "true");
        if (step === 1) await person.settled(10);
        if (step > 1) await rest(person);
        if (step === 2) assert.equal(await value(person, "auroc"), 1);
        if (step === 3) await person.until("the word misleads", () => Number(document.querySelector('[data-testid="auroc"]')?.dataset.value) < 1);
        if (step === 4) assert.equal(await person.hook("search").getAttribute("data-count"), "5");
        if (step === 5) assert.equal((await rows(page)).bce.readiness, "ready");
        if (step === 6) assert.ok((await page.locator('[data-testid="curve-table"] tbody tr').count()) >= 2);
        if (step === 7) await person.hook("advice").waitFor();
        await person.screenshot(`tour-${step}`);
        await tabTo(step < 7 ? "tour-next" : "tour-end");
        await page.keyboard.press("Enter");
      }
      await person.hook("tour").waitFor({ state: "detached" });
      await person.until("the focus is not lost", () => document.activeElement !== document.body);
    });
  });
});
