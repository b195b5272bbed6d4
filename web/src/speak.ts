// Page for speaking in a room: lobby, room, end. Owns the display; the user's visit itself is a StentorRoom.

import { floorAt, moderates, RoomChannel, StentorError, StentorRoom, type Person, type Problem, type Role, type RoomEvents, type RoomStatus } from '@stentor/client';
import { Chat, nameOf as listenerName, sent } from './channel/chat';
import { byId, pill, remembered, toast, write } from './dom';
import { Meter } from './meter';
import { inBrief, reasonOf } from './reasons';
import { linkOfPage } from './link';
import { isolated } from './names';
import { pathFor, playlistOf, roomOfPage, type Config } from './server';
import { Backstage } from './speak/backstage';
import { confirmed, confirmedBan } from './speak/confirm';
import { Consent } from './speak/consent';
import { Devices, type DeviceNews } from './speak/devices';
import { entrance } from './speak/entrance';
import { Hands } from './speak/hands';
import { named } from './speak/heading';
import { FLOOR_MINUTES, Members, nameOf } from './speak/members';
import { device, ending, INTERRUPTED, microphone, quality, said, short, underWay, type Ending, type Situation, type Way } from './speak/words';
import { t, type Text } from './texts';

declare global {
  interface Window {
    /** Last visit, for tests and the console; null before the first join. */
    stentorRoom: StentorRoom | null;
  }
}

const STATS_MS = 2000;
const DEAF_MS = 5000;
/** If the system pauses audio again within this time, audio plays only after the user presses a button. */
const INSISTS_MS = 2000;
/** Meter level above the hiss of an idle microphone. */
const HEARD_LEVEL = 0.25;
/** Codes of normal ends, which are not shown as a warning. */
const GOOD_ENDS = new Set(['left', 'room_closed']);
const ROLE_NEWS: Record<Role, Text> = { host: 'You are a host now.', co_host: 'You are a co-host now.', anchor: 'You are a speaker now.' };
const PIN = /^[A-Za-z0-9]{6}$/;

const roomId = roomOfPage();
const link = linkOfPage();
const audio = byId<HTMLAudioElement>('voices');
const form = byId<HTMLFormElement>('form');
const nameInput = byId<HTMLInputElement>('name');
const pinInput = byId<HTMLInputElement>('pin');
const consent = new Consent();
const muteButton = byId<HTMLButtonElement>('mute');
const meter = new Meter([byId('meter'), byId('dock-meter')]);
const members = new Members(byId('members'), moderate);
const devices = new Devices([byId('device'), byId('dock-device')], useStream, deviceNews);
let server: Config = { open: false, wsUrl: null };
let { token } = link;
/** Current visit. */
let room: StentorRoom | null = null;
/** Counts presses of Join and Cancel, so that results of earlier ones are ignored. */
let turn = 0;
/** True if the user wants no microphone. */
let silent = false;
let heardAt = 0;
/** True once the room view has been shown: at the first connection of a visit. */
let greeted = false;
/** Listener channel of the room, from the first connection of a visit to its end. */
let channel: RoomChannel | null = null;
const chat = new Chat(() => channel, () => nameInput.value.trim(), (person) => void ban(person));
const backstage = new Backstage(() => room, () => channel?.serverTime ?? Date.now(), confirmed);
const hands = new Hands(() => channel, (person) => void ban(person));
window.stentorRoom = null;

// Lobby.

async function open(): Promise<void> {
  named(roomId);
  nameInput.value = remembered.get('name') ?? '';
  pinInput.value = link.pin;
  byId<HTMLDetailsElement>('pin-field').open = pinInput.value !== '';
  void consent.show(roomId, token).then(({ title, coverUrl }) => named(title ?? roomId, coverUrl ?? undefined));
  if (await devices.allowedBefore()) await prepareMicrophone();
  else byId('allow').hidden = false;
}

async function prepareMicrophone(): Promise<boolean> {
  const ok = await devices.open();
  showMicrophone();
  return ok;
}

function showMicrophone(): void {
  const { problem } = devices;
  const notice = byId('microphone-problem');
  notice.hidden = problem === null;
  if (problem) {
    const { title, remedy } = microphone(problem);
    write(notice.children[0]!, title);
    write(notice.children[1]!, remedy);
  }
  byId('allow').hidden = devices.stream !== null;
  byId('meter').hidden = byId('meter-text').hidden = devices.stream === null;
  write(byId('allow'), t(problem ? 'Try the microphone again' : 'Allow the microphone'));
  byId('join-silent').hidden = problem === null;
}

function useStream(stream: MediaStream | null): void {
  if (stream) silent = false;
  // Publish first: the others hear the user even if the meter does not work.
  void room?.publish(stream);
  meter.watch(stream);
  if (room) showMuted();
}

function deviceNews(news: DeviceNews): void {
  if (news === 'interruption') {
    if (room) write(byId('announce'), devices.interrupted ? INTERRUPTED : '');
    return tick();
  }
  showMicrophone();
  // In the lobby a permanent notice shows all other events.
  if (room || news === 'replaced') toast(device(news, devices.problem));
}

/** Shows whether the microphone delivers sound: otherwise users would not notice a silent microphone. */
function showWhetherHeard(): void {
  const heard = meter.peak > HEARD_LEVEL;
  const deaf = devices.stream !== null && !heard && meter.listenedMs > DEAF_MS;
  const words = deaf
    ? 'Nothing is heard yet. Is the right microphone chosen, and is it switched on?'
    : heard
      ? 'Your microphone works.'
      : 'Say something: the bar shows what the others will hear.';
  write(byId('meter-text'), t(words));
}

async function join(): Promise<void> {
  const name = nameInput.value.trim();
  const pin = pinInput.value.trim();
  complain('name', name ? null : 'Enter your name, so that the others know who is talking.');
  complain('consent', consent.missing ? 'Without your consent you cannot speak here. You can listen instead.' : null);
  complain('pin', pin === '' || PIN.test(pin) ? null : 'A PIN has six letters or digits.');
  const wrong = document.querySelector<HTMLInputElement>('#form [aria-invalid=true]');
  if (wrong) {
    view('lobby');
    return wrong.focus();
  }
  remembered.set('name', name);
  const mine = abandon();
  if (silent) devices.stop();
  const ready = silent || devices.stream !== null || (await prepareMicrophone());
  if (mine !== turn) return;
  if (!ready) {
    view('lobby');
    return byId('allow').focus();
  }
  view('lobby', true);
  write(byId('waiting-text'), t('Connecting to the server…'));
  try {
    ({ server, token } = await entrance(roomId, name, token));
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof StentorError) return finish(error.problem);
    const reason = reasonOf(error);
    // After a temporary failure the user can press the button again; other failures are shown in full.
    if (!reason.passing) return conclude({ ...reason, way: 'again' });
    view('lobby');
    return toast(inBrief(reason));
  }
  if (mine === turn) await visit(name, pin);
}

/** Ends the visit and its preparations without a message. Returns the number of the new turn. */
function abandon(): number {
  const former = room;
  room = null;
  former?.leave();
  audio.srcObject = null;
  turn += 1;
  return turn;
}

function cancel(): void {
  abandon();
  view('lobby');
}

function complain(field: 'name' | 'pin' | 'consent', words: Text | null): void {
  write(byId(`${field}-error`), words ? t(words) : '');
  byId(field).setAttribute('aria-invalid', String(words !== null));
  if (words && field === 'pin') byId<HTMLDetailsElement>('pin-field').open = true;
}

// The visit.

async function visit(name: string, pin: string): Promise<void> {
  greeted = false;
  members.clear();
  const visit = new StentorRoom({ url: server.wsUrl!, token, displayName: name, clientId: clientId(), ...(pin ? { pin } : {}), ...(consent.given ? { recordingConsent: true } : {}) });
  room = window.stentorRoom = visit;
  const on = <Name extends keyof RoomEvents>(name: Name, show: (event: RoomEvents[Name]) => void): void => {
    visit.on(name, (event) => room === visit && show(event));
  };
  on('state', showState);
  on('closed', finish);
  on('stream', (stream) => {
    audio.srcObject = stream;
    void hear();
  });
  on('members', showMembers);
  on('locked', showLock);
  on('schedule', () => backstage.show());
  on('role', ({ role }) => {
    showLock();
    toast(t(ROLE_NEWS[role]));
  });
  on('muted', ({ muted, by }) => {
    showMuted();
    if (by === 'host') toast(t(muted ? 'A host muted you.' : 'A host unmuted you. You can be heard.'));
  });
  on('unmuteRequested', () => (byId('asked').hidden = false));
  void visit.publish(devices.stream);
  showMuted();
  // Failures arrive as `closed`.
  await visit.join().catch(() => undefined);
}

/** Returns the client id of this tab, so that a reload replaces the previous connection. */
function clientId(): string {
  const KEY = 'stentor.clientId';
  try {
    const id = sessionStorage.getItem(KEY) ?? crypto.getRandomValues(new Uint32Array(3)).join('-');
    sessionStorage.setItem(KEY, id);
    return id;
  } catch {
    return crypto.getRandomValues(new Uint32Array(3)).join('-');
  }
}

async function hear(): Promise<void> {
  heardAt = performance.now();
  // Fails if the browser refuses, or if another stream has replaced this one and plays instead.
  await audio.play().catch(() => undefined);
  byId('silenced').hidden = audio.srcObject === null || !audio.paused;
}

/** Resumes audio that a call or another app has paused. */
function hearAgain(): void {
  if (audio.srcObject === null || !audio.paused) return;
  if (performance.now() - heardAt > INSISTS_MS) void hear();
  else byId('silenced').hidden = false;
}

function showState(status: RoomStatus): void {
  const good = status.state === 'connected';
  pill(good ? 'good' : 'warn', short(status));
  if (status.state !== 'closed') write(byId('announce'), good ? t('Connected.') : said(status, situation()));
  if (good && !greeted) {
    greeted = true;
    showLock();
    view('room');
    muteButton.focus();
    follow();
  }
  tick();
}

/** Opens the listener channel of the room, with the token of this visit. */
function follow(): void {
  channel?.close();
  channel = new RoomChannel({ url: playlistOf(roomId), token });
  channel.on('state', (state) => {
    if (state.known) named(state.room.title ?? roomId, state.room.coverUrl);
    hands.show(state);
    chat.show(state);
    showStage();
  });
  channel.open();
}

/** Shows speaking times and the floor. */
function showStage(): void {
  if (channel) members.showStage(channel.state, channel.serverTime, moderates(channel.state.you));
}

/** Returns the facts for texts about failures. `entrance` has loaded `server` before a visit begins. */
const situation = (): Situation => ({ gateway: server.wsUrl ?? '', online: navigator.onLine });

/** Updates the countdown texts. */
function tick(): void {
  if (document.body.dataset.view === 'lobby') showWhetherHeard();
  const status = room?.status;
  if (!status || status.state === 'closed') return;
  backstage.tick();
  showStage();
  const closed = status.problem?.code === 'not_on_air' ? backstage.entrance : null;
  const words = status.state !== 'connected' ? (closed ?? underWay(status, situation(), Date.now())) : devices.interrupted ? INTERRUPTED : '';
  if (greeted) {
    byId('trouble').hidden = words === '';
    write(byId('trouble'), words);
  } else if (words) {
    write(byId('waiting-text'), words);
  }
}

function showMembers(): void {
  const all = room?.members ?? [];
  const { came, went } = members.show(all, room?.role ?? null);
  for (const member of came) if (!member.me) toast(t('{name} joined', { name: isolated(nameOf(member)) }));
  for (const member of went) if (!member.me) toast(t('{name} left', { name: isolated(nameOf(member)) }));
  write(byId('room-count'), all.length === 1 ? t('You are the first one here') : t('{count} people here', { count: all.length }));
}

/** Shows the lock and, to hosts and co-hosts, the actions on the whole room. */
function showLock(): void {
  const host = moderates({ role: room?.role ?? '' });
  const locked = room?.locked ?? false;
  byId('locked').hidden = !locked;
  backstage.show();
  byId('mute-all').hidden = !host;
  const lock = byId('lock');
  lock.hidden = !host;
  lock.setAttribute('aria-pressed', String(locked));
  write(lock, t(locked ? 'Unlock room' : 'Lock room'));
}

/** Carries out an action of a host or co-host, and shows its effect or the reason why it failed. */
async function act(action: (visit: StentorRoom) => Promise<void>, done: Text): Promise<void> {
  if (!room) return;
  try {
    await action(room);
    toast(t(done));
  } catch (error) {
    toast(t('That did not work: {message}.', { message: (error as Error).message }));
  }
}

function toggleLock(): void {
  if (room?.locked) void act((visit) => visit.unlock(), 'The room is open again.');
  else void act((visit) => visit.lock(), 'The room is locked.');
}

function showMuted(): void {
  const muted = room?.muted ?? false;
  const none = devices.stream === null;
  muteButton.setAttribute('aria-pressed', String(muted && !none));
  muteButton.title = none ? '' : t('Key M');
  write(byId('mute-text'), t(none ? 'Use microphone' : muted ? 'Unmute' : 'Mute'));
  if (!muted) byId('asked').hidden = true;
}

async function toggleMute(): Promise<void> {
  const visit = room;
  if (!visit) return;
  if (devices.stream === null) {
    if (!(await devices.open()) && room === visit) toast(microphone(devices.problem ?? '').remedy);
    return;
  }
  try {
    await (visit.muted ? visit.unmute() : visit.mute());
  } catch (error) {
    if (room !== visit) return;
    const { message, retryable } = error as StentorError;
    if (!retryable) toast(t('That was refused: {message}.', { message }));
    // Closing the microphone always works locally. After opening it, the server may still treat it as closed.
    else if (!visit.muted && visit.state === 'connected') toast(t('You may not be heard yet: {message}.', { message }));
  }
}

async function moderate(...[what, member]: Parameters<ConstructorParameters<typeof Members>[1]>): Promise<void> {
  const visit = room;
  if (!visit) return;
  const name = isolated(nameOf(member));
  if (what === 'floor') {
    const has = channel !== null && floorAt(channel.state, channel.serverTime)?.person === member.personId;
    await sent(() => (has ? channel?.endFloor() : channel?.giveFloor(member.personId ?? '', FLOOR_MINUTES * 60)));
    return;
  }
  if (what === 'remove' && !(await confirmedBan(name))) return;
  if (what === 'kick' && !(await confirmed(t('Kick {name} out of the room?', { name }), t('They leave at once, and may come back after a few seconds.'), t('Kick')))) return;
  if (what === 'transfer' && !(await confirmed(t('Make {name} the host instead of you?', { name }), t('You become a co-host.'), t('Hand over')))) return;
  if (what === 'listener' && !(await confirmed(t('Send {name} back to listening?', { name }), t('They can speak again after another invitation.'), t('Send back')))) return;
  try {
    if (what === 'mute') await visit.muteMember(member.userId);
    else if (what === 'unmute') await visit.unmuteMember(member.userId);
    else if (what === 'kick') await visit.kickMember(member.userId);
    else if (what === 'remove') await visit.banMember(member.userId);
    else if (what === 'transfer') await visit.transferHost(member.userId);
    else await visit.setRole(member.userId, what);
  } catch (error) {
    toast(t('That did not work: {message}.', { message: (error as Error).message }));
  }
}

/** Bans a person (listener or anchor), after confirmation. */
async function ban(person: Person): Promise<void> {
  if (await confirmedBan(isolated(listenerName({ person })))) await sent(() => channel?.ban(person.id));
}

async function showQuality(): Promise<void> {
  if (!greeted || document.hidden) return;
  const stats = await room?.stats();
  if (!stats) return;
  byId('quality').dataset.quality = stats.quality;
  write(byId('quality-text'), quality(stats));
}

async function copyLink(): Promise<void> {
  try {
    const link = new URL(await pathFor(roomId, 'listener'), location.origin);
    await navigator.clipboard.writeText(link.href);
    toast(t('Link copied: whoever opens it can listen.'));
  } catch {
    toast(t('The link could not be copied.'));
  }
}

// The end.

function finish(problem: Problem): void {
  room = null;
  if (problem.code === 'wrong_pin') {
    view('lobby');
    complain('pin', 'This PIN is wrong. Ask for the right one.');
    return pinInput.focus();
  }
  // A user who only cancelled the wait returns to the lobby.
  if (problem.code === 'left' && !greeted) return view('lobby');
  const end = ending(problem);
  // In open mode the page can get a new token, so this end is not final.
  const renewable = server.open && problem.code.startsWith('token_');
  if (renewable) {
    token = '';
    link.forgetToken();
  }
  conclude(renewable ? { ...end, way: 'again' } : end, GOOD_ENDS.has(problem.code) ? 'good' : 'warn');
}

function conclude({ title, text, way }: Ending, tone: 'good' | 'warn' = 'warn'): void {
  write(byId('ended-title'), title);
  write(byId('ended-text'), text);
  byId('ended-panel').dataset.tone = tone;
  showWay(way);
  devices.stop();
  channel?.close();
  channel = null;
  audio.srcObject = null;
  byId('silenced').hidden = true;
  view('ended');
  byId('ended-title').focus();
}

function showWay(way: Way): void {
  byId('again').hidden = way === 'none';
  write(byId('again'), t(way === 'here' ? 'Speak here instead' : 'Join again'));
}

function view(name: 'lobby' | 'room' | 'ended', waiting = false): void {
  document.body.dataset.view = name;
  for (const id of ['lobby', 'room', 'ended']) byId(id).hidden = id !== name;
  form.hidden = waiting;
  byId('waiting').hidden = !waiting;
  byId('copy').hidden = !server.open;
  if (name !== 'room') pill('', waiting ? t('Connecting') : '');
  if (name === 'lobby') showMicrophone();
}

function shortcut(event: KeyboardEvent): void {
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (document.body.dataset.view !== 'room' || byId<HTMLDialogElement>('confirm').open) return;
  if (event.key === 'm' || event.key === 'M') void toggleMute();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  silent = false;
  void join();
});
byId('mute-all').addEventListener('click', () => void act((visit) => visit.muteAll(), 'Everybody else is muted.'));
byId('lock').addEventListener('click', toggleLock);
byId('join-silent').addEventListener('click', () => {
  silent = true;
  void join();
});
byId('allow').addEventListener('click', () => void prepareMicrophone());
byId('cancel').addEventListener('click', cancel);
byId('leave').addEventListener('click', () => room?.leave());
byId('again').addEventListener('click', () => void join());
byId('copy').addEventListener('click', () => void copyLink());
byId('sound-on').addEventListener('click', () => void hear());
byId('asked-unmute').addEventListener('click', () => void toggleMute());
muteButton.addEventListener('click', () => void toggleMute());
document.addEventListener('keydown', shortcut);
document.addEventListener('visibilitychange', () => document.hidden || hearAgain());
audio.addEventListener('pause', hearAgain);
// The others see immediately that the page was closed.
window.addEventListener('pagehide', () => room?.leave());
window.addEventListener('hashchange', () => location.reload());
window.setInterval(tick, 500);
window.setInterval(() => void showQuality(), STATS_MS);
view('lobby');
void open();
byId('not-started').remove();
