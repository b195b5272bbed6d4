// Replays: positions with gaps, and the player with a simulated server.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { captionAt, chapterAt, StentorReplay } from '../dist/index.js';
import { captionsOf } from '../dist/replay/captions.js';
import { mediaTimeOf, positionAt, rangeOf } from '../dist/replay/info.js';
import { FakeAudio, FakeHls, pass, refusal, restore, settle, simulate } from './listener-support.mjs';

const URL_OF_RECORDING = 'https://live.example.org/hls/recordings/0123456789abcdef/index.m3u8';
const INFO = {
  recordingId: '0123456789abcdef', roomId: 'demo', startedAt: 0, duration: 100, anchors: [],
  chapters: [{ at: 0, title: 'Ann' }, { at: 40, title: 'Ann and Bob' }],
  gaps: [{ from: 20, to: 30 }], listedFrom: 0, expiresAt: 9e12,
};

let answer;
beforeEach(() => simulate(() => answer()));
afterEach(restore);

/** Returns a replay with a simulated element. */
async function replay(options = {}) {
  const audio = Object.assign(new FakeAudio(), { defaultPlaybackRate: 1, playbackRate: 1, readyState: 4 });
  const made = new StentorReplay({ url: URL_OF_RECORDING, token: 'good', hls: FakeHls, audio, ...options });
  await settle();
  return { made, audio };
}

/** Starts playback and loads the playlist. */
async function playing(options) {
  const { made, audio } = await replay(options);
  made.play();
  await settle();
  FakeHls.newest.tell('MANIFEST_PARSED', {});
  await settle();
  return { made, audio };
}

test('captions have positions and plain text', () => {
  const captions = captionsOf('WEBVTT\n\n00:00:01.500 --> 00:00:03.000\nTea &amp; &lt;cake&gt;\n\n01:00:02.000 --> 01:00:04.000\nMore\n');
  assert.deepEqual(captions, [{ from: 1.5, to: 3, text: 'Tea & <cake>' }, { from: 3602, to: 3604, text: 'More' }]);
  assert.equal(captionAt(captions, 2.9)?.text, 'Tea & <cake>');
  assert.equal(captionAt(captions, 3), undefined);
  assert.deepEqual(captionsOf('WEBVTT\n'), []);
});

test('positions count gaps, the media do not', () => {
  const info = { gaps: [{ from: 20, to: 30 }, { from: 50, to: 55 }], listedFrom: 0 };
  for (const [position, media] of [[0, 0], [19, 19], [20, 20], [25, 20], [30, 20], [31, 21], [60, 45]]) {
    assert.equal(mediaTimeOf(info, position), media, `${position}`);
  }
  for (const media of [0, 19, 21, 39, 41, 80]) assert.equal(mediaTimeOf(info, positionAt(info, media)), media);
  const clip = { gaps: info.gaps, listedFrom: 30 };
  assert.deepEqual([mediaTimeOf(clip, 31), mediaTimeOf(clip, 10), positionAt(clip, 5), positionAt(clip, 25)], [1, 0, 35, 60]);
});

test('ranges stay within what the token opens', () => {
  assert.deepEqual(rangeOf(INFO), { from: 0, to: 100 });
  assert.deepEqual(rangeOf(INFO, { from: 90, to: 500 }), { from: 90, to: 100 });
  assert.deepEqual(rangeOf({ ...INFO, clip: { from: 10, to: 20 } }, { from: 5, to: 15 }), { from: 10, to: 15 });
  assert.deepEqual(rangeOf({ ...INFO, clip: { from: 10, to: 20 } }, { from: 50, to: 60 }), { from: 10, to: 20 });
  assert.deepEqual([-1, 0, 39, 40, 99].map((at) => chapterAt(INFO.chapters, at)), [-1, 0, 0, 1, 1]);
});

test('a replay starts where it was told to', async () => {
  answer = () => Response.json(INFO);
  const { made, audio } = await replay({ range: { from: 35 } });
  assert.equal(made.state, 'ready');
  assert.equal(made.position, 35);
  made.play();
  await settle();
  assert.equal(FakeHls.newest.config.startPosition, 25, 'without the gap');
  FakeHls.newest.tell('MANIFEST_PARSED', {});
  await settle();
  audio.currentTime = 26;
  assert.deepEqual([made.state, made.position], ['playing', 36]);
  made.pause();
  assert.equal(made.state, 'paused');
  made.close();
});

test('a clip ends where it was told to', async () => {
  answer = () => Response.json(INFO);
  const { made, audio } = await playing({ range: { from: 5, to: 8 } });
  audio.currentTime = 7.99;
  await pass(200);
  assert.deepEqual([made.state, audio.paused], ['ended', true]);
  made.play();
  await settle();
  assert.equal(audio.currentTime, 5);
  made.limit();
  assert.deepEqual(made.range, { from: 0, to: 100 });
  made.seek(60);
  assert.equal(audio.currentTime, 50);
  made.close();
});

test('a lost connection is made again where it broke off', async () => {
  answer = () => Response.json(INFO);
  const { made, audio } = await playing();
  const first = FakeHls.newest;
  audio.currentTime = 12;
  first.tell('ERROR', { type: 'networkError', details: 'fragLoadError', fatal: true });
  assert.deepEqual([made.state, made.problem.code, made.position], ['playing', 'gone', 12]);
  await pass(2000);
  await settle();
  assert.notEqual(FakeHls.newest, first);
  assert.equal(FakeHls.newest.config.startPosition, 12);
  FakeHls.newest.tell('FRAG_BUFFERED', {});
  assert.equal(made.problem, null);
  made.close();
});

test('a refusal is final, a recording that is not ready is not', async () => {
  answer = () => refusal(401, 'token_expired');
  const { made } = await replay();
  assert.deepEqual([made.state, made.problem.code], ['failed', 'token_expired']);
  made.play();
  assert.equal(made.state, 'failed');
  answer = () => refusal(409, 'recording_not_ready');
  const { made: early } = await replay();
  assert.deepEqual([early.state, early.problem.code], ['loading', 'recording_not_ready']);
  answer = () => Response.json(INFO);
  await pass(2000);
  await settle();
  assert.equal(early.state, 'ready');
  early.close();
});

test('files have the range and the token in their address', async () => {
  answer = () => Response.json(INFO);
  const { made } = await replay();
  const file = URL_OF_RECORDING.replace('index.m3u8', 'recording.m4a');
  assert.equal(made.fileUrl(), `${file}?token=good`);
  assert.equal(made.fileUrl({ from: 1.5, to: 3.00049 }), `${file}?from=1.5&to=3&token=good`);
  made.close();
  assert.throws(() => new StentorReplay({ url: 'https://live.example.org/hls/rooms/demo/index.m3u8', token: '' }), { code: 'invalid_url' });
});
