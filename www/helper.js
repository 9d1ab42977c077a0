// A thread that helps the worker which started it (www/worker-boot.js): an instance of the same program over the same memory,
// which waits there for work as long as its worker lives.

const version = new URL(import.meta.url).search;

self.onmessage = async ({ data: { module, memory } }) => {
  const { default: init, lend } = await import(`./worker-threads.js${version}`);
  await init({ module_or_path: module, memory });
  postMessage('ready');
  lend();
};
