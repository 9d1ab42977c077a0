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
    const { default: init } = await import(`./page.js${version}`);
    await init({ module_or_path: new URL(`page_bg.wasm${version}`, import.meta.url) });
  } catch (error) {
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
