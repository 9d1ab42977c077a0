// Model files in every form in which people have CLIPs, dropped on the page and picked: each scores as on the command line. And broken ones of every
// form, after each of which the page goes on with the model it had.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { deflateRawSync, gzipSync } from "node:zlib";
import { commandLine, host, launch, scratch, visit } from "./harness.mjs";
import * as files from "./model_files.mjs";
import * as pictures from "./pictures.mjs";

const inUse = (person) => person.hook("model-status").getAttribute("data-model");
const pickModel = (person, ...chosen) => person.hook("pick-model").setInputFiles(chosen.map(({ name, bytes }) => ({ name, mimeType: "application/octet-stream", buffer: bytes })));

/// Waits until another model is in use than `before`, and answers which. Weights from a seed answer as if by chance: where the page
/// hesitates for that, the visitor insists. The model's panel is open.
async function another(person, what, before) {
  const next = () => person.until(`${what} is in use`, (before) => {
    if (document.querySelector('[data-testid="use-doubtful"]')) return "doubtful";
    const lines = [...document.querySelectorAll('[data-testid="notice"] p')].map((p) => p.innerText);
    if (lines.length) throw new Error(lines.join(" / "));
    const status = document.querySelector('[data-testid="model-status"]').dataset;
    return status.state === "ready" && /^own-/.test(status.model ?? "") && status.model !== before && status.model;
  }, before);
  const model = await next();
  if (model !== "doubtful") return model;
  await person.page.getByRole("button", { name: "Dismiss" }).click();
  await person.hook("use-doubtful").click();
  await person.hook("use-doubtful").waitFor({ state: "detached" });
  return next();
}

/// What the page exports, by the name of the picture.
async function exported(person, page) {
  const [download] = await Promise.all([page.waitForEvent("download"), person.export("json")]);
  return readFileSync(await download.path(), "utf8").trim().split("\n").map((line) => JSON.parse(line));
}

describe("model files", () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser.close());

  test("each form is loaded and scores as the command line does with it", async (t) => {
    const { url } = await host(t);
    const folder = scratch(t);
    const HUGGING_FACE = "text_model.embeddings.token_embedding.weight", OPEN_AI = "token_embedding.weight";
    const config = (name) => ({ "config.json": Buffer.from(files.configurationOf(name)) });
    const openClip = (name) => ({ "open_clip_config.json": Buffer.from(files.configurationOf(name)) });
    // what is brought, by the name it has with people, and what lies beside it; bytes when they are needed
    const forms = [
      ...["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16", "f32"].map((kind) =>
        [`ggml-model-${kind}.gguf`, () => files.writeGguf(files.clipCpp(`clip-cpp-${kind}.gguf`))]),
      ["ViT-B-32.pt", () => files.writeZip(files.archive("openai-jit-f16.pt", 90, 64))],
      ["pytorch_model.bin", () => files.writeZip(files.archive("hugging-face-f32.bin", 60, 32)), config("hugging-face-f32.bin")],
      ["epoch_3.pt", () => files.writeZip(files.archive("open-clip-training.pt", 90, 64)), openClip("open-clip-training.pt")],
      ["open_clip_model.safetensors", () => files.writeSafetensors(files.safetensors("open-clip-bf16.safetensors", OPEN_AI)), openClip("open-clip-bf16.safetensors")],
      ["model.safetensors", () => files.writeSafetensors(files.safetensors("hugging-face-f16.safetensors", HUGGING_FACE)), config("hugging-face-f16.safetensors")],
    ];
    const scenes = Object.fromEntries([1, 2, 3].map((seed) => [`${seed}.png`, pictures.wave(seed)]));
    const paths = Object.entries(scenes).map(([name, bytes]) => {
      writeFileSync(join(folder, name), bytes);
      return join(folder, name);
    });
    await visit(browser, url, {}, async (person, page) => {
      await person.setClasses("orange", "school bus");
      await person.pick(...Object.entries(scenes).map(([name, bytes]) => ({ name, bytes })));
      await person.settled(paths.length);
      await person.hook("model-status").click();
      let model, last;
      for (const [n, [name, make, beside = {}]] of forms.entries()) {
        const bytes = make();
        const place = join(folder, `${n}`);
        mkdirSync(place);
        const brought = Object.entries({ [name]: bytes, ...beside }).map(([name, bytes]) => ({ name, bytes }));
        for (const { name, bytes } of brought) writeFileSync(join(place, name), bytes);
        const lines = commandLine(paths, "--normal", "orange,school bus", "--model", join(place, name));
        const began = Date.now();
        // one after the other by the one way and by the other
        await (n % 2 ? pickModel(person, ...brought) : person.drop(...brought));
        model = await another(person, name, model);
        const millis = Date.now() - began;
        const cards = await person.settled(paths.length);
        assert.equal(cards.length, paths.length, `what lies beside ${name} is no picture: ${cards.map((card) => card.name)}`);
        const told = await exported(person, page);
        let worst = 0;
        for (const [i, line] of lines.entries()) {
          assert.ok(line.path.endsWith(told[i].path), line.path);
          assert.ok(Math.abs(line.score - told[i].score) <= 1e-4, `${name}, ${told[i].path}: page ${told[i].score}, command line ${line.score}`);
          assert.equal(cards.find((card) => card.name === told[i].path).score.toFixed(4), told[i].score.toFixed(4));
          // a score may be 0 or 1 whatever the model; the cosines behind it tell models apart
          assert.equal(line.entries.length, told[i].entries.length);
          for (const [k, entry] of line.entries.entries()) worst = Math.max(worst, Math.abs(entry.cosine - told[i].entries[k].cosine));
        }
        assert.ok(worst <= 1e-5, `${name}: cosines differ by ${worst}`);
        const cosines = JSON.stringify(told.map((line) => line.entries.map((entry) => entry.cosine)));
        assert.notEqual(cosines, last, "it is this model that answers");
        last = cosines;
        t.diagnostic(`${name}: ${(bytes.length / 1e6).toFixed(1)} MB, in use after ${millis} ms; cosines differ by ${worst.toExponential(1)} at most`);
      }
    });
  });

  test("after broken files of every form the page goes on with the model it had", async (t) => {
    const { url } = await host(t);
    const gguf = (change, kind = "q4_0") => {
      const parts = files.clipCpp(`clip-cpp-${kind}.gguf`);
      change(parts, (name) => parts.tensors.find((tensor) => tensor.name === name));
      return files.writeGguf(parts);
    };
    const archive = (change) => {
      const entries = files.archive("openai-jit-f16.pt", 90, 64);
      change(entries, files.pickleOf(entries));
      return files.writeZip(entries);
    };
    const safetensors = (change) => {
      const parts = files.safetensors("hugging-face-f16.safetensors", "text_model.embeddings.token_embedding.weight");
      change(parts.header, parts);
      return files.writeSafetensors(parts);
    };
    const patched = (bytes, at, ...values) => { const b = Buffer.from(bytes); b.set(values, at); return b; };
    const whole = gguf(() => {}), zip = archive(() => {}), tensors = safetensors(() => {});
    const HUGE = [255, 255, 255, 255, 255, 255, 255, 63];
    const pickle = (text) => archive((entries, entry) => files.put(entry, Buffer.from(text, "latin1")));
    const LAYER = "vision_model.encoder.layers.0.layer_norm1.weight";
    const config = Buffer.from(files.configurationOf("hugging-face-f16.safetensors"));
    // name, bytes, what its line says, what is brought with it
    const broken = [
      ["empty.gguf", Buffer.alloc(0), /an empty file/],
      ["page.safetensors", Buffer.from("<!doctype html><html><title>404</title>"), /a web page/],
      ["pointer.bin", Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), /Git LFS pointer/],
      ["answer.pt", Buffer.from('{"error":"Entry not found"}'), /JSON/],
      ["packed.gguf", gzipSync(whole.subarray(0, 5000)), /gzip/],
      // GGUF
      ["cut-in-vocabulary.gguf", whole.subarray(0, 300_000), /tokenizer\.ggml\.tokens: expected at most \d+ in a file of this size/],
      ["cut-in-tensors.gguf", whole.subarray(0, whole.length - 64), /the end of the file before that/],
      ["tensor-too-many.gguf", patched(whole, 8, whole[8] + 1), /GGUF/],
      ["tensors-uncounted.gguf", patched(whole, 8, ...HUGE), /tensor count: expected at most/],
      ["key-too-many.gguf", patched(whole, 16, whole[16] + 1), /GGUF/],
      ["long-key.gguf", patched(whole, 24, ...HUGE), /key: expected \d+ bytes/],
      ["alignment-0.gguf", gguf(({ keys }) => (keys["general.alignment"] = files.value.u32(0))), /general\.alignment: expected a power of two/],
      ["alignment-text.gguf", gguf(({ keys }) => (keys["general.alignment"] = files.value.text("32"))), /general\.alignment: expected a power of two/],
      ["nested-array.gguf", gguf(({ keys }) => (keys.nested = patched(files.value.texts([]), 4, 9))), /an array of numbers or texts/],
      ["overlap.gguf", gguf(({ tensors }) => (tensors[3].offset = 0)), /on the same bytes/],
      ["far-away.gguf", gguf(({ tensors }) => (tensors.at(-1).offset = 2 ** 52)), /the end of the file before that/],
      ["overflow.gguf", gguf((_, tensor) => (tensor("v.position_embd.weight").dims = [2 ** 33, 2 ** 33])), /no more numbers than the file holds/],
      ["q6_K.gguf", gguf((_, tensor) => (tensor("v.blk.0.attn_q.weight").type = 14)), /type of v\.blk\.0\.attn_q\.weight: expected f32.*got a K-quant/],
      ["nan.gguf", gguf((_, tensor) => tensor("v.blk.1.ln2.bias").data.writeFloatLE(NaN, 8), "f32"), /layer_norm2\.bias: expected finite numbers, got NaN at 2/],
      ["nan-block.gguf", gguf((_, tensor) => tensor("t.blk.0.ffn_down.weight").data.writeUInt16LE(0x7e00, 34), "q8_0"), /fc1\.weight: expected finite numbers, got NaN/],
      ["layer-missing.gguf", gguf((parts) => (parts.tensors = parts.tensors.filter((tensor) => !tensor.name.startsWith("v.blk.0.")))), /layers\.0/],
      ["tensor-missing.gguf", gguf((parts) => (parts.tensors = parts.tensors.filter((tensor) => tensor.name !== "v.post_ln.bias"))), /post_layernorm\.bias: missing/],
      ["shape.gguf", gguf((_, tensor) => Object.assign(tensor("t.blk.1.ln1.weight"), { dims: [16], data: Buffer.alloc(64) })), /layer_norm1\.weight: expected shape \[32\], got \[16\]/],
      ["picture-size.gguf", gguf(({ keys }) => (keys["clip.vision.image_size"] = files.value.u32(48))), /image size is 48 by its keys and 24 by its tensors/],
      ["half.gguf", gguf((parts) => {
        parts.keys["clip.has_text_encoder"] = files.value.bool(false);
        parts.tensors = parts.tensors.filter((tensor) => !tensor.name.startsWith("t."));
      }), /no text tower/],
      ["few-words.gguf", files.unpack("clip-cpp-q4_0.gguf"), /60 rows: expected 49408/],
      // PyTorch's archives
      ["cut.pt", zip.subarray(0, zip.length >> 1), /a whole zip archive/],
      ["cut-at-the-end.pt", zip.subarray(0, zip.length - 10), /a whole zip archive/],
      ["document.pt", files.writeZip([{ name: "word/document.xml", method: 0, crc: 0, size: 4, data: Buffer.from("<a/>") }]), /a zip archive of something else/],
      ["too-long-entry.pt", archive((entries) => (entries[2].claims = 2 ** 31)), /PyTorch archive/],
      ["short-entry.pt", archive((entries) => entries.filter((entry) => /\/data\/\d+$/.test(entry.name)).forEach((entry) => files.put(entry, entry.data.subarray(0, entry.data.length >> 1)))), /numbers at \d+ within data/],
      ["entry-missing.pt", archive((entries) => entries.splice(entries.findIndex((entry) => /\/data\/0$/.test(entry.name)), 1)), /an entry data\/0/],
      ["compressed.pt", archive((entries) => {
        const entry = entries.find((entry) => /\/data\/0$/.test(entry.name));
        Object.assign(entry, { method: 8, data: deflateRawSync(entry.data) });
      }), /compressed/],
      ["big-endian.pt", archive((entries) => files.put(entries.find((entry) => entry.name.endsWith("/byteorder")), Buffer.from("big"))), /byte order: expected little/],
      ["system.pt", pickle("\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."), /a call of os\.system/],
      ["opcode.pt", pickle("\x80\x02(ios\nsystem\n."), /an opcode of plain data, got 0x69/],
      ["pickle-cut.pt", archive((_, entry) => files.put(entry, entry.data.subarray(0, 4000))), /pickle at \d+/],
      ["pickle-text.pt", pickle("\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx."), /pickle at \d+: expected more bytes/],
      ["doubles.pt", archive((_, entry) => files.put(entry, Buffer.from(entry.data.toString("latin1").replaceAll("HalfStorage", "DoubleStorage"), "latin1"))), /expected f32, f16 or bf16, got torch\.DoubleStorage/],
      ["infinite.pt", archive((entries) => entries.filter((entry) => /\/data\/\d+$/.test(entry.name) && entry.data.length > 2000).forEach((entry) => {
        const data = Buffer.from(entry.data);
        data.writeUInt16LE(0x7c00, 100);
        files.put(entry, data);
      })), /expected finite numbers, got inf at/],
      ["untold.bin", files.writeZip(files.archive("hugging-face-f32.bin", 60, 32)), /heads and activation: expected .*config\.json/],
      // safetensors
      ["long-header.safetensors", patched(tensors, 0, 0, 0, 0, 1, 0, 0, 0, 0), /length of the header/],
      ["cut.safetensors", tensors.subarray(0, tensors.length - 1), /safetensors: data/],
      ["cut-header.safetensors", tensors.subarray(0, 4000), /safetensors: header/],
      ["range.safetensors", safetensors((header) => (header[LAYER].shape = [63])), /safetensors: header/],
      ["overlap.safetensors", safetensors((header) => (header[LAYER].data_offsets = header["vision_model.encoder.layers.0.layer_norm1.bias"].data_offsets)), /safetensors: header/],
      ["twice.safetensors", safetensors((header, parts) => (parts.header = JSON.stringify(header).replace(LAYER, LAYER.replace("weight", "bias")))), /safetensors: header/],
      ["infinite.safetensors", safetensors((header, { body }) => body.writeUInt16LE(0xfc00, header[LAYER].data_offsets[0])), /layer_norm1\.weight: expected finite numbers, got -inf at 0/, { "config.json": config }],
      ["heads.safetensors", tensors, /vision heads: expected a divisor of 64, got 7/, { "config.json": Buffer.from(config.toString().replace(/("vision_config".*"num_attention_heads":)2/, "$17")) }],
      ["other-config.safetensors", tensors, /configuration is not usable|expected vision_config and text_config/, { "config.json": Buffer.from('{"model_type":"bert"}') }],
    ];
    assert.ok(broken.length >= 20);
    await visit(browser, url, {}, async (person, page) => {
      await person.hook("model-status").click();
      await person.drop({ name: "good.gguf", bytes: gguf(() => {}, "q8_0") });
      const model = await another(person, "the good one");
      await person.pick({ name: "a.png", bytes: pictures.blob(1) });
      const [before] = await person.settled(1);
      const kept = await person.page.locator('[data-testid="model"][data-kept="true"]').count();
      let slowest = [0];
      for (const [i, [name, bytes, says, beside = {}]] of broken.entries()) {
        const began = Date.now();
        await pickModel(person, { name, bytes }, ...Object.entries(beside).map(([name, bytes]) => ({ name, bytes })));
        const lines = await person.until(`${name} is refused`, () => {
          const lines = [...document.querySelectorAll('[data-testid="notice"] p')].map((p) => p.innerText);
          return document.querySelector('[data-testid="model-status"]').dataset.state === "ready" && lines.length > 0 && lines;
        });
        if (Date.now() - began > slowest[0]) slowest = [Date.now() - began, name];
        assert.equal(lines.length, 1, `${name}: one line: ${lines}`);
        assert.ok(lines[0].includes(`${name}: `) && !lines[0].includes("\n") && lines[0].length < 500, lines[0]);
        assert.match(lines[0], says, name);
        assert.match(lines[0], /good\.gguf stays in use\.$/);
        assert.doesNotMatch(lines[0], /undefined|\[object|panicked|unwrap|RuntimeError|unreachable/, name);
        t.diagnostic(lines[0]);
        await page.getByRole("button", { name: "Dismiss" }).click();
        await person.until("the line is gone", () => document.querySelectorAll('[data-testid="notice"] p').length === 0);
        // a new picture each time: what is known of the old one is kept
        await person.pick({ name: `${i}.png`, bytes: pictures.blob(1) });
        const cards = await person.settled(i + 2);
        assert.deepEqual([cards.length, cards.at(-1).state, cards.at(-1).score], [i + 2, "done", before.score], `after ${name}`);
        assert.equal(await inUse(person), model);
      }
      assert.equal(await person.page.locator('[data-testid="model"][data-kept="true"]').count(), kept, "nothing of them is kept");
      t.diagnostic(`${broken.length} files; the slowest answer after ${slowest.join(" ms: ")}`);
    });
  });
});
