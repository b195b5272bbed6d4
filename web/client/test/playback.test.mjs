// Tests of the decisions of the listener's player.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Fetching, setEnds, stopped } from '../dist/listening/fetching.js';
import { closeUp } from '../dist/listening/hls.js';
import { Playhead } from '../dist/listening/playhead.js';

const STUCK = { idle: true, position: 10, bufferEnd: 10.6, edge: 11.0 };

test('stopped: idle, little sound left, more in the playlist', () => {
  assert.equal(stopped(STUCK, 100), true);
  for (const [why, look, idleMs] of [
    ['between two parts', STUCK, 50],
    ['loading', { ...STUCK, idle: false }, 100],
    ['the next part is just listed', { ...STUCK, edge: 10.8 }, 100],
    ['enough is loaded', { ...STUCK, bufferEnd: 15.1, edge: 20 }, 100],
  ]) assert.equal(stopped(look, idleMs), false, why);
});

test('a segment without a measured end gets that of the playlist', () => {
  const fragments = [{ end: 1.92, endDTS: 1.919999 }, { end: 3.84 }];
  setEnds(fragments);
  assert.deepEqual(fragments, [{ end: 1.92, endDTS: 1.919999 }, { end: 3.84, endDTS: 3.84 }]);
});

test('loading is restarted after 100 ms, then once a second', () => {
  const fetching = new Fetching();
  const restarts = [];
  for (let ms = 0; ms <= 2500; ms += 100) if (fetching.look(STUCK, ms)) restarts.push(ms);
  assert.deepEqual(restarts, [100, 1100, 2100]);
});

test('a buffer that grows between idle looks is left alone', () => {
  const fetching = new Fetching();
  for (let i = 0; i < 50; i++) {
    const look = { idle: true, position: i / 10, bufferEnd: 0.6 + i / 10, edge: 1 + i / 10 };
    assert.equal(fetching.look(look, i * 100), false);
  }
});

test('a playhead stands after 500 ms without motion', () => {
  const playhead = new Playhead();
  const advanced = [0, 100, 200].map((ms) => playhead.look(5 + ms / 1000, ms));
  assert.deepEqual(advanced, ['unknown', 'unknown', 'moving']);
  assert.deepEqual([300, 600, 700].map((ms) => playhead.look(5.2, ms)), ['unknown', 'unknown', 'standing']);
  assert.deepEqual([5.3, 5.4].map((at) => playhead.look(at, 700 + at)), ['unknown', 'moving']);
});

test('the first look after a frozen hour finds a standstill', () => {
  const playhead = new Playhead();
  playhead.look(5, 0);
  playhead.look(5.1, 100);
  assert.equal(playhead.look(5.1, 3_600_000), 'standing');
});

test('a position that is corrected once after a seek is not motion', () => {
  const playhead = new Playhead();
  [0, 100, 200].forEach((ms) => playhead.look(5 + ms / 1000, ms));
  playhead.jumped();
  assert.deepEqual([9, 9.01, 9.01].map((at, n) => playhead.look(at, 300 + n)), ['unknown', 'unknown', 'unknown']);
  assert.equal(playhead.look(9.01, 900), 'standing');
});

test('a seek is not motion', () => {
  const playhead = new Playhead();
  playhead.look(5, 0);
  playhead.look(5.1, 100);
  for (let ms = 400; ms <= 1000; ms += 300) {
    playhead.jumped();
    assert.notEqual(playhead.look(5 + ms, ms), 'moving');
  }
  assert.equal(playhead.look(1005, 1100), 'standing');
});

test('hls.js returns to the distance of a playlist with parts', () => {
  const after = (partHoldBack) => {
    const hls = { targetLatency: 1.4, latestLevelDetails: { partHoldBack } };
    closeUp(hls);
    return hls.targetLatency;
  };
  assert.deepEqual([0.6, 0].map(after), [0.6, 1.4]);
});
