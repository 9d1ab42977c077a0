// Models that a page begins with: a folder that `oddlens model` made, put before those of the page.

import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/// Copies the models of the folder `from` into `weights`, and has its manifest begin with them.
export function bake(from, weights) {
  const manifest = join(weights, 'manifest.json');
  const baked = JSON.parse(readFileSync(join(from, 'manifest.json'), 'utf8'));
  const pieces = baked.models.flatMap((model) => (model.parts?.length ? model.parts : [model]));
  for (const { file } of pieces) cpSync(join(from, file), join(weights, file));
  const ids = baked.models.map((model) => model.id);
  const own = existsSync(manifest) ? JSON.parse(readFileSync(manifest, 'utf8')).models : [];
  const models = [...baked.models, ...own.filter((model) => !ids.includes(model.id))];
  writeFileSync(manifest, `${JSON.stringify({ default: baked.default, models }, null, 2)}\n`);
}
