// Tests of the texts of the operators' dashboard.

import assert from 'node:assert/strict';
import test from 'node:test';
import { parts } from './support.mjs';

const { duration, needsAttention } = await parts();

test('durations have two units at most', () => {
  for (const [ms, text] of [
    [-5, '0 ms'], [240, '240 ms'], [5_200, '5.2 s'], [42_900, '42 s'], [61_000, '1 min 1 s'], [7_500_000, '2 h 5 min'], [90_000_000, '1 d 1 h'],
  ]) assert.equal(duration(ms), text);
});

test('a normal start needs no attention', () => {
  const room = (status, reason, startedAt = 0) => ({ status, reason, startedAt });
  assert.equal(needsAttention(room('onair', null), 1000), false);
  assert.equal(needsAttention(room('starting', 'Janus j1 has not created the room'), 1000), false);
  assert.equal(needsAttention(room('starting', 'Janus j1 has not created the room'), 20_000), true);
  assert.equal(needsAttention(room('removing', 'mixer m1 has not released it'), 20_000), false);
  assert.equal(needsAttention(room('degraded', null), 1000), true);
});
