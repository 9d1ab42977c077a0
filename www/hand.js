// A hand of the worker which started it (www/worker-boot.js): the same program, compiled already, which sees pictures while many wait
// (src/bin/worker/hand.rs). Whatever goes wrong is told in the wire's own words (src/link).

const version = new URL(import.meta.url).search;
const trouble = (error) => postMessage([JSON.stringify({ Trouble: String(error?.message ?? error) }), [], null]);

self.addEventListener('unhandledrejection', (event) => trouble(event.reason));

self.onmessage = async ({ data: { program, module } }) => {
  const { default: init } = await import(`./${program}.js${version}`);
  await init({ module_or_path: module });
};
