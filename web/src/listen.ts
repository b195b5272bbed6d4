// The player page: shows one Player and hands it the person's wishes.

import { Player } from './player';
import type { PlayerError } from './errors';

/** What tests and embedding pages may read at `window.stentorPlayer`. */
interface PlayerStats {
  readonly state: string;
  readonly playing: boolean;
  readonly fatal: boolean;
  readonly firstSoundMs: number | null;
  readonly behindLiveSeconds: number | null;
  readonly errors: readonly PlayerError[];
}

declare global {
  interface Window {
    stentorPlayer: PlayerStats;
  }
}

const VOLUME_KEY = 'stentor.volume';
const element = <T extends Element>(selector: string): T => document.querySelector<T>(selector)!;
const card = element<HTMLElement>('#player');
const audio = element<HTMLAudioElement>('#audio');
const button = element<HTMLButtonElement>('#play');
const volume = element<HTMLInputElement>('#volume');

const room = location.pathname.split('/')[2] ?? '';
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
document.title = `${room} · Stentor`;
element('#room').textContent = room;

const player = new Player(audio, `/hls/rooms/${room}/index.m3u8`, token, show);
window.stentorPlayer = {
  get state() { return player.state; },
  get playing() { return player.playing; },
  get fatal() { return player.state === 'failed'; },
  get firstSoundMs() { return player.firstSoundMs; },
  get behindLiveSeconds() { return player.behindLiveSeconds; },
  get errors() { return player.errors; },
};

function show(): void {
  // The constructor reports before `player` is assigned.
  queueMicrotask(() => {
    const failed = player.state === 'failed';
    write(element('#state'), failed ? 'Cannot play' : player.words);
    card.dataset.state = player.state;
    const on = !audio.paused;
    button.setAttribute('aria-pressed', String(on));
    button.setAttribute('aria-label', on ? 'Pause' : 'Play');
    button.disabled = failed;
    const behind = player.playing ? player.behindLiveSeconds : null;
    write(element('#behind'), behind === null ? '\u00a0' : `${behind.toFixed(1)} seconds behind the room`);
    element<HTMLElement>('#problem').hidden = !failed;
    if (failed) write(element('#problem'), player.words);
  });
}

/** A status region speaks up at each write: only write what changed. */
function write(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

function toggle(): void {
  if (audio.paused) player.play();
  else player.pause();
}

function setVolume(percent: number): void {
  const within = Math.max(0, Math.min(100, percent));
  volume.value = String(within);
  audio.volume = within / 100;
  audio.muted = false;
  localStorage.setItem(VOLUME_KEY, String(within));
}

function shortcut(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onControl = event.target instanceof HTMLInputElement || event.target instanceof HTMLButtonElement;
  if (event.key === ' ' && !onControl) toggle();
  else if (event.key === 'm' || event.key === 'M') audio.muted = !audio.muted;
  else if (event.key === 'ArrowUp' && event.target !== volume) setVolume(Number(volume.value) + 5);
  else if (event.key === 'ArrowDown' && event.target !== volume) setVolume(Number(volume.value) - 5);
  else return;
  event.preventDefault();
}

setVolume(Number(localStorage.getItem(VOLUME_KEY) ?? 100));
button.addEventListener('click', toggle);
volume.addEventListener('input', () => setVolume(Number(volume.value)));
document.addEventListener('keydown', shortcut);
audio.addEventListener('play', show);
audio.addEventListener('pause', show);
// Another link pasted over this one changes the fragment only.
window.addEventListener('hashchange', () => location.reload());
show();
