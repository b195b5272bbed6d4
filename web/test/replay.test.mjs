// Tests of the words and times of the replay page.

import assert from 'node:assert/strict';
import test from 'node:test';
import { parts } from './support.mjs';

const { about, barsOf, failure, lengthOf, rangeIn, secondsOf, shapeOf, titleOf } = await parts();

test('typed times are read as on a clock', () => {
  for (const [text, seconds] of [
    ['75', 75], ['1:15', 75], [' 1:02:15 ', 3735], ['0:05.5', 5.5], ['0:05,5', 5.5], ['90.25', 90.25],
  ]) assert.equal(secondsOf(text), seconds, text);
  for (const text of ['', ':5', '1:60', '1:2:3:4', '-5', '1e3', 'soon', '1.2345', '123456']) assert.equal(secondsOf(text), null, text);
});

test('a clip lies within what the link opens', () => {
  const open = { from: 10.4, to: 100.6 };
  assert.deepEqual(rangeIn('0:20', '1:00', open), { from: 20, to: 60 });
  assert.deepEqual(rangeIn('0:10', '1:41', open), open);
  assert.match(rangeIn('0:05', '1:00', open), /from 0:10 to 1:41/);
  assert.match(rangeIn('0:20', '1:42', open), /from 0:10/);
  assert.match(rangeIn('1:00', '0:20', open), /before the end/);
  assert.match(rangeIn('soon', '0:20', open), /like 1:15/);
});

test('a recording has a title and a duration', () => {
  assert.equal(titleOf({ title: 'Tea\u202e', roomId: 'demo' }), 'Tea');
  assert.equal(titleOf({ roomId: 'demo' }), 'demo');
  assert.deepEqual([5, 59.4, 60, 3540, 3600, 5400].map(lengthOf), ['5 s', '59 s', '1 min', '59 min', '1 h', '1 h 30 min']);
  assert.match(about({ startedAt: Date.UTC(2026, 8, 21, 12), duration: 5400 }, 'en'), /September 21, 2026.* · 1 h 30 min/);
});

test('every failure has words', () => {
  assert.match(failure('token_expired'), /expired/);
  assert.match(failure('unknown_code'), /new link/);
});

test('the waveform shows the part that is played', () => {
  const peaks = [0, 255, 64, 0];
  const whole = barsOf(peaks, 40, { from: 0, to: 40 }, 4);
  assert.deepEqual(whole.map((bar) => Math.round(bar * 100)), [4, 100, 50, 4]);
  assert.deepEqual(barsOf(peaks, 40, { from: 10, to: 20 }, 2), [1, 1]);
  assert.equal(barsOf(peaks, 40, { from: 0, to: 40 }, 2)[0], 1, 'the loudest of a bar');
  assert.equal(barsOf([9], 0.1, { from: 0, to: 0.1 }, 120).length, 120);
  assert.equal(shapeOf([1, 0.5], 10, 8), 'M0 0h3v8h-3zM5 2h3v4h-3z');
  assert.equal(shapeOf([], 10, 8), '');
});
