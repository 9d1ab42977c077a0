// With the keyboard alone, with a screen reader's eyes (axe-core), on a phone and in the dark.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { host, launch, repository, visit } from "./harness.mjs";
import * as pictures from "./pictures.mjs";

const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const axe = readFileSync(join(repository, "tests/e2e/node_modules/axe-core/axe.min.js"), "utf8");

/// Serious and critical findings of axe-core in the page as it stands.
async function findings(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} (${node.any[0]?.message ?? node.failureSummary})`).join(" | ")}`);
}

describe("accessibility", () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  for (const [look, options] of [
    ["wide-light", { colorScheme: "light" }],
    ["wide-dark", { colorScheme: "dark" }],
    ["phone-light", { ...PHONE, colorScheme: "light" }],
    ["phone-dark", { ...PHONE, colorScheme: "dark", reducedMotion: "reduce" }],
  ]) {
    test(`no serious finding, and nothing wider than the screen: ${look}`, async (t) => {
      const { url } = await host(t);
      await visit(browser, url, { context: options }, async (person, page) => {
        const narrow = async (state) => {
          const { content, screen } = await page.evaluate(() => ({ content: document.documentElement.scrollWidth, screen: document.documentElement.clientWidth }));
          assert.ok(content <= screen, `${state}: the page is ${content} px wide on a screen of ${screen}`);
          await person.screenshot(`${state}-${look}`);
        };
        await narrow("empty");
        assert.deepEqual(await findings(page), [], "empty");
        await person.hook("model-status").click();
        await narrow("model");
        assert.deepEqual(await findings(page), [], "model");
        await person.hook("model-status").click();
        const [normal] = await person.chips();
        await person.removeClass(normal);
        assert.ok(await page.locator('[role="alert"].bad .warn').isVisible(), "an error has its sign");
        assert.deepEqual(await findings(page), [], "without a class");
        await person.addClass(normal);
        await person.addClass("oscilloscope");
        await person.pick(
          { name: "one.png", bytes: pictures.blob(1) },
          { name: "a-rather-long-name-as-cameras-and-people-give-them-2026-11-24.png", bytes: pictures.blob(2) },
          { name: "broken.jpg", bytes: pictures.noise(200) },
        );
        await person.settled(3);
        await narrow("results");
        const { bottom, height } = await page.evaluate(() => ({ bottom: document.querySelector('[data-testid="threshold"]').getBoundingClientRect().bottom, height: innerHeight }));
        assert.ok(bottom <= height, `the decision stays in sight: the threshold ends at ${bottom} of ${height} px`);
        assert.deepEqual(await findings(page), [], "with results");
        await person.openDetails("one.png");
        await narrow("details");
        assert.deepEqual(await findings(page), [], "with details");
        await page.keyboard.press("n");
        await page.keyboard.press("Escape");
        await person.hook("details").waitFor({ state: "detached" });
        await page.locator('[data-testid="result"]:nth-child(2) button.open').focus();
        await page.keyboard.press("o");
        await person.until("both kinds are measured", () => document.querySelector('[data-testid="auroc"]') !== null);
        await person.hook("learn").click();
        await person.until("something has learned", () => document.querySelector('[data-testid="method-row"][data-method="bce"]')?.dataset.readiness === "ready" && !document.querySelector('[data-testid="learn-progress"]'));
        await page.locator('[data-testid="method-row"][data-method="bce"] summary').click();
        await person.hook("start-tour").click();
        await narrow("learning");
        assert.deepEqual(await findings(page), [], "with labels, learning and tour");
      });
    });
  }

  test("everything is reached and done with the keyboard alone", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      const focused = () => page.evaluate(() => {
        const e = document.activeElement;
        const style = getComputedStyle(e);
        const box = e.getBoundingClientRect();
        return {
          tag: e.tagName.toLowerCase(), hook: e.dataset.testid, name: (e.getAttribute("aria-label") ?? e.innerText ?? "").replace(/\s+/g, " ").trim(),
          within: e.closest("[data-testid]")?.dataset.testid, card: e.closest('[data-testid="result"]')?.dataset.name,
          outlined: (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none", seen: box.width > 0 && box.height > 0,
        };
      });
      /// Presses Tab until `wanted` has the focus.
      const tabTo = async (what, wanted) => {
        const passed = [];
        for (let i = 0; i < 80; i++) {
          await page.keyboard.press("Tab");
          const now = await focused();
          passed.push(`${now.tag} ${now.hook ?? now.name}`);
          if (now.tag !== "body" && wanted(now)) {
            assert.ok(now.outlined || now.hook === "pick-files", `${what} shows that it has the focus: ${JSON.stringify(now)}`);
            return now;
          }
        }
        assert.fail(`the Tab key never came to ${what}; it passed: ${passed.join(" > ")}`);
      };

      await tabTo("the field for a class", (e) => e.hook === "add-class");
      await page.keyboard.type("orange");
      await page.keyboard.press("Enter");
      await person.until("the chip is there", () => document.querySelector('[data-testid="class-chip"][data-name="orange"]'));
      assert.equal((await focused()).hook, "add-class", "the focus stays, for the next class");
      await page.keyboard.press("Shift+Tab");
      await page.evaluate(() => document.activeElement?.blur());
      await tabTo("the button that removes the class", (e) => e.within === "class-chip" && /orange/.test(e.name));
      await page.keyboard.press("Enter");
      await person.until("the chip is gone", () => !document.querySelector('[data-testid="class-chip"][data-name="orange"]'));
      await person.until("the focus is not lost when its button goes", () => document.activeElement && document.activeElement !== document.body);

      await person.pick({ name: "one.png", bytes: pictures.blob(1) });
      await person.settled(1);
      const before = Number(await person.hook("threshold").inputValue());
      await tabTo("the threshold", (e) => e.hook === "threshold");
      await page.keyboard.press("ArrowUp");
      const raised = Number(await person.hook("threshold").inputValue());
      assert.ok(raised > before, `an arrow key raises the threshold: ${before} to ${raised}`);

      await page.evaluate(() => document.activeElement?.blur());
      await tabTo("the picture's details", (e) => e.card === "one.png" && !/remove/i.test(e.name));
      await page.keyboard.press("Enter");
      const dialog = page.getByRole("dialog");
      await dialog.waitFor();
      assert.ok(await page.evaluate(() => document.querySelector("dialog[open], [role=dialog]").contains(document.activeElement)), "the focus is in the dialog");
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "hidden" });
      assert.equal((await focused()).card, "one.png", "the focus comes back to the picture");
      await page.keyboard.press("Enter");
      await dialog.waitFor();
      await tabTo("the button that closes the dialog", (e) => e.name === "Close");
      await page.keyboard.press("Enter");
      await dialog.waitFor({ state: "detached" });
      assert.equal((await focused()).card, "one.png", "the focus comes back to the picture from the close button, too");

      // where what has the focus goes away, the focus goes to what is nearest
      const leads = async (hook, next) => {
        await person.hook(hook).press("Enter");
        await person.hook(hook).waitFor({ state: "detached" });
        assert.equal((await focused()).hook, next, `from ${hook}`);
      };
      await leads("threshold-reset", "threshold");
      await page.locator('[data-testid="result"] button.open').press("Delete");
      await person.until("the last picture is gone", () => !document.querySelector('[data-testid="result"]'));
      assert.equal((await focused()).hook, "pick-files", "from the last picture");
      await person.undo();
      await leads("clear", "pick-files");
    });
  });

  for (const width of [360, 375]) {
    test(`on a phone ${width} px wide nothing is cut or broken, and fingers are told of buttons`, async (t) => {
      const { url } = await host(t);
      await visit(browser, url, { context: { ...PHONE, viewport: { width, height: 740 } } }, async (person, page) => {
        const cut = (where) => page.locator(where).evaluateAll((all) => all.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.innerText));
        const lines = (where) => page.locator(where).evaluateAll((all) => all.map((e) => Math.round(e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight))));
        assert.deepEqual(await lines(".mark"), [1], "the name");
        assert.deepEqual(await cut(".model span"), [], "the model and its state");
        await person.clickSample();
        await person.settled(1);
        await person.hook("lab").tap();
        await person.hook("label-normal").tap();
        await person.hook("label-role").waitFor();
        assert.deepEqual(await cut(".mark-as"), []);
        assert.deepEqual([...new Set(await lines(".methods th:not(:empty)"))], [1], "heads of the table");
        const words = await page.locator('section[aria-label="Labels"]').innerText();
        assert.ok(/Tap ● or ▲/.test(words) && !/press N/.test(words), words);
        assert.match(await page.locator("#advice-panel").innerText(), /You have 1 normal picture labelled/);
      });
    });
  }

  test("in the grid arrows go from picture to picture, Delete removes, and Tab goes past", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      const names = Array.from({ length: 9 }, (_, i) => `p${i}.png`);
      await person.pick(...names.map((name, i) => ({ name, bytes: pictures.blob(i + 1) })));
      await person.settled(9);
      const at = () => page.evaluate(() => {
        const e = document.activeElement;
        const card = e.closest('[data-testid="result"]');
        return `${card?.dataset.name ?? e.tagName.toLowerCase()} ${card ? (e.dataset.testid ?? "open") : (e.dataset.testid ?? "")}`;
      });
      const press = async (key, expected) => {
        await page.keyboard.press(key);
        await person.until(`${key} leads to ${expected}`, (expected) => {
          const e = document.activeElement;
          const card = e.closest('[data-testid="result"]');
          return `${card?.dataset.name} ${e.dataset.testid ?? "open"}` === expected;
        }, expected);
      };
      await person.hook("sort").focus();
      await press("Tab", "p0.png open");
      await press("ArrowRight", "p1.png open");
      await press("End", "p8.png open");
      await press("ArrowLeft", "p7.png open");
      await press("Home", "p0.png open");
      const columns = await page.evaluate(() => getComputedStyle(document.querySelector(".grid")).gridTemplateColumns.split(" ").length);
      await press("ArrowDown", `p${columns}.png open`);
      await press("ArrowUp", "p0.png open");
      await press("ArrowRight", "p1.png open");
      await press("Delete", "p2.png open");
      await press("Tab", "p2.png remove");
      await press("Enter", "p3.png remove");
      await page.keyboard.press("Tab");
      assert.doesNotMatch(await at(), /png/, "the next stop is behind the grid");
      await press("Shift+Tab", "p3.png remove");
      await page.keyboard.press("Control+z");
      await person.order("the last removal is taken back", names.filter((name) => name !== "p1.png"));
    });
  });

  test("what happens is said to a screen reader", async (t) => {
    const { url } = await host(t);
    await visit(browser, url, {}, async (person, page) => {
      await person.pick({ name: "spoken.png", bytes: pictures.blob(1) });
      await person.settled(1);
      await person.until("a live region names the picture and its verdict", () =>
        [...document.querySelectorAll('[aria-live], [role="status"], [role="alert"]')].some((region) => /spoken\.png.*(odd|normal)/i.test(region.textContent)));
      assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
      assert.ok(await page.locator("h1").count(), "a main heading");
    });
  });
});
