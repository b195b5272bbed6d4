import assert from 'node:assert/strict';
import test from 'node:test';
import { enter, handshake, JOINED, microphone } from './support.mjs';

test('mute closes the microphone at once, and again after a new session', async () => {
  const { environment, room } = await enter();
  const track = microphone();
  await room.publish(track);
  const muted = room.mute();
  assert.equal(track.enabled, false);
  await environment.socket.answer('mute', {});
  await muted;
  assert.equal(environment.socket.said('status').params.status, 'idle');
  environment.socket.fall(1006);
  await environment.pass(250);
  await handshake(environment);
  assert.equal(environment.socket.count('mute'), 1);
});

test('a host mutes and unmutes; who muted himself is only asked', async () => {
  const { environment, room, last, heard } = await enter();
  const track = microphone();
  await room.publish(track);
  const told = (muted) => environment.socket.tell('roomStatus', { roomId: 'demo', members: [{ userId: 'ann', role: 'host', status: 'onair', muted }] });
  told(true);
  assert.deepEqual([track.enabled, last('muted')], [false, { muted: true, by: 'host' }]);
  told(false);
  assert.deepEqual([track.enabled, last('muted')], [true, { muted: false, by: 'host' }]);
  const muted = room.mute();
  await environment.socket.answer('mute', {});
  await muted;
  told(true);
  await environment.pass(1000);
  told(false);
  assert.equal(track.enabled, false);
  assert.ok(heard.some(([name]) => name === 'unmuteRequested'));
  assert.equal(environment.socket.count('mute'), 2, 'the others are shown what is true');
});

test('what the server shows while a wish of one\'s own is under way is not taken for a host\'s', async () => {
  const { environment, room } = await enter();
  const told = (muted) => environment.socket.tell('roomStatus', { roomId: 'demo', members: [{ userId: 'ann', role: 'host', status: 'onair', muted }] });
  told(false);
  const muted = room.mute();
  told(false);
  await environment.socket.answer('mute', {});
  await muted;
  const opened = room.unmute();
  told(true);
  await environment.socket.answer('unmute', {});
  await opened;
  assert.equal(room.muted, false);
  told(false);
  await environment.pass(1000);
  assert.equal(room.muted, false);
});

test('a list that is older than the answer does not count as a host\'s action, however long it stays so', async () => {
  const { environment, room, heard } = await enter();
  const told = (muted) => environment.socket.tell('roomStatus', { roomId: 'demo', members: [{ userId: 'ann', role: 'host', status: 'onair', muted }] });
  for (const muted of [true, false]) {
    const done = muted ? room.mute() : room.unmute();
    await environment.socket.answer(muted ? 'mute' : 'unmute', {});
    await done;
    if (muted) told(true);
  }
  await environment.pass(8_000);
  told(true);
  assert.equal(room.muted, false, 'presence was away');
  await environment.pass(2_000);
  await environment.socket.answer('keepalive', {});
  assert.equal(room.muted, false, 'nothing new was shown');
  told(true);
  assert.equal(room.muted, true, 'presence is back, and a host was quick');
  assert.deepEqual(heard.filter(([name]) => name === 'muted').map(([, { by }]) => by), ['self', 'self', 'host']);
});

test('a report that failed is made again, and blamed on nobody; one that was refused undoes the wish', async () => {
  const { environment, room, heard } = await enter({ muted: true });
  await environment.socket.answer('mute', {});
  const told = (muted) => environment.socket.tell('roomStatus', { roomId: 'demo', members: [{ userId: 'ann', role: 'host', status: 'onair', muted }] });
  told(true);
  const failed = assert.rejects(room.unmute(), { code: 'media_unavailable' });
  await environment.socket.refuse('unmute', 'media_unavailable', true, 1500);
  await failed;
  told(true);
  assert.equal(room.muted, false);
  await environment.pass(1499);
  assert.equal(environment.socket.count('unmute'), 1);
  await environment.pass(1);
  assert.equal(environment.socket.count('unmute'), 2);
  await environment.socket.answer('unmute', {});
  told(false);
  assert.deepEqual(heard.filter(([name]) => name === 'muted').map(([, { by }]) => by), ['self']);
  for (const [code, by] of [['media_refused', 'self'], ['forbidden', 'host']]) {
    const muted = room.mute();
    await environment.socket.answer('mute', {});
    await muted;
    const refused = assert.rejects(room.unmute(), { code });
    await environment.socket.refuse('unmute', code, false);
    await refused;
    assert.equal(room.muted, true);
    assert.equal(heard.findLast(([name]) => name === 'muted')[1].by, by);
  }
});

test('a report whose answer was lost is made again after a session was resumed', async () => {
  const { environment, room } = await enter();
  const lost = assert.rejects(room.mute(), { code: 'gone' });
  environment.socket.fall(1006);
  await lost;
  await room.unmute();
  await environment.pass(250);
  await handshake(environment, { ...JOINED, resume: true });
  assert.equal(environment.socket.count('unmute'), 1, 'whether it is muted there is not known');
});
