// Listen page: shows one listener and passes the user's actions to it.

import { SeekBar, StentorListener, type PlaybackError, type PlaybackState, type StentorRoom } from '@stentor/client';
import Hls from 'hls.js';
import { withoutBase } from './base';
import { showCover } from './cover';
import { byId, pill, remembered, write } from './dom';
import { Captions } from './listen/captions';
import type { OnStage } from './listen/on-stage';
import { RoomPanel } from './listen/room-panel';
import { Waiting } from './listen/waiting';
import { playback, timeOf } from './listen/words';
import { inBrief, reasonOf } from './reasons';
import { linkOfPage } from './link';
import { config, pathFor, playlistOf, recordingNotice, roomOfPage, type PageRole } from './server';
import { decimal, t, type Text } from './texts';

/** State for tests and embedding pages, at `window.stentorPlayer`. */
interface PlayerStats {
  readonly state: string;
  readonly playing: boolean;
  readonly fatal: boolean;
  readonly firstSoundMs: number | null;
  readonly behindLiveSeconds: number | null;
  readonly rewindSeconds: number;
  readonly rewound: boolean;
  readonly errors: readonly PlaybackError[];
}

declare global {
  interface Window {
    stentorPlayer: PlayerStats;
    /** The visit to the stage, for tests and the console. */
    readonly stentorStage: StentorRoom | null;
  }
}

const card = byId('player');
const audio = byId<HTMLAudioElement>('audio');
const button = byId<HTMLButtonElement>('play');
const volume = byId<HTMLInputElement>('volume');
const sound = byId<HTMLButtonElement>('sound');

const room = roomOfPage();
const link = linkOfPage();
const { token } = link;
/** Path prefix of this page: `/listen/`, or `/embed/` in a frame on a page of another site. */
const here = withoutBase(location.pathname).startsWith('/embed/') ? '/embed/' : '/listen/';
document.title = `${room} · Stentor`;
write(byId('room'), room);
// Shown before the first sound, and without a token if the room is public. Later the channel says the same.
void recordingNotice(room, token).then(({ recorded, title, coverUrl }) => {
  if (recorded) byId('recorded').hidden = false;
  if (title) document.title = `${title} · Stentor`;
  if (title) write(byId('room'), title);
  if (coverUrl) showCover(byId<HTMLImageElement>('cover'), coverUrl);
});

const listener = new StentorListener({ url: playlistOf(room), token, hls: Hls, audio });
window.stentorPlayer = {
  get state() { return listener.status.state; },
  get playing() { return listener.status.state === 'playing'; },
  get fatal() { return listener.status.state === 'failed'; },
  get firstSoundMs() { return listener.firstSoundMs; },
  get behindLiveSeconds() { return listener.behindLiveSeconds; },
  get rewindSeconds() { return listener.rewindSeconds; },
  get rewound() { return listener.rewound; },
  get errors() { return listener.errors; },
};
Object.defineProperty(window, 'stentorStage', { get: () => listener.stage });

let stage: OnStage | null = null;
let upcoming: Waiting | null = null;

/** Takes the listener to the stage. Its script is loaded only now: most listeners never speak. */
async function speakHere(): Promise<void> {
  stage ??= new (await import('./listen/on-stage')).OnStage(listener);
  await stage.enter();
}

/** Interval between updates of the distance behind live. */
const BEHIND_MS = 500;
/** Tone and text of the pill. */
type Tone = [Parameters<typeof pill>[0], Text];
/** Statuses after which the same token will be refused again. */
const REFUSALS = new Set([400, 401, 403]);
const PILLS: Record<PlaybackState | 'muted' | 'scheduled', Tone> = {
  idle: ['warn', 'Connecting'],
  connecting: ['warn', 'Connecting'],
  ready: ['good', 'On air'],
  playing: ['good', 'Live'],
  buffering: ['warn', 'Buffering'],
  paused: ['', 'Paused'],
  muted: ['', 'Muted'],
  waiting: ['', 'Off air'],
  scheduled: ['', 'Scheduled'],
  failed: ['bad', 'Cannot play'],
};

const PAST: Tone = ['warn', 'Behind live'];

function show(): void {
  const { status, firstSoundMs } = listener;
  const { state } = status;
  const failed = state === 'failed';
  const silenced = state === 'playing' && (audio.muted || audio.volume === 0);
  const past = state === 'playing' && listener.rewound;
  const words = past ? t('You hear the past') : playback(status, firstSoundMs !== null);
  const scheduled = upcoming !== null && upcoming.startsAt !== null;
  const [tone, word] = past && !silenced ? PAST : PILLS[silenced ? 'muted' : scheduled ? 'scheduled' : state];
  pill(tone, t(state === 'connecting' && firstSoundMs !== null ? 'Reconnecting' : word));
  write(byId('state'), failed ? t('Cannot play this room') : silenced ? t('Muted on this page') : words);
  card.dataset.state = silenced ? 'muted' : state;
  if (failed && REFUSALS.has(listener.errors.at(-1)?.status ?? 0)) link.forgetToken();
  const on = !audio.paused;
  button.setAttribute('aria-pressed', String(on));
  button.setAttribute('aria-label', t(on ? 'Pause' : 'Play'));
  button.disabled = failed;
  showBehind();
  byId('problem').hidden = !failed;
  if (failed) write(byId('problem'), words);
}

function showBehind(): void {
  const behind = listener.behindLiveSeconds;
  const words = listener.rewound
    ? t('{time} behind live', { time: timeOf(behind ?? 0) })
    : t('{seconds} seconds behind the room', { seconds: behind === null ? '' : decimal(behind) });
  write(byId('behind'), behind === null ? '\u00a0' : words);
  write(byId('reach'), `−${timeOf(listener.rewindSeconds)}`);
}

function toggle(): void {
  if (audio.paused) listener.play();
  else listener.pause();
}

function setVolume(percent: number): void {
  const within = Math.max(0, Math.min(100, percent));
  volume.value = String(within);
  write(byId('volume-text'), `${within} %`);
  audio.volume = within / 100;
  setMuted(false);
  remembered.set('volume', String(within));
}

function setMuted(muted: boolean): void {
  audio.muted = muted;
  sound.setAttribute('aria-pressed', String(muted));
}

function shortcut(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target instanceof HTMLInputElement && event.target !== volume;
  if (typing || byId<HTMLDialogElement>('hand-dialog').open) return;
  if (event.target === byId('seek')) return;
  const onControl = event.target instanceof HTMLInputElement || event.target instanceof HTMLButtonElement;
  if (event.key === ' ' && !onControl) toggle();
  else if (event.key === 'm' || event.key === 'M') setMuted(!audio.muted);
  else if (event.key === 'ArrowUp' && event.target !== volume) setVolume(Number(volume.value) + 5);
  else if (event.key === 'ArrowDown' && event.target !== volume) setVolume(Number(volume.value) - 5);
  else return;
  event.preventDefault();
}

/** Hides the slider on phones where only the phone's keys can change the volume. */
function hideVolumeWhereFixed(): void {
  const probe = new Audio();
  probe.volume = 0.5;
  byId('volume-row').hidden = probe.volume !== 0.5;
}

/** Shows title and controls on the lock screen. */
function showToSystem(): void {
  if (!('mediaSession' in navigator)) return;
  navigator.mediaSession.metadata = new MediaMetadata({ title: room, artist: 'Stentor' });
  navigator.mediaSession.setActionHandler('play', () => listener.play());
  navigator.mediaSession.setActionHandler('pause', () => listener.pause());
}

/** In open mode, gets a token if there is none, and shows the button that opens the speak page. */
async function offerMore(): Promise<void> {
  const { open, wsUrl } = await config();
  if (open && !token) return goAs('listener', (path) => location.replace(path.replace('/listen/', here)));
  byId('speak-row').hidden = !open || !wsUrl || here === '/embed/';
}

async function speak(): Promise<void> {
  const button = byId<HTMLButtonElement>('speak');
  button.disabled = true;
  await goAs('anchor', (path) => location.assign(path));
  // A user who returns to this page may want to use the button again.
  button.disabled = false;
}

/** Opens the page for this role, or shows why that is not possible. */
async function goAs(role: PageRole, go: (path: string) => void): Promise<void> {
  const notice = byId('no-way');
  notice.hidden = true;
  try {
    go(await pathFor(room, role, remembered.get('name') ?? undefined));
  } catch (error) {
    write(notice, inBrief(reasonOf(error)));
    notice.hidden = false;
  }
}

setVolume(Number(remembered.get('volume') ?? 100));
hideVolumeWhereFixed();
showToSystem();
button.addEventListener('click', toggle);
sound.addEventListener('click', () => setMuted(!audio.muted));
new SeekBar(listener, { bar: byId('past'), range: byId<HTMLInputElement>('seek'), live: byId<HTMLButtonElement>('live') });
volume.addEventListener('input', () => setVolume(Number(volume.value)));
byId('speak').addEventListener('click', () => void speak());
document.addEventListener('keydown', shortcut);
audio.addEventListener('play', show);
audio.addEventListener('pause', show);
audio.addEventListener('volumechange', show);
// If another link is pasted over this one, only the fragment changes, and the browser does not reload.
window.addEventListener('hashchange', () => location.reload());
window.setInterval(showBehind, BEHIND_MS);
listener.on('state', show);
listener.play();
// Without a token, the channel cannot be followed.
if (token) {
  new RoomPanel(listener, room, () => void speakHere());
  upcoming = new Waiting(listener);
  new Captions(listener);
  listener.on('room', show);
}
show();
// A server without this endpoint offers neither a token nor the speak page.
offerMore().catch(() => undefined);
byId('not-started').remove();
