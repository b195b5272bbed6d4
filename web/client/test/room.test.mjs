import assert from 'node:assert/strict';
import test from 'node:test';
import { browser } from '../dist/environment.js';
import { enter, handshake, JOINED, microphone, settle, token, visit } from './support.mjs';

test('a visit: socket, join, offer, answer, sound', async () => {
  const track = microphone();
  const { environment, room, heard } = visit({ pin: 'abc123', displayName: 'Ann' });
  await room.publish(track);
  const entered = room.join();
  await settle();
  const { socket } = environment;
  assert.equal(socket.url, 'ws://x/ws?clientId=tab');
  assert.deepEqual(socket.protocols, ['stentor', `bearer.${token()}`]);
  socket.open();
  await settle();
  assert.deepEqual(socket.said('join').params, { clientId: 'tab', pin: 'abc123', displayName: 'Ann' });
  await socket.answer('join', JOINED);
  const { peer } = environment;
  assert.deepEqual(peer.config, { iceServers: JOINED.iceServers });
  assert.equal(peer.sent, track);
  peer.gather('candidate:1');
  socket.tell('icecandidate', { candidate: { candidate: 'candidate:2' } });
  assert.equal(socket.count('icecandidate'), 0, 'none before the answer');
  await socket.answer('offer', { sdp: { type: 'answer', sdp: 'v=0 answer' } });
  assert.equal(peer.remoteDescription.sdp, 'v=0 answer');
  assert.deepEqual(peer.candidates, [{ candidate: 'candidate:2' }]);
  peer.gather(null);
  assert.deepEqual(socket.sent.filter((m) => m.method === 'icecandidate').map((m) => m.params.candidate), [{ candidate: 'candidate:1' }, null]);
  assert.equal(room.state, 'connecting');
  peer.become('connected');
  await entered;
  assert.equal(room.state, 'connected');
  peer.ontrack({ track: 'remote', streams: [] });
  assert.deepEqual(heard.at(-1), ['stream', { track: 'remote' }]);
  assert.equal(socket.said('status').params.status, 'onair');
  await environment.pass(10_000);
  assert.equal(socket.said('keepalive').params.status, 'onair');
});

test('a socket that falls: back with the resume token, the peer connection as it was', async () => {
  const { environment, room, last } = await enter();
  const { peer } = environment;
  environment.socket.fall(1006);
  assert.equal(room.state, 'reconnecting');
  assert.equal(room.status.mediaFlows, true);
  assert.deepEqual([last('reconnecting').problem.code, last('reconnecting').retryInMs], ['gone', 250]);
  await environment.pass(250);
  environment.socket.open();
  await settle();
  assert.equal(environment.socket.said('join').params.jtoken, 'sealed-1');
  await environment.socket.answer('join', { ...JOINED, resume: true, jtoken: 'sealed-2' });
  assert.equal(room.state, 'connected');
  assert.equal(environment.socket.count('offer'), 0);
  assert.equal(environment.peer, peer);
  assert.equal(peer.closed, false);
});

test('not resumed: another peer connection, and only then the old one goes', async () => {
  const { environment, room } = await enter();
  const [old] = environment.peers;
  environment.socket.fall(4503);
  await environment.pass(250);
  assert.equal(old.closed, false);
  await handshake(environment, { ...JOINED, jtoken: 'sealed-2' });
  assert.equal(old.closed, true);
  await environment.socket.answer('offer', { sdp: { type: 'answer', sdp: 'v=0' } });
  environment.peer.become('connected');
  assert.equal(room.state, 'connected');
  assert.equal(environment.peers.length, 2);
});

test('a server that is away is tried with growing pauses; the network that is back ends a pause', async () => {
  const { environment, room, last } = await enter();
  const waits = [];
  environment.socket.fall(1006);
  for (let i = 0; i < 7; i++) {
    const { retryInMs } = last('reconnecting');
    waits.push(retryInMs);
    await environment.pass(retryInMs);
    environment.socket.fall(1006);
  }
  assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 4000, 4000]);
  const before = environment.sockets.length;
  environment.hurry();
  await settle();
  assert.equal(environment.sockets.length, before + 1);
  assert.equal(room.status.step, 'opening');
  await handshake(environment, { ...JOINED, resume: true });
  assert.equal(room.state, 'connected');
});

test('a wall clock that is set while the next try is waited for holds nothing up', async () => {
  for (const step of [-3_600_000, 3_600_000]) {
    const { environment, room, heard } = await enter();
    environment.socket.fall(1006);
    const told = heard.length;
    assert.equal(room.status.retryAt - environment.wallClock(), 250);
    environment.wallAhead += step;
    assert.equal(room.status.retryAt - environment.wallClock(), 250, 'the countdown goes on');
    environment.peer.become('connected');
    await environment.pass(249);
    assert.deepEqual([environment.sockets.length, heard.length], [1, told], 'a changed date is not reported');
    await environment.pass(1);
    assert.equal(environment.sockets.length, 2);
  }
});

test('the clock of a browser by which is waited is none that can be set', (t) => {
  t.mock.method(Date, 'now', () => 7);
  const before = browser.now();
  t.mock.method(Date, 'now', () => 0);
  assert.ok(browser.now() >= before && before > 0);
  assert.equal(browser.wallClock(), 0);
});

test('what the server asks to wait is waited, whatever the network says', async () => {
  const { environment, last } = await enter();
  environment.socket.tell('reconnect', { reason: 'the room moves', retryAfterMs: 3000 });
  assert.deepEqual([last('reconnecting').problem.message, last('reconnecting').retryInMs], ['the room moves', 3250]);
  environment.hurry();
  await environment.pass(2999);
  assert.equal(environment.socket.count('join'), 1);
  await environment.pass(1);
  assert.deepEqual([environment.socket.count('join'), environment.sockets.length], [2, 1], 'the socket is good');
  assert.equal(environment.socket.said('join').params.jtoken, 'sealed-1');
});

test('a socket that falls while it is kept for another try is replaced; one that is closed for good ends all', async () => {
  const { environment, room, last } = await enter();
  environment.socket.tell('reconnect', { reason: 'draining', retryAfterMs: 1000 });
  environment.socket.fall(4503);
  await environment.pass(1250);
  assert.equal(environment.sockets.length, 2);
  await handshake(environment, { ...JOINED, resume: true });
  assert.equal(room.state, 'connected');
  environment.socket.tell('reconnect', { reason: 'session_lost', retryAfterMs: 1000 });
  environment.socket.fall(4410);
  assert.equal(last('closed').code, 'room_closed');
});

test('what is over is over, with its reason', async () => {
  for (const [code, name] of [[4403, 'removed'], [4410, 'room_closed'], [4409, 'replaced'], [4401, 'token_invalid']]) {
    const { environment, room, last } = await enter();
    environment.socket.fall(code);
    assert.equal(last('closed').code, name);
    await environment.pass(60_000);
    assert.deepEqual([room.state, environment.sockets.length, environment.timers], ['closed', 1, 0]);
    assert.equal(environment.peer.closed, true);
    await assert.rejects(room.join(), { code: name });
  }
});

test('roomClosed ends it before the socket does', async () => {
  const { environment, last } = await enter();
  environment.socket.tell('roomClosed', { roomId: 'demo' });
  assert.equal(last('closed').code, 'room_closed');
});

test('a wrong pin rejects the join; a full room is tried again', async () => {
  const wrong = visit({ pin: 'abc123' });
  const refused = wrong.room.join();
  const seen = assert.rejects(refused, { code: 'wrong_pin' });
  await settle();
  wrong.environment.socket.open();
  await wrong.environment.socket.refuse('join', 'wrong_pin', false);
  await seen;
  assert.equal(wrong.room.state, 'closed');

  const full = visit();
  void full.room.join();
  await settle();
  full.environment.socket.open();
  await full.environment.socket.refuse('join', 'room_full', true, 2000);
  assert.deepEqual([full.room.status.problem.code, full.room.status.step], ['room_full', 'waiting']);
  await full.environment.pass(2250);
  assert.deepEqual([full.environment.sockets.length, full.environment.socket.count('join')], [1, 2]);
});

test('an error that announces a close code waits for it', async () => {
  const { environment, room, last } = visit();
  void room.join().catch(() => undefined);
  await settle();
  environment.socket.open();
  await environment.socket.refuse('join', 'room_over', false);
  assert.equal(room.state, 'connecting');
  environment.socket.fall(4403);
  assert.equal(last('closed').code, 'removed');
});

test('a token that expired is told from a server that is away', async () => {
  const { environment, room, last } = visit({ token: token({ exp: 900 }) });
  const seen = assert.rejects(room.join(), { code: 'token_expired' });
  await settle();
  environment.socket.fall(1006);
  await seen;
  assert.equal(last('closed').code, 'token_expired');
  const told = visit({ token: token({ exp: 900 }) });
  const refused = assert.rejects(told.room.join(), { code: 'token_expired' });
  await settle();
  told.environment.socket.open();
  told.environment.socket.fall(4401);
  await refused;
});

test('a token that the server takes for expired is renewed', async () => {
  let asked = 0;
  const fresh = () => token({ exp: visited.environment.wallClock() / 1000 + 30.5 });
  const visited = visit({ token: async () => (asked++, fresh()) });
  void visited.room.join();
  await visited.environment.pass(0);
  visited.environment.socket.open();
  visited.environment.socket.fall(4401);
  await visited.environment.pass(250);
  assert.deepEqual([asked, visited.environment.sockets.length], [2, 2], 'by its clock it has expired');
});

test('a token may be got anew for each connection', async () => {
  let asked = 0;
  const { environment, room } = visit({ token: async () => token({ exp: ++asked }) });
  void room.join();
  await environment.pass(0);
  environment.socket.open();
  environment.socket.fall(4401);
  await environment.pass(250);
  assert.deepEqual([asked, environment.sockets.length], [2, 2], 'an expired one is no reason to give up');
});

test('a token that comes late belongs to nobody: no second socket, no end of what goes well', async () => {
  for (const late of ['resolve', 'reject']) {
    const asked = [];
    const { environment, room } = visit({ token: () => new Promise((resolve, reject) => asked.push({ resolve, reject })) });
    void room.join().catch(() => undefined);
    await environment.pass(10_250);
    assert.equal(asked.length, 2, 'the first took too long');
    asked[1].resolve(token());
    await settle();
    asked[0][late](token());
    await settle();
    assert.equal(environment.sockets.length, 1);
    await handshake(environment);
    assert.equal(room.status.step, 'negotiating');
    room.leave();
  }
});

test('a token that cannot be got is asked for again; one that cannot be sent, or an address that is none, is the end', async () => {
  const absent = visit({ token: () => Promise.reject(new Error('no network')) });
  void absent.room.join().catch(() => undefined);
  await settle();
  assert.deepEqual([absent.room.status.problem.code, absent.room.status.step], ['no_token', 'waiting']);
  absent.room.leave();
  const refuse = (_url, [, bearer]) => {
    throw new SyntaxError(`The subprotocol '${bearer}' is invalid.`);
  };
  for (const [code, options] of [['token_invalid', { token: 'sec ret' }], ['invalid_url', { url: 'no address' }], ['invalid_url', {}]]) {
    const { environment, room, last } = visit(options);
    environment.openSocket = refuse;
    await assert.rejects(room.join(), { code, retryable: false });
    assert.doesNotMatch(last('closed').message, /sec ret|subprotocol/);
  }
});

test('ICE that is lost is restarted on the same peer connection', async () => {
  const { environment, room } = await enter();
  const { peer, socket } = environment;
  peer.become('disconnected');
  await environment.pass(3_999);
  assert.equal(room.state, 'connected', 'it often comes back by itself');
  await environment.pass(1);
  assert.equal(room.state, 'reconnecting');
  assert.deepEqual(peer.offers.at(-1), { iceRestart: true });
  await socket.answer('offer', { sdp: { type: 'answer', sdp: 'v=0 again' } });
  peer.become('connected');
  assert.equal(room.state, 'connected');
  assert.equal(environment.peers.length, 1);
});

test('ICE that cannot be restarted: a new session, without the resume token', async () => {
  const { environment, room } = await enter();
  environment.peer.become('failed');
  await environment.socket.refuse('offer', 'media_refused', false);
  assert.equal(room.state, 'reconnecting');
  await environment.pass(250);
  assert.equal(environment.socket.count('join'), 2);
  assert.equal('jtoken' in environment.socket.said('join').params, false);
});

test('resumed, but no sound gets through: ICE is restarted', async () => {
  const { environment } = await enter();
  environment.socket.fall(1006);
  environment.peer.become('failed');
  await environment.pass(250);
  await handshake(environment, { ...JOINED, resume: true });
  assert.equal(environment.peers.length, 1);
  assert.deepEqual(environment.peer.offers.at(-1), { iceRestart: true });
});

test('a keepalive without an answer is the end of the connection', async () => {
  const { environment, room } = await enter();
  await environment.pass(10_000);
  assert.equal(environment.socket.count('keepalive'), 1);
  await environment.pass(5_000);
  assert.equal(room.status.problem.code, 'timeout');
  assert.equal(environment.sockets[0].closed, true);
});

test('a keepalive may say that the seat is gone, or that all is over', async () => {
  const full = await enter();
  await full.environment.pass(10_000);
  await full.environment.socket.refuse('keepalive', 'room_full', true, 5000);
  assert.deepEqual([full.room.status.problem.code, full.last('reconnecting').retryInMs], ['room_full', 5250]);
  await full.environment.pass(5250);
  await handshake(full.environment);
  assert.equal(full.room.status.step, 'negotiating');

  const over = await enter();
  await over.environment.pass(10_000);
  await over.environment.socket.refuse('keepalive', 'room_over', false);
  assert.equal(over.room.state, 'connected', 'the close code says more');
  over.environment.socket.fall(4403);
  assert.equal(over.last('closed').code, 'removed');

  const silent = await enter();
  await silent.environment.pass(10_000);
  await silent.environment.socket.refuse('keepalive', 'room_over', false);
  await silent.environment.pass(1000);
  assert.deepEqual([silent.last('closed').code, silent.environment.timers], ['room_over', 0]);
});

test('an answer that comes after it was given up changes nothing', async () => {
  const { environment, room } = await enter();
  const { socket } = environment;
  environment.peer.become('failed');
  await settle();
  const offer = socket.said('offer').id;
  socket.tell('reconnect', { reason: 'session_lost', retryAfterMs: 500 });
  socket.onmessage({ data: JSON.stringify({ id: offer, error: { message: '', data: { code: 'not_joined', retryable: false } } }) });
  await environment.pass(750);
  assert.equal(room.status.step, 'joining');
  socket.onmessage({ data: JSON.stringify({ id: offer, error: { message: '', data: { code: 'media_refused', retryable: false } } }) });
  await settle();
  assert.equal(room.status.step, 'joining');
});

test('members have their mute and talking; who is gone talks no more', async () => {
  const { environment, room } = await enter();
  const ann = { userId: 'ann', role: 'host', status: 'onair', muted: false };
  const bob = { userId: 'bob', role: 'anchor', status: 'onair', muted: false, displayName: 'Bob' };
  environment.socket.tell('roomStatus', { roomId: 'demo', members: [ann, bob] });
  environment.socket.tell('talking', { userId: 'bob', talking: true });
  assert.deepEqual(room.members, [{ ...ann, talking: false, me: true }, { ...bob, talking: true, me: false }]);
  environment.socket.tell('roomStatus', { roomId: 'demo', members: [ann] });
  environment.socket.tell('roomStatus', { roomId: 'demo', members: [ann, bob] });
  assert.equal(room.members[1].talking, false);
  environment.socket.tell('roomStatus', { roomId: 'demo', members: [ann] });
  environment.socket.tell('talking', { userId: 'bob', talking: true });
  environment.socket.tell('roomStatus', { roomId: 'demo', members: [ann] });
  environment.socket.tell('roomStatus', { roomId: 'demo', members: [ann, bob] });
  assert.equal(room.members[1].talking, true, 'the voice of somebody new may come before the name');
});

test('who talks is told afresh after each join', async () => {
  const { environment, room } = await enter();
  const members = ['ann', 'bob', 'cid'].map((userId) => ({ userId, role: 'anchor', status: 'onair', muted: false }));
  environment.socket.tell('roomStatus', { roomId: 'demo', members });
  environment.socket.tell('talking', { userId: 'bob', talking: true });
  environment.socket.fall(1006);
  await environment.pass(250);
  environment.socket.open();
  environment.socket.tell('talking', { userId: 'cid', talking: true });
  await environment.socket.answer('join', { ...JOINED, resume: true });
  assert.deepEqual(room.members.map(({ talking }) => talking), [false, false, true]);
});

test('the own role follows the room', async () => {
  const { environment, room } = await enter();
  const told = [];
  room.on('role', ({ role }) => told.push(role));
  const claimed = room.role;
  const other = claimed === 'host' ? 'co_host' : 'host';
  for (const role of [claimed, other, other, 'anchor']) {
    environment.socket.tell('roomStatus', { roomId: 'demo', members: [{ userId: room.user.userId, role, status: 'idle', muted: false }] });
  }
  assert.deepEqual([told, room.role], [[other, 'anchor'], 'anchor']);
});

test('a lock is told once, and older servers know none', async () => {
  const { environment, room } = await enter();
  const told = [];
  room.on('locked', ({ locked }) => told.push(locked));
  for (const locked of [{}, { locked: false }, { locked: true }, { locked: true }, { locked: false }]) {
    environment.socket.tell('roomStatus', { roomId: 'demo', members: [], ...locked });
  }
  assert.deepEqual([told, room.locked], [[true, false], false]);
});

test('backstage and start time are told once, and older servers know none', async () => {
  const { environment, room } = await enter();
  const told = [];
  room.on('schedule', (event) => told.push(event));
  const at = Date.parse('2026-01-31T18:00:00Z');
  for (const more of [{}, { backstage: true, startsAt: '2026-01-31T18:00:00.000Z' }, { backstage: true, startsAt: '2026-01-31T18:00:00.000Z' }, { backstage: false }]) {
    environment.socket.tell('roomStatus', { roomId: 'demo', members: [], ...more });
  }
  assert.deepEqual(told, [{ backstage: true, startsAt: at }, { backstage: false, startsAt: null }]);
  assert.deepEqual([room.backstage, room.startsAt], [false, null]);
  const going = room.goLive();
  await environment.socket.answer('goLive', {});
  await going;
});

test('a visit that waits for the room enters when it opens', async () => {
  const { environment, room } = visit();
  void room.join();
  await settle();
  environment.socket.open();
  const refuse = () => environment.socket.refuse('join', 'not_on_air', true, 1000);
  await refuse();
  environment.socket.tell('roomStatus', { roomId: 'demo', members: [], startsAt: '2026-01-31T18:00:00.000Z' });
  for (let failures = 1; failures < 6; failures += 1) {
    await environment.pass(10_000);
    await refuse();
  }
  assert.equal(room.startsAt, Date.parse('2026-01-31T18:00:00Z'));
  await environment.pass(1_000);
  const asked = environment.socket.count('join');
  environment.socket.tell('roomStatus', { roomId: 'demo', members: [], backstage: true });
  await settle();
  assert.equal(environment.socket.count('join'), asked + 1);
});

test('the end of a room has its reason', async () => {
  const { environment, last } = await enter();
  environment.socket.tell('roomClosed', { roomId: 'demo', reason: 'max_duration' });
  assert.deepEqual([last('closed').code, last('closed').reason], ['room_closed', 'max_duration']);
});

test('moderation goes to the server, and needs a connection', async () => {
  const { environment, room } = await enter();
  const removed = room.removeMember('bob');
  await environment.socket.refuse('remove', 'no_such_member', false);
  await assert.rejects(removed, { code: 'no_such_member' });
  for (const [act, method] of [
    [() => room.banMember('bob'), 'ban'], [() => room.unbanMember('bob'), 'unban'], [() => room.kickMember('bob'), 'kick'], [() => room.muteAll(), 'muteAll'],
    [() => room.lock(), 'lock'], [() => room.unlock(), 'unlock'], [() => room.setRole('bob', 'co_host'), 'setRole'],
    [() => room.transferHost('bob'), 'transferHost'],
  ]) {
    const done = act();
    await environment.socket.answer(method, {});
    await done;
  }
  environment.socket.fall(1006);
  await assert.rejects(room.muteMember('bob'), { code: 'not_connected' });
});

test('leaving says so, and frees everything', async () => {
  const { environment, room, last } = await enter();
  room.leave();
  assert.ok(environment.socket.said('leave'));
  assert.deepEqual([last('closed').code, environment.peer.closed, environment.timers], ['left', true, 0]);
});

test('a listener that throws disturbs nobody', async (t) => {
  const { environment, room } = await enter();
  const thrown = [];
  const keep = (error) => thrown.push(error.message);
  process.setUncaughtExceptionCaptureCallback(keep);
  t.after(() => process.setUncaughtExceptionCaptureCallback(null));
  room.on('talking', () => {
    throw new Error('mine');
  });
  const reached = [];
  room.on('talking', (event) => reached.push(event));
  environment.socket.tell('talking', { userId: 'bob', talking: true });
  await settle();
  assert.equal(reached.length, 1);
  assert.deepEqual(thrown, ['mine']);
});
