// Player of one recording: hls.js with Media Source, else the browser's own HLS. Recovers by itself from
// temporary failures. Owns the media element and the connection; never accesses the page.

import type Hls from 'hls.js';
import { Emitter } from '../emitter.js';
import { StentorError, type Problem } from '../errors.js';
import { parse } from '../listening/addresses.js';
import { describe } from '../listening/failures.js';
import { configOf, loaded, type HlsClass, type HlsLoader } from '../listening/hls.js';
import { captionsOf, type ReplayCaption } from './captions.js';
import { mediaTimeOf, positionAt, rangeOf, type ReplayInfo, type ReplayRange } from './info.js';

/**
 * State of a replay:
 * - `loading`: the description is being loaded.
 * - `ready`: it waits for `play`.
 * - `playing`: it plays, or will play as soon as enough audio is buffered.
 * - `paused`: paused by the application, or by the device.
 * - `ended`: the end was reached; `play` starts from the beginning.
 * - `failed`: a retry cannot help; see `problem`.
 */
export type ReplayState = 'loading' | 'ready' | 'playing' | 'paused' | 'ended' | 'failed';

/** Options of a replay. */
export interface ReplayOptions {
  /** URL of the recording's playlist, `hlsUrl` of the API; relative URLs are relative to the page. */
  url: string;
  /** The replay token (`POST /api/recordings/{id}/token`). */
  token: string;
  /**
   * hls.js, as its class or as a function that loads it. Without it, the browser plays the recording itself.
   */
  hls?: HlsClass | HlsLoader;
  /** Element that plays the sound; default: a new one that is not part of the page. */
  audio?: HTMLAudioElement;
  /** Part to play; default: everything to which the token gives access. */
  range?: Partial<ReplayRange>;
}

/** Events of `StentorReplay.on`. */
export interface ReplayEvents {
  /** The state or the problem has changed. */
  state: ReplayState;
  /** The position has changed, in seconds. */
  position: number;
}

const PLAYLIST = /\/hls\/recordings\/[a-z0-9]{16}\/index\.m3u8$/;
/** Suffixes of the paths whose requests carry the token. */
const GUARDED = ['/index.m3u8', '/enc.key'];
const LOOK_MS = 100;
const MAX_RETRY_MS = 8000;
const FIRST_RETRY_MS = 500;
/** A position at most this far before the end counts as the end. */
const AT_END_SECONDS = 0.05;

/** Player of one recording. Also holds its description, with the chapters. */
export class StentorReplay extends Emitter<ReplayEvents> {
  /** Element that plays the sound. Applications may change its volume and mute it. */
  readonly audio: HTMLAudioElement;
  state: ReplayState = 'loading';
  /** Reason for `failed`, or for a temporary failure that is being retried; otherwise null. */
  problem: Problem | null = null;
  /** Description of the recording; null until it is loaded. */
  info: ReplayInfo | null = null;
  /** Part that is played; null until the description is loaded. */
  range: ReplayRange | null = null;
  private readonly url: URL;
  private hls: Hls | null = null;
  private connected = false;
  /** True once the element has played or sought; until then its `currentTime` has no meaning. */
  private placed = false;
  private wanted = false;
  /** Position at which playback continues once the media are loaded. */
  private target = 0;
  private failures = 0;
  private retry: number | undefined;
  private readonly ended = new AbortController();
  private readonly looking: number;

  /** Loads the description at once, and the media with the first `play`. Throws `invalid_url`. */
  constructor(private readonly options: ReplayOptions) {
    super();
    const url = parse(options.url, typeof location === 'undefined' ? undefined : location.href);
    if (!url || !PLAYLIST.test(url.pathname)) {
      throw new StentorError({ code: 'invalid_url', message: 'url must be the hlsUrl of a recording', retryable: false });
    }
    this.url = url;
    this.audio = options.audio ?? new Audio();
    const { signal } = this.ended;
    for (const event of ['playing', 'seeked']) {
      this.audio.addEventListener(event, () => (this.placed = this.connected), { signal });
    }
    this.audio.addEventListener('pause', () => this.paused(), { signal });
    this.audio.addEventListener('ended', () => this.finish(), { signal });
    this.audio.addEventListener('error', () => this.connected && !this.hls && this.broke(), { signal });
    this.looking = window.setInterval(() => this.look(), LOOK_MS);
    void this.load();
  }

  /** Ends the replay and releases the element. */
  close(): void {
    this.ended.abort();
    window.clearInterval(this.looking);
    this.disconnect();
  }

  /** Position of the playback, in seconds since the start of the recording. */
  get position(): number {
    const { info, audio } = this;
    return info && this.placed && !audio.seeking ? positionAt(info, audio.currentTime) : this.target;
  }

  /** Playback speed; 1 is the speed of the recording. */
  get speed(): number {
    return this.audio.defaultPlaybackRate;
  }

  set speed(speed: number) {
    // With each new source, an element resets its speed to the default.
    this.audio.defaultPlaybackRate = speed;
    this.audio.playbackRate = speed;
  }

  /** Plays from the current position, or from the start if the end was reached. */
  play(): void {
    if (!this.info || !this.range || this.state === 'failed') return;
    if (this.state === 'ended') this.seek(this.range.from);
    this.wanted = true;
    this.enter('playing');
    if (!this.connected) void this.connect();
    else void this.start();
  }

  pause(): void {
    this.wanted = false;
    this.audio.pause();
    if (this.state === 'playing') this.enter('paused');
  }

  /** Seeks to a position, or to the nearest one in the part that is played. */
  seek(position: number): void {
    if (!this.info || !this.range) return;
    const { from, to } = this.range;
    this.target = Math.min(Math.max(position, from), to);
    if (this.connected && this.audio.readyState > 0) this.audio.currentTime = mediaTimeOf(this.info, this.target);
    if (this.state === 'ended') this.enter('paused');
    this.emit('position', this.target);
  }

  /** Limits playback to another part; without an argument, to everything to which the token gives access. */
  limit(range: Partial<ReplayRange> = {}): void {
    if (!this.info) return;
    this.range = rangeOf(this.info, range);
    this.seek(this.position);
    this.emit('state', this.state);
  }

  /** Returns the URL of the M4A file of a part, with the token. */
  fileUrl(range?: ReplayRange): string {
    const url = new URL(this.url.href.replace(/index\.m3u8.*$/, 'recording.m4a'));
    for (const [name, position] of Object.entries(range ?? {})) url.searchParams.set(name, String(Math.round(position * 1000) / 1000));
    url.searchParams.set('token', this.options.token);
    return url.href;
  }

  /**
   * Returns the captions, in the order of their starts; none if the recording has none, or the server does not
   * answer. `language`: a BCP 47 tag; by default the language of the first caption.
   */
  async captions(language?: string): Promise<ReplayCaption[]> {
    const headers = { authorization: `Bearer ${this.options.token}` };
    const url = new URL(this.url.href.replace(/index\.m3u8.*$/, 'captions.vtt'));
    if (language) url.searchParams.set('language', language);
    const answer = await fetch(url, { headers, signal: this.ended.signal }).catch(() => undefined);
    const text = answer?.ok ? await answer.text().catch(() => '') : '';
    return captionsOf(text);
  }

  private async load(): Promise<void> {
    const headers = { authorization: `Bearer ${this.options.token}` };
    const url = this.url.href.replace(/index\.m3u8.*$/, 'info.json');
    const answer = await fetch(url, { headers, signal: this.ended.signal }).catch(() => undefined);
    if (this.ended.signal.aborted) return;
    const body = (await answer?.json().catch(() => undefined)) as (ReplayInfo & { code?: string; error?: string }) | undefined;
    if (this.ended.signal.aborted) return;
    if (!answer?.ok || !body) {
      const final = answer !== undefined && answer.status < 500 && answer.status !== 409 && answer.status !== 429;
      const problem = { code: body?.code ?? 'gone', message: body?.error ?? 'the server does not answer', retryable: !final };
      if (final) return this.fail(problem);
      this.problem = problem;
      this.emit('state', this.state);
      return this.later(() => void this.load());
    }
    this.failures = 0;
    this.problem = null;
    this.info = body;
    this.range = rangeOf(body, this.options.range);
    this.target = this.range.from;
    this.enter('ready');
  }

  private async connect(): Promise<void> {
    this.disconnect();
    this.connected = true;
    const { hls } = this.options;
    const hlsClass = hls ? await loaded(hls) : null;
    if (this.ended.signal.aborted || !this.connected || this.hls) return;
    if (hlsClass) this.connectHls(hlsClass);
    else if (this.audio.canPlayType('application/vnd.apple.mpegurl')) this.connectElement(this.withToken(this.url));
    else this.fail({ code: 'unsupported_browser', message: 'this browser cannot play HLS', retryable: false });
  }

  private connectHls(hlsClass: typeof Hls): void {
    const { Events } = hlsClass;
    const start = mediaTimeOf(this.info!, this.target);
    const past = configOf(hlsClass, true, (xhr, url) => this.authorize(xhr, url));
    const hls = new hlsClass({ ...past, autoStartLoad: true, startPosition: start, maxBufferLength: 30 });
    this.hls = hls;
    hls.on(Events.ERROR, (_, data) => {
      const { code, status } = describe(data);
      // hls.js would request a refused key again, but a refusal is final.
      const final = status === 401 || status === 403 || status === 404;
      if (final) this.fail({ code: code ?? 'token_invalid', message: 'the server refused the recording', retryable: false });
      else if (data.fatal) this.broke();
    });
    hls.on(Events.FRAG_BUFFERED, () => this.recovered());
    hls.on(Events.MANIFEST_PARSED, () => this.wanted && void this.start());
    hls.loadSource(this.url.href);
    hls.attachMedia(this.audio);
  }

  /** A media element sends no header, so the token is part of the URL. */
  private connectElement(url: string): void {
    const { audio } = this;
    const arrived = (): void => {
      this.recovered();
      audio.currentTime = mediaTimeOf(this.info!, this.target);
      if (this.wanted) void this.start();
    };
    audio.addEventListener('loadedmetadata', arrived, { once: true, signal: this.ended.signal });
    audio.src = url;
    audio.load();
  }

  private disconnect(): void {
    window.clearTimeout(this.retry);
    this.connected = this.placed = false;
    this.hls?.destroy();
    this.hls = null;
  }

  private withToken(url: URL): string {
    const whole = new URL(url);
    whole.searchParams.set('token', this.options.token);
    return whole.href;
  }

  private authorize(xhr: XMLHttpRequest, url: string): void {
    const { pathname, origin } = new URL(url, this.url);
    if (origin !== this.url.origin || !GUARDED.some((name) => pathname.endsWith(name))) return;
    xhr.open('GET', url, true);
    xhr.setRequestHeader('Authorization', `Bearer ${this.options.token}`);
  }

  private async start(): Promise<void> {
    try {
      await this.audio.play();
    } catch (refusal) {
      // Browsers let a page play audio only after the user has interacted with it.
      if ((refusal as DOMException).name !== 'NotAllowedError') return;
      this.wanted = false;
      this.enter('paused');
    }
  }

  private paused(): void {
    // Elements also report a pause at the end of the media, and when they get another source.
    if (this.state !== 'playing' || this.audio.ended || !this.connected) return;
    this.wanted = false;
    this.enter('paused');
  }

  private look(): void {
    if (this.state !== 'playing' || !this.range) return;
    const { position } = this;
    this.emit('position', position);
    if (position >= this.range.to - AT_END_SECONDS && position > this.range.from) this.finish();
  }

  private finish(): void {
    if (!this.range || this.state === 'failed') return;
    this.wanted = false;
    this.target = this.range.to;
    this.enter('ended');
    this.audio.pause();
    this.emit('position', this.range.to);
  }

  /** Disconnects after a temporary failure; later connects again at the same position. */
  private broke(): void {
    this.target = this.position;
    this.disconnect();
    this.problem = { code: 'gone', message: 'the connection to the server was lost', retryable: true };
    this.emit('state', this.state);
    this.later(() => this.wanted && void this.connect());
  }

  private later(action: () => void): void {
    const delay = Math.min(FIRST_RETRY_MS * 2 ** this.failures, MAX_RETRY_MS);
    this.failures += 1;
    window.clearTimeout(this.retry);
    this.retry = window.setTimeout(() => !this.ended.signal.aborted && action(), delay * (0.75 + Math.random() / 2));
  }

  private recovered(): void {
    this.failures = 0;
    if (!this.problem) return;
    this.problem = null;
    this.emit('state', this.state);
  }

  private fail(problem: Problem): void {
    this.disconnect();
    this.problem = problem;
    this.enter('failed');
  }

  private enter(state: ReplayState): void {
    this.state = state;
    this.emit('state', state);
  }
}
