import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { backoff } from '../dist/backoff.js';
import { readClaims } from '../dist/claims.js';
import { clientIdOf } from '../dist/client-id.js';
import { closeMeaning } from '../dist/protocol.js';
import { Rpc } from '../dist/rpc.js';
import { condense } from '../dist/stats.js';
import { Voice } from '../dist/voice.js';
import { FakeEnvironment, token, visit } from './support.mjs';

test('waiting grows, has a ceiling, is spread over all of it, and never comes before the server allows', () => {
  assert.equal(backoff(0, 0), 0);
  assert.equal(backoff(0, 0.999), 500);
  assert.equal(backoff(3, 0.5), 2000);
  assert.equal(backoff(1000, 0.9999999), 8_000);
  assert.equal(backoff(0, 0, 3000), 3000);
  assert.equal(backoff(0, 0.5, -7), 250);
});

test('a token is read with all its letters, and what is none is null', () => {
  const claims = readClaims(token({ sub: 'änne', exp: 1234 }));
  assert.deepEqual(claims, { userId: 'änne', roomId: 'demo', role: 'host', expiresAt: 1_234_000 });
  for (const bad of ['', 'a.b.c', token({ role: 'listener' }), token({ sub: 7 })]) assert.equal(readClaims(bad), null);
});

test('answers find their calls in any order, and errors keep what the server said', async () => {
  const sent = [];
  const heard = [];
  const rpc = new Rpc((text) => sent.push(JSON.parse(text)), (...news) => heard.push(news), new FakeEnvironment());
  const [first, second] = [rpc.call('a', {}, 1000), rpc.call('b', { x: 1 }, 1000)];
  assert.deepEqual(sent[1], { jsonrpc: '2.0', id: 2, method: 'b', params: { x: 1 } });
  const data = { code: 'wrong_pin', retryable: false };
  rpc.receive(JSON.stringify([{ jsonrpc: '2.0', id: 2, result: 'two' }, { jsonrpc: '2.0', method: 'n', params: 1 }]));
  rpc.receive(JSON.stringify({ jsonrpc: '2.0', id: 1, error: { code: -32007, message: 'no', data } }));
  assert.equal(await second, 'two');
  await assert.rejects(first, { code: 'wrong_pin', retryable: false, message: 'no' });
  assert.deepEqual(heard, [['n', 1]]);
  for (const noise of ['{', '7', 'null', '{"id":99,"result":1}', '{"id":"1","result":1}']) rpc.receive(noise);
});

test('a call without an answer times out, and the end ends all', async () => {
  const environment = new FakeEnvironment();
  const rpc = new Rpc(() => {}, () => {}, environment);
  const late = rpc.call('a', {}, 1000);
  const watched = assert.rejects(late, { code: 'timeout', retryable: true });
  await environment.pass(1000);
  await watched;
  const open = rpc.call('b', {}, 1000);
  const over = Object.assign(new Error('over'), { code: 'gone' });
  rpc.end(over);
  await assert.rejects(open, { code: 'gone' });
  await assert.rejects(rpc.call('c', {}, 1000), { code: 'gone' });
  assert.equal(environment.timers, 0);
});

test('a client has a name that the server takes, or hears at once that it has none', () => {
  for (const good of ['!', '~', 'tab-1', 'x'.repeat(64)]) assert.equal(clientIdOf(good, Math.random), good);
  for (const none of [undefined, null]) assert.match(clientIdOf(none, Math.random), /^[0-9a-z]{16}$/);
  const refused = { name: 'StentorError', code: 'invalid_client_id', retryable: false, message: /1 to 64 visible ASCII .*leave it out/ };
  for (const bad of ['', 'my tab', 'x'.repeat(65), 'täb', 'tab\n', '\u007f']) {
    assert.throws(() => clientIdOf(bad, Math.random), refused);
    assert.throws(() => visit({ clientId: bad }), refused);
  }
});

test('what is closed for good is told from what passes', () => {
  assert.deepEqual([4403, 4409, 4410, 4429].map((code) => closeMeaning(code).retryable), [false, false, false, false]);
  assert.deepEqual([1001, 1006, 4503, 4999].map((code) => closeMeaning(code).retryable), [true, true, true, true]);
});

test('every documented close code has its meaning', () => {
  const text = readFileSync(new URL('../../../docs/signalling.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| (\d{4}) \| `(\w+)` \| (yes|no) \|/gm)];
  assert.ok(rows.length > 15);
  for (const [, number, code, retryable] of rows) {
    const meaning = closeMeaning(Number(number));
    assert.deepEqual([meaning.code, meaning.retryable], [code, retryable === 'yes'], number);
  }
});

test('a host closes a microphone, and opens only what a host closed', () => {
  const voice = new Voice(false);
  assert.equal(voice.seen(false), 'none');
  assert.equal(voice.seen(true), 'muted_by_host');
  assert.equal(voice.seen(false), 'unmuted_by_host');
  voice.wish(true);
  assert.equal(voice.seen(true), 'none');
  assert.equal(voice.seen(false), 'asked_to_unmute');
  assert.equal(voice.muted, true);
  voice.wish(false);
  assert.equal(voice.muted, false);
});

test('statistics are condensed, and rates are those since the last look', () => {
  const entries = (packets, lost) => [
    { type: 'outbound-rtp', kind: 'audio', packetsSent: packets, bytesSent: packets * 100 },
    { type: 'outbound-rtp', kind: 'video', packetsSent: 7 },
    { type: 'remote-inbound-rtp', kind: 'audio', packetsLost: lost, jitter: 0.004, roundTripTime: 0.0321 },
    { type: 'inbound-rtp', kind: 'audio', packetsReceived: packets, bytesReceived: packets * 50, packetsLost: 0, jitter: 0.001 },
  ];
  const first = condense(entries(100, 0), 1000, null, null);
  assert.equal(first.quality, 'unknown');
  assert.equal(first.sent.bitrate, null);
  const second = condense(entries(190, 10), 3000, 2000, first);
  assert.equal(second.roundTripMs, 32.1);
  assert.deepEqual([second.sent.bitrate, second.sent.lossRatio, second.received.lossRatio], [36_000, 0.1, 0]);
  assert.deepEqual([second.sent.jitterMs, second.quality], [4, 'poor']);
  assert.equal(condense(entries(280, 10), 0, 2000, second).quality, 'good', 'whatever the date');
  assert.equal(condense([], 5000, null, null).roundTripMs, null);
});
