// Starts the worker's program; whatever goes wrong is told to the page in the wire's own words (src/link).
// There are two programs: `worker` runs everywhere, `worker-relaxed` where the engine has relaxed SIMD, which is faster.

const here = new URL(import.meta.url);
const asked = here.searchParams.get('variant');
here.searchParams.delete('variant');
const version = here.search;
const trouble = (error) => postMessage([JSON.stringify({ Trouble: String(error?.message ?? error) }), [], null]);

self.addEventListener('unhandledrejection', (event) => trouble(event.reason));

async function start(name) {
  const { default: init } = await import(`./${name}.js${version}`);
  await init({ module_or_path: new URL(`${name}_bg.wasm${version}`, import.meta.url) });
}

try {
  await import(`./probe.js${version}`);
  const relaxed = asked ? asked === 'relaxed' : self.hasRelaxedSimd;
  if (asked) {
    if (!['plain', 'relaxed'].includes(asked)) throw new Error(`variant: expected plain or relaxed, got ${asked}`);
    if (relaxed && !self.hasRelaxedSimd) throw new Error('this browser has no relaxed SIMD');
    // only the bench listens for this
    if (self.name === 'oddlens-bench') postMessage([JSON.stringify({ Variant: asked }), [], null]);
  }
  await start(relaxed ? 'worker-relaxed' : 'worker');
} catch (error) {
  trouble(error);
}
