// Tests of the built package. The tests of the room API need a node: STENTOR_API, STENTOR_HLS, STENTOR_API_KEY and
// STENTOR_JWT_SECRET (`kid:secret`).

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { test } from 'node:test';
import * as stentor from '../dist/index.js';

const { STENTOR_API: api, STENTOR_HLS: hls, STENTOR_API_KEY: key, STENTOR_JWT_SECRET: secret } = process.env;
const ROOM = `node-sdk-${process.pid}`;

const vectors = JSON.parse(readFileSync(new URL('../../webhooks.json', import.meta.url), 'utf8'));
test('webhooks are verified', () => {
  for (const { name, secrets, id, timestamp, signature, body, now, accepted } of vectors.cases) {
    const headers = { 'webhook-id': id, 'Webhook-Timestamp': timestamp, 'webhook-signature': [signature] };
    const verifier = new stentor.WebhookVerifier(...secrets);
    const all = [headers, new Headers({ ...headers, 'webhook-signature': signature })];
    for (const [form, content] of all.flatMap((h) => [[h, body], [h, Buffer.from(body)]])) {
      if (accepted) assert.deepEqual(verifier.verify(content, form, now), JSON.parse(body), name);
      else assert.throws(() => verifier.verify(content, form, now), stentor.WebhookError, name);
    }
  }
  assert.throws(() => new stentor.WebhookVerifier(), TypeError);
  assert.throws(() => new stentor.WebhookVerifier('whsec_???'), TypeError);
  assert.throws(() => new stentor.WebhookVerifier(undefined), /must be whsec_/);
  const [{ secrets }] = vectors.cases;
  assert.throws(() => new stentor.WebhookVerifier(...secrets).verify({ type: 'room_created' }, {}), /as it arrived/);
});

test('bad token secrets are refused', () => {
  for (const bad of ['', 'k1', 'k1:short', `:${'x'.repeat(40)}`, undefined]) {
    assert.throws(() => new stentor.TokenSigner(bad), /kid:secret/);
  }
  const signer = new stentor.TokenSigner(`k1:${'x'.repeat(40)}`);
  assert.throws(() => signer.anchor('demo', 'ann', { ttl: '3600' }), /number of seconds/);
});

test('a lost stream is continued', { timeout: 120_000 }, async () => {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    if (asked.length === 1) {
      response.writeHead(503, { 'retry-after': '0' }).end('{"error":"later","code":"too_many_clients"}');
    } else {
      const event = { cursor: `${asked.length}.0`, type: 'room_created' };
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(`: comment\n\nid: ${event.cursor}\ndata: ${JSON.stringify(event)}\n\n`);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cursors = [];
  for await (const event of stentor.follow(stentor.connect(`http://127.0.0.1:${server.address().port}`), { after: '0' })) {
    cursors.push(event.cursor);
    if (cursors.length === 2) break;
  }
  server.close();
  assert.deepEqual(cursors, ['2.0', '3.0']);
  assert.deepEqual(asked, ['0', '0', '2.0'].map((after) => `/api/events?after=${after}`));
});

test('a room is run by the SDK', { skip: api === undefined && 'no node', timeout: 120_000 }, async () => {
  const client = stentor.connect(`${api}/`, key);
  const made = await stentor.createRoom({ client, body: { roomId: ROOM, title: 'Tea', custom: { a: 1 } } });
  assert.equal(made.room.title, 'Tea');
  const again = await refusal(stentor.createRoom({ client, body: { roomId: ROOM } }));
  assert.deepEqual([again.code, again.status, again.retryAfter], ['room_exists', 409, undefined]);
  assert.match(again.requestId, /^[0-9a-f]{32}$/);
  const stranger = await refusal(stentor.listRooms({ client: stentor.connect(api) }));
  assert.equal(stranger.code, 'unauthorized');
  const changed = await stentor.updateRoom({ client, path: { id: ROOM }, body: { title: null } });
  assert.deepEqual([changed.room.title, changed.room.custom], [undefined, { a: 1 }]);
  await stentor.startRoom({ client, path: { id: ROOM } });
  const listed = await stentor.listRooms({ client, query: { q: ROOM } });
  assert.deepEqual(listed.rooms.map((room) => room.roomId), [ROOM]);

  const ann = await stentor.createUser({ client, path: { id: ROOM }, body: { userId: 'ann', role: 'host' } });
  assert.match(ann.inviteUrl, new RegExp(`/speak/${ROOM}#token=`));
  const signer = new stentor.TokenSigner(secret);
  const roomCreatedAt = made.room.createdAt;
  const you = await hello(ROOM, signer.listener(ROOM, { user: 'bob', name: 'Bob', roomCreatedAt }));
  assert.deepEqual([you.role, you.name], ['listener', 'Bob']);
  assert.equal((await hello(ROOM, signer.listener(ROOM))).role, 'listener');
  assert.equal((await hello(ROOM, signer.anchor(ROOM, 'cy'))).role, 'anchor');
  assert.equal((await hello(ROOM, signer.anchor(ROOM, 'dan', { role: 'host', ttl: 60 }))).role, 'host');
  assert.equal(await hello(ROOM, signer.listener('other-room')), 403);
  assert.equal(await hello(ROOM, signer.listener(ROOM, { ttl: -1 })), 401);
  assert.equal(await hello(ROOM, signer.listener(ROOM, { roomCreatedAt: roomCreatedAt - 1 })), 401);
  assert.equal(await hello(ROOM, new stentor.TokenSigner(secret, 'other').listener(ROOM)), 401);

  // The ledger may lag behind the store: `follow` waits for an event, `pages` does not.
  const seen = [];
  const followed = [];
  for await (const event of stentor.follow(client, { after: '0', room: ROOM })) {
    followed.push(event.type);
    if (event.type === 'anchor_invited') {
      for await (const earlier of stentor.pages(client, { room: ROOM })) seen.push(earlier);
      await stentor.deleteRoom({ client, path: { id: ROOM } });
    }
    if (event.type === 'room_deleted') break;
  }
  assert.deepEqual(seen.map((event) => event.type), ['room_created', 'room_started', 'anchor_invited']);
  assert.deepEqual(seen[2].data, { userId: 'ann', role: 'host' });
  const types = ['room_created', 'room_started', 'anchor_invited', 'room_ended', 'room_deleted'];
  assert.deepEqual(followed, types);
  const later = [];
  for await (const event of stentor.pages(client, { room: ROOM, after: seen[1].cursor })) later.push(event.type);
  assert.deepEqual(later, types.slice(2));
  const refused = stentor.follow(stentor.connect(api), { after: '0' });
  assert.equal((await refusal(refused.next())).code, 'unauthorized');
  const ended = stentor.follow(client, { after: '0', signal: AbortSignal.abort() });
  assert.equal((await ended.next()).done, true);
});

test('the example of the README works', { skip: api === undefined && 'no node' }, () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, example] = /^```ts\n(.*?)^```/ms.exec(readme);
  // Remove `!`, which only TypeScript has.
  const input = example.replace('http://127.0.0.1:3000', api).replaceAll('!)', ')');
  const options = { input, cwd: new URL('..', import.meta.url), encoding: 'utf8', timeout: 120_000 };
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module'], options);
  assert.match(stdout, /\/speak\/tea-room#token=\S+ \S+\.\S+\.\S+\n$/, stderr);
});

async function refusal(promise) {
  const error = await promise.then(() => assert.fail('it was accepted'), (e) => e);
  assert(error instanceof stentor.StentorError, error);
  return error;
}

// Returns the listener channel's data about the token's subject, or the status of the refusal.
async function hello(room, token) {
  const stop = new AbortController();
  const answer = await fetch(`${hls}/hls/rooms/${room}/events`, {
    headers: { authorization: `Bearer ${token}` },
    signal: stop.signal,
  });
  if (answer.status !== 200) return answer.status;
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of answer.body) {
    text += decoder.decode(chunk, { stream: true });
    const data = /^event: ?hello\n(?:.*\n)*?data: ?(.*)\n/m.exec(text);
    if (data !== null) return JSON.parse(data[1]).you;
  }
  return assert.fail(`no hello: ${text}`);
}
