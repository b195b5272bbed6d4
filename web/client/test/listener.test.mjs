// Tests of the listener: playback, channel and stage on a simulated page.

import assert from 'node:assert/strict';
import test, { afterEach } from 'node:test';
import { RoomChannel, StentorListener } from '../dist/index.js';
import { addressesOf } from '../dist/listening/addresses.js';
import { events, FakeHls, listener, pass, refusal, restore, settle, simulate, URL_OF_ROOM } from './listener-support.mjs';

afterEach(restore);

const HELLO = ['hello', { you: { id: 'me', name: 'Bob', role: 'listener' } }];
const snapshot = (more = {}) => ['snapshot', {
  at: 1, room: { status: 'onair', listeners: 1 }, members: [], talking: [], hands: [], messages: [], pinned: null, announcement: null,
  settings: { handsOpen: true, chatOpen: true, slowModeSeconds: 0 }, ...more,
}, 'h.1'];

test('addresses follow from the URL of the playlist', () => {
  const { room, channel, plain } = addressesOf('/a/hls/rooms/my%20room/index.m3u8?x=1', 'https://live.example.org/page');
  assert.deepEqual([room, channel, plain], ['my room', 'https://live.example.org/a/hls/rooms/my%20room/', 'https://live.example.org/a/live/my%20room.aac']);
  for (const url of ['', 'https://live.example.org/', '/hls/rooms//index.m3u8', 'javascript:/hls/rooms/demo/index.m3u8', '/hls/rooms/%ff/index.m3u8']) {
    assert.throws(() => addressesOf(url, 'https://live.example.org'), { name: 'StentorError', code: 'invalid_url' }, url);
  }
  assert.throws(() => new StentorListener({ url: 'demo', token: '' }), { code: 'invalid_url' });
});

test('another role is followed by a snapshot', async () => {
  const role = (role) => ['hello', { you: { id: 'me', name: 'Bob', role } }];
  const streams = [events(role('anchor'), snapshot()), events(role('co_host')), events(role('co_host'), snapshot({ announcement: 'all' }))];
  const asked = simulate(() => streams[asked.length - 1].response);
  const channel = new RoomChannel({ url: URL_OF_ROOM, token: 'a.b.c' });
  channel.open();
  await pass(100);
  streams[0].end();
  await pass(3000);
  assert.deepEqual(asked.map(({ headers }) => headers['last-event-id']), [undefined, 'h.1', undefined]);
  assert.deepEqual([channel.state.you.role, channel.state.announcement], ['co_host', 'all']);
  channel.close();
});

test('nothing is requested before play', async () => {
  const asked = simulate(() => refusal(500));
  const { listener: visitor, audio, states } = listener();
  await pass(1000);
  assert.deepEqual([visitor.status.state, FakeHls.made.length, asked.length], ['idle', 0, 0]);
  visitor.play();
  assert.equal(FakeHls.newest.url, URL_OF_ROOM, 'at once: it is part of the time to the first sound');
  FakeHls.newest.loaded();
  await audio.advance(0.5);
  assert.deepEqual([states().at(-1), visitor.transport], ['playing', 'hls.js']);
  visitor.pause();
  assert.deepEqual(visitor.status, { state: 'paused', pausedBy: 'application' });
});

test('while the channel tells that the room is off air, it is rarely asked for', async () => {
  const room = (status) => ['room', { at: 5, status, listeners: 1 }];
  const stream = events(HELLO, snapshot({ room: { status: 'created', listeners: 1, startsAt: '2026-01-31T18:00:00.000Z' } }));
  simulate(() => stream.response);
  const { listener: visitor, audio } = listener();
  visitor.follow();
  await pass(100);
  assert.equal(typeof visitor.channel.serverTime, 'number');
  visitor.play();
  for (let minute = 0; minute < 10; minute += 1) {
    if (!FakeHls.newest.destroyed) FakeHls.newest.refused(404, 'room_not_on_air');
    await pass(60_000);
    // An idle channel sends comments.
    stream.send(...room('created'));
  }
  assert.ok(FakeHls.made.length < 20, `${FakeHls.made.length} attempts in ten minutes`);
  const waited = FakeHls.made.length;
  if (!FakeHls.newest.destroyed) FakeHls.newest.refused(404, 'room_not_on_air');
  stream.send(...room('onair'));
  await pass(500);
  assert.equal(FakeHls.made.length, waited + 1, 'at once');
  FakeHls.newest.loaded();
  await audio.advance(0.5);
  assert.equal(visitor.status.state, 'playing');
  visitor.close();
});

test('playing means that the sound advances', async () => {
  simulate(() => refusal(500));
  const { listener: visitor, audio } = listener();
  visitor.play();
  FakeHls.newest.loaded();
  await pass(500);
  assert.equal(visitor.status.state, 'connecting', 'the element plays, but nothing moves');
  await audio.advance(0.5);
  assert.equal(visitor.status.state, 'playing');
  await pass(200);
  audio.paused = true;
  audio.dispatchEvent(new Event('pause'));
  assert.deepEqual(visitor.status, { state: 'paused', pausedBy: 'device' });
});

test('a browser that wants a click first makes the state ready', async () => {
  simulate(() => refusal(500));
  const { listener: visitor, audio } = listener();
  audio.refusal = new DOMException('no', 'NotAllowedError');
  visitor.play();
  FakeHls.newest.loaded();
  await pass(50);
  assert.equal(visitor.status.state, 'ready');
  audio.refusal = null;
  visitor.play();
  await audio.advance(0.5);
  assert.equal(visitor.status.state, 'playing');
});

test('a room that is not on air is waited for', async () => {
  simulate(() => refusal(500));
  const { listener: visitor, audio, states } = listener();
  visitor.play();
  FakeHls.newest.refused(404, 'room_not_on_air');
  assert.deepEqual(visitor.status, { state: 'waiting', problem: { code: 'room_not_on_air', message: 'the room is not on air', retryable: true } });
  await pass(10_000);
  assert.ok(FakeHls.made.length > 1 && FakeHls.made.slice(0, -1).every(({ destroyed }) => destroyed));
  FakeHls.newest.loaded();
  await audio.advance(0.5);
  assert.deepEqual(states(), ['connecting', 'waiting', 'playing'], 'no state between the attempts');
});

test('a refused token ends playback', async () => {
  simulate(() => refusal(500));
  const { listener: visitor } = listener();
  visitor.play();
  FakeHls.newest.refused(401, 'token_expired');
  await pass(20_000);
  assert.deepEqual([visitor.status.state, visitor.status.problem.code, FakeHls.made.length], ['failed', 'token_expired', 1]);
  assert.equal(visitor.errors[0].code, 'token_expired');
});

test('a function provides another token', async () => {
  simulate(() => refusal(500));
  let calls = 0;
  const { listener: visitor } = listener({ token: async () => `t${++calls}` });
  visitor.play();
  await settle();
  const authorization = (url) => {
    const request = new XMLHttpRequest();
    FakeHls.newest.config.xhrSetup(request, url);
    return request.headers.Authorization;
  };
  assert.equal(authorization(URL_OF_ROOM), 'Bearer t1');
  assert.equal(authorization('https://live.example.org/hls/rooms/demo/1.ts'), undefined, 'media are cached without it');
  assert.equal(authorization('https://elsewhere.example/hls/rooms/demo/enc.key'), undefined, 'for no other server');
  FakeHls.newest.refused(401, 'token_expired');
  assert.equal(visitor.status.state, 'connecting');
  await pass(1000);
  assert.equal(authorization(URL_OF_ROOM), 'Bearer t2');
});

test('a function that fails is asked again, unless it says no', async () => {
  simulate(() => refusal(500));
  const { StentorError } = await import('../dist/index.js');
  let failure = new Error('offline');
  const { listener: visitor } = listener({ token: () => Promise.reject(failure) });
  visitor.play();
  await settle();
  assert.deepEqual([visitor.status.state, visitor.status.problem.code], ['connecting', 'no_token']);
  failure = new StentorError({ code: 'signed_out', message: 'sign in first', retryable: false });
  await pass(1000);
  assert.deepEqual([visitor.status.state, visitor.status.problem.code], ['failed', 'signed_out']);
});

test('without Media Source and HLS the plain stream plays', async () => {
  const asked = simulate(() => new Response('#EXTM3U'));
  FakeHls.supported = false;
  const { listener: visitor, audio } = listener();
  visitor.play();
  await settle();
  assert.equal(asked[0].path, '/hls/rooms/demo/index.m3u8?token=a.b.c', 'tells why a room cannot be played');
  assert.equal(audio.src, 'https://live.example.org/live/demo.aac?token=a.b.c');
  await audio.advance(0.5);
  assert.deepEqual([visitor.status.state, visitor.transport], ['playing', 'plain']);
  visitor.pause();
  assert.deepEqual([visitor.status.state, audio.src], ['paused', ''], 'what is not heard is not received');
  visitor.play();
  await settle();
  assert.match(audio.src, /demo\.aac/);
});

test('native HLS is preferred to the plain stream', async () => {
  simulate(() => new Response('#EXTM3U'));
  const { listener: visitor, audio } = listener({ hls: async () => Promise.reject(new Error('not installed')) });
  audio.plays.add('application/vnd.apple.mpegurl');
  visitor.play();
  await pass(50);
  assert.deepEqual([visitor.transport, audio.src], ['native', `${URL_OF_ROOM}?token=a.b.c`]);
  const { listener: another, audio: old } = listener({ hls: undefined });
  old.plays.clear();
  another.play();
  await settle();
  assert.deepEqual([another.status.state, another.status.problem.code], ['failed', 'unsupported_browser']);
});

test('close leaves no timer and no connection', async () => {
  const open = events(HELLO, snapshot());
  const asked = simulate(() => open.response);
  const { listener: visitor, heard } = listener();
  visitor.play();
  visitor.follow();
  await settle();
  visitor.close();
  const [count, requests] = [heard.length, asked.length];
  await pass(60_000);
  assert.deepEqual([heard.length, asked.length, FakeHls.newest.destroyed, visitor.status.state], [count, requests, true, 'idle']);
  visitor.play();
  assert.equal(FakeHls.made.length, 1, 'it is over');
  await assert.rejects(visitor.takeStage(), { code: 'already_on_stage' });
});

test('the room is followed across lost connections', async () => {
  const connections = [events(HELLO, snapshot()), events(['room', { status: 'onair', listeners: 7 }, 'h.2'])];
  const asked = simulate(() => connections[asked.length - 1]?.response ?? refusal(503));
  const { listener: visitor, heard } = listener();
  visitor.follow();
  await settle();
  assert.deepEqual([visitor.roomState.known, visitor.roomState.you.name], [true, 'Bob']);
  connections[0].send('reactions', { counts: { clap: 3 } });
  await settle();
  assert.deepEqual(heard.find(([name]) => name === 'reactions')[1], { clap: 3 });
  connections[0].end();
  await pass(1000);
  assert.equal(asked[1].headers['last-event-id'], 'h.1');
  assert.equal(visitor.roomState.room.listeners, 7);
});

test('a refused channel is not asked again', async () => {
  const asked = simulate(() => refusal(401, 'token_expired'));
  const channel = new RoomChannel({ url: URL_OF_ROOM, token: 'old' });
  const problems = [];
  channel.on('refused', (problem) => problems.push(problem.code));
  channel.open();
  await pass(60_000);
  assert.deepEqual([problems, asked.length], [['token_expired'], 1]);
});

test('who talks is told when it is heard', async () => {
  const open = events(HELLO, snapshot());
  simulate(() => open.response);
  const { listener: visitor, audio, heard } = listener();
  visitor.follow();
  visitor.play();
  FakeHls.newest.loaded();
  FakeHls.newest.playingDate = new Date(4000);
  await audio.advance(0.5);
  open.send('talking', { at: 5000, people: ['ann'] });
  const talking = () => heard.filter(([name]) => name === 'talking').map(([, ids]) => ids);
  await audio.advance(0.5);
  assert.deepEqual(talking(), [], 'not yet heard');
  FakeHls.newest.playingDate = new Date(5000);
  await audio.advance(0.5);
  assert.deepEqual(talking(), [['ann']]);
});

test('requests of the channel carry the token and report refusals', async () => {
  const asked = simulate((method, path) => {
    if (path.endsWith('/chat')) return new Response(JSON.stringify({ code: 'slow_mode', error: 'wait' }), { status: 429, headers: { 'retry-after': '7' } });
    return path.endsWith('/reactions') ? new TypeError('Failed to fetch') : Response.json({});
  });
  const { channel } = listener().listener;
  await channel.raiseHand({ note: 'tea' });
  assert.deepEqual([asked[0].method, asked[0].path, asked[0].body], ['POST', '/hls/rooms/demo/hand', { note: 'tea' }]);
  assert.equal(asked[0].headers.authorization, 'Bearer a.b.c');
  await channel.lowerHand();
  await channel.invite('a/b');
  assert.deepEqual(asked.slice(1).map(({ method, path }) => [method, path]), [['DELETE', '/hls/rooms/demo/hand'], ['PUT', '/hls/rooms/demo/hands/a%2Fb/invitation']]);
  await assert.rejects(channel.say('hello'), { name: 'StentorError', code: 'slow_mode', retryable: true, retryAfterMs: 7000 });
  await assert.rejects(channel.react('clap'), { code: 'gone', retryable: true });
});

test('a refused invitation leaves the microphone closed', async () => {
  const open = events(HELLO, snapshot({ hands: [{ person: { id: 'me' }, raisedAt: 1, invited: true }] }));
  simulate((_method, path) => (path.endsWith('/stage') ? refusal(409, 'not_invited') : open.response));
  const stopped = [];
  const stream = { getTracks: () => [{ stop: () => stopped.push(1) }], getAudioTracks: () => [] };
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { mediaDevices: { getUserMedia: async () => stream } } });
  const { listener: visitor, heard } = listener();
  visitor.follow();
  await settle();
  assert.deepEqual([visitor.invited, heard.find(([name]) => name === 'invited')[1]], [true, true]);
  await assert.rejects(visitor.takeStage(), { code: 'not_invited' });
  assert.deepEqual([stopped.length, visitor.stageStatus.state, visitor.stage], [1, 'listening', null]);
  const own = { ...stream, getTracks: () => [{ stop: () => assert.fail('the application owns it') }] };
  await assert.rejects(visitor.takeStage({ microphone: own }), { code: 'not_invited' });
});
