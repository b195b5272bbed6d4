// Size budget of the client library, for the code that an application bundles, minified and compressed.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const CLIENT = fileURLToPath(new URL('../client/', import.meta.url));
const README = readFileSync(`${CLIENT}README.md`, 'utf8');

/** Budget in bytes, from the row of the README that begins with this text. */
function budget(row) {
  const [, kilobytes] = new RegExp(`^\\| ${row}.*\\| (\\d+) kB \\|$`, 'm').exec(README) ?? assert.fail(`no budget for ${row}`);
  return Number(kilobytes) * 1000;
}

/**
 * Bundles a module with this source. Returns the compressed sizes in bytes of the chunks that are loaded at
 * the start, and of all chunks.
 */
async function sizes(source) {
  const entry = {
    name: 'entry',
    resolveId: (id) => (id === 'entry' ? id : null),
    load: (id) => (id === 'entry' ? source : null),
  };
  const { output } = await build({
    configFile: false,
    logLevel: 'error',
    plugins: [entry],
    resolve: { alias: { '@stentor/client': `${CLIENT}dist` } },
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      rolldownOptions: { input: 'entry', preserveEntrySignatures: 'strict', external: [/^hls\.js/] },
    },
  });
  const size = ({ code }) => gzipSync(code).length;
  const sum = (chunks) => chunks.reduce((total, chunk) => total + size(chunk), 0);
  const start = output.filter(({ isDynamicEntry, isEntry }) => isEntry || !isDynamicEntry);
  return { start: sum(start), all: sum(output) };
}

test('the library keeps its size budget', async (t) => {
  const measured = [
    ['`StentorListener`', (await sizes("export { StentorListener } from '@stentor/client/index.js';")).start],
    ['`StentorRoom`', (await sizes("export { StentorRoom } from '@stentor/client/index.js';")).all],
    ['`elements`', (await sizes("export * from '@stentor/client/elements/index.js';")).start],
    ['everything', (await sizes("export * from '@stentor/client/index.js';")).all],
  ];
  for (const [row, bytes] of measured) {
    t.diagnostic(`${row} ${bytes} bytes`);
    assert.ok(bytes > 1000 && bytes <= budget(row), `${row}: ${bytes} bytes`);
  }
});
