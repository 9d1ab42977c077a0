// A server that behaves like a model hub: an address that redirects to where the bytes lie, with the file's size and SHA-256 in the
// redirect's headers (which pages do not see) and in a Git LFS pointer, ranges, cross-origin headers; and that can be made to behave badly.

import { createHash } from "node:crypto";
import { createServer } from "node:http";

const EXPOSED = "ETag, Accept-Ranges, Content-Range, X-Linked-Size, X-Linked-ETag";
/// Until the response has room again, or is closed.
const room = (response) => new Promise((done) => {
  const listener = () => {
    for (const name of ["drain", "close"]) response.off(name, listener);
    done();
  };
  for (const name of ["drain", "close"]) response.on(name, listener);
});
/// Before a connection is cut: a page on a busy machine reads what has come by then, and a browser throws away the rest.
const CUT_MILLIS = 1500;
const sleep = (millis) => new Promise((done) => setTimeout(done, millis));

/// Serves `files` (path → bytes). What it does wrong may be changed at any time:
/// `cuts`: byte positions at which connections break, used up one by one; `broken`: every connection breaks before its first byte, with `brokenAfterCut`
/// from the first cut on;
/// `ranges`: whether it knows ranges; `wrong`: one byte is another; `page`: an HTML page instead of the bytes; `stallAt`: from
/// there on nothing comes, unless only what lies beyond it is asked for; `pace`: milliseconds between pieces of 64 KiB; `declares`: whether it tells the SHA-256; `holdsBeside`: no answer
/// comes where there is no such file; `holdsRanges`: nor where a part of one is asked for.
export async function hub(t, files) {
  const self = { files, requests: [], cuts: [], broken: false, brokenAfterCut: false, ranges: true, wrong: false, page: false, stallAt: Infinity, pace: 0, declares: true, holdsBeside: false, holdsRanges: false };
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const cors = { "access-control-allow-origin": "*", "access-control-expose-headers": EXPOSED, vary: "Origin" };
    const where = path.replace(/^\/cdn/, "").replace("/raw/", "/resolve/");
    const bytes = self.files[where];
    if (request.method === "OPTIONS") {
      response.writeHead(204, { ...cors, "access-control-allow-headers": "*", "access-control-allow-methods": "GET, HEAD" });
      return response.end();
    }
    // what lies beside a model, asked for in vain and for long
    if (!bytes && self.holdsBeside) return void setTimeout(() => response.destroy(), 30_000).unref();
    if (!bytes) {
      response.writeHead(404, { ...cors, "content-type": "text/plain" });
      return response.end("Entry not found\n");
    }
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const linked = self.declares ? { "x-linked-etag": `"${sha256}"`, "x-linked-size": String(bytes.length) } : {};
    if (path.includes("/raw/") && bytes.length > 10_000) {
      response.writeHead(self.declares ? 200 : 404, { ...cors, "content-type": "text/plain; charset=utf-8" });
      return response.end(self.declares ? `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${bytes.length}\n` : "");
    }
    if (!path.startsWith("/cdn/") && bytes.length > 10_000) {
      response.writeHead(302, { ...cors, ...linked, location: `/cdn${path}?signature=x` });
      return response.end();
    }
    const range = self.ranges && /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
    const start = range ? Number(range[1]) : 0;
    self.requests.push({ path: where, start });
    if (start && self.holdsRanges) return void setTimeout(() => response.destroy(), 30_000).unref();
    if (self.page) {
      response.writeHead(200, { ...cors, "content-type": "text/html" });
      return response.end("<!doctype html><title>Sign in</title><p>Sign in to go on.".padEnd(4000, " "));
    }
    if (start >= bytes.length) {
      response.writeHead(416, { ...cors, "content-range": `bytes */${bytes.length}` });
      return response.end();
    }
    const head = { ...cors, etag: `"${sha256.slice(0, 32)}"`, "content-type": "application/octet-stream", "content-length": bytes.length - start };
    if (self.ranges) head["accept-ranges"] = "bytes";
    if (range) head["content-range"] = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
    if (self.broken) return response.destroy();
    response.writeHead(range ? 206 : 200, head);
    const cut = self.cuts.shift() ?? Infinity;
    for (let at = start; at < bytes.length && !response.destroyed; ) {
      const end = Math.min(at + (1 << 16), bytes.length, Math.max(cut, at), start > self.stallAt ? Infinity : Math.max(self.stallAt, at));
      if (end === at) {
        if (at >= self.stallAt) while (!response.destroyed && at >= self.stallAt) await sleep(50);
        else {
          self.broken ||= self.brokenAfterCut;
          response.destroy();
        }
        if (response.destroyed) return;
        continue;
      }
      const piece = Buffer.from(bytes.subarray(at, end));
      if (self.wrong && at <= bytes.length - 1000 && end > bytes.length - 1000) piece[bytes.length - 1000 - at] ^= 1;
      // what was cut off had arrived until there
      if (!response.write(piece)) await room(response);
      at = end;
      if (self.pace || at === cut) await sleep(Math.max(self.pace, at === cut ? CUT_MILLIS : 0));
    }
    response.end();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  self.url = `http://127.0.0.1:${server.address().port}`;
  self.close = () => new Promise((done) => (server.close(done), server.closeAllConnections()));
  t.after(() => self.close().catch(() => {}));
  return self;
}
