// Starts the worker's program; whatever goes wrong is told to the page in the wire's own words (src/link).

const version = new URL(import.meta.url).search;
const trouble = (error) => postMessage([JSON.stringify({ Trouble: String(error?.message ?? error) }), [], null]);

self.addEventListener('unhandledrejection', (event) => trouble(event.reason));

try {
  const { default: init } = await import(`./worker.js${version}`);
  await init({ module_or_path: new URL(`worker_bg.wasm${version}`, import.meta.url) });
} catch (error) {
  trouble(error);
}
