// Trunk's post-build hook: brings weights and samples into the built page, and gives everything one version mark made from
// the contents, so that no cache ever mixes two versions and the service worker knows what to keep.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bake } from './bake.mjs';

const out = process.env.TRUNK_STAGING_DIR;
const root = process.env.TRUNK_SOURCE_DIR ? join(process.env.TRUNK_SOURCE_DIR, '..') : '.';
if (!out) throw new Error('finish.mjs is run by Trunk: TRUNK_STAGING_DIR is not set');

// a quick build (make dev) has the plain program under both names, and no threads
if (process.env.TRUNK_PROFILE === 'release') {
  execFileSync(join(root, 'scripts/build-relaxed'), [out], { stdio: 'inherit' });
  execFileSync(join(root, 'scripts/build-threads'), [out], { stdio: 'inherit' });
} else {
  cpSync(join(out, 'worker.js'), join(out, 'worker-relaxed.js'));
  cpSync(join(out, 'worker_bg.wasm'), join(out, 'worker-relaxed_bg.wasm'));
}

if (existsSync(join(out, 'worker-threads_bg.wasm'))) {
  const boot = join(out, 'worker-boot.js');
  writeFileSync(boot, readFileSync(boot, 'utf8').replace('BUILT_WITH_THREADS = false', 'BUILT_WITH_THREADS = true'));
}

const copy = (from, to, wanted) => {
  const source = join(root, from);
  if (!existsSync(source)) return console.warn(`finish.mjs: no ${from}, the page goes without`);
  mkdirSync(join(out, to), { recursive: true });
  for (const name of readdirSync(source).filter(wanted)) cpSync(join(source, name), join(out, to, name));
};
copy('weights', 'weights', (name) => name === 'manifest.json' || name.endsWith('.gguf'));
// `make dist MODEL=...`
if (process.env.ODDLENS_MODELS) bake(join(root, process.env.ODDLENS_MODELS), join(out, 'weights'));
copy('www/samples', 'samples', (name) => name === 'samples.json' || /\.(jpe?g|png|webp)$/.test(name));
for (const name of ['icon.svg', 'icon-180.png']) {
  if (existsSync(join(root, 'www', name))) cpSync(join(root, 'www', name), join(out, name));
}

const files = readdirSync(out, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
  .sort();
const hash = createHash('sha256');
for (const file of files) hash.update(file.slice(out.length)).update(readFileSync(file));
const version = hash.digest('hex').slice(0, 12);

// what the page's own parts ask for by name
const marked = ['boot.js', 'style.css', 'page.js', 'page_bg.wasm', 'icon.svg', 'icon-180.png', 'app.webmanifest'];
let html = readFileSync(join(out, 'index.html'), 'utf8');
for (const name of marked) html = html.replace(`"${name}"`, `"${name}?v=${version}"`);
writeFileSync(join(out, 'index.html'), html);

const manifestFile = join(out, 'weights/manifest.json');
const manifest = existsSync(manifestFile) ? JSON.parse(readFileSync(manifestFile, 'utf8')) : { models: [] };
// the service worker keeps the one that its browser uses on a first visit; the program with threads and its helper when they are used
const programs = ['worker.js', 'worker_bg.wasm', 'worker-relaxed.js', 'worker-relaxed_bg.wasm'];
const standard = manifest.models.filter((model) => model.id === manifest.default);
const samples = files.filter((file) => file.startsWith(join(out, 'samples'))).map((file) => file.slice(out.length + 1));
const kept = [
  './',
  ...[...marked, 'worker-boot.js', 'hand.js', 'probe.js', ...programs, ...samples.map((s) => s.replaceAll('\\', '/'))]
    .filter((name) => existsSync(join(out, name)))
    .map((name) => `${name}?v=${version}`),
  'weights/manifest.json',
  // one in parts is large: it is kept when it has been used
  ...standard.filter((model) => !model.parts?.length).map((model) => `weights/${model.file}?v=${model.sha256.slice(0, 16)}`),
];
const worker = join(out, 'service-worker.js');
writeFileSync(
  worker,
  readFileSync(worker, 'utf8')
    .replace("VERSION = 'dev'", `VERSION = '${version}'`)
    .replace('FILES = []', `FILES = ${JSON.stringify(kept)}`),
);
