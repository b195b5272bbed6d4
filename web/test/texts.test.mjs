// Tests of the catalogue of texts: every text of the pages is in it, in every language.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';
import { REACTIONS } from '../client/dist/index.js';
import { parts } from './support.mjs';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const { LANGUAGES, languageFor, filled, NEEDED, needed } = await parts();
const tables = Object.fromEntries(
  await Promise.all(LANGUAGES.filter((it) => it !== 'en').map(async (it) => [it, (await runnerImport(at(`../src/texts/${it}.ts`))).module.words])),
);
const [known] = Object.values(tables).map((table) => new Set(Object.keys(table)));

/** Pages for listeners and speakers. The dashboard and the API reference are in English. */
const PAGES = ['index', 'listen', 'speak', 'replay'];
const ENGLISH = /^(dashboard|reference)(\.ts$|\/)/;
const hasWords = (text) => /\p{L}{2}/u.test(text);
const names = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort().join();

test('every language has every text, with the same names in it', () => {
  assert.deepEqual([...LANGUAGES], ['en', 'de', 'fr']);
  for (const [language, table] of Object.entries(tables)) {
    assert.deepEqual(Object.keys(table).sort(), [...known].sort(), language);
    for (const [english, text] of Object.entries(table)) {
      assert.ok(text.trim() !== '', `${language}: ${english}`);
      assert.equal(names(text), names(english), `${language}: ${english}`);
      assert.equal(/[.…?!]$/.test(text), /[.…?!]$/.test(english), `${language}: ${english} ends as ${text}`);
    }
  }
});

test('every text in the HTML of the pages is in the catalogue', () => {
  for (const page of PAGES) {
    const html = readFileSync(at(`../${page}.html`), 'utf8')
      // Shown only while no script runs, so it cannot be translated.
      .replace(/<noscript>.*?<\/noscript>/gs, '')
      .replace(/<p [^>]*id="not-started".*?<\/p>/gs, '')
      .replace(/<head>.*?<\/head>/gs, '')
      // Commands and names of operations are the same in every language.
      .replace(/<code>.*?<\/code>/gs, '<i></i>')
      .replace(/<a href="\/docs#.*?<\/a>/gs, '<i></i>');
    const texts = html.replace(/<[^>]*>/gs, '\n').split('\n').map((text) => text.trim());
    const attributes = [...html.matchAll(/ (?:aria-label|aria-valuetext|placeholder|title|alt)="([^"]*)"/g)].map(([, text]) => text);
    for (const text of [...texts, ...attributes]) {
      if (!hasWords(text) || text === 'Stentor' || text.startsWith('/listen/') || text === '&nbsp;') continue;
      assert.ok(known.has(text.replace(/\s+/g, ' ')), `${page}.html: ${text}`);
    }
  }
});

test('no text of the pages is outside of the catalogue', () => {
  const sources = readdirSync(at('../src'), { recursive: true }).filter((file) => file.endsWith('.ts') && !ENGLISH.test(file) && !file.startsWith('texts/'));
  assert.ok(sources.length > 20);
  // The names of reactions come from the client library.
  const used = new Set(Object.keys(REACTIONS));
  for (const file of sources) {
    const code = readFileSync(at(`../src/${file}`), 'utf8').replace(/^\s*(\/\/|\/?\*).*$/gm, '').replace(/\/\*.*?\*\//gs, '');
    for (const [, , text] of code.matchAll(/(['"`])((?:\\.|(?!\1).)*)\1/g)) {
      const plain = text.replace(/\\'/g, "'");
      if (known.has(plain)) used.add(plain);
      // A sentence or a label: it begins with a capitalised word, and contains a space or ends with an
      // ellipsis.
      const shown = /^[A-Z][a-z]+( |…|\.$|$)/.test(plain) && (plain.includes(' ') || /…$/.test(plain));
      if (shown && !file.startsWith('browsers')) assert.ok(known.has(plain), `${file}: ${plain}`);
    }
  }
  const html = PAGES.map((page) => readFileSync(at(`../${page}.html`), 'utf8')).join('\n').replace(/\s+/g, ' ');
  const unused = [...known].filter((text) => !used.has(text) && !html.includes(text));
  assert.deepEqual(unused, [], 'texts that no page shows');
});

test('the address and then the reader choose the language', () => {
  for (const [search, preferred, language] of [
    ['', ['de-AT', 'en'], 'de'],
    ['', ['pt-BR', 'fr', 'en'], 'fr'],
    ['', ['pt-BR'], 'en'],
    ['', [], 'en'],
    ['?lang=fr', ['de'], 'fr'],
    ['?lang=FR-ca', ['de'], 'fr'],
    ['?lang=xx', ['de'], 'de'],
    ['?lang=', ['en-GB', 'de'], 'en'],
  ]) {
    assert.equal(languageFor(search, preferred), language, `${search} ${preferred}`);
  }
  assert.equal(filled('{a} of {b}, {c}', { a: 1, b: '<b>' }), '1 of <b>, {c}');
  assert.equal(needed(), NEEDED);
});
