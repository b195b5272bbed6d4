// Replay page: shows one recording and passes the user's actions to its player.

import { chapterAt, StentorReplay, type ReplayInfo, type ReplayRange } from '@stentor/client';
import Hls from 'hls.js';
import { BASE, withoutBase } from './base';
import { artwork, showCover } from './cover';
import { byId, pill, remembered, toast, write } from './dom';
import { linkOfPage } from './link';
import { timeOf } from './listen/words';
import { hue, initials, plain } from './names';
import { ReplayCaptions } from './replay/captions';
import { barsOf, shapeOf } from './replay/wave';
import { about, failure, rangeIn, secondsOf, spoken, titleOf } from './replay/words';
import { localTime } from './schedule';
import { t, type Text } from './texts';

declare global {
  interface Window {
    /** The player, for tests and the console. */
    stentorReplay: StentorReplay;
  }
}

/** Step of the arrow keys, in seconds. */
const STEP = 5;
/** Step of the button that goes back, in seconds. */
const BACK = 15;
/** Step of the button that goes forward, in seconds. */
const FORWARD = 30;

/** Number of bars of the waveform, and the size of its box. */
const WAVE_BARS = 120;
const WAVE_WIDTH = 600;
const WAVE_HEIGHT = 64;

const seek = byId<HTMLInputElement>('seek');
const speed = byId<HTMLSelectElement>('speed');
const clipFrom = byId<HTMLInputElement>('clip-from');
const clipTo = byId<HTMLInputElement>('clip-to');

const recording = withoutBase(location.pathname).split('/')[2] ?? '';
// A link without a token, such as `#t=90`, uses the token that this tab already has.
const fragment = new URLSearchParams(location.hash.slice(1));
const link = linkOfPage();
const asked = (name: string): number | undefined => secondsOf(fragment.get(name) ?? link.get(name) ?? '') ?? undefined;
const page = `${location.origin}${BASE}/replay/${recording}`;

const replay = new StentorReplay({
  url: `${BASE}/hls/recordings/${recording}/index.m3u8`,
  token: link.token,
  hls: Hls,
  audio: byId<HTMLAudioElement>('audio'),
  range: { from: asked('from'), to: asked('to') },
});
window.stentorReplay = replay;
const captions = new ReplayCaptions(replay);

/** True while the user moves the slider; meanwhile the position of the playback is not shown. */
let dragging = false;
let chapter = -1;

/** Shows the description, once. */
function describe(info: ReplayInfo): void {
  const title = titleOf(info);
  document.title = `${title} · Stentor`;
  write(byId('title'), title);
  showCover(byId<HTMLImageElement>('cover'), info.coverUrl);
  write(byId('about'), about(info));
  for (const id of ['seek', 'play', 'back', 'on', 'copy']) byId<HTMLButtonElement>(id).disabled = false;
  write(byId('expiry'), t('Links work until {time}.', { time: localTime(info.expiresAt, Date.now()) }));
  describeChapters(info);
  describeAnchors(info);
  void captions.load();
  const start = asked('t');
  if (start !== undefined) replay.seek(start);
  [clipFrom.value, clipTo.value] = [timeOf(replay.position), timeOf(Math.min(replay.position + 60, info.duration))];
  if (!('mediaSession' in navigator)) return;
  navigator.mediaSession.metadata = new MediaMetadata({ title, artist: 'Stentor', artwork: artwork(info.coverUrl) });
  navigator.mediaSession.setActionHandler('play', () => replay.play());
  navigator.mediaSession.setActionHandler('pause', () => replay.pause());
  navigator.mediaSession.setActionHandler('seekbackward', () => step(-BACK));
  navigator.mediaSession.setActionHandler('seekforward', () => step(FORWARD));
}

function describeChapters({ chapters }: ReplayInfo): void {
  byId('chapters-panel').hidden = chapters.length < 2;
  byId('chapters').replaceChildren(...chapters.map(({ at, title }) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'chapter';
    button.append(text('span', timeOf(at), 'chapter-time'), text('bdi', plain(title)));
    button.addEventListener('click', () => {
      replay.seek(at);
      replay.play();
    });
    const item = document.createElement('li');
    item.append(button);
    return item;
  }));
}

function describeAnchors({ anchors, duration }: ReplayInfo): void {
  byId('anchors-panel').hidden = anchors.length === 0;
  byId('anchors').replaceChildren(...anchors.map(({ displayName, visits }) => {
    const name = plain(displayName ?? '') || t('Anchor');
    const avatar = text('span', initials(name), 'avatar small');
    avatar.setAttribute('aria-hidden', 'true');
    avatar.style.setProperty('--hue', String(hue(name)));
    const strip = document.createElement('span');
    strip.className = 'visits';
    strip.setAttribute('role', 'img');
    const spans = visits.map(({ from, to }) => t('from {from} to {to}', { from: timeOf(from), to: timeOf(to) }));
    strip.setAttribute('aria-label', t('In the room {visits}', { visits: spans.join(', ') }));
    strip.append(...visits.map((visit) => placed('i', visit, { from: 0, to: duration })));
    const item = document.createElement('li');
    item.append(avatar, text('bdi', name), strip);
    return item;
  }));
}

/** Draws the waveform of the part that is played. A recording that was not measured has no waveform. */
function draw({ waveform, duration }: ReplayInfo, range: ReplayRange): void {
  const bars = waveform?.length ? barsOf(waveform, duration, range, WAVE_BARS) : [];
  byId('wave').toggleAttribute('hidden', bars.length === 0);
  byId('wave-path').setAttribute('d', shapeOf(bars, WAVE_WIDTH, WAVE_HEIGHT));
}

/** Shows chapters and gaps above the slider. */
function mark({ chapters, gaps }: ReplayInfo, range: ReplayRange): void {
  const inside = chapters.filter(({ at }) => at > range.from && at < range.to);
  byId('marks').replaceChildren(
    ...inside.map(({ at }) => placed('b', { from: at, to: at }, range)),
    ...gaps.filter(({ from, to }) => to > range.from && from < range.to).map((gap) => placed('i', gap, range)),
  );
}

/** Returns an element that shows, by its left edge and width, the place of a part within the whole. */
function placed(tag: 'b' | 'i', { from, to }: ReplayRange, whole: ReplayRange): HTMLElement {
  const element = document.createElement(tag);
  const percent = (position: number): number => (100 * (Math.min(Math.max(position, whole.from), whole.to) - whole.from)) / (whole.to - whole.from);
  element.style.setProperty('left', `${percent(from)}%`);
  element.style.setProperty('width', `${percent(to) - percent(from)}%`);
  return element;
}

function text(tag: string, words: string, className = ''): HTMLElement {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = words;
  return element;
}

let described = false;
let marked = '';

function show(): void {
  const { state, problem, info, range } = replay;
  if (info && !described) {
    described = true;
    describe(info);
  }
  const playing = state === 'playing';
  const play = byId<HTMLButtonElement>('play');
  play.setAttribute('aria-pressed', String(playing));
  play.setAttribute('aria-label', t(playing ? 'Pause' : 'Play'));
  const [tone, words] = PILLS[problem && state !== 'failed' ? 'again' : state];
  pill(tone, t(words));
  byId('problem').hidden = problem === null;
  byId('problem').dataset.tone = state === 'failed' ? 'bad' : 'warn';
  if (problem) write(byId('problem'), failure(problem.code));
  const failed = state === 'failed';
  document.body.classList.toggle('unplayable', failed);
  byId('clip').hidden = failed || !info;
  if (failed && !info) write(byId('title'), t('This recording cannot be played'));
  if (info && range) showRange(info, range);
  showPosition();
}

const PILLS: Record<StentorReplay['state'] | 'again', [Parameters<typeof pill>[0], Text]> = {
  loading: ['warn', 'Loading'],
  ready: ['', 'Recorded'],
  playing: ['good', 'Playing'],
  paused: ['', 'Paused'],
  ended: ['', 'At the end'],
  failed: ['bad', 'Cannot play'],
  again: ['warn', 'Connecting'],
};

function showRange(info: ReplayInfo, range: ReplayRange): void {
  const key = `${range.from}-${range.to}`;
  if (marked === key) return;
  marked = key;
  [seek.min, seek.max] = [String(range.from), String(range.to)];
  mark(info, range);
  draw(info, range);
  const part = range.from > 0 || range.to < info.duration;
  byId('part').hidden = !part;
  // A clip's token gives access only to the clip, so the button is useless while all of the clip is played.
  byId('whole').hidden = info.clip !== undefined && range.from <= info.clip.from && range.to >= Math.min(info.clip.to, info.duration);
  write(byId('kind'), t(part ? 'Clip of a recording' : 'Recording'));
  const [from, to, all] = [range.from, range.to, info.duration].map(timeOf) as [string, string, string];
  write(byId('part-text'), t('You hear {from} to {to} of {all}.', { from, to, all }));
  const download = byId<HTMLAnchorElement>('download');
  download.hidden = false;
  download.href = replay.fileUrl(part ? range : undefined);
}

function showPosition(position = replay.position): void {
  const { info, range } = replay;
  if (!info || !range || dragging) return;
  const within = Math.min(Math.max(position, range.from), range.to);
  seek.value = String(within);
  describePosition(within, range);
  const now = chapterAt(info.chapters, within);
  if (now === chapter) return;
  chapter = now;
  write(byId('now'), plain(info.chapters[now]?.title ?? '') || '\u00a0');
  byId('chapters').querySelectorAll('button').forEach((button, n) => {
    if (n === now) button.setAttribute('aria-current', 'true');
    else button.removeAttribute('aria-current');
  });
}

function describePosition(position: number, range: ReplayRange): void {
  write(byId('position'), timeOf(position));
  write(byId('left'), `−${timeOf(range.to - position)}`);
  write(byId('copy-at'), timeOf(position));
  seek.setAttribute('aria-valuetext', spoken(position, range.to));
  const done = (position - range.from) / (range.to - range.from);
  seek.style.setProperty('--done', `${100 * done}%`);
  byId('wave-done').setAttribute('width', String(Math.round(WAVE_WIDTH * done)));
}

function step(seconds: number): void {
  replay.seek(replay.position + seconds);
  showPosition();
}

function toggle(): void {
  if (replay.state === 'playing') replay.pause();
  else replay.play();
}

/** Returns a link to this page with the token and these positions. */
function linkTo(positions: Record<string, number>): string {
  const fragment = new URLSearchParams({ token: link.token });
  for (const [name, position] of Object.entries(positions)) fragment.set(name, String(Math.round(position * 10) / 10));
  return `${page}#${fragment}`;
}

async function copy(url: string, words: Text): Promise<void> {
  try {
    await navigator.clipboard.writeText(url);
    toast(t(words));
  } catch {
    // Pages without TLS cannot use the clipboard: the user copies the link from a dialog.
    window.prompt(t('Copy this link:'), url);
  }
}

/** Returns the clip in the form; if it is not valid, shows the reason and returns null. */
function clipInForm(): ReplayRange | null {
  const open = replay.info?.clip ?? { from: 0, to: replay.info?.duration ?? 0 };
  const range = rangeIn(clipFrom.value, clipTo.value, open);
  const wrong = typeof range === 'string';
  write(byId('clip-error'), wrong ? range : '');
  for (const field of [clipFrom, clipTo]) field.setAttribute('aria-invalid', String(wrong));
  const download = byId<HTMLAnchorElement>('clip-download');
  if (wrong) download.removeAttribute('href');
  else download.href = replay.fileUrl(range);
  return wrong ? null : range;
}

function shortcut(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || !replay.info) return;
  const { target } = event;
  if ((target instanceof HTMLInputElement && target !== seek) || target instanceof HTMLSelectElement) return;
  const onControl = target instanceof HTMLButtonElement || target instanceof HTMLAnchorElement || (target as Element).tagName === 'SUMMARY';
  const { from, to } = replay.range!;
  const at = replay.position;
  const steps: Record<string, () => void> = {
    ArrowLeft: () => step(-STEP), ArrowRight: () => step(STEP), ArrowDown: () => step(-STEP), ArrowUp: () => step(STEP),
    PageDown: () => step(-60), PageUp: () => step(60),
    Home: () => step(from - at), End: () => step(to - at),
  };
  // Outside the slider, all of these keys except the left and right arrows scroll the page.
  const scrolls = target !== seek && !event.key.startsWith('ArrowLeft') && !event.key.startsWith('ArrowRight');
  if (event.key === ' ' && !onControl) toggle();
  else if (steps[event.key] && !scrolls) steps[event.key]!();
  else return;
  event.preventDefault();
}

function setSpeed(value: string): void {
  speed.value = value;
  if (!speed.value) speed.value = '1';
  replay.speed = Number(speed.value);
  remembered.set('speed', speed.value);
}

setSpeed(remembered.get('speed') ?? '1');
byId('play').addEventListener('click', toggle);
byId('back').addEventListener('click', () => step(-BACK));
byId('on').addEventListener('click', () => step(FORWARD));
speed.addEventListener('change', () => setSpeed(speed.value));
seek.addEventListener('input', () => {
  dragging = true;
  if (replay.range) describePosition(Number(seek.value), replay.range);
});
seek.addEventListener('change', () => {
  dragging = false;
  replay.seek(Number(seek.value));
  showPosition();
});
byId('copy').addEventListener('click', () => void copy(linkTo({ t: replay.position }), 'Link copied'));
byId('whole').addEventListener('click', () => replay.limit());
for (const [id, field] of [['from-here', clipFrom], ['to-here', clipTo]] as const) {
  byId(id).addEventListener('click', () => {
    field.value = timeOf(replay.position);
    clipInForm();
  });
  field.addEventListener('change', clipInForm);
}
byId('clip').addEventListener('toggle', clipInForm);
byId('clip-copy').addEventListener('click', () => {
  const range = clipInForm();
  if (range) void copy(linkTo({ ...range }), 'Link to the clip copied');
});
byId('clip-play').addEventListener('click', () => {
  const range = clipInForm();
  if (!range) return;
  replay.limit(range);
  replay.seek(range.from);
  replay.play();
});
document.addEventListener('keydown', shortcut);
// If another link is pasted over this one, only the fragment changes, and the browser does not reload.
window.addEventListener('hashchange', () => location.reload());
replay.on('state', show);
replay.on('position', showPosition);
show();
byId('not-started').remove();
