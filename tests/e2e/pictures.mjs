// Files to show to the page: pictures and things that are not, all made here from numbers, so that none is committed
// and each test sees what it is given. It knows nothing of the page.

import zlib from "node:zlib";

// Node 20 before 20.15 has no crc32 of its own
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
export const crc32 = zlib.crc32 ?? ((bytes) => {
  let c = 0xffffffff;
  for (const b of bytes) c = TABLE[(c ^ b) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
});

const u32be = (n) => { const b = Buffer.alloc(4); b.writeUInt32BE(n); return b; };
const u16le = (n) => { const b = Buffer.alloc(2); b.writeUInt16LE(n); return b; };
const u32le = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };

function chunk(kind, body) {
  const named = Buffer.concat([Buffer.from(kind, "latin1"), body]);
  return Buffer.concat([u32be(body.length), named, u32be(crc32(named))]);
}

const PNG_SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
const ihdr = (width, height, depth, colour) =>
  chunk("IHDR", Buffer.concat([u32be(width), u32be(height), Buffer.from([depth, colour, 0, 0, 0])]));

/// A PNG of `width` x `height`; `at(x, y)` answers its samples, 0 to 255 (depth 16: 0 to 65535): one of them makes a
/// grey picture, two grey with alpha, three RGB, four RGBA.
export function png(width, height, at, depth = 8) {
  const samples = at(0, 0).length;
  const colour = { 1: 0, 2: 4, 3: 2, 4: 6 }[samples];
  const bytes = depth / 8;
  const rows = Buffer.alloc(height * (1 + width * samples * bytes));
  let p = 0;
  for (let y = 0; y < height; y++) {
    rows[p++] = 0; // no filter
    for (let x = 0; x < width; x++) {
      for (const s of at(x, y)) p = depth === 16 ? rows.writeUInt16BE(s & 65535, p) : rows.writeUInt8(s & 255, p);
    }
  }
  return Buffer.concat([PNG_SIGNATURE, ihdr(width, height, depth, colour), chunk("IDAT", zlib.deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

/// A PNG whose pixels (`indices`, row by row) are numbers of `colours` (RGB, at most 256).
export function indexedPng(width, height, colours, indices) {
  const rows = Buffer.alloc(height * (width + 1));
  for (let y = 0; y < height; y++) indices.copy(rows, y * (width + 1) + 1, y * width, (y + 1) * width);
  return Buffer.concat([
    PNG_SIGNATURE, ihdr(width, height, 8, 3), chunk("PLTE", Buffer.from(colours.flat())),
    chunk("IDAT", zlib.deflateSync(rows, { level: 9 })), chunk("IEND", Buffer.alloc(0)),
  ]);
}

/// A smooth picture that differs for every seed.
export function blob(seed, size = 96) {
  const [r, g, b] = [seed * 53, seed * 97 + 40, seed * 151 + 90];
  return png(size, size, (x, y) => {
    const d = Math.hypot(x - size / 2 + (seed % 7) * 3, y - size / 2 - (seed % 5) * 3) / size;
    return d < 0.33 ? [r & 255, g & 255, b & 255] : [200 - (y * 90) / size, 205 - (x * 60) / size, 215 - ((x + y) * 20) / size].map(Math.round);
  });
}

/// A pattern whose scores against "orange" lie well apart for different seeds (8: 0.38, 4: 0.63, 3: 0.72).
export const wave = (seed) =>
  png(96, 96, (x, y) => [128 + 100 * Math.sin(x / (3 + seed * 2)), 128 + 100 * Math.cos(y / (2 + seed * 3)), (x * 3 + y * seed) % 256].map(Math.round));

/// Only the head of a PNG that claims to be 20,000 x 20,000 (1.2 GB of pixels), and a little of its body.
export function hugePng() {
  const body = zlib.deflateSync(Buffer.alloc(60001));
  return Buffer.concat([PNG_SIGNATURE, ihdr(20000, 20000, 8, 2), chunk("IDAT", body), chunk("IEND", Buffer.alloc(0))]);
}

/// A BMP of 24 bits, bottom row first.
export function bmp(width, height, at) {
  const stride = (width * 3 + 3) & ~3;
  const body = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [r, g, b] = at(x, height - 1 - y);
      body.set([b & 255, g & 255, r & 255], y * stride + x * 3);
    }
  }
  return Buffer.concat([
    Buffer.from("BM"), u32le(54 + body.length), u32le(0), u32le(54),
    u32le(40), u32le(width), u32le(height), u16le(1), u16le(24), u32le(0), u32le(body.length), u32le(2835), u32le(2835), u32le(0), u32le(0),
    body,
  ]);
}

/// An uncompressed RGB TIFF of one strip.
export function tiff(width, height, at) {
  const body = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) body.set(at(x, y).map((v) => v & 255), (y * width + x) * 3);
  const entries = [
    [256, 4, 1, width], [257, 4, 1, height], [258, 3, 3, 8 + 2 + 9 * 12 + 4], [259, 3, 1, 1], [262, 3, 1, 2],
    [273, 4, 1, 8 + 2 + 9 * 12 + 4 + 6], [277, 3, 1, 3], [278, 4, 1, height], [279, 4, 1, body.length],
  ];
  return Buffer.concat([
    Buffer.from("II*\0"), u32le(8), u16le(entries.length),
    ...entries.map(([tag, type, count, value]) => Buffer.concat([u16le(tag), u16le(type), u32le(count), u32le(value)])),
    u32le(0), u16le(8), u16le(8), u16le(8), body,
  ]);
}

/// A GIF of several frames, each a function of (x, y) to a palette index; `palette` holds up to 128 RGB colours.
export function gif(width, height, palette, frames) {
  const table = Buffer.alloc(128 * 3);
  palette.forEach((rgb, i) => table.set(rgb, i * 3));
  const parts = [Buffer.from("GIF89a"), u16le(width), u16le(height), Buffer.from([0xf6, 0, 0]), table,
    Buffer.from([0x21, 0xff, 11]), Buffer.from("NETSCAPE2.0"), Buffer.from([3, 1, 0, 0, 0])];
  for (const at of frames) {
    parts.push(Buffer.from([0x21, 0xf9, 4, 4, 10, 0, 0, 0]), Buffer.from([0x2c, 0, 0, 0, 0]), u16le(width), u16le(height), Buffer.from([0, 7]));
    // LZW without compression: codes of eight bits, and "clear" (128) before the table would make them nine
    const codes = [];
    for (let i = 0; i < width * height; i++) {
      if (i % 120 === 0) codes.push(128);
      codes.push(at(i % width, Math.floor(i / width)));
    }
    codes.push(129);
    for (let i = 0; i < codes.length; i += 255) {
      const block = codes.slice(i, i + 255);
      parts.push(Buffer.from([block.length, ...block]));
    }
    parts.push(Buffer.from([0]));
  }
  parts.push(Buffer.from([0x3b]));
  return Buffer.concat(parts);
}

/// `jpeg` with an Exif block that says how to turn it upright (1 to 8).
export function orientedJpeg(jpeg, orientation) {
  const exif = Buffer.concat([
    Buffer.from("Exif\0\0II*\0"), u32le(8), u16le(1), u16le(0x0112), u16le(3), u32le(1), u16le(orientation), u16le(0), u32le(0),
  ]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(exif.length + 2);
  return Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xe1]), length, exif, jpeg.subarray(2)]);
}

/// The first bytes of a HEIC file (an ISO box "ftyp" of brand "heic") and noise after them.
export const heic = () =>
  Buffer.concat([u32be(24), Buffer.from("ftypheic"), u32be(0), Buffer.from("mif1heic"), noise(500, 7)]);

export const svg = () =>
  Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><script>document.title="owned"</script><circle cx="32" cy="32" r="20"/></svg>');

/// `n` bytes that follow from the seed and belong to no format.
export function noise(n, seed = 1) {
  let s = seed >>> 0;
  return Buffer.from(Array.from({ length: n }, () => (s = (Math.imul(s, 1664525) + 1013904223) >>> 0) >>> 24));
}

/// A video without sound for Chromium's fake camera, `rate` frames a second: raw frames 4:2:0, a bright disc that wanders.
export function y4m(width = 320, height = 240, frames = 12, rate = 10) {
  const parts = [Buffer.from(`YUV4MPEG2 W${width} H${height} F${rate}:1 Ip A1:1 C420mpeg2\n`)];
  for (let f = 0; f < frames; f++) {
    const y = Buffer.alloc(width * height);
    const cx = width / 2 + Math.cos((f / frames) * 2 * Math.PI) * 50;
    for (let j = 0; j < height; j++) for (let i = 0; i < width; i++) y[j * width + i] = Math.hypot(i - cx, j - height / 2) < 70 ? 150 : 60 + j / 4;
    const quarter = (width / 2) * (height / 2);
    parts.push(Buffer.from("FRAME\n"), y, Buffer.alloc(quarter, 90), Buffer.alloc(quarter, 180));
  }
  return Buffer.concat(parts);
}
