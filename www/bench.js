// The page's bench: index.html?bench=vit-b-32|embedded [&variant=plain|relaxed|threads] [&threads=N] [&only=image|text] [&runs=N]
// Starts the worker's program, has it time itself on weights made from a seed, and shows what it says. One JSON object ends
// up in [data-testid=bench-result]: times in milliseconds (medians), or `error`.

const version = new URL(import.meta.url).search;
const asked = new URL(location.href).searchParams;
const shown = {
  start_program_ms: 'from navigation to the running program, ms', start_model_ms: 'to the loaded model, ms',
  start_texts_ms: 'to the encoded texts, ms', start_score_ms: 'to the first score, ms',
  image_ms: 'one picture, ms', spread_ms: 'its spread (10 % to 90 %), ms', text_ms: 'one prompt of 8 tokens, ms', texts_ms: '100 prompts in one go, ms',
  preprocess_ms: '12 megapixels to the input, ms', kernel: 'kernel', variant: 'program', threads: 'threads',
  peak_gmacs: 'peak of its instructions, GMAC/s', peak_share: 'share reached by the product', build_ms: 'making the weights, ms' };

const add = (parent, name, text = '', attributes = {}) => {
  const element = parent.appendChild(document.createElement(name));
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

const app = document.getElementById('app');
app.replaceChildren();
const main = add(app, 'main', '', { class: 'bench' });
add(main, 'h1', 'How fast is this browser?');
const status = add(main, 'p', 'Starting…', { role: 'status' });
const table = add(main, 'table');
const result = add(main, 'pre', '', { 'data-testid': 'bench-result' });
const back = add(add(main, 'p'), 'a', 'Back to Oddlens');
back.href = location.pathname;

function end(object) {
  worker?.terminate();
  for (const [key, name] of Object.entries(shown)) {
    if (!(key in object)) continue;
    const row = add(table, 'tr');
    add(row, 'th', name, { scope: 'row' });
    add(row, 'td', typeof object[key] === 'number' ? String(+object[key].toPrecision(4)) : object[key]);
  }
  status.textContent = object.error ? `It did not work: ${object.error}` : 'Done. Medians; other work on this device makes them longer.';
  result.textContent = JSON.stringify(object);
}

const models = ['vit-b-32', 'embedded'];
const model = asked.get('bench');
const only = asked.get('only');
const threads = Number(asked.get('threads') ?? 1);
const runs = Math.min(Math.max(Math.round(Number(asked.get('runs') ?? 21)) || 21, 1), 1000);
let variant = asked.get('variant');
let worker;

// The start of the embedded model, as a visit has it (but for the page's own program, which this page does not load).
const start = {};
const since = (what) => { start[`start_${what}_ms`] = performance.now(); };
const say = (message, buffers = []) => worker.postMessage([JSON.stringify(message), buffers, null], buffers);
const timeYourself = () => say({ Bench: { model, only, runs } });
const sample = model === 'embedded' && fetch(`samples/orange-on-wood.jpg${version}`).then((response) => (response.ok ? response.arrayBuffer() : null)).catch(() => null);
const setup = { normal: ['orange'], templates: ['a photo of a {}'], anomaly: ['a photo of something'], method: 'zero-shot' };

async function onEvent(event) {
  if (event.Ready) {
    since('model');
    say({ Ask: { Setup: { job: 2, setup } } });
  } else if (event.SetupDone) {
    since('texts');
    const bytes = await sample;
    if (bytes) say({ Ask: { Score: { job: 3, image: 1, pixels: 'Encoded' } } }, [bytes]);
    else timeYourself();
  } else if (event.Scored || event.Failed || event.LoadFailed || event.SetupFailed) {
    if (event.Scored) since('score');
    timeYourself();
  }
}

if (!models.includes(model)) end({ error: `bench: expected one of ${models.join(', ')}, got ${model}` });
else if (only !== null && !['image', 'text'].includes(only)) end({ error: `only: expected image or text, got ${only}` });
else if (!(Number.isInteger(threads) && threads >= 1 && threads <= 16)) end({ error: `threads: expected 1 to 16, got ${asked.get('threads')}` });
else if (threads > 1 && variant === 'plain') end({ error: `threads: the program ${variant} has one, got ${threads}` });
else {
  const address = new URL(`worker-boot.js${version}`, import.meta.url);
  if (variant) address.searchParams.set('variant', variant);
  address.searchParams.set('threads', threads);
  worker = new Worker(address, { type: 'module', name: model === 'embedded' ? 'oddlens-bench wants=' : 'oddlens-bench' });
  worker.onerror = (event) => end({ error: event.message || 'the worker could not be started' });
  worker.onmessage = ({ data: [text] }) => {
    const said = JSON.parse(text);
    if (said.Variant) variant = said.Variant;
    else if (said === 'Alive') {
      since('program');
      if (model === 'embedded') say({ Ask: { Load: { job: 1, model: null, from_afar: false } } });
      else timeYourself();
    } else if (said.Event) onEvent(said.Event);
    else if (said.Timing) status.textContent = `${said.Timing}…`;
    else if (said.Timed) end({ ...start, ...said.Timed, variant });
    else if (said.Trouble) end({ error: said.Trouble });
  };
}
