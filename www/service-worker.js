// Makes a page that was opened once open again without a network. Network first for what may change, cache first for what is
// named by its version; only GETs of our own; any trouble falls through to the browser's own way.
//
// It also gives the page, from its second visit on, what a host may not be able to: the two headers with which a browser lets
// threads share memory.

const VERSION = 'dev'; // both lines are filled in by finish.mjs
const FILES = [];
const CACHE = `oddlens ${self.registration.scope} ${VERSION}`;
importScripts('probe.js');
const UNUSED = self.hasRelaxedSimd ? /^worker(_bg)?\./ : /^worker-relaxed/;
const OURS = `oddlens ${self.registration.scope} `;

self.addEventListener('install', (event) => {
  const fill = async () => {
    const cache = await caches.open(CACHE);
    // one by one: a file that is missing must not keep the others out
    // what carries its version in its name is taken from the browser's own cache, where the page's visit has just left it
    const mode = (file) => (file.includes('?v=') ? 'force-cache' : 'no-cache');
    await Promise.allSettled(FILES.filter((file) => !UNUSED.test(file)).map((file) => cache.add(new Request(file, { cache: mode(file) }))));
    await self.skipWaiting();
  };
  event.waitUntil(fill());
});

self.addEventListener('activate', (event) => {
  const tidy = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((n) => n.startsWith(OURS) && n !== CACHE).map((n) => caches.delete(n)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const url = new URL(request.url);
  if (url.searchParams.has('v')) {
    const kept = await cache.match(request);
    if (kept) return kept;
  }
  try {
    const fresh = await fetch(request);
    if (fresh.ok && fresh.status === 200 && VERSION !== 'dev') {
      // storage may be full: the answer is good all the same
      cache.put(request, fresh.clone()).catch(() => {});
    }
    return fresh;
  } catch (error) {
    const kept = (await cache.match(request)) ?? (request.mode === 'navigate' ? await cache.match('./') : undefined);
    if (kept) return kept;
    throw error;
  }
}

// The response with the headers that isolate a page; asked of documents and of workers' first scripts, and of nothing else.
function isolated(response) {
  // a redirect that the browser follows itself cannot be made anew
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set('Cross-Origin-Opener-Policy', 'same-origin');
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp');
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const ours = request.url.startsWith(self.registration.scope);
  // models in parts go into the page's own store, as a whole
  if (request.method !== 'GET' || !ours || request.headers.has('range') || request.cache === 'no-store') return;
  const whole = ['document', 'iframe', 'frame', 'worker'].includes(request.destination);
  event.respondWith(whole ? answer(request).then(isolated) : answer(request));
});
