import assert from 'node:assert/strict';
import test from 'node:test';
import { CaptionClock } from '../dist/channel/captions.js';

const caption = (from, to, text, more = {}) => ({ from, to, text, final: true, language: 'en', ...more });
const texts = (clock, ...moments) => moments.map((moment) => clock.at(moment)?.text ?? null);

test('captions are shown when their words are heard', () => {
  const clock = new CaptionClock();
  clock.heard(caption(1000, 3000, 'one'), 500);
  clock.heard(caption(3000, 6000, 'two'), 500);
  assert.deepEqual(texts(clock, 900, 1000, 2999, 3000, 6900, 7000, null), [null, 'one', 'one', 'two', 'two', null, null]);
});

test('late captions are shown at once, and for a while', () => {
  const clock = new CaptionClock();
  clock.heard(caption(1000, 2000, 'late'), 5000);
  assert.deepEqual(texts(clock, 5000, 7499, 7500), ['late', 'late', null]);
});

test('final captions replace preliminary ones', () => {
  const clock = new CaptionClock();
  clock.heard(caption(1000, 2000, 'goo', { final: false }), 1000);
  clock.heard(caption(1000, 3000, 'good eve', { final: false }), 1000);
  assert.deepEqual(texts(clock, 1500), ['good eve']);
  clock.heard(caption(1000, 3500, 'Good evening.'), 1000);
  clock.heard(caption(3500, 4000, 'And', { final: false }), 1000);
  assert.deepEqual(texts(clock, 1500, 3600), ['Good evening.', 'And']);
  clock.heard(caption(1000, 3500, 'Good evening!'), 3600);
  assert.deepEqual(texts(clock, 3600), ['And'], 'a correction does not hide later words');
});

test('the preferred language is shown if there is one', () => {
  const clock = new CaptionClock();
  clock.language = 'de';
  clock.heard(caption(1000, 3000, 'one'), 1000);
  assert.deepEqual(texts(clock, 1000), ['one']);
  clock.heard(caption(1000, 3000, 'eins', { language: 'de-AT' }), 1000);
  assert.deepEqual(texts(clock, 1000), ['eins']);
});

test('a preferred language that is silent for long gives way', () => {
  const clock = new CaptionClock();
  clock.language = 'de';
  clock.heard(caption(1000, 3000, 'eins', { language: 'de' }), 1000);
  for (const at of [1000, 10_000, 20_000, 40_000]) clock.heard(caption(at, at + 9000, `at ${at}`), 1000);
  assert.deepEqual(texts(clock, 1000, 4000, 18_999, 19_000, 20_000), ['eins', null, null, 'at 10000', 'at 20000']);
  clock.heard(caption(41_000, 43_000, 'zwei', { language: 'de' }), 20_000);
  assert.deepEqual(texts(clock, 40_000, 41_000, 44_000), ['at 40000', 'zwei', null], 'it returns when its words are heard');
});

test('a silent first language gives way without a preference', () => {
  const clock = new CaptionClock();
  clock.heard(caption(1000, 3000, 'one'), 1000);
  assert.deepEqual(texts(clock, 4000), [null]);
  clock.heard(caption(30_000, 33_000, 'deux', { language: 'fr' }), 30_000);
  assert.deepEqual(texts(clock, 30_000), ['deux']);
});
