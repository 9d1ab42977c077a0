// Starts the page's program, or says plainly why it cannot be started.
// The version mark (?v=…) of this script's own address is passed on, so that caches never mix two versions.

const version = new URL(import.meta.url).search;

function say(text) {
  const place = document.getElementById('boot-message');
  if (place) {
    place.textContent = text;
    place.setAttribute('role', 'alert');
  }
}

// The smallest module with a vector instruction: (func (result v128) i32.const 0, i8x16.splat).
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

// Starts the worker's program: the one that the page's own address names (`variant=plain`, `relaxed` or `threads`; `threads=2`,
// `workers=2`), as tests do. What comes of it before anybody listens is kept in `heard`.
function newWorker(kind) {
  const asked = location.search.slice(1).split('&').filter((part) => /^(variant|threads|workers)=/.test(part));
  const query = [version.slice(1), ...asked].filter(Boolean).join('&');
  const name = `${kind}-${Date.now()}-${Math.random()}`;
  const worker = new Worker(new URL(`worker-boot.js${query && '?'}${query}`, import.meta.url), { type: 'module', name });
  const heard = [];
  for (const type of ['message', 'error', 'messageerror']) {
    worker[`on${type}`] = (event) => {
      event.preventDefault(); // it is told when the page has the worker
      heard.push(event);
    };
  }
  return { worker, name, heard };
}

// The first worker starts at once, so that its program comes while the page's does, and with it the model that the worker's name wants
// (www/worker-boot.js; none: the default). The page takes it, and starts others when it needs another (src/link/owner_side.rs).
function startFirstWorker() {
  // the last one counts (src/app_state/permalink.rs)
  const model = [...location.hash.matchAll(/[#&]model=([\w.-]{1,64})(?=&|$)/g)].at(-1)?.[1] ?? '';
  let first;
  try {
    first = newWorker(`oddlens wants=${model} `);
  } catch {
    // the page tries again, and says why it cannot be
  }
  self.startWorker = () => {
    const started = first ?? newWorker('oddlens');
    first = undefined;
    return started;
  };
}

async function start() {
  if (typeof WebAssembly !== 'object' || !WebAssembly.validate(SIMD)) {
    say(
      'This browser lacks WebAssembly with vector instructions (SIMD), which the model needs. ' +
        'Chromium and Edge have it since version 91, Firefox since 89, Safari since 16.4.',
    );
    return;
  }
  try {
    if (new URL(location.href).searchParams.has('bench')) {
      await import(`./bench.js${version}`);
      return;
    }
    startFirstWorker();
    const { default: init } = await import(`./page.js${version}`);
    await init({ module_or_path: new URL(`page_bg.wasm${version}`, import.meta.url) });
  } catch (error) {
    self.startWorker?.().worker.terminate();
    say(`The page's program could not be loaded: ${error.message ?? error}. Reload the page to try again.`);
    throw error;
  }
  // once the model is there, so that what it keeps for later never competes with the first load
  if ('serviceWorker' in navigator && window.isSecureContext) {
    const look = setInterval(() => {
      if (!document.querySelector('[data-testid="model-status"][data-state="ready"]')) return;
      clearInterval(look);
      navigator.serviceWorker.register('service-worker.js').catch(() => {});
    }, 500);
  }
}

start();
