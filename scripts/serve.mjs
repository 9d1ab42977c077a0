// A static file server for the built page: `node scripts/serve.mjs [--port 8080] [--base /sub/] [--isolated] [FOLDER]`.
// It serves files with the types browsers insist on and nothing else: no listing, no fallback page, no header that a
// plain static host would not send, but for the two of --isolated, which allow threads from the first visit on. The tests in the browser use it too, at `/` and at a sub-path.

import { createServer } from "node:http";
import { readFile, stat } from "node:fs/promises";
import { extname, join, normalize, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".gguf": "application/octet-stream",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".jpg": "image/jpeg",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".md": "text/markdown; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
  ".webp": "image/webp",
};

const ISOLATION = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

/// Serves `folder` under `base`; port 0 takes any free one. Answers {url, requests, close}: `requests` grows by the path
/// of each request, `close` ends at once, open connections included (the network is cut). `wait` answers a promise for each path:
/// the file goes out when it is kept.
export async function serve({ folder, port = 0, base = "/", host = "127.0.0.1", isolated = false, headers = {}, wait = () => undefined }) {
  const root = resolve(folder);
  const requests = [];
  const server = createServer(async (request, response) => {
    const answer = (status, type, body) => {
      response.writeHead(status, { "content-type": type, "content-length": body.length, "cache-control": "no-cache", ...(isolated ? ISOLATION : {}), ...headers });
      response.end(request.method === "HEAD" ? undefined : body);
    };
    const refuse = (status, words) => answer(status, "text/plain; charset=utf-8", Buffer.from(`${status} ${words}\n`));
    try {
      let path;
      try {
        path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
      } catch {
        return refuse(400, "bad request");
      }
      requests.push(path);
      await wait(path);
      if (!["GET", "HEAD"].includes(request.method)) return refuse(405, "only GET and HEAD");
      if (`${path}/` === base) {
        response.writeHead(301, { location: base });
        return response.end();
      }
      if (!path.startsWith(base)) return refuse(404, "not found");
      let file = normalize(join(root, path.slice(base.length)));
      if (file !== root && !file.startsWith(root + sep)) return refuse(404, "not found");
      if (path.endsWith("/")) file = join(file, "index.html");
      const known = await stat(file).catch(() => undefined);
      if (!known?.isFile()) return refuse(404, "not found");
      answer(200, TYPES[extname(file)] ?? "application/octet-stream", await readFile(file));
    } catch (error) {
      if (!response.headersSent) refuse(500, String(error.message));
    }
  });
  await new Promise((done, fail) => server.once("error", fail).listen(port, host, done));
  return {
    url: `http://${host}:${server.address().port}${base}`,
    requests,
    close: () => new Promise((done) => (server.close(done), server.closeAllConnections())),
  };
}

if (process.argv[1] && fileURLToPath(import.meta.url) === resolve(process.argv[1])) {
  const words = process.argv.slice(2);
  const option = (name, otherwise) => {
    const at = words.indexOf(name);
    return at < 0 ? otherwise : words.splice(at, 2)[1];
  };
  const wanted = Number(option("--port", 8080));
  const base = option("--base", "/");
  const isolated = words.includes("--isolated");
  const folder = words.find((word) => word !== "--isolated") ?? "dist";
  // a busy port is no reason to give up: the next ones are tried
  for (let port = wanted; ; port++) {
    try {
      const { url } = await serve({ folder, port, base, isolated });
      console.log(`Oddlens is at ${url} (Ctrl-C ends it)`);
      break;
    } catch (error) {
      if (error.code !== "EADDRINUSE" || port >= wanted + 20) throw error;
    }
  }
}
