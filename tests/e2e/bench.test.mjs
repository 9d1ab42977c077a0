// The bench: a first visit, pictures on every way in, what is normal, the decision, taking results away, links.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { asked, host, launch, PATIENCE, scratch, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

const three = () => [3, 4, 8].map((seed) => ({ name: `wave-${seed}.png`, bytes: pictures.wave(seed) }));
const scored = (card) => {
  assert.equal(card.state, "done", `${card.name} is done: ${JSON.stringify(card)}`);
  assert.ok(card.score >= 0 && card.score <= 1, `${card.name} has a score between 0 and 1: ${card.score}`);
  assert.ok(["normal", "anomalous", "odd"].includes(card.verdict), `${card.name} has a verdict: ${card.verdict}`);
  return card;
};

describe("the bench", () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  test("a first visit is ready by itself, and one click on a sample gives a scored result", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, { ready: false }, async (person, page) => {
      const opened = Date.now();
      await person.screenshot("first-moment-wide");
      await person.ready();
      const ready = Date.now() - opened;
      assert.ok((await person.hook("model-status").getAttribute("data-model")).length > 0, "the model is named");
      assert.ok((await person.chips()).length > 0, "what is normal is filled in");
      assert.equal((await person.results()).length, 0, "no picture yet");
      await person.screenshot("empty-wide");
      const clicked = Date.now();
      await person.clickSample();
      const [card] = await person.settled(1);
      t.diagnostic(`model ready ${ready} ms after the page's HTML, first score ${Date.now() - clicked} ms after the click`);
      scored(card);
      await person.screenshot("sample-scored-wide");
      // one that is there is not added again
      await person.hook("samples").click();
      assert.equal((await person.settled(10)).length, 10);
      await person.hook("samples").click();
      await page.waitForTimeout(500);
      assert.equal((await person.results()).length, 10);
    });
  });

  test("time to the first score of a picture that waits for the model", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, { ready: false }, async (person, page) => {
      await page.waitForSelector('[data-testid="pick-files"]', { state: "attached" });
      // chosen before the model is there: it waits and is not lost
      await person.pick({ name: "early.png", bytes: pictures.blob(4) });
      scored((await person.settled(1))[0]);
      const millis = await page.evaluate(() => performance.now());
      t.diagnostic(`first score ${Math.round(millis)} ms after the navigation began (aim: 2000)`);
    });
  });

  test("pictures come by drop, picker, folder and paste", async (t) => {
    const { url } = await host(t);
    const folder = join(scratch(t), "holiday");
    mkdirSync(folder);
    for (const { name, bytes } of three()) writeFileSync(join(folder, name), bytes);
    await visit(browser, url, {}, async (person, page) => {
      await person.drop({ name: "dropped.png", bytes: pictures.blob(5) });
      await person.settled(1);
      await person.pick({ name: "picked.png", bytes: pictures.blob(6) });
      await person.settled(2);
      await person.paste({ name: "image.png", bytes: pictures.blob(7) });
      await person.settled(3);
      await page.locator("input[webkitdirectory]").setInputFiles(folder);
      const cards = await person.settled(6);
      cards.forEach(scored);
      const names = cards.map((card) => card.name);
      assert.deepEqual(names.slice(0, 2), ["dropped.png", "picked.png"], "in the order of arrival");
      for (const { name } of three()) assert.ok(names.some((n) => n.endsWith(name)), `${name} of the folder is among ${names}`);
      await person.screenshot("results-wide");
    });
  });

  test("classes are added, removed and taken from presets, and pictures are scored again at once", async (t) => {
    const server = await host(t);
    // the service worker, which fills its store when it likes, stays out
    await visit(browser, server.url, { context: { serviceWorkers: "block" } }, async (person, page) => {
      await person.pick(...three());
      const before = (await person.settled(3)).map((card) => card.score);
      await page.waitForLoadState("networkidle");
      const requests = server.requests.length;
      const [old] = await person.chips();
      await person.addClass("orange");
      const changed = await person.until("a score changes", (before) => {
        const now = [...document.querySelectorAll('[data-testid="result"]')].map((card) => Number(card.dataset.score));
        return now.every((score, i) => score !== before[i]) && now;
      }, before);
      assert.deepEqual((await person.chips()).sort(), [old, "orange"].sort());
      await person.removeClass(old);
      await person.until("the scores change again", (before) =>
        [...document.querySelectorAll('[data-testid="result"]')].every((card, i) => Number(card.dataset.score) !== before[i]), changed);
      // back to the beginning: the same setup gives the same scores
      await person.setClasses(old);
      await person.until("the first scores are back", (before) =>
        [...document.querySelectorAll('[data-testid="result"]')].every((card, i) => Number(card.dataset.score) === before[i]), before);
      assert.deepEqual(asked(server, requests), [], "nothing was fetched for it");

      const cifar = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
      await person.choosePreset("cifar10", "leave-one-out", "dog");
      await person.until("nine classes are normal", () => document.querySelectorAll('[data-testid="class-chip"]').length === 9);
      assert.deepEqual(await person.chips(), cifar.filter((name) => name !== "dog"));
      await person.screenshot("preset-wide");
      await person.choosePreset("cifar10", "one-vs-rest", "ship");
      await person.until("one class is normal", () => document.querySelectorAll('[data-testid="class-chip"]').length === 1);
      assert.deepEqual(await person.chips(), ["ship"]);
      await person.choosePreset("imagenet30", "leave-one-out", "tank");
      await page.getByRole("button", { name: /and \d+ more/ }).first().click();
      await person.until("29 classes are normal", () => document.querySelectorAll('[data-testid="class-chip"]').length === 29);
    });
  });

  test("a word that the model does not know is named, with near ones that it knows", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      await person.addClass("oscilloscope");
      const note = page.locator('[data-testid="class-note"][data-name="oscilloscope"]');
      await note.waitFor();
      const words = await note.innerText();
      assert.match(words, /'?oscilloscope'? is not in this model's vocabulary of \d[\d,]* names/);
      assert.match(words, /full CLIP/);
      await person.screenshot("unknown-word-wide");
      // a near name is one click away
      await person.addClass("schol bus");
      const suggestion = page.locator('[data-testid="class-note"][data-name="schol bus"] [data-testid="suggestion"][data-name="school bus"]');
      await suggestion.press("Enter");
      assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), "add-class", "the focus is not lost");
      await person.until("the suggestion stands in its place", () => document.querySelector('[data-testid="class-chip"][data-name="school bus"]') && !document.querySelector('[data-name="schol bus"]'));
      await person.removeClass("oscilloscope");
      await note.waitFor({ state: "detached" });
      // markup in a name is shown as it is written
      await person.addClass('<img src=x onerror="document.title=1">');
      assert.ok((await person.chips()).includes('<img src=x onerror="document.title=1">'));
    });
  });

  test("the threshold decides the verdicts", async (t) => {
    const { url } = await host(t);
    await visit(browser, `${url}#normal=orange`, {}, async (person, page) => {
      await person.pick(...three());
      const scores = (await person.settled(3)).map((card) => card.score);
      const verdicts = async () => (await person.results()).map((card) => card.verdict);
      const middle = [...scores].sort((a, b) => a - b)[1];
      assert.ok(new Set(scores.map((score) => score.toFixed(2))).size === 3, `three different scores: ${scores}`);
      for (const threshold of [0, middle.toFixed(2), 1]) {
        await person.setThreshold(threshold);
        // larger is more anomalous; a score on the line is normal
        const expected = scores.map((score) => score > Number(threshold));
        await person.until(`the verdicts follow the threshold ${threshold}: odd where ${expected}`, (expected) =>
          [...document.querySelectorAll('[data-testid="result"]')].every((card, i) => (card.dataset.verdict !== "normal") === expected[i]), expected);
      }
      assert.deepEqual(await verdicts(), ["normal", "normal", "normal"]);
      await person.setThreshold(0);
      await person.until("all are odd", () => [...document.querySelectorAll('[data-testid="result"]')].every((card) => card.dataset.verdict !== "normal"));
      // dragged in the histogram, from a quarter to three quarters
      const plot = await person.hook("histogram").boundingBox();
      await page.mouse.move(plot.x + plot.width / 4, plot.y + plot.height / 2);
      await page.mouse.down();
      await page.mouse.move(plot.x + (plot.width * 3) / 4, plot.y + plot.height / 2, { steps: 5 });
      await page.mouse.up();
      await person.until("the dragged threshold is three quarters", () => Math.abs(Number(document.querySelector('[data-testid="threshold"]').value) - 0.75) < 0.01);
      await person.setThreshold(0);
      await person.until("all are odd again", () => [...document.querySelectorAll('[data-testid="result"]')].every((card) => card.dataset.verdict !== "normal"));
      // never by colour alone: the verdict stands there as a word
      for (const card of await person.results()) assert.match(card.text, /odd|anomal/i);
      // a comma will do; what is no threshold is said, and stays until one goes on
      await person.setThreshold("0,5");
      await person.until("the threshold is one half", () => document.querySelector('[data-testid="threshold-slider"]').value === "0.5");
      await person.setThreshold("50");
      assert.equal(await person.hook("threshold-refused").innerText(), "expected 0 to 1, got 50");
      assert.equal(await person.hook("threshold").inputValue(), "50");
      await page.keyboard.press("Tab");
      await person.hook("threshold-refused").waitFor({ state: "detached" });
      assert.equal(await person.hook("threshold").inputValue(), "0.5");
    });
  });

  test("the grid is sorted, filtered, and a removal is undone", async (t) => {
    const { url } = await host(t);
    await visit(browser, `${url}#normal=orange`, {}, async (person, page) => {
      const [first, second, third] = three();
      await person.pick(second, first, third);
      const arrived = await person.settled(3);
      const names = arrived.map((card) => card.name);
      const byScore = [...arrived].sort((a, b) => b.score - a.score).map((card) => card.name);
      assert.notDeepEqual(byScore, names, "the test can tell the orders apart");
      await person.sortBy("odd");
      await person.order("most odd first", byScore);
      await person.sortBy("normal");
      await person.order("most normal first", [...byScore].reverse());
      await person.sortBy("arrival");
      await person.order("as they came", names);

      await person.setThreshold(0);
      await person.filterBy("normal");
      await person.until("nothing is left by the filter", () => document.querySelectorAll('[data-testid="result"]').length === 0);
      // a filter without a match says why, and the way back
      await page.getByText("No picture is normal: no score is 0 or less.").waitFor();
      await page.getByRole("button", { name: "Show all 3" }).click();
      await person.until("all are there again", () => document.querySelectorAll('[data-testid="result"]').length === 3);
      await person.filterBy("odd");
      await person.until("all are odd", () => document.querySelectorAll('[data-testid="result"]').length === 3);
      await person.filterBy("all");

      await person.removePicture("wave-4.png");
      await person.order("two are left", ["wave-3.png", "wave-8.png"]);
      await person.undo();
      await person.until("the picture is back", () => document.querySelectorAll('[data-testid="result"]').length === 3);
      assert.deepEqual(await person.results().then((cards) => cards.map(({ name, score }) => [name, score])), arrived.map(({ name, score }) => [name, score]));
    });
  });

  test("notices stand in sight, the last three of them, newest first", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, { context: { viewport: { width: 1000, height: 500 } } }, async (person, page) => {
      await person.hook("model-status").click();
      await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
      for (let n = 1; n <= 5; n++) await person.pick(...Array.from({ length: n }, (_, i) => ({ name: `.${i}.png`, bytes: pictures.blob(1) })));
      const left = (n) => `Left out: ${n} hidden or system file${n === 1 ? "" : "s"}.`;
      assert.deepEqual(await person.hook("notice").locator("p").allInnerTexts(), [left(5), left(4), left(3), "and 2 earlier"]);
      const { top, bottom } = await person.hook("notice").evaluate((e) => e.getBoundingClientRect());
      assert.ok(top > 0 && bottom < 500, `they stand from ${top} to ${bottom} of 500 px`);
      await page.getByRole("button", { name: "Dismiss" }).press("Enter");
      await person.hook("notice").waitFor({ state: "detached" });
      assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), "model-status", "the focus is not lost");
    });
  });

  test("details show every prompt with cosine and probability", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      await person.addClass("orange");
      await person.pick({ name: "one.png", bytes: pictures.blob(1) });
      const [card] = await person.settled(1);
      const dialog = await person.openDetails("one.png");
      const rows = await dialog.locator("table").first().locator("tr").allInnerTexts();
      const numbers = rows.map((row) => ({ row, values: row.match(/-?\d+\.\d+/g)?.map(Number) ?? [] })).filter(({ row }) => /a photo of/.test(row));
      assert.ok(numbers.length >= 3, `a row for each prompt: ${JSON.stringify(rows)}`);
      for (const { row, values } of numbers) assert.ok(values.length >= 2, `cosine and probability in "${row}"`);
      const anomaly = numbers.find(({ row }) => /something/.test(row));
      assert.ok(anomaly, `the anomaly text is among ${rows}`);
      const text = await dialog.innerText();
      assert.match(text, /\d(\.\d+)?\s*ms/, "stage times with their unit");
      assert.ok(text.includes(card.score.toFixed(4)), `the score ${card.score} is in the details`);
      await person.screenshot("details-wide");
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "hidden" });
      // opened again before the page is told that it was closed
      await page.evaluate(() => {
        const open = () => document.querySelector('[data-testid="result"] [data-act="open"]').click();
        open();
        setTimeout(() => {
          document.querySelector("dialog").close();
          open();
        }, 300);
      });
      await page.waitForTimeout(800);
      assert.ok(await dialog.isVisible(), "the second opening stays");
    });
  });

  test("results are taken away as CSV and JSON, and both say what the page says", async (t) => {
    const { url } = await host(t);
    const folder = scratch(t);
    await visit(browser, url, {}, async (person, page) => {
      const awkward = { name: 'a "quoted", näme;\n.png'.replace("\n", ""), bytes: pictures.blob(2) };
      await person.pick({ name: "plain.png", bytes: pictures.blob(1) }, awkward, { name: "=1+1.png", bytes: pictures.blob(8) }, { name: "broken.png", bytes: pictures.noise(300) });
      const cards = await person.settled(4);
      const download = async (kind) => {
        const [file] = await Promise.all([page.waitForEvent("download"), person.export(kind)]);
        const path = join(folder, file.suggestedFilename());
        await file.saveAs(path);
        assert.match(file.suggestedFilename(), new RegExp(`\\.${kind}l?$`, "i"));
        return readFileSync(path, "utf8");
      };
      const csv = parseCsv(await download("csv"));
      const head = csv[0];
      const column = (name) => {
        const at = head.indexOf(name);
        assert.ok(at >= 0, `a column ${name} among ${head}`);
        return csv.slice(1).map((row) => row[at]);
      };
      assert.equal(csv.length, 5, "a head and four rows");
      for (const row of csv) assert.equal(row.length, head.length, `each row has ${head.length} fields: ${row}`);
      const text = await download("json");
      let list;
      try {
        list = JSON.parse(text);
        list = Array.isArray(list) ? list : (list.pictures ?? list.results);
      } catch {
        list = text.trim().split("\n").map((line) => JSON.parse(line));
      }
      assert.equal(list.length, 4);
      const nameOf = (entry) => entry.path ?? entry.name;
      cards.forEach((card, i) => {
        const csvName = column(head.includes("path") ? "path" : "name")[i];
        // a name that a spreadsheet would take for a formula may be guarded
        assert.ok([card.name, `'${card.name}`].includes(csvName), `${csvName} stands for ${card.name}`);
        assert.equal(nameOf(list[i]), card.name);
        if (card.state === "failed") {
          assert.ok(list[i].error?.length > 0, `the failure is in the JSON: ${JSON.stringify(list[i])}`);
          assert.equal(column("score")[i], "");
          return;
        }
        assert.ok(Math.abs(Number(column("score")[i]) - card.score) < 1e-6, `CSV score ${column("score")[i]} and ${card.score}`);
        assert.ok(Math.abs(list[i].score - card.score) < 1e-6, `JSON score ${list[i].score} and ${card.score}`);
        assert.equal(list[i].verdict, card.verdict);
        const sum = list[i].entries.reduce((sum, entry) => sum + entry.probability, 0);
        assert.ok(Math.abs(sum - 1) < 1e-4, `probabilities of ${card.name} add up to 1: ${sum}`);
      });
    });
  });

  test("a link brings the whole setup back", async (t) => {
    const { url } = await host(t);
    let link, scores, chips;
    await visit(browser, url, {}, async (person, page) => {
      await person.addClass("school bus");
      await person.addClass("Bär & Groß #1 100 %");
      await person.setThreshold(0.37);
      await person.pick(...three());
      scores = (await person.settled(3)).map((card) => card.score);
      chips = await person.chips();
      await person.until("the address holds the setup", () => /threshold=0\.37/.test(location.hash) && /school/.test(location.hash));
      link = page.url();
    });
    await visit(browser, link, {}, async (person) => {
      assert.deepEqual(await person.chips(), chips);
      assert.equal(Number(await person.hook("threshold").inputValue()), 0.37);
      await person.pick(...three());
      assert.deepEqual((await person.settled(3)).map((card) => card.score), scores);
    });
  });

  test("hostile links leave a usable page", async (t) => {
    const { url } = await host(t);
    const fragments = [
      "%", "%E0%A4%A", "normal=%", "normal=<script>alert(1)</script>", "normal=" + encodeURIComponent('"><img src=x onerror=alert(1)>'),
      "threshold=NaN", "threshold=1e999", "threshold=-1", "threshold=", "model=../../etc/passwd", "model=https%3A%2F%2Fexample.org%2Fm.gguf",
      "method=__proto__", "normal=" + "a,".repeat(7000), "x".repeat(100_000), "normal=dog&normal=cat&&&===", "template=%00%0A{}{}{}", "anomaly=%F0%9F%92%A9",
      "normal=%E2%80%AE%E2%80%AEdog", "javascript:alert(1)",
    ];
    // one visitor who is sent from link to link, and a fresh one for the worst
    await visit(browser, `${url}#${fragments[3]}`, { allowed: [/Failed to load resource/] }, async (person, page) => {
      for (const fragment of fragments) {
        await page.goto("about:blank");
        await page.goto(`${url}#${fragment}`, { waitUntil: "domcontentloaded" });
        await person.ready();
        const threshold = Number(await person.hook("threshold").inputValue());
        assert.ok(threshold >= 0 && threshold <= 1, `a threshold between 0 and 1 after ${fragment.slice(0, 60)}: ${threshold}`);
        assert.ok((await person.chips()).length >= 1, `some class after ${fragment.slice(0, 60)}`);
      }
      await person.pick({ name: "still.png", bytes: pictures.blob(3) });
      scored((await person.settled(1))[0]);
    });
  });
});

/// RFC 4180.
function parseCsv(text) {
  const rows = [[]];
  let field = "", quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') field += c;
      else if (text[i + 1] === '"') field += text[++i];
      else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === ",") (rows.at(-1).push(field), (field = ""));
    else if (c === "\n") (rows.at(-1).push(field.replace(/\r$/, "")), (field = ""), rows.push([]));
    else field += c;
  }
  if (field || rows.at(-1).length) rows.at(-1).push(field);
  return rows.filter((row) => row.length);
}
