// Model files as other people's tools write them, made without Python: the small ones of tests/reference/files (by transformers, open_clip, torch,
// torch.jit and gguf-py) with a whole vocabulary. Their token tables have 60 or 90 rows, where CLIP has 49,408: the rows they have are
// repeated. It knows as much of GGUF, safetensors, zip and pickles as it takes to do that, and to break such files.

import { gunzipSync } from "node:zlib";
import { file } from "./harness.mjs";
import { crc32 } from "./pictures.mjs";

const ROWS = 49408;

/// A file of tests/reference/files.
export const unpack = (name) => gunzipSync(file("tests/reference/files", `${name}.gz`));

/// What OpenCLIP's or Hugging Face's configuration beside it holds, as text.
export const configurationOf = (name) => JSON.stringify(JSON.parse(file("tests/reference/files.json")).cases.find((c) => c.file === name).config);

/// `bytes`, again and again, until there are `size`.
const repeated = (bytes, size) => Buffer.alloc(size, bytes);

const u16 = (n) => { const b = Buffer.alloc(2); b.writeUInt16LE(n); return b; };
const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };

// ---------------------------------------------------------------------------------------------------------------------- GGUF
// ggml's docs/gguf.md
const TEXT = 8, ARRAY = 9;
const VALUE_BYTES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
/// Numbers and bytes of a block, by type.
const BLOCKS = { 0: [1, 4], 1: [1, 2], 2: [32, 18], 3: [32, 20], 6: [32, 22], 7: [32, 24], 8: [32, 34], 30: [1, 2] };
const ALIGNMENT = 32;
const string = (text) => { const bytes = Buffer.from(text); return Buffer.concat([u64(bytes.length), bytes]); };

/// A key's value as it stands in a file.
export const value = {
  u32: (n) => Buffer.concat([u32(4), u32(n)]),
  text: (text) => Buffer.concat([u32(TEXT), string(text)]),
  bool: (truth) => Buffer.concat([u32(7), Buffer.from([truth ? 1 : 0])]),
  texts: (list) => Buffer.concat([u32(ARRAY), u32(TEXT), u64(list.length), ...list.map(string)]),
};

/// `{version, keys: name → value as it stands there, tensors: [{name, dims, type, data}]}`; dims as there, the fastest first.
export function readGguf(bytes) {
  let at = 4;
  const next32 = () => bytes.readUInt32LE((at += 4) - 4);
  const next64 = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const text = () => { const length = next64(); return bytes.toString("utf8", at, (at += length)); };
  const pass = (type) => {
    if (type === TEXT) text();
    else if (type !== ARRAY) at += VALUE_BYTES[type];
    else for (let item = next32(), left = next64(); left > 0; left--) pass(item);
  };
  const version = next32(), tensorCount = next64(), keyCount = next64();
  const keys = {};
  for (let i = 0; i < keyCount; i++) {
    const name = text(), start = at;
    pass(next32());
    keys[name] = bytes.subarray(start, at);
  }
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = text();
    const dims = Array.from({ length: next32() }, next64);
    return { name, dims, type: next32(), offset: next64() };
  });
  const start = Math.ceil(at / ALIGNMENT) * ALIGNMENT;
  for (const tensor of tensors) {
    const [numbers, size] = BLOCKS[tensor.type];
    const length = (tensor.dims.reduce((a, b) => a * b, 1) / numbers) * size;
    tensor.data = bytes.subarray(start + tensor.offset, start + tensor.offset + length);
    delete tensor.offset;
  }
  return { version, keys, tensors };
}

/// The file of these. A tensor with an `offset` says that it lies there.
export function writeGguf({ version, keys, tensors }) {
  const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & (ALIGNMENT - 1))]);
  let offset = 0;
  const infos = tensors.map((t) => {
    const info = Buffer.concat([string(t.name), u32(t.dims.length), ...t.dims.map(u64), u32(t.type), u64(t.offset ?? offset)]);
    offset += padded(t.data).length;
    return info;
  });
  const head = [Buffer.from("GGUF"), u32(version), u64(tensors.length), u64(Object.keys(keys).length)];
  for (const [name, bytes] of Object.entries(keys)) head.push(string(name), bytes);
  return Buffer.concat([padded(Buffer.concat([...head, ...infos])), ...tensors.map((t) => padded(t.data))]);
}

/// OpenAI's vocabulary in its order: visible characters and the stand-ins of the other bytes, both once more as ends of words, what the
/// rules make (those that the site's own model carries), the markers.
function vocabulary() {
  const raw = readGguf(file("weights/mini.gguf")).keys["tokenizer.ggml.merges"];
  const rules = [];
  for (let at = 16; at < raw.length; ) {
    const length = Number(raw.readBigUInt64LE(at));
    rules.push(raw.toString("utf8", at + 8, at + 8 + length));
    at += 8 + length;
  }
  const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => String.fromCodePoint(from + i));
  const bytes = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff), ...range(0x100, 0x143)];
  return [...bytes, ...bytes.map((b) => `${b}</w>`), ...rules.map((rule) => rule.replace(" ", "")), "<|startoftext|>", "<|endoftext|>"];
}

/// A file of clip.cpp's with a whole vocabulary.
export function clipCpp(name) {
  const gguf = readGguf(unpack(name));
  const table = gguf.tensors.find((t) => t.name === "t.token_embd.weight");
  table.data = repeated(table.data, (table.data.length / table.dims[1]) * ROWS);
  table.dims[1] = ROWS;
  gguf.keys["tokenizer.ggml.tokens"] = value.texts(vocabulary());
  return gguf;
}

// ----------------------------------------------------------------------------------------------------------- PyTorch's archives
/// Entries `{name, method, crc, size, data}` of a zip archive, the data as they stand there.
export function readZip(bytes) {
  const end = bytes.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  let at = bytes.readUInt32LE(end + 16);
  return Array.from({ length: bytes.readUInt16LE(end + 10) }, () => {
    const [names, extra, comment] = [28, 30, 32].map((o) => bytes.readUInt16LE(at + o));
    const local = bytes.readUInt32LE(at + 42), packed = bytes.readUInt32LE(at + 20);
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const entry = {
      name: bytes.toString("utf8", at + 46, at + 46 + names), method: bytes.readUInt16LE(at + 10), crc: bytes.readUInt32LE(at + 16),
      size: bytes.readUInt32LE(at + 24), data: bytes.subarray(start, start + packed),
    };
    at += 46 + names + extra + comment;
    return entry;
  });
}

/// The archive of these, each entry's data at a multiple of 64 bytes, as PyTorch puts them. An entry may claim to have more bytes than it has.
export function writeZip(entries) {
  const parts = [], directory = [];
  let at = 0;
  for (const { name, method, crc, size, data, claims = data.length } of entries) {
    const label = Buffer.from(name);
    const fill = -(at + 30 + label.length + 4) & 63;
    const common = Buffer.concat([u16(0), u16(method), u32(0), u32(crc), u32(claims), u32(size), u16(label.length)]);
    const local = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), u16(0), common, u16(4 + fill), label, Buffer.from("FB"), u16(fill), Buffer.alloc(fill, "Z")]);
    directory.push(Buffer.concat([Buffer.from("PK\x01\x02", "latin1"), u16(0), u16(0), common, u16(0), u16(0), u16(0), u16(0), u32(0), u32(at), label]));
    parts.push(local, data);
    at += local.length + data.length;
  }
  const list = Buffer.concat(directory);
  const end = Buffer.concat([Buffer.from("PK\x05\x06", "latin1"), u16(0), u16(0), u16(entries.length), u16(entries.length), u32(list.length), u32(at), u16(0)]);
  return Buffer.concat([...parts, list, end]);
}

/// Gives an entry other bytes, and what is said of them.
export function put(entry, data) {
  Object.assign(entry, { data, size: data.length, crc: crc32(data) });
}

export const pickleOf = (entries) => entries.find((entry) => entry.name.endsWith("/data.pkl"));

/// A file that torch.save or torch.jit.save wrote, with a whole vocabulary; `rows` and `columns` are its token table's.
export function archive(name, rows, columns) {
  const entries = readZip(unpack(name));
  const pickle = pickleOf(entries);
  // `((storage, ..., key, ..., numbers), offset, (rows, columns), ...`, both in torch.save's words and in torch.jit's: BININT1 each, and BININT2
  const sizes = Buffer.from([0x4b, rows, 0x4b, columns]);
  const at = pickle.data.indexOf(sizes);
  const count = Buffer.concat([Buffer.from("M"), u16(rows * columns)]);
  const counted = pickle.data.lastIndexOf(count, at);
  // BINUNICODE of one digit or two
  const key = pickle.data.toString("latin1", 0, counted).match(/X[\x01\x02]\0\0\0\d{1,2}/g).at(-1).slice(5);
  const table = entries.find((entry) => entry.name.endsWith(`/data/${key}`));
  put(table, repeated(table.data, (table.data.length / rows) * ROWS));
  const long = (n) => Buffer.concat([Buffer.from("J"), u32(n)]);
  put(pickle, Buffer.concat([
    pickle.data.subarray(0, counted), long(ROWS * columns), pickle.data.subarray(counted + count.length, at), long(ROWS), pickle.data.subarray(at + 2),
  ]));
  return entries;
}

// ---------------------------------------------------------------------------------------------------------------- safetensors
/// `{header, body}`; the header as the object that it is.
export function readSafetensors(bytes) {
  const data = 8 + Number(bytes.readBigUInt64LE(0));
  return { header: JSON.parse(bytes.toString("utf8", 8, data)), body: bytes.subarray(data) };
}

/// The file of these; the header may be text, which need not be right.
export function writeSafetensors({ header, body }) {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  return Buffer.concat([u64(text.length), text, body]);
}

/// A safetensors file with a whole vocabulary; `table` is the name of its token table, which is moved to the end.
export function safetensors(name, table) {
  const { header, body } = readSafetensors(unpack(name));
  const { [table]: info, ...others } = header;
  const [start, end] = info.data_offsets;
  const size = ((end - start) / info.shape[0]) * ROWS;
  const moved = (at) => (at > start ? at - (end - start) : at);
  for (const other of Object.values(others)) if (other.data_offsets) other.data_offsets = other.data_offsets.map(moved);
  const rest = Buffer.concat([body.subarray(0, start), body.subarray(end)]);
  others[table] = { ...info, shape: [ROWS, info.shape[1]], data_offsets: [rest.length, rest.length + size] };
  return { header: others, body: Buffer.concat([rest, repeated(body.subarray(start, end), size)]) };
}
