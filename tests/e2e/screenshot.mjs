// Takes the README's picture, www/screenshot.png, from the built page with the sample pictures: `make screenshots`.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { dist, launch, repository, visit } from "./harness.mjs";
import { indexedPng } from "./pictures.mjs";
import { serve } from "../../scripts/serve.mjs";

/// The colours of a PNG as the browser decodes it: {width, height, rgba}.
async function pixels(page, png) {
  const { width, height, base64 } = await page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    let text = "";
    for (let i = 0; i < data.length; i += 0x8000) text += String.fromCharCode(...data.subarray(i, i + 0x8000));
    return { width: bitmap.width, height: bitmap.height, base64: btoa(text) };
  }, png.toString("base64"));
  return { width, height, rgba: Buffer.from(base64, "base64") };
}

/// At most `limit` colours for `rgba` (median cut: the box with the widest side is halved at its middle pixel), and the
/// number of one of them for every pixel.
function palette(rgba, limit) {
  const places = new Map(); // colour -> pixels that have it
  for (let i = 0; i < rgba.length; i += 4) {
    const key = (rgba[i] << 16) | (rgba[i + 1] << 8) | rgba[i + 2];
    places.set(key, (places.get(key) ?? 0) + 1);
  }
  const shift = [16, 8, 0];
  const measure = (colours) => {
    const spans = shift.map((s) => {
      let low = 255, high = 0;
      for (const c of colours) (low = Math.min(low, (c >> s) & 255)), (high = Math.max(high, (c >> s) & 255));
      return high - low;
    });
    const span = Math.max(...spans);
    return { colours, side: shift[spans.indexOf(span)], span };
  };
  const boxes = [measure([...places.keys()])];
  while (boxes.length < limit) {
    const widest = boxes.reduce((best, box, i) => (box.span > boxes[best].span ? i : best), 0);
    const { colours, side, span } = boxes[widest];
    if (span === 0) break;
    colours.sort((a, b) => ((a >> side) & 255) - ((b >> side) & 255));
    const half = colours.length >> 1;
    boxes.splice(widest, 1, measure(colours.slice(0, half)), measure(colours.slice(half)));
  }
  const number = new Map();
  const colours = boxes.map(({ colours }, i) => {
    let count = 0;
    const sum = [0, 0, 0];
    // what most of the box's pixels have, for flat areas keep their exact colour
    let best = colours[0];
    for (const c of colours) {
      const n = places.get(c);
      if (n > places.get(best)) best = c;
      count += n;
      shift.forEach((s, k) => (sum[k] += n * ((c >> s) & 255)));
      number.set(c, i);
    }
    return places.get(best) * 2 > count ? shift.map((s) => (best >> s) & 255) : sum.map((v) => Math.round(v / count));
  });
  const indices = Buffer.alloc(rgba.length / 4);
  for (let i = 0; i < indices.length; i++) indices[i] = number.get((rgba[i * 4] << 16) | (rgba[i * 4 + 1] << 8) | rgba[i * 4 + 2]);
  return { colours, indices };
}

const server = await serve({ folder: dist });
const browser = await launch();
try {
  await visit(browser, server.url, { context: { viewport: { width: 1400, height: 860 }, colorScheme: "light" } }, async (person, page) => {
    await person.hook("samples").click();
    await person.settled(6);
    await page.evaluate(() => { document.activeElement?.blur(); scrollTo(0, 0); });
    await page.mouse.move(5, 700);
    await person.until("the thumbnails are drawn", () => [...document.querySelectorAll('[data-testid="result"] img')].every((img) => img.complete && img.naturalWidth > 0));
    const { width, height, rgba } = await pixels(page, await page.screenshot({ animations: "disabled" }));
    const { colours, indices } = palette(rgba, 256);
    const picture = indexedPng(width, height, colours, indices);
    if (picture.length > 300_000) throw new Error(`${picture.length} bytes, at most 300,000: choose a smaller window`);
    writeFileSync(join(repository, "www/screenshot.png"), picture);
    console.log(`www/screenshot.png: ${Math.round(picture.length / 1000)} kB`);
  });
} finally {
  await browser.close();
  await server.close();
}
