// What the tests share: a browser, a server for dist/, and a visitor who sees the page only from outside, through the
// hooks that the page promises (`data-testid`) and the words a person reads. Every wait watches for a state; when it does
// not come, the message says what was there instead. After each visit the content policy must be unbroken and nothing
// may have been asked of another host.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "../../scripts/serve.mjs";

const here = dirname(fileURLToPath(import.meta.url));
export const repository = resolve(here, "../..");
export const dist = process.env.ODDLENS_DIST ?? join(repository, "dist");
export const screenshots = join(here, "screenshots");
mkdirSync(screenshots, { recursive: true });

/// Why tests of threads are skipped; false where the page was built with them.
export const noThreads = existsSync(join(dist, "worker-threads.js")) ? false : "dist has no program with threads: rust-src was missing when it was built";

/// Milliseconds that a state may take to come on a slow machine with two busy cores.
export const PATIENCE = 45_000;

function findChromium() {
  for (const name of [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]) {
    if (!name) continue;
    try {
      return execFileSync("sh", ["-c", 'command -v "$0"', name], { encoding: "utf8" }).trim();
    } catch {
      // the next one
    }
  }
  throw new Error("no Chromium found: install it (apt-get install chromium) or set CHROMIUM to its path");
}

/// A folder of the test's own that is gone afterwards.
export function scratch(t) {
  const folder = mkdtempSync(join(tmpdir(), "oddlens-e2e-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const options = (args) => ({
  executablePath: findChromium(),
  headless: true,
  args: [
    ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
    "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-default-apps", "--disable-dev-shm-usage", "--mute-audio",
    // a request to another host would be seen by the tests; it shall not get there either
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ...args,
  ],
});

/// A browser. `args` are added to those that keep it quiet and to itself.
export const launch = (args = []) => chromium.launch(options(args));

/// One visitor's browser that keeps what pages store in the folder `profile`, as people's do: a context.
export const launchKeeping = (profile) => chromium.launchPersistentContext(profile, options([]));

/// Serves dist/ (at `base`) for one test.
export async function host(t, options = {}) {
  const server = await serve({ folder: dist, ...options });
  t.after(() => server.close().catch(() => {}));
  return server;
}

/// What was asked of the server after the first `count` requests; the icon apart, which a browser fetches when it likes.
export const asked = (server, count) => server.requests.slice(count).filter((path) => !path.endsWith("/icon.svg"));

/// Opens `url` as a new visitor and gives the visit to `body`; afterwards checks what must hold after any visit.
/// `context` are Playwright's context options; `allowed` lists patterns of console errors that the test provokes, `abroad` other hosts
/// that are asked for models because the visitor wants it.
export async function visit(browser, url, { context: options = {}, allowed = [], abroad = [], ready = true } = {}, body) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const seen = { console: [], errors: [], foreign: [], violations: [] };
  const origin = new URL(url).origin;
  const watch = (request) => {
    const target = new URL(request.url());
    if (!["data:", "blob:", "about:"].includes(target.protocol) && target.origin !== origin && !abroad.includes(target.origin)) seen.foreign.push(request.url());
  };
  context.on("request", watch);
  page.on("pageerror", (error) => seen.errors.push(`page error: ${error.message}`));
  page.on("crash", () => seen.errors.push("the page crashed"));
  page.on("dialog", (dialog) => {
    // whoever is asked whether to leave stays
    if (dialog.type() !== "beforeunload") seen.errors.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => {
    seen.console.push(`${message.type()}: ${message.text()}`);
    if (/content security policy/i.test(message.text())) seen.violations.push(message.text());
    else if (message.type() === "error") seen.errors.push(`console: ${message.text()} (${message.location().url})`);
  });
  await page.exposeBinding("oddlensViolation", (_, text) => seen.violations.push(text));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (e) => window.oddlensViolation(`${e.violatedDirective} refused ${e.blockedURI} at ${e.sourceFile}:${e.lineNumber}`));
  });
  const visitor = new Visitor(page, seen);
  try {
    await page.goto(url, { waitUntil: "domcontentloaded" });
    if (ready) await visitor.ready();
    await body(visitor, page, context);
    const errors = seen.errors.filter((text) => !allowed.some((pattern) => pattern.test(text)));
    assert.deepEqual(seen.violations, [], "the content policy was broken");
    assert.deepEqual(seen.foreign, [], "something was asked of another host");
    assert.deepEqual(errors, [], "the page reported errors");
  } catch (error) {
    const name = `failed-${Date.now()}.png`;
    await page.screenshot({ path: join(screenshots, name) }).catch(() => {});
    error.message += `\n  seen: ${await visitor.describe()}\n  screenshot: tests/e2e/screenshots/${name}`;
    throw error;
  } finally {
    await context.close();
  }
}

/// A person at the page.
export class Visitor {
  constructor(page, seen) {
    this.page = page;
    this.seen = seen;
  }

  hook(name) {
    return this.page.locator(`[data-testid="${name}"]`);
  }

  /// All result cards in the order of the page.
  results() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll('[data-testid="result"]')].map((card) => ({
        name: card.dataset.name,
        state: card.dataset.state,
        score: card.dataset.score ? Number(card.dataset.score) : undefined,
        verdict: card.dataset.verdict,
        text: card.innerText.replace(/\s+/g, " ").trim(),
      })),
    );
  }

  async result(name) {
    const found = (await this.results()).filter((card) => card.name === name);
    assert.equal(found.length, 1, `one result named ${name}, among: ${(await this.results()).map((c) => c.name).join(", ")}`);
    return found[0];
  }

  async describe() {
    try {
      const status = await this.page.evaluate(() => {
        const status = document.querySelector('[data-testid="model-status"]');
        return {
          url: location.href.slice(0, 200),
          model: status && `${status.dataset.state} ${status.dataset.model}: ${status.innerText}`,
          chips: [...document.querySelectorAll('[data-testid="class-chip"]')].map((chip) => chip.dataset.name),
        };
      });
      const results = await this.results();
      return JSON.stringify({ ...status, results: results.slice(0, 12), of: results.length, errors: this.seen.errors, console: this.seen.console.slice(-6) }, null, 1);
    } catch (error) {
      return `nothing (${error.message.split("\n")[0]}); console: ${this.seen.console.slice(-6).join(" | ")}`;
    }
  }

  /// Waits until `check` (run in the page with `argument`) answers something true, and gives that back.
  async until(what, check, argument, timeout = PATIENCE) {
    try {
      return await (await this.page.waitForFunction(check, argument, { timeout, polling: 50 })).jsonValue();
    } catch (error) {
      throw new Error(`waited ${timeout / 1000} s until ${what} (${error.message.split("\n")[0]})`);
    }
  }

  /// The model is loaded.
  ready() {
    return this.until("the model is ready", () => {
      const state = document.querySelector('[data-testid="model-status"]')?.dataset.state;
      if (state === "failed") throw new Error("the model failed");
      return state === "ready";
    });
  }

  /// No picture waits any more, and there are at least `count` of them.
  async settled(count = 1, timeout = PATIENCE) {
    await this.until(`${count} pictures are done or failed`, (count) => {
      const cards = [...document.querySelectorAll('[data-testid="result"]')];
      return cards.length >= count && cards.every((card) => ["done", "failed"].includes(card.dataset.state));
    }, count, timeout);
    return this.results();
  }

  /// Chooses files with the file picker. Each is {name, bytes, type?}.
  pick(...files) {
    return this.hook("pick-files").setInputFiles(files.map(({ name, bytes, type }) => ({ name, mimeType: type ?? guess(name), buffer: bytes })));
  }

  /// A DataTransfer in the page that holds the files.
  transfer(files) {
    return this.page.evaluateHandle((files) => {
      const transfer = new DataTransfer();
      for (const { name, type, base64 } of files) {
        const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
      }
      return transfer;
    }, files.map(({ name, bytes, type }) => ({ name, type: type ?? guess(name), base64: bytes.toString("base64") })));
  }

  /// Drops files on the middle of the page.
  async drop(...files) {
    const dataTransfer = await this.transfer(files);
    for (const kind of ["dragenter", "dragover", "drop"]) await this.page.dispatchEvent("main", kind, { dataTransfer });
  }

  async paste(...files) {
    const transfer = await this.transfer(files);
    await this.page.evaluate((clipboardData) => {
      (document.activeElement ?? document.body).dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }, transfer);
  }

  chips() {
    return this.page.evaluate(() => [...document.querySelectorAll('[data-testid="class-chip"]')].map((chip) => chip.dataset.name));
  }

  async addClass(name) {
    await this.hook("add-class").fill(name);
    await this.hook("add-class").press("Enter");
    await this.until(`"${name}" is a chip`, (name) => [...document.querySelectorAll('[data-testid="class-chip"]')].some((chip) => chip.dataset.name === name), name);
  }

  async removeClass(name) {
    await this.page.locator(`[data-testid="class-chip"][data-name="${name}"] button`).click();
    await this.until(`"${name}" is no chip`, (name) => ![...document.querySelectorAll('[data-testid="class-chip"]')].some((chip) => chip.dataset.name === name), name);
  }

  /// Makes exactly these the classes.
  async setClasses(...names) {
    for (const name of names) if (!(await this.chips()).includes(name)) await this.addClass(name);
    for (const name of await this.chips()) if (!names.includes(name)) await this.removeClass(name);
  }

  /// Types a threshold.
  setThreshold(value) {
    return this.hook("threshold").fill(String(value));
  }

  /// One click on the first sample that the empty page offers, or on the toolbar's button for all of them.
  async clickSample() {
    const first = this.hook("sample").first();
    const all = this.hook("samples");
    await first.or(all).first().waitFor();
    await ((await first.isVisible()) ? first : all).click();
  }

  /// "one-vs-rest" or "leave-one-out" of a benchmark, with `name` as the current class.
  async choosePreset(benchmark, arrangement, name) {
    if ((await this.hook("presets").getAttribute("aria-expanded")) !== "true") await this.hook("presets").click();
    await this.page.locator(`input[name=benchmark][value="${benchmark}"]`).check();
    await this.page.locator(`input[name=arrangement][value="${arrangement}"]`).check();
    await this.page.locator(`[data-testid=preset][data-benchmark="${benchmark}"][data-arrangement="${arrangement}"][data-class="${name}"]`).click();
  }

  /// "arrival", "odd", "normal" or "name"; answers the names in the new order.
  async sortBy(key) {
    await this.hook("sort").selectOption(key);
  }

  /// "all", "odd", "normal" or "failed".
  async filterBy(key) {
    await this.page.locator(`[data-filter="${key}"]`).click();
  }

  /// Waits until the cards have these names in this order.
  async order(what, names) {
    await this.until(`${what}: ${names}`, (names) =>
      JSON.stringify([...document.querySelectorAll('[data-testid="result"]')].map((card) => card.dataset.name)) === JSON.stringify(names), names);
  }

  card(name) {
    return this.page.locator(`[data-testid="result"][data-name="${name}"]`);
  }

  async removePicture(name) {
    await this.card(name).hover();
    await this.card(name).locator('[data-testid="remove"]').click();
    await this.card(name).waitFor({ state: "detached" });
  }

  undo() {
    return this.hook("undo").click();
  }

  /// Opens a picture's details and answers the dialog.
  async openDetails(name) {
    await this.card(name).locator("button").first().click();
    const dialog = this.page.locator(`[data-testid="details"][data-name="${name}"]`);
    await dialog.waitFor();
    return dialog;
  }

  /// Asks for the results as "csv" or "json".
  async export(kind) {
    await this.hook("export").click();
    await this.hook(`export-${kind}`).click();
  }

  /// A picture encoded by the browser itself (JPEG, WebP), drawn from a function's source text over (context, size).
  async encode(type, width, height, seed = 1, quality = 0.9) {
    const base64 = await this.page.evaluate(async ([type, width, height, seed, quality]) => {
      const canvas = new OffscreenCanvas(width, height);
      const c = canvas.getContext("2d");
      const sky = c.createLinearGradient(0, 0, width, height);
      sky.addColorStop(0, `hsl(${seed * 47} 60% 70%)`);
      sky.addColorStop(1, `hsl(${seed * 91} 50% 30%)`);
      c.fillStyle = sky;
      c.fillRect(0, 0, width, height);
      c.fillStyle = `hsl(${seed * 133} 80% 50%)`;
      c.beginPath();
      c.ellipse(width * 0.4, height * 0.55, width * 0.25, height * 0.3, 0.4, 0, 7);
      c.fill();
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type, quality })).arrayBuffer());
      let text = "";
      for (const b of bytes) text += String.fromCharCode(b);
      return btoa(text);
    }, [type, width, height, seed, quality]);
    return Buffer.from(base64, "base64");
  }

  async screenshot(name) {
    await this.page.screenshot({ path: join(screenshots, `${name}.png`) });
  }
}

function guess(name) {
  const types = { png: "image/png", jpg: "image/jpeg", webp: "image/webp", gif: "image/gif", bmp: "image/bmp", tiff: "image/tiff", svg: "image/svg+xml", txt: "text/plain", avif: "image/avif", heic: "image/heic" };
  return types[name.split(".").pop()] ?? "";
}

/// The command-line tool's verdicts on files: what `oddlens score --format json` prints, parsed.
export function commandLine(files, ...flags) {
  const tool = process.env.ODDLENS_CLI ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "debug/oddlens");
  let text;
  try {
    text = execFileSync(tool, ["score", "--format", "json", ...files, ...flags], { encoding: "utf8", maxBuffer: 1 << 28 });
  } catch (error) {
    // status 1: some failed, which is for the caller to judge
    if (error.status !== 1) throw error;
    text = error.stdout;
  }
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

export const file = (...path) => readFileSync(join(repository, ...path));
