// Going back: positions in the playlist of the past, and the player that plays it.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { SeekBar } from '../dist/index.js';
import { behindInWords, positionOf, reachOf } from '../dist/listening/past.js';
import { FakeHls, listener, pass, refusal, restore, settle, simulate } from './listener-support.mjs';

beforeEach(() => simulate(() => refusal(404, 'room_not_found')));
afterEach(restore);

const segments = (count, { start = 0, at = 1000, gapAfter = Infinity } = {}) =>
  Array.from({ length: count }, (_, n) => ({
    start: start + 2 * n, duration: 2, programDateTime: at + 2000 * n + (n > gapAfter ? 60_000 : 0),
  }));

test('positions follow the dates', () => {
  const past = segments(30, { start: 100 });
  assert.equal(positionOf(past, 1000 + 21_500), 121.5);
  assert.equal(positionOf(past, 0), 106, 'not where the window is about to leave');
  assert.equal(positionOf(past, 1e9), 160, 'not after the end');
  assert.equal(positionOf([], 1000), null);
  assert.equal(positionOf([{ start: 0, duration: 2, programDateTime: null }], 1000), null);
});

test('positions in a gap are at its start', () => {
  const past = segments(30, { gapAfter: 9 });
  assert.equal(positionOf(past, 1000 + 50_000), 20);
  assert.equal(positionOf(past, 1000 + 81_000), 21);
});

test('reach is bounded by the broadcast', () => {
  const look = { offered: 600, onAirSince: 1_000_000, listed: null, now: 1_090_500 };
  assert.equal(reachOf(look), 90);
  assert.equal(reachOf({ ...look, listed: 40.9 }), 40);
  assert.equal(reachOf({ ...look, now: 2_000_000 }), 600);
  assert.equal(reachOf({ ...look, now: 1_004_000 }), 0, 'that much is buffered');
  assert.equal(reachOf({ ...look, offered: undefined }), 0);
  assert.equal(reachOf({ ...look, onAirSince: undefined }), 0);
});

test('words for the time behind live', () => {
  assert.equal(behindInWords(3661), '1 hour 1 minute 1 second behind live');
  assert.equal(behindInWords(120), '2 minutes behind live');
});

/** Loads the playlist of the past: one minute, whose first segment begins at moment 0. */
function loadPast() {
  const details = { live: true, startSN: 1, endSN: 30, totalduration: 60, fragments: segments(30, { at: 0 }) };
  FakeHls.newest.latestLevelDetails = { ...details, edge: 60 };
  FakeHls.newest.tell('LEVEL_LOADED', { details });
}

/** Returns a listener near live, at moment 60,000. */
async function near() {
  const made = listener();
  made.listener.play();
  await settle();
  FakeHls.newest.loaded();
  await made.audio.advance(1);
  FakeHls.newest.playingDate = new Date(59_000);
  return made;
}

test('a listener goes back and returns to live', async () => {
  const { listener: one, audio } = await near();
  assert.equal(one.status.state, 'playing');
  const live = FakeHls.newest;
  assert.equal(live.config.lowLatencyMode, true);
  one.rewind(30);
  await settle();
  assert.ok(live.destroyed && one.rewound);
  assert.match(FakeHls.newest.url, /\/hls\/rooms\/demo\/rewind\.m3u8$/);
  assert.deepEqual([FakeHls.newest.config.lowLatencyMode, FakeHls.newest.config.autoStartLoad], [false, false]);
  loadPast();
  assert.deepEqual(FakeHls.newest.started, [30], 'a second behind live, at moment 59,000');
  await audio.advance(1);
  FakeHls.newest.playingDate = new Date(31_000);
  FakeHls.newest.latency = 29;
  await pass(1000);
  const past = FakeHls.newest;
  one.rewind(20);
  assert.equal(FakeHls.newest, past, 'a seek in the past needs no connection');
  assert.equal(audio.currentTime, 40);
  one.goLive();
  await settle();
  assert.ok(past.destroyed && !one.rewound);
  assert.match(FakeHls.newest.url, /index\.m3u8$/);
  one.close();
});

test('a listener goes on where the sound broke off', async () => {
  const { listener: one, audio } = await near();
  one.rewind(30);
  await settle();
  loadPast();
  await audio.advance(1);
  FakeHls.newest.playingDate = new Date(35_000);
  await pass(600);
  FakeHls.newest.refused(503, 'media_unavailable');
  await pass(1000);
  assert.match(FakeHls.newest.url, /rewind\.m3u8$/);
  loadPast();
  assert.deepEqual(FakeHls.newest.started, [35]);
  one.close();
});

test('a refused past leads back to live', async () => {
  for (const [status, code] of [[404, 'rewind_off'], [404, 'room_not_on_air'], [403, 'key_out_of_window']]) {
    const { listener: one } = await near();
    one.rewind(30);
    await settle();
    if (code === 'key_out_of_window') FakeHls.newest.tell('MEDIA_ENDED', {});
    else FakeHls.newest.refused(status, code);
    await settle();
    assert.match(FakeHls.newest.url, /index\.m3u8$/, code);
    assert.equal(one.rewound, false);
    one.close();
  }
});

/** Stand-in for an element, with the parts that a seek bar uses. */
class FakeInput extends EventTarget {
  hidden = false;
  value = '0';
  attributes = {};
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  press(key) {
    const event = Object.assign(new Event('keydown', { cancelable: true }), { key });
    this.dispatchEvent(event);
    return event.defaultPrevented;
  }
}

test('a seek bar goes back by keys and returns by its button', async () => {
  const calls = [];
  const one = {
    rewindSeconds: 0, behindLiveSeconds: 1, rewound: false,
    rewind: (seconds) => calls.push(seconds), goLive: () => calls.push('live'),
  };
  const parts = { bar: new FakeInput(), range: new FakeInput(), live: new FakeInput() };
  const bar = new SeekBar(one, parts);
  assert.equal(parts.bar.hidden, true, 'nothing to go back to');
  one.rewindSeconds = 300;
  await pass(500);
  assert.deepEqual([parts.bar.hidden, parts.range.min, parts.range.value], [false, '-300', '0']);
  assert.deepEqual([parts.range.attributes['aria-valuetext'], parts.live.attributes['aria-pressed']], ['live', 'true']);
  assert.ok(parts.range.press('ArrowLeft') && parts.range.press('ArrowLeft') && parts.range.press('PageDown'));
  assert.equal(parts.range.press('a'), false);
  assert.equal(parts.range.attributes['aria-valuetext'], '1 minute 15 seconds behind live');
  assert.equal(parts.live.attributes['aria-pressed'], 'false');
  assert.deepEqual(calls, [], 'one seek for several presses');
  await pass(300);
  assert.deepEqual(calls, [75]);
  Object.assign(one, { rewound: true, behindLiveSeconds: 70 });
  await pass(3000);
  assert.equal(parts.range.value, '-70', 'what is heard');
  parts.range.press('Home');
  await pass(300);
  assert.deepEqual(calls, [75, 300]);
  parts.live.dispatchEvent(new Event('click'));
  assert.deepEqual(calls, [75, 300, 'live']);
  bar.close();
  parts.range.press('Home');
  assert.equal(calls.length, 3);
});
