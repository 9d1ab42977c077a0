// What a large model costs a visitor: times and memory of the tab, from the first download to later visits, in headless Chromium on
// this machine, with a CLIP ViT-B/32 of random weights. Prints a table of median, least and most; asserts nothing.
//   benches/peer/setup && node benches/peer/visits.mjs     ROUNDS=5: more rounds

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { serve } from "../../scripts/serve.mjs";
import { dist, launchKeeping, repository } from "../../tests/e2e/harness.mjs";
import { hub } from "../../tests/e2e/hub.mjs";
import { bake } from "../../www/bake.mjs";
import { memory } from "./tab.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 3);
/// Between two looks at the tab's memory, ms.
const LOOK = 50;
const FILE = "/a/b/resolve/main/model.safetensors";

const clip = join(dirname(fileURLToPath(import.meta.url)), "models/clip");
const tool = process.env.ODDLENS_CLI ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "release/oddlens");
const picture = join(repository, "www/samples/teapot.jpg");
const scratch = mkdtempSync(join(tmpdir(), "oddlens-visits-"));
const figures = new Map();
const note = (what, value) => figures.set(what, [...(figures.get(what) ?? []), value]);

/// The page with further models.
function site(name, change) {
  const folder = join(scratch, name);
  cpSync(dist, folder, { recursive: true });
  change(join(folder, "weights"));
  return serve({ folder });
}

/// A tab of a browser that keeps what pages store.
class Tab {
  static async open(profile, address) {
    const context = await launchKeeping(profile);
    const page = context.pages()[0] ?? (await context.newPage());
    await page.goto(address, { waitUntil: "commit" });
    return Object.assign(new Tab(), { context, page });
  }

  /// Runs `body`, and notes how long it took, with the most that was in memory meanwhile.
  async step(what, body) {
    const began = performance.now();
    let own = 0;
    const look = setInterval(() => (own = Math.max(own, memory().own)), LOOK);
    await body();
    clearInterval(look);
    note(`${what}, ms`, performance.now() - began);
    note(`${what}, own memory at most, MB`, Math.max(own, memory().own));
  }

  has(state, argument) {
    return this.page.waitForFunction(state, argument, { polling: 20, timeout: 180_000 });
  }

  ready(model) {
    return this.has((model) => {
      const status = document.querySelector('[data-testid="model-status"]')?.dataset;
      return status?.state === "ready" && status.model === model;
    }, model);
  }

  hook(name) {
    return this.page.locator(`[data-testid="${name}"]`);
  }

  async score() {
    await this.hook("pick-files").first().setInputFiles(picture);
    await this.has(() => document.querySelector('[data-testid="result"]')?.dataset.state === "done");
  }

  async say(words) {
    const before = await this.hook("result").first().getAttribute("data-score");
    await this.hook("add-class").fill(words);
    await this.hook("add-class").press("Enter");
    await this.has((before) => document.querySelector('[data-testid="result"]').dataset.score !== before, before);
  }

  async close() {
    note("peak of resident memory, MB", memory().peak);
    await this.context.close();
  }
}

/// A model that is fetched from a hub as f32 and converted on the way.
async function fetched(round) {
  const bytes = readFileSync(join(clip, "model.safetensors"));
  const far = await hub({ after() {} }, { [FILE]: bytes, "/a/b/resolve/main/config.json": readFileSync(join(clip, "config.json")) });
  const server = await site(`fetched-${round}`, (weights) => {
    const path = join(weights, "manifest.json");
    const manifest = JSON.parse(readFileSync(path));
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const words = { threshold: 0.5, threshold_source: "none", can: "", cannot: "" };
    manifest.models.push({ id: "far", name: "Far", file: "far.gguf", bytes: bytes.length, sha256, ...words, address: far.url + FILE });
    writeFileSync(path, JSON.stringify(manifest));
  });
  const profile = join(scratch, `profile-${round}`);
  let tab = await Tab.open(profile, server.url);
  await tab.ready("mini");
  await tab.hook("model-status").click();
  await tab.step("605 MB fetched, converted, tested", async () => {
    await tab.page.locator('[data-testid="model"][data-model="far"] [data-testid="use-model"]').click();
    // random weights are refused, after everything else was done
    await tab.hook("use-doubtful").waitFor({ timeout: 180_000 });
  });
  await tab.hook("use-doubtful").click();
  await tab.ready("far");
  await tab.close();
  for (let visit = 0; visit < 2; visit++) {
    tab = await Tab.open(profile, "about:blank");
    await tab.step("later visit: navigation to ready", async () => {
      await tab.page.goto(`${server.url}#normal=horse&model=far`, { waitUntil: "commit" });
      await tab.ready("far");
    });
    await tab.step("later visit: first score", () => tab.score());
    await tab.step("later visit: words of one's own", () => tab.say("a teapot seen from above"));
    await tab.close();
  }
  await Promise.all([far.close(), server.close()]);
}

/// A model that the host has in parts.
async function hosted(round) {
  const shelf = join(scratch, "shelf");
  execFileSync(tool, ["model", "add", join(clip, "model.safetensors"), "--out", shelf, "--id", "far", "--force"], { stdio: "pipe" });
  const server = await site(`hosted-${round}`, (weights) => bake(shelf, weights));
  const tab = await Tab.open(join(scratch, `profile-hosted-${round}`), "about:blank");
  await tab.step("in parts beside the page: navigation to ready", async () => {
    await tab.page.goto(`${server.url}#normal=horse`, { waitUntil: "commit" });
    await tab.ready("far");
  });
  await tab.step("in parts: first score", () => tab.score());
  await tab.step("in parts: words of one's own", () => tab.say("a teapot seen from above"));
  await tab.close();
  await server.close();
}

try {
  for (let round = 0; round < ROUNDS; round++) {
    await fetched(round);
    await hosted(round);
  }
  console.log("what | median | least | most");
  for (const [what, values] of figures) {
    const sorted = values.sort((a, b) => a - b);
    console.log([what, sorted[sorted.length >> 1], sorted[0], sorted.at(-1)].map((v) => (typeof v === "number" ? v.toFixed(0) : v)).join(" | "));
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
