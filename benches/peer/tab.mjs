// A tab under measurement: a page in a headless Chromium of its own, the JSON it leaves, and the memory it took.

import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch } from "../../tests/e2e/harness.mjs";
import { y4m } from "../../tests/e2e/pictures.mjs";

/// Milliseconds until the page shows that it will bench, and until it has, on a slow machine.
const ARRIVAL = 20_000, PATIENCE = 180_000;

const HOOK = "[data-testid=bench-result]";

/// Opens `url` in a fresh browser and waits for the JSON that it leaves in [data-testid=bench-result], which is there, empty,
/// from the start. Answers that with `peak_mb`, the tab's peak memory, and `chromium`, the version; throws where the page
/// says `error`, or nothing.
export async function visit(url) {
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.goto(url);
    await page.waitForSelector(HOOK, { state: "attached", timeout: ARRIVAL }).catch(() => fail("the page has no bench"));
    const result = await page
      .waitForFunction(leftResult, HOOK, { timeout: PATIENCE, polling: 100 })
      .then((handle) => handle.jsonValue(), () => fail("the page left no result"));
    if (result.error) fail(result.error);
    return { ...result, peak_mb: peakOfRenderer(), chromium: browser.version() };
  } finally {
    await browser.close();
  }
}

/// The camera of the page at `url`, which sees a video of 640 x 480 at 30 frames a second: frames a second that get a score, and the
/// median time from a frame to its score, as the page shows them, over five seconds.
export async function watchCamera(url) {
  const folder = mkdtempSync(join(tmpdir(), "oddlens-camera-"));
  const video = join(folder, "camera.y4m");
  writeFileSync(video, y4m(640, 480, 30, 30));
  const browser = await launch(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", `--use-file-for-fake-video-capture=${video}`]);
  try {
    const page = await browser.newPage();
    await page.goto(url);
    await page.waitForSelector('[data-testid=model-status][data-state=ready]', { state: "attached", timeout: ARRIVAL });
    await page.locator("[data-testid=start-camera]").click();
    const shown = () => page.locator("[data-testid=camera-score] .tag").innerText().then((text) => /(\d+) fps, ([\d.]+) ms/.exec(text)?.slice(1).map(Number));
    for (let i = 0; i < 100 && !(await shown()); i++) await page.waitForTimeout(100);
    const seen = [];
    for (let i = 0; i < 50; i++) {
      await page.waitForTimeout(100);
      seen.push((await shown()) ?? fail("the camera shows no rate"));
    }
    const median = (of) => seen.map(of).sort((a, b) => a - b)[seen.length >> 1];
    return { fps: median(([fps]) => fps), latency_ms: median(([, latency]) => latency) };
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true });
  }
}

function fail(why) {
  throw new Error(why);
}

/// Runs in the page.
function leftResult(hook) {
  try {
    return JSON.parse(document.querySelector(hook).textContent);
  } catch {
    return undefined;
  }
}

/// Peak resident memory (MB, 10^6 bytes) of the largest renderer among this process's descendants; undefined where the
/// system has no /proc. The browser has one spare renderer, which stays small.
function peakOfRenderer() {
  const peaks = renderers().map((pid) => megabytes(pid, "VmHWM"));
  return peaks.length ? Math.max(...peaks) : undefined;
}

/// Memory of the largest renderer now, MB: all that is resident, its peak, and what is the tab's alone (anonymous: without the browser's
/// program, which all tabs share; Chromium's own task manager shows that).
export function memory() {
  const [largest] = renderers().sort((a, b) => megabytes(b, "VmRSS") - megabytes(a, "VmRSS"));
  return { resident: megabytes(largest, "VmRSS"), peak: megabytes(largest, "VmHWM"), own: megabytes(largest, "RssAnon") };
}

function renderers() {
  return descendants(process.pid).filter((pid) => status(pid, "cmdline").includes("--type=renderer"));
}

const megabytes = (pid, key) => Number(new RegExp(`${key}:\\s+(\\d+) kB`).exec(status(pid, "status"))?.[1] ?? 0) * 1024 / 1e6;

function descendants(pid) {
  const tasks = readdirSync(`/proc/${pid}/task`, { withFileTypes: true }).map((task) => task.name);
  const children = tasks.flatMap((task) => status(pid, `task/${task}/children`).split(" ").filter(Boolean));
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/// A file of /proc; empty where the process has ended meanwhile.
function status(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
