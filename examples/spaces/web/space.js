// The page of one space: waiting for its start, live, or ended. `room.js` has the part that communicates with
// Stentor.

import { placeOf, REACTIONS } from '/client/index.js';
import {
  api,
  attempt,
  byId,
  clock,
  clone,
  dateTime,
  followSpaces,
  keyed,
  showMe,
  toast,
  write,
} from './app.js';
import { Room } from './room.js';

const id = location.pathname.split('/').pop();
const { user } = await api('GET', 'me');
if (!user) location.replace(`/?next=${location.pathname}`);
showMe(user);

/** The space, as reported by the application server. */
let space = null;
/** The room while the space is live and this person is in it. */
let room = null;
let entered = false;

const command = (path, body = {}) => api('POST', `spaces/${id}/${path}`, body);

// --- The space ---------------------------------------------------------------------------------------------

followSpaces((spaces) => {
  space = spaces.find((it) => it.id === id);
  if (!space) return location.replace('/');
  if (space.status === 'live' && !entered) void enter();
  if (space.status === 'ended') room = room?.close() ?? null;
  showSpace();
});

async function enter() {
  entered = true;
  const options = { renew: () => command('enter'), name: user.name, player: byId('player'), page };
  await attempt(async () => (room = new Room(await command('enter'), options)), page.refused);
}

/** Callbacks of the room. */
const page = {
  changed: showRoom,
  reacted: rise,
  askedToUnmute: () => toast('The host asks you to unmute.'),
  left: (problem) => ['left', 'room_closed', 'room_gone'].includes(problem.code) || toast(wordsOf(problem)),
  refused: (problem) => {
    byId('refused').hidden = false;
    write(byId('refused'), wordsOf(problem));
    document.body.classList.add('out');
  },
};

function showSpace() {
  const { status, title, description, host, startsAt, startedAt, endedAt, mine, history, recorded } = space;
  document.title = `${title} · Spaces`;
  document.body.dataset.status = status;
  write(byId('title'), title);
  write(byId('description'), description);
  write(byId('status'), { upcoming: 'Upcoming', live: 'Live', ended: 'Ended' }[status]);
  for (const view of ['upcoming', 'live', 'ended']) byId(view).hidden = status !== view;
  byId('host-start').hidden = !mine;
  byId('end').hidden = !mine || status !== 'live';
  write(byId('starts-at'), startsAt ? `Starts ${dateTime(startsAt)}` : 'The space starts in a moment');
  const listeners = room?.channel?.state.room.listeners ?? 0;
  const facts = {
    upcoming: () => '',
    live: () => ` · ${listeners} listening · since ${clock(startedAt)}`,
    ended: () => ` · ${dateTime(endedAt)}`,
  };
  write(byId('facts'), `Hosted by ${host}${facts[status]()}`);
  showHistory(history);
  if (recorded && !byId('replay-wait').hidden) void attempt(loadReplay);
  byId('replay-wait').hidden = recorded;
  tick();
}

const HISTORY = {
  started: () => 'The space went live',
  ended: () => 'The space ended',
  recorded: () => 'The recording is ready',
  joined: ({ name }) => `${name ?? 'Somebody'} came to the stage`,
  removed: ({ name }) => `${name ?? 'Somebody'} was removed`,
};

const showHistory = keyed(byId('history'), newEntry);
function newEntry(entry) {
  const item = clone('entry');
  item.querySelector('time').textContent = clock(entry.at);
  item.querySelector('span').textContent = HISTORY[entry.type](entry);
  return item;
}

async function loadReplay() {
  const player = byId('replay');
  player.addEventListener('loadedmetadata', () => (player.hidden = false));
  player.src = (await command('replay')).url;
}

/** Shows the time until the start. */
function tick() {
  const seconds = Math.max(0, Math.ceil(((space?.startsAt ?? 0) - Date.now()) / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (value) => String(value).padStart(2, '0');
  const left =
    hours > 48 ? `${Math.round(hours / 24)} days` : `${two(hours)}:${two(minutes)}:${two(seconds % 60)}`;
  write(byId('countdown'), seconds > 0 ? left : 'Starting soon');
}
setInterval(tick, 1000);

// --- The room ----------------------------------------------------------------------------------------------

function showRoom() {
  if (!room?.channel) return;
  const { host, visit, entering, channel } = room;
  const { state } = channel;
  const place = placeOf(state, state.you?.id);
  byId('recorded').hidden = !state.room.recorded;
  byId('player').hidden = host || visit !== null;
  byId('join').hidden = !host || visit !== null;
  byId('mute').hidden = byId('leave').hidden = visit === null;
  byId('mute').setAttribute('aria-pressed', String(visit?.muted ?? false));
  write(byId('mute'), visit?.muted ? 'Unmute' : 'Mute');
  byId('hand').hidden = host || visit !== null;
  byId('hand').disabled = place === null && !state.settings.handsOpen;
  byId('hand').setAttribute('aria-pressed', String(place !== null));
  write(byId('hand'), place === null ? '✋ Raise hand' : '✋ Lower hand');
  byId('invitation').hidden = !room.invited || visit !== null;
  byId('accept').disabled = entering;
  const onStage = { connected: 'You are on the stage', reconnecting: 'Reconnecting…' }[visit?.state];
  const raised = place === null ? '' : `Your hand is up · place ${place}`;
  write(byId('state'), entering ? 'Going to the stage…' : (onStage ?? raised));
  showSpeakers(room.speakers.sort((a, b) => Number(b.role === 'host') - Number(a.role === 'host')));
  byId('hands-panel').hidden = !host;
  showHands(host ? state.hands.map((hand) => ({ ...hand, id: hand.person.id })) : []);
  byId('bans-panel').hidden = state.bans.length === 0;
  showBans(state.bans);
  showChat(state);
  showSpace();
}

const nameOf = (person) => person.name || 'Anonymous';
const run = (action) => attempt(action, (error) => toast(wordsOf(error)));

/** Runs `action` when the button `what` of an item is pressed. `label` is its name for screen readers. */
function bind(item, what, label, action) {
  const button = item.querySelector(`[data-do=${what}]`);
  button.setAttribute('aria-label', label);
  button.addEventListener('click', () => run(action));
}

const showSpeakers = keyed(byId('speakers'), newSpeaker, (item, { role, muted, talking, me }) => {
  const words = [role === 'host' && 'Host', me && 'You', muted ? 'Muted' : talking && 'Talking'];
  write(item.querySelector('.muted'), words.filter(Boolean).join(' · ') || 'Speaker');
  item.classList.toggle('talking', talking && !muted);
  item.querySelector('.actions').hidden = !room.host || !room.visit || me;
  item.querySelector('[data-do=mute]').hidden = muted;
  item.querySelector('[data-do=unmute]').hidden = !muted;
});

function newSpeaker(speaker) {
  const name = nameOf(speaker);
  const item = clone('speaker', name);
  item.dataset.name = name;
  bind(item, 'mute', `Mute ${name}`, () => room.visit.muteMember(speaker.id));
  bind(item, 'unmute', `Unmute ${name}`, () => room.visit.unmuteMember(speaker.id));
  bind(item, 'remove', `Remove ${name}`, () => remove(name, () => room.visit.banMember(speaker.id)));
  return item;
}

const showHands = keyed(byId('hands'), newHand, (item, { invited, note }) => {
  write(item.querySelector('.note'), note ?? '');
  item.querySelector('[data-do=invite]').hidden = invited;
  item.querySelector('[data-do=revoke]').hidden = !invited;
});

function newHand({ id: person, person: someone }) {
  const name = nameOf(someone);
  const item = clone('raised', name);
  bind(item, 'invite', `Invite ${name} to the stage`, () => room.channel.invite(person));
  bind(item, 'revoke', `Take the invitation of ${name} back`, () => room.channel.invite(person, false));
  bind(item, 'lower', `Lower the hand of ${name}`, () => room.channel.lowerHandOf(person));
  return item;
}

const showBans = keyed(byId('bans'), (person) => {
  const item = clone('ban', nameOf(person));
  bind(item, 'unban', `Let ${nameOf(person)} in again`, () => room.channel.unban(person.id));
  return item;
});

function showChat({ messages, pinned }) {
  const log = byId('messages');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  showMessages(messages);
  if (atEnd) log.scrollTop = log.scrollHeight;
  byId('pinned').hidden = pinned === null;
  byId('unpin').hidden = !room.host;
  write(byId('pinned-text'), pinned ? `${nameOf(pinned.person)}: ${pinned.text}` : '');
}

const showMessages = keyed(byId('messages'), ({ id: message, person, text, at }) => {
  const { channel, host } = room;
  const name = nameOf(person);
  const item = clone('message', name);
  const mine = person.id === channel.state.you?.id;
  item.querySelector('time').textContent = clock(at);
  item.querySelector('.text').textContent = text;
  item.querySelector('[data-do=pin]').hidden = !host;
  item.querySelector('[data-do=delete]').hidden = !host && !mine;
  item.querySelector('[data-do=remove]').hidden = !host || mine;
  bind(item, 'pin', `Pin the message of ${name}`, () => channel.pin(message));
  bind(item, 'delete', `Delete the message of ${name}`, () => channel.deleteMessage(message));
  bind(item, 'remove', `Remove ${name}`, () => remove(name, () => channel.ban(person.id)));
  return item;
});

/** Shows emojis that rise over the stage. */
function rise(counts) {
  const signs = Object.entries(counts).flatMap(([reaction, count]) =>
    Array(Math.min(count, 8)).fill(REACTIONS[reaction]),
  );
  for (const sign of signs.filter(Boolean)) {
    const item = document.createElement('span');
    item.textContent = sign;
    item.style.setProperty('--x', `${10 + Math.random() * 80}%`);
    item.style.setProperty('--delay', `${Math.random() * 0.4}s`);
    byId('rising').append(item);
    setTimeout(() => item.remove(), 3000);
  }
}

// --- Actions of the person ---------------------------------------------------------------------------------

const on = (button, action) => byId(button).addEventListener('click', () => run(action));
on('start', () => command('start'));
on('cancel', () => sure('Cancel this space?', 'Cancel the space', () => command('end')));
on('end', () => sure('End the space for everybody?', 'End', () => command('end')));
on('join', () => room.takeStage());
on('accept', () => room.takeStage());
on('decline', () => room.channel.lowerHand());
on('mute', () => (room.visit.muted ? room.visit.unmute() : room.visit.mute()));
on('leave', () => room.leaveStage());
on('unpin', () => room.channel.pin(null));
on('hand', () =>
  byId('hand').getAttribute('aria-pressed') === 'true'
    ? room.channel.lowerHand()
    : byId('hand-dialog').showModal(),
);
on('hand-cancel', () => byId('hand-dialog').close());
byId('hand-form').addEventListener('submit', () => {
  const note = byId('note').value.trim();
  void run(() => room.channel.raiseHand(note ? { note } : {}));
});
byId('say').addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = byId('say-text');
  if (await run(() => room.channel.say(field.value.trim()))) field.value = '';
  field.focus();
});
for (const [reaction, sign] of Object.entries(REACTIONS)) {
  const item = clone('reaction');
  item.textContent = sign;
  item.setAttribute('aria-label', reaction);
  item.addEventListener('click', () => run(() => room.channel.react(reaction)));
  byId('reactions').append(item);
}

const remove = (name, action) => sure(`Remove ${name} from the space?`, 'Remove', action);

/** Asks for confirmation of an action that cannot be undone. */
function sure(question, verb, action) {
  const dialog = byId('sure');
  write(byId('sure-text'), question);
  write(byId('sure-yes'), verb);
  dialog.returnValue = '';
  dialog.onclose = () => dialog.returnValue === 'yes' && run(action);
  dialog.showModal();
}

/** Texts for common problems; for other problems, the page shows the text of the library. */
const PROBLEMS = {
  microphone_denied: 'Allow the microphone in the address bar of your browser, then try again.',
  microphone_missing: 'No microphone was found. Connect one and try again.',
  not_invited: 'The invitation is no longer open.',
  room_locked: 'The stage is locked right now. Your invitation stays open.',
  removed: 'The host removed you from this space.',
  user_removed: 'The host removed you from this space.',
  slow_mode: 'Slow mode is on. Wait a little before the next message.',
  too_many_requests: 'That was too fast. Wait a moment.',
};
const wordsOf = ({ code, message }) => PROBLEMS[code] ?? (code ? `That did not work: ${message}.` : message);
