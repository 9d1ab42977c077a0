// Times Oddlens against its peers, all in one go, and prints one table: onnxruntime-web in the same headless Chromium,
// onnxruntime and transformers natively. The cases take turns, round after round, so that a disturbance hits all of them.
// A figure is the median over the rounds (of each round's median), a ratio the median of the rounds' ratios. What Oddlens
// cannot run yet is listed as not available. The record goes to benches/record/.
//   node benches/peer/bench.mjs     ROUNDS=5: more rounds; ONLY=page, web, native...: cases so named, and no record

import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { serve } from "../../scripts/serve.mjs";
import { dist, repository } from "../../tests/e2e/harness.mjs";
import { visit, watchCamera } from "./tab.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 3);
const ONLY = process.env.ONLY ?? "";

const here = dirname(fileURLToPath(import.meta.url));
const models = join(here, "models"), pictures = join(models, "pictures"), clip = join(models, "clip");
const tool = process.env.ODDLENS_CLI ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, "target"), "release/oddlens");
const scratch = mkdtempSync(join(tmpdir(), "oddlens-bench-"));
/// Our embeddings of the pictures, which Python compares with its own.
const embedded = join(scratch, "ours.npy");

const say = (line) => console.error(`bench: ${line}`);
const run = promisify(execFile);
const json = async (...command) => JSON.parse((await run(command[0], command.slice(1))).stdout);
const python = (...words) => json(join(here, "python/bin/python"), join(here, "native.py"), ...words);

/// What is measured: each case answers the figures of one round. Those that are compared stand side by side.
function cases(ours, peer) {
  const page = (threads, variant, only, model = "vit-b-32") => async () => {
    const result = await visit(`${ours}?bench=${model}&threads=${threads}&variant=${variant}&only=${only}`);
    if (result.threads !== threads || result.variant !== variant) {
      throw new Error(`asked for ${variant} on ${threads}, the page ran ${result.variant} on ${result.threads}`);
    }
    return result;
  };
  const web = (threads, model) => () => visit(`${peer}page.html?model=${model}&threads=${threads}`);
  const oddlens = (threads) => () => json(tool, "bench", "vit-b-32", "--threads", threads, "--json");
  const onnxruntime = (threads) => () => python("image", threads, models);
  return {
    "page relaxed 1": page(1, "relaxed", "image"),
    "web uint8 1": web(1, "image_uint8"),
    "page plain 1": page(1, "plain", "image"),
    "page relaxed 2": page(2, "relaxed", "image"),
    "web uint8 2": web(2, "image_uint8"),
    "page text": page(1, "relaxed", "text"),
    "web text uint8": web(1, "text_uint8"),
    "web int8 1": web(1, "image_int8"),
    "web int8 2": web(2, "image_int8"),
    "web f32 1": web(1, "image_f32"),
    "web f32 2": web(2, "image_f32"),
    "page embedded": page(1, "relaxed", "image", "embedded"),
    "page camera": () => watchCamera(ours),
    "native oddlens 1": oddlens(1),
    "native onnxruntime 1": onnxruntime(1),
    "native oddlens 2": oddlens(2),
    "native onnxruntime 2": onnxruntime(2),
    "native oddlens folder": oddlensFolder,
    "native transformers folder": () => python("folder", clip, pictures, ...(existsSync(embedded) ? [embedded] : [])),
  };
}

/// The time for one picture is taken off: it is reading and packing the model, which is left out in Python too.
async function oddlensFolder() {
  const seconds = async (path) => {
    const start = performance.now();
    const words = ["embed", "--model", join(clip, "model.safetensors"), "--format", "npy", path];
    const { stdout } = await run(tool, words, { encoding: "buffer", maxBuffer: 1 << 26 });
    const taken = (performance.now() - start) / 1000;
    writeFileSync(embedded, stdout);
    return taken;
  };
  const names = readdirSync(pictures);
  const first = await seconds(join(pictures, names[0]));
  const all = await seconds(pictures);
  return { pictures_per_s: (names.length - 1) / (all - first), start_s: first };
}

/// The table: what, unit, our case and its field, the peer's (where there is something to compare with), and the ratio that is aimed at.
const image = "image_ms", peak = "peak_mb";
const TABLE = [
  ["image, 1 thread, relaxed SIMD", "ms", "page relaxed 1", image, "web uint8 1", "ms", 0.47],
  ["image, 1 thread, plain SIMD", "ms", "page plain 1", image, "web uint8 1", "ms", 0.85],
  ["image, 2 threads, relaxed SIMD", "ms", "page relaxed 2", image, "web uint8 2", "ms", 0.55],
  ["text, 1 thread: a prompt, the peer's padded to 77", "ms", "page text", "text_ms", "web text uint8", "ms", 0.15],
  ["peak memory of the tab, 1 thread", "MB", "page relaxed 1", peak, "web uint8 1", peak, 0.6],
  ["peak memory of the tab, 2 threads", "MB", "page relaxed 2", peak, "web uint8 2", peak, 0.6],
  ["image, 1 thread, peer int8", "ms", "page relaxed 1", image, "web int8 1", "ms"],
  ["image, 2 threads, peer int8", "ms", "page relaxed 2", image, "web int8 2", "ms"],
  ["image, 1 thread, peer f32", "ms", "page relaxed 1", image, "web f32 1", "ms"],
  ["image, 2 threads, peer f32", "ms", "page relaxed 2", image, "web f32 2", "ms"],
  ["peak memory of the tab, 1 thread, peer f32", "MB", "page relaxed 1", peak, "web f32 1", peak],
  ["native image, 1 thread, peer int8", "ms", "native oddlens 1", image, "native onnxruntime 1", "int8_ms", 1.3],
  ["native image, 1 thread, peer uint8", "ms", "native oddlens 1", image, "native onnxruntime 1", "uint8_ms"],
  ["native image, 1 thread, peer f32", "ms", "native oddlens 1", image, "native onnxruntime 1", "f32_ms"],
  ["native image, 2 threads, peer int8", "ms", "native oddlens 2", image, "native onnxruntime 2", "int8_ms"],
  ["native image, 2 threads, peer f32", "ms", "native oddlens 2", image, "native onnxruntime 2", "f32_ms"],
  ["share of the processor's peak in the image tower, 1 thread, relaxed SIMD", "", "page relaxed 1", "peak_share"],
  ["embedded model, image, 1 thread, relaxed SIMD", "ms", "page embedded", image],
  ["embedded model, from navigation to first score", "ms", "page embedded", "start_score_ms"],
  ["12 megapixels to what a model sees, 1 thread", "ms", "page embedded", "preprocess_ms"],
  ["camera of 30 frames a second: scores a second", "1/s", "page camera", "fps"],
  ["camera: from a frame to its score", "ms", "page camera", "latency_ms"],
  ["folder of JPEGs, peer transformers f32", "pictures/s", "native oddlens folder", "pictures_per_s", "native transformers folder", "pictures_per_s"],
];

/// Runs the cases in turns: their results by round, and why a case is not available.
async function measure(cases) {
  const results = {}, missing = {};
  for (let round = 1; round <= ROUNDS; round++) {
    for (const [name, once] of Object.entries(cases)) {
      if (missing[name]) continue;
      try {
        const result = await once();
        (results[name] ??= []).push(result);
        say(`round ${round} of ${ROUNDS}: ${name}: ${JSON.stringify(result, short)}`);
      } catch (error) {
        const lines = (error.stderr || error.message).trim().split("\n");
        missing[name] = lines.find((line) => /error/i.test(line)) ?? lines.at(-1);
        say(`not available: ${name}: ${missing[name]}`);
      }
    }
  }
  return { results, missing };
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/// Median and spread (largest less smallest, where there are several) over the rounds; undefined where there is nothing.
function figure(values) {
  if (!values?.length || values.some((value) => typeof value !== "number")) return undefined;
  return { median: median(values), spread: values.length > 1 ? Math.max(...values) - Math.min(...values) : undefined };
}

function compare(results) {
  return TABLE.map(([what, unit, ourCase, ourField, peerCase, peerField, goal]) => {
    const ours = results[ourCase]?.map((result) => result[ourField]);
    const peer = peerCase ? results[peerCase]?.map((result) => result[peerField]) : [];
    // by time: a rate is turned round, so that less is better in every line
    const ratio = (mine, theirs) => (unit.endsWith("/s") ? theirs / mine : mine / theirs);
    const ratios = ours?.length === peer?.length ? ours?.map((value, round) => ratio(value, peer[round])) : undefined;
    return { what, unit, ours: figure(ours), peer: peerCase ? figure(peer) : null, ratio: figure(ratios)?.median, goal };
  });
}

const short = (_, value) => (typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value);

function print(rows) {
  const cell = (number, digits = 1) => (number === undefined ? "-" : number.toFixed(digits));
  const measured = (figure) => (figure ? `${cell(figure.median, figure.median < 10 ? 2 : 1)} (${cell(figure.spread)})` : figure === null ? "-" : "not available");
  const lines = [["", "unit", "ours (spread)", "peer (spread)", "ratio", "goal"]];
  for (const { what, unit, ours, peer, ratio, goal } of rows) {
    if (ours || peer) lines.push([what, unit, measured(ours), measured(peer), cell(ratio, 2), cell(goal, 2)]);
  }
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  for (const line of lines) {
    console.log(line.map((text, column) => (column < 2 ? text.padEnd(widths[column]) : text.padStart(widths[column]))).join("  "));
  }
}

async function versions(results) {
  const found = Object.values(results).flat();
  return {
    oddlens: execFileSync("git", ["-C", repository, "describe", "--always", "--dirty"], { encoding: "utf8" }).trim(),
    chromium: found.find((result) => result.chromium)?.chromium,
    "onnxruntime-web": found.find((result) => result.version)?.version,
    ...(await python("versions")),
  };
}

const machine = { cpu: cpus()[0].model.trim(), cores: cpus().length, memory_gb: Math.round(totalmem() / 1e9) };
const load_before = loadavg()[0];
if (load_before > machine.cores / 4) say(`other work is going on (load ${load_before.toFixed(1)}): expect large spreads`);
const [ours, peer] = await Promise.all([serve({ folder: dist, isolated: true }), serve({ folder: here, isolated: true })]);
try {
  const wanted = Object.entries(cases(ours.url, peer.url)).filter(([name]) => name.includes(ONLY));
  const { results, missing } = await measure(Object.fromEntries(wanted));
  const rows = compare(results);
  print(rows);
  for (const [name, why] of Object.entries(missing)) console.log(`not available: ${name}: ${why}`);
  if (!ONLY) {
    const folder = join(repository, "benches/record");
    const file = join(folder, `${machine.cpu.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.json`);
    // other work on the machine shows in the load before the start; the bench itself brings it to 1 or 2
    const record = { date: new Date().toISOString().slice(0, 10), machine, load_before, versions: await versions(results), rounds: ROUNDS, rows, missing, results };
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, `${JSON.stringify(record, short, 1)}\n`);
    say(`recorded in ${file.slice(repository.length + 1)}`);
  }
} finally {
  await Promise.all([ours.close(), peer.close()]);
  rmSync(scratch, { recursive: true });
}
