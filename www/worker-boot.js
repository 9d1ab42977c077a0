// Starts the worker's program; whatever goes wrong is told to the page in the wire's own words (src/link).
// There are three programs: `worker` runs everywhere; `worker-relaxed` where the engine has relaxed SIMD, which is faster; and
// `worker-threads`, the same with threads over shared memory, where the page is cross-origin isolated, too.

const BUILT_WITH_THREADS = false; // filled in by finish.mjs
const MOST_THREADS = 8; // of our own accord: beyond, a picture's pieces are too small
const ASKED_AT_MOST = 16; // an address may come from anyone

const here = new URL(import.meta.url);
const asked = here.searchParams.get('variant');
const askedThreads = here.searchParams.get('threads');
const askedWorkers = here.searchParams.get('workers');
for (const name of ['variant', 'threads', 'workers']) here.searchParams.delete(name);
const version = here.search;
const trouble = (error) => postMessage([JSON.stringify({ Trouble: String(error?.message ?? error) }), [], null]);

self.addEventListener('unhandledrejection', (event) => trouble(event.reason));

async function start(name) {
  const program = fetch(new URL(`${name}_bg.wasm${version}`, import.meta.url));
  program.catch(() => {}); // told by what waits for it
  const { default: init } = await import(`./${name}.js${version}`);
  await init({ module_or_path: program });
}

// What the program will ask for first, fetched while it is compiled (it takes this instead of asking: src/bin/worker/fetch.rs), where this
// worker's name says what will be wanted: the manifest, and the file of the model `wants=ID` or, without an ID, of the default one.
self.fetchedEarly = new Map();

// `first` is done with the answer before the program has it.
function fetchEarly(path, first) {
  const controller = new AbortController();
  const response = fetch(new URL(path, here), { signal: controller.signal }).then(async (response) => {
    await first(response).catch(() => {}); // the program will say what is wrong
    return response;
  });
  response.catch(() => {}); // the program asks anew
  self.fetchedEarly.set(path, { response, controller });
}

const wanted = self.name.match(/ wants=(\S*)/);
if (wanted) {
  fetchEarly('weights/manifest.json', async (response) => {
    const manifest = await response.clone().json();
    const model = manifest.models.find((model) => model.id === (wanted[1] || manifest.default));
    // one from afar is never fetched unasked, and one in parts goes into the store
    if (!model || model.address || model.parts?.length) return;
    // a browser fetches little of what nobody reads
    fetchEarly(`weights/${model.file}?v=${model.sha256.slice(0, 16)}`, async (response) => void response.clone().arrayBuffer().catch(() => {}));
  });
}

// What the program calls when it has enough work for them: starts the helpers, once, and answers how many there are.
function helpersUpTo(count) {
  let helpers;
  const one = (module, memory) =>
    new Promise((done) => {
      const helper = new Worker(new URL(`helper.js${version}`, import.meta.url), { type: 'module', name: 'oddlens-helper' });
      helper.onmessage = () => done(true);
      // fewer do as well
      helper.onerror = () => done(false);
      helper.postMessage({ module, memory });
    });
  return (module, memory) =>
    (helpers ??= Promise.all(Array.from({ length: count - 1 }, () => one(module, memory))).then((all) => all.filter(Boolean).length));
}

// What the program calls for a further worker that sees pictures, and how many cores there are for such ones. An address that names a
// number of threads means just those.
function allowHands(program) {
  if (askedThreads !== null) return;
  self.coresForWorkers = Number(askedWorkers) || navigator.hardwareConcurrency || 1;
  self.startHand = (name, module) => {
    const hand = new Worker(new URL(`hand.js${version}`, import.meta.url), { type: 'module', name });
    hand.postMessage({ program, module });
    return hand;
  };
}

// The program to use.
function choose() {
  const lacks = {
    plain: undefined,
    relaxed: self.hasRelaxedSimd ? undefined : 'this browser has no relaxed SIMD',
    threads:
      (!BUILT_WITH_THREADS && 'this page was built without threads') ||
      (!self.crossOriginIsolated && 'threads need a page that is cross-origin isolated') ||
      (!(self.hasRelaxedSimd && self.hasThreads) && 'this browser has no relaxed SIMD or no threads') ||
      undefined,
  };
  // more than one thread, with relaxed SIMD or whatever there is, is the third program
  const wanted = Number(askedThreads) > 1 && (asked ?? 'relaxed') === 'relaxed' ? 'threads' : asked;
  if (wanted === null) {
    const known = askedThreads === null ? ['threads', 'relaxed', 'plain'] : ['relaxed', 'plain'];
    return known.find((name) => !lacks[name]);
  }
  if (!(wanted in lacks)) throw new Error(`variant: expected plain, relaxed or threads, got ${asked}`);
  if (lacks[wanted]) throw new Error(lacks[wanted]);
  return wanted;
}

try {
  await import(`./probe.js${version}`);
  let variant = choose();
  // only the bench listens for this
  if (self.name.startsWith('oddlens-bench')) postMessage([JSON.stringify({ Variant: asked ?? variant }), [], null]);
  if (variant === 'threads') {
    self.helpersAsked = askedThreads !== null;
    allowHands('worker-threads');
    self.startHelpers = helpersUpTo(Math.min(Number(askedThreads), ASKED_AT_MOST) || Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS));
    await start('worker-threads').catch((error) => {
      // without a network the program may be missing that was never used before; and memory to share may be short
      if (asked ?? askedThreads) throw error;
      variant = 'relaxed';
    });
  }
  if (variant !== 'threads') {
    const program = variant === 'relaxed' ? 'worker-relaxed' : 'worker';
    allowHands(program);
    await start(program);
  }
} catch (error) {
  trouble(error);
}
