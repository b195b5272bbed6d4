import assert from 'node:assert/strict';
import test from 'node:test';
import { Mix } from '../dist/mix.js';

class FakeContext {
  constructor(state) {
    this.state = state;
    this.gains = [];
    this.closed = 0;
  }
  createMediaStreamSource = (stream) => node({ stream });
  createGain = () => this.gains[this.gains.push(node({ gain: {} })) - 1];
  createDynamicsCompressor = () =>
    node({ threshold: {}, knee: {}, ratio: {}, attack: {}, release: {} });
  createMediaStreamDestination = () => node({ stream: 'amplified' });
  close = async () => void this.closed++;
  become(state) {
    this.state = state;
    this.onstatechange?.();
  }
}

function node(fields) {
  return { ...fields, connect: (next) => next, disconnect: () => undefined };
}

function mixOn(context) {
  const played = [];
  const flowing = new Set();
  const environment = {
    createAudioContext: () => context,
    keepFlowing: (stream) => {
      flowing.add(stream);
      return () => flowing.delete(stream);
    },
  };
  return { mix: new Mix(environment, (stream) => played.push(stream)), played, flowing };
}

test('a running context plays the amplified mix', () => {
  const context = new FakeContext('running');
  const { mix, played, flowing } = mixOn(context);
  mix.receive('received', 20);
  assert.deepEqual([played, [...flowing]], [['amplified'], ['received']]);
  const [before, after] = context.gains.map(({ gain }) => gain.value);
  assert.equal(before, 10);
  // The limiter's own gain of 1.71 dB is undone.
  assert.ok(Math.abs(20 * Math.log10(after) + 1.71) < 0.001, `${after}`);
  mix.close();
  assert.deepEqual([flowing.size, context.closed], [0, 1]);
});

test('a suspended context plays the mix as is', () => {
  const context = new FakeContext('suspended');
  const { mix, played } = mixOn(context);
  mix.receive('received', 20);
  assert.deepEqual(played, ['received']);
  context.become('running');
  context.become('running');
  assert.deepEqual(played, ['received', 'amplified']);
  context.become('interrupted');
  assert.deepEqual(played, ['received', 'amplified', 'received']);
});

test('a new stream takes the place of the old', () => {
  const context = new FakeContext('suspended');
  const { mix, played, flowing } = mixOn(context);
  mix.receive('first', 20);
  mix.receive('second', 20);
  assert.deepEqual([...flowing], ['second']);
  context.become('running');
  context.become('suspended');
  assert.deepEqual(played, ['first', 'second', 'amplified', 'second']);
});

test('without Web Audio or gain the mix plays unchanged', () => {
  const broken = new FakeContext('running');
  broken.createMediaStreamSource = () => {
    throw new Error('not for remote streams');
  };
  for (const [context, gain] of [[null, 20], [broken, 20], [new FakeContext('running'), 0]]) {
    const { mix, played } = mixOn(context);
    mix.receive('received', gain);
    assert.deepEqual(played, ['received']);
    mix.close();
  }
});
