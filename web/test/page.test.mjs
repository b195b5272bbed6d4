// Tests of links, names and the stated browsers.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { parts } from './support.mjs';

const { Link, NEEDED, isolated, initials, plain } = await parts();

/** One tab: its address bar and its session storage. */
function tab(path, { refuses = false } = {}) {
  const kept = new Map();
  const storage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
    removeItem: (key) => kept.delete(key),
  };
  const history = { state: null, replaceState: (_state, _title, url) => Object.assign(location, { hash: '' }, { shown: url }) };
  const location = { pathname: path, search: '', hash: '', shown: '' };
  const open = (hash) => {
    Object.assign(location, { hash, shown: path + hash });
    const get = () => {
      if (refuses) throw new DOMException('no', 'SecurityError');
      return storage;
    };
    return new Link(get, location, history);
  };
  return { open, location };
}

test('the token leaves the address and survives a reload', () => {
  const { open, location } = tab('/speak/demo');
  const link = open('#token=a.b-c_d&pin=abc123');
  assert.deepEqual([link.token, link.pin, location.shown], ['a.b-c_d', 'abc123', '/speak/demo']);
  const reloaded = open('');
  assert.deepEqual([reloaded.token, reloaded.pin], ['a.b-c_d', 'abc123']);
  assert.equal(open('#token=newer').token, 'newer', 'another link pasted over');
  assert.equal(open('').token, 'newer');
});

test('a link keeps its other parameters', () => {
  const { open } = tab('/replay/0123456789abcdef');
  assert.equal(open('#token=mine&t=90').get('t'), '90');
  assert.equal(open('').get('t'), '90', 'after a reload');
  assert.equal(open('').get('from'), null);
});

test('another tab or room has no token', () => {
  tab('/listen/demo').open('#token=mine');
  assert.equal(tab('/listen/demo').open('').token, '');
});

test('a refused token is forgotten, the pin is not', () => {
  const { open } = tab('/speak/demo');
  open('#token=old&pin=abc123').forgetToken();
  const reloaded = open('');
  assert.deepEqual([reloaded.token, reloaded.pin], ['', 'abc123']);
});

test('without session storage the address keeps the token', () => {
  const { open, location } = tab('/listen/demo', { refuses: true });
  assert.equal(open('#token=mine').token, 'mine');
  assert.equal(location.shown, '/listen/demo#token=mine');
});

test('names do not act on the text around them', () => {
  assert.equal(plain('\u202eAnn\u2066\u0007'), 'Ann');
  assert.equal(plain('\u202e\u200f'), '');
  assert.equal(plain('<b>Ann</b>'), '<b>Ann</b>');
  assert.equal(isolated('עדה'), '\u2068עדה\u2069');
});

test('initials of odd names', () => {
  for (const [name, letters] of [
    ['Ann Lee', 'AL'], ['ann', 'A'], ['auth0|123', 'A'], ['ann@example.org', 'A'], ['<img src=x>', 'IS'], ['!!!', ''],
    ['\u0301\u0301', ''], ['🦊 fox', '🦊F'],
  ]) assert.equal(initials(name), letters, name);
});

test('README, pages and build state the same browsers', () => {
  const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8').replaceAll(/\s+/g, ' ');
  for (const path of ['../../README.md', '../client/README.md']) assert.ok(read(path).includes(NEEDED), path);
  for (const page of ['index', 'listen', 'speak', 'dashboard']) assert.ok(read(`../${page}.html`).includes('id="not-started"'), page);
});

test('the built style has no function newer than the stated browsers', () => {
  const style = readFileSync(new URL('../dist/assets/style.css', import.meta.url), 'utf8');
  // The build transpiles light-dark() always, and the other functions only if they contain no variable.
  assert.doesNotMatch(style, /light-dark\(|color-mix\(|oklch\(|oklab\(|[ :]color\(|:has\(|@container|@layer|@scope/);
});
