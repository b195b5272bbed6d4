import assert from 'node:assert/strict';
import test from 'node:test';
import { answers, parts } from './support.mjs';

const { countdown, localTime, config, rooms, reasonOf, inBrief, entrance, ending, said, underWay, playback } = await parts();

const OPEN = { open: true, wsUrl: 'wss://live.example.org/ws' };
const TOKEN = '/pages/rooms/demo/token';

/** Returns the text for a user who wants to speak and gets this answer to the token request. */
async function met(answer) {
  answers({ '/pages/config': OPEN, [TOKEN]: answer });
  return reasonOf(await entrance('demo', 'Ann', '').then(() => assert.fail('let in'), (error) => error));
}

test('a refusal is told from a server that does not answer', async () => {
  for (const [status, code, words] of [
    [404, 'room_not_found', /no such room/],
    [409, 'room_removing', /room is over/],
    [403, 'host_not_allowed', /name in the address/],
    [403, 'origin_not_allowed', /no requests from this page/],
    [403, 'pages_closed', /need an invite/],
    [409, 'too_many_users', /refused this.*no \(too_many_users\)/],
    [400, undefined, /refused this.*400/],
  ]) {
    const reason = await met({ status, code });
    assert.match(inBrief(reason), words);
    assert.doesNotMatch(inBrief(reason), /does not answer\b(?! to the name)/);
    assert.equal(reason.passing, false, code);
  }
  for (const [status, code] of [[503, 'store_unavailable'], [502, undefined], [429, undefined], [400, 'invalid_name']]) {
    const reason = await met({ status, code });
    assert.equal(reason.passing, true, code);
    assert.doesNotMatch(inBrief(reason), /does not answer/);
  }
  const silent = await met(new TypeError('Failed to fetch'));
  assert.deepEqual([inBrief(silent), silent.passing], ['The server does not answer. Try again in a moment.', true]);
});

test('a server without a gateway lets nobody try to speak, whatever the link', async () => {
  for (const wsUrl of [null, undefined]) {
    const asked = answers({ '/pages/config': { open: true, wsUrl }, '/pages/rooms': { open: true, wsUrl, rooms: [] } });
    assert.deepEqual([(await config()).wsUrl, (await rooms()).wsUrl], [null, null]);
    for (const invite of ['', 'a.b.c']) await assert.rejects(entrance('demo', 'Ann', invite), { name: 'StentorError', code: 'no_gateway' });
    assert.deepEqual(asked.filter(({ path }) => path === TOKEN), [], 'no token is asked for in vain');
  }
  const { title, text, way } = ending({ code: 'no_gateway', message: 'no_gateway', retryable: false });
  assert.deepEqual([title, way], ['Nobody can speak here', 'none']);
  assert.match(text, /not set up for speakers/);
});

test('an invite opens the door everywhere; without one, only an open server does', async () => {
  const asked = answers({ '/pages/config': OPEN, [TOKEN]: { token: 'fresh' } });
  assert.deepEqual(await entrance('demo', 'Ann', 'mine'), { server: OPEN, token: 'mine' });
  assert.deepEqual(await entrance('demo', 'Ann', ''), { server: OPEN, token: 'fresh' });
  assert.deepEqual(asked.at(-1), { path: TOKEN, method: 'POST', body: { role: 'anchor', name: 'Ann' } });
  answers({ '/pages/config': { ...OPEN, open: false } });
  await assert.rejects(entrance('demo', 'Ann', ''), { name: 'StentorError', code: 'no_invite' });
});

test('a gateway that never lets this page in is named, while there is a network', () => {
  const problem = { code: 'gone', message: 'gone', retryable: true };
  const status = { state: 'connecting', step: 'waiting', problem, failures: 3, retryAt: 3_000, mediaFlows: false };
  const here = { gateway: OPEN.wsUrl, online: true };
  assert.match(said(status, here), /wss:\/\/live\.example\.org\/ws.*does not admit this page/);
  assert.match(underWay(status, here, 1_000), /does not admit this page.*Trying again in 2 s\.$/);
  const network = /^The server cannot be reached\. Check your network\./;
  assert.match(said({ ...status, failures: 2 }, here), network);
  assert.match(said({ ...status, state: 'reconnecting' }, here), network);
  assert.match(said(status, { ...here, online: false }), network);
});

test('a listener who waits learns for what', () => {
  const waiting = (code, heard) => playback({ state: 'waiting', problem: { code, message: code, retryable: true } }, heard);
  assert.match(waiting('room_not_on_air', false), /not on air/);
  assert.match(waiting('room_not_found', false), /no such room/);
  assert.match(waiting('room_not_on_air', true), /is over/);
  for (const heard of [false, true]) assert.match(waiting('listeners_full', heard), /room is full/);
});

test('the time until a start is a countdown', () => {
  const second = 1000;
  assert.deepEqual([0, 1, 59.2, 125, 3725, 172_799].map((left) => countdown(left * second)), ['0:00', '0:01', '1:00', '2:05', '1:02:05', '47:59:59']);
  assert.deepEqual([-5, 172_800, 900_000].map((left) => countdown(left * second)), ['0:00', '2 days', '10 days']);
  const at = Date.parse('2026-01-31T18:00:00Z');
  assert.match(localTime(at, at - 3_600_000, 'en-GB'), /^\d\d:00$/);
  assert.match(localTime(at, at - 86_400_000, 'en-GB'), /January 2026/);
});
