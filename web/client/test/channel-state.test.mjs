import assert from 'node:assert/strict';
import test from 'node:test';
import { SseReader } from '../dist/channel/sse.js';
import { applied, floorAt, initial, isInvited, placeOf, queueOf, TalkingClock } from '../dist/channel/state.js';

const ann = { id: 'a', name: 'Ann', role: 'listener', verified: true };
const hand = (id, more = {}) => ({ person: { id }, raisedAt: 1, invited: false, ...more });
const message = (id) => ({ id, at: 1, person: ann, text: 'hello' });
const state = (...events) => events.reduce((known, [event, data]) => applied(known, event, data), initial());

test('events are read from any chunks', () => {
  const text = 'retry: 1000\nid: h.1\nevent: room\ndata: {"a":\ndata: 1}\n\n:\n\nevent: other\r\ndata: x\r\n\r\nid: h.2\n\n';
  const expected = [{ event: 'room', data: '{"a":\n1}' }, { event: 'other', data: 'x' }];
  for (let size = 1; size <= text.length; size += 1) {
    const reader = new SseReader();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...reader.feed(text.slice(at, at + size)));
    assert.deepEqual([events, reader.lastEventId], [expected, 'h.2'], `in chunks of ${size}`);
  }
  const reader = new SseReader();
  reader.feed('event: room\ndata: lo');
  reader.restart();
  assert.deepEqual(reader.feed('data: whole\n\n'), [{ event: 'message', data: 'whole' }]);
});

test('hands keep their order and their place', () => {
  const raised = state(['hello', { you: ann }], ['hand_raised', hand('b')], ['hand_raised', hand('a')]);
  assert.deepEqual([placeOf(raised, 'a'), placeOf(raised, 'c')], [2, null]);
  const noted = applied(raised, 'hand_raised', hand('b', { note: 'tea' }));
  assert.deepEqual(noted.hands.map(({ person, note }) => [person.id, note]), [['b', 'tea'], ['a', undefined]]);
  const invited = applied(noted, 'invited', { person: 'a' });
  assert.deepEqual([isInvited(invited), isInvited(applied(invited, 'invitation_revoked', { person: 'a' }))], [true, false]);
  assert.equal(placeOf(applied(invited, 'hand_lowered', { person: 'b' }), 'a'), 1);
  assert.equal(isInvited(applied(noted, 'invited', { person: 'b' })), false, 'of another');
});

test('messages are bounded, and a deleted one is not pinned', () => {
  const many = state(...Array.from({ length: 150 }, (_, id) => ['message_sent', message(id + 1)]), ['message_pinned', { message: message(150) }]);
  assert.deepEqual([many.messages.length, many.messages[0].id, many.pinned.id], [100, 51, 150]);
  const deleted = applied(many, 'message_deleted', { message: 150 });
  assert.deepEqual([deleted.messages.length, deleted.pinned], [99, null]);
  assert.equal(applied(many, 'news_of_tomorrow', {}), many);
});

test('who talks is shown when it is heard', () => {
  const clock = new TalkingClock();
  for (const at of [100, 200, 300]) clock.heard({ at, people: [`p${at}`] });
  assert.deepEqual([clock.at(50), clock.at(100), clock.at(250), clock.at(null)], [[], ['p100'], ['p200'], ['p300']]);
});

test('hands can be ordered by the time spoken', () => {
  const hands = [['hand_raised', hand('a')], ['hand_raised', hand('b')], ['hand_raised', hand('c')]];
  const spoken = state(...hands, ['spoken', { people: { a: 9000, c: 100 } }]);
  const order = (known) => queueOf(known).map(({ person }) => person.id).join('');
  assert.equal(order(spoken), 'abc');
  const fair = applied(spoken, 'configured', { settings: { handsOpen: true, chatOpen: true, slowModeSeconds: 0, handOrder: 'least_spoken' } });
  assert.deepEqual([order(fair), placeOf(fair, 'a')], ['bca', 3]);
});

test('the floor ends by the clock of the stream', () => {
  const given = state(['floor_given', { at: 1000, person: 'a', until: 61_000 }]);
  assert.deepEqual(floorAt(given, 31_500), { person: 'a', seconds: 30 });
  // The sound that is heard is older than the floor, so the floor has not begun yet.
  assert.deepEqual(floorAt(given, 500), { person: 'a', seconds: 60 });
  assert.deepEqual([floorAt(given, 61_000), floorAt(given, null), floorAt(initial(), 5)], [null, null, null]);
  assert.equal(floorAt(applied(given, 'floor_ended', { at: 2000 }), 3000), null);
});
