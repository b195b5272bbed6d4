// Player of one room: hls.js with Media Source, else the browser's own HLS, else the plain stream. Retries by
// itself. Owns the media element and the connection; never accesses the page.

import type Hls from 'hls.js';
import { problemOf, type Problem } from '../errors.js';
import type { TokenSource } from '../tokens.js';
import type { Addresses } from './addresses.js';
import { BROKE_OFF, describe, described, judge, OFF_AIR, UNREACHABLE, UNSUPPORTED, type PlaybackError, type Verdict } from './failures.js';
import { Fetching, setEnds } from './fetching.js';
import { CLOSE_UP_MS, closeUp, configOf, FIRST_RETRY_MS, loaded, usable, type HlsClass, type HlsLoader } from './hls.js';
import { askAhead, nativeLatency } from './native.js';
import { positionOf } from './past.js';
import { Playhead } from './playhead.js';

/**
 * State of playback:
 * - `idle`: nothing is requested until the application calls `play`.
 * - `connecting`: connecting to the room, or connecting again after a failure.
 * - `ready`: connected, but the browser plays only after the user interacts with the page: show a button.
 * - `playing`: the sound advances.
 * - `buffering`: the sound should advance and does not.
 * - `paused`: paused by the application or by the device.
 * - `waiting`: the room is not on air; playback starts by itself when it is.
 * - `failed`: a retry cannot help.
 */
export type PlaybackState = 'idle' | 'connecting' | 'ready' | 'playing' | 'buffering' | 'paused' | 'waiting' | 'failed';

/** Transport: hls.js and the browser's own HLS play the same stream; the plain stream has more delay. */
export type Transport = 'hls.js' | 'native' | 'plain';

const MAX_RETRY_MS = 8000;
/** Longest delay while a room is not on air. */
const MAX_WAITING_RETRY_MS = 2000;
/** Longest delay while the channel reports that the room is not on air: it will also report the change. */
const MAX_TOLD_RETRY_MS = 60_000;
/** When a room goes on air, its waiting listeners connect at random times within this period. */
const SPREAD_MS = 300;
/** Distance behind the target at which the player jumps: at 5 % more speed, catching up takes a minute. */
const JUMP_BEHIND_SECONDS = 3;
const KEPT_ERRORS = 100;
const LOOK_MS = 500;
/** Interval between checks of the playhead. */
const MOTION_LOOK_MS = 100;
/** Interval between checks from `playing` until the playhead moves, to measure the first sound. */
const FIRST_LOOK_MS = 10;
/** Buffered audio that suffices to continue. After a stall, Chromium itself waits for more, up to 3 s. */
const ENOUGH_SECONDS = 0.5;
/** Audio that a playlist must hold for a start without a stall. */
const ENOUGH_TO_START_SECONDS = 1;
/**
 * After this many checks in a row with an unmoved playhead and enough buffered audio, the player moves it.
 */
const STUCK_LOOKS = 3;
/** If the playlist is this far ahead of the buffer, hls.js counts as having stopped loading. */
const UNFETCHED_SECONDS = 0.5;
/**
 * After this many checks in a row with the playlist so far ahead, the player restarts loading. Until then,
 * hls.js can recover by itself.
 */
const LOST_LOOKS = 12;
/**
 * Distance from the end of the buffer to the position at which loading restarts. Without it, hls.js would
 * load the last buffered fragment again: it ignores only fragments that end before its start position.
 */
const PAST_END_SECONDS = 0.001;

/** Suffixes of the paths whose requests carry the token. */
const GUARDED = ['/index.m3u8', '/rewind.m3u8', '/enc.key'];

export interface PlayerOptions {
  audio: HTMLAudioElement;
  addresses: Addresses;
  tokens: TokenSource;
  hls: HlsClass | HlsLoader | undefined;
  /** Callback for each change of the state or of its problem. */
  changed: () => void;
}

export class Player {
  state: PlaybackState = 'idle';
  /** Reason for `connecting`, `waiting` and `failed`; `null` during the first attempt. */
  problem: Problem | null = null;
  /** True if the device paused the sound, not the application. */
  pausedByDevice = false;
  transport: Transport | null = null;
  /** Milliseconds from the opening of the page to the first sound; null until then. */
  firstSoundMs: number | null = null;
  readonly errors: PlaybackError[] = [];
  private hls: Hls | null = null;
  /** Class of hls.js. `undefined`: not loaded yet. `null`: not provided, or not usable in this browser. */
  private hlsClass: typeof Hls | null | undefined;
  private wanted = false;
  /** Position in the past, as a moment in milliseconds since the Unix epoch; null near live. */
  private back: number | null = null;
  /** True if `hls` has the playlist of the past. */
  private past = false;
  private failures = 0;
  private retry: number | undefined;
  private audible: boolean | null = null;
  private readonly playhead = new Playhead();
  private fetching = new Fetching();
  private firstLook: number | undefined;
  private stoodAt = 0;
  private stoodFor = 0;
  private lostFor = 0;
  /** Counts connections, so that results of earlier ones are ignored. */
  private round = 0;
  private readonly ended = new AbortController();
  private readonly timers: number[];

  constructor(private readonly options: PlayerOptions) {
    const { audio } = this;
    const { signal } = this.ended;
    const { hls } = options;
    if (!hls) this.hlsClass = null;
    else if ('isSupported' in hls) this.hlsClass = usable(hls);
    audio.addEventListener('playing', () => this.lookOften(), { signal });
    audio.addEventListener('seeking', () => this.playhead.jumped(), { signal });
    // Elements report `waiting` even while nothing is attached: only an interruption of playback counts.
    audio.addEventListener('waiting', () => this.playing && this.enter('buffering'), { signal });
    audio.addEventListener('pause', () => this.paused(), { signal });
    this.timers = [
      setInterval(() => this.keepUp(), LOOK_MS),
      setInterval(() => this.look(), MOTION_LOOK_MS),
    ];
  }

  /** Ends playback for good and releases the element. */
  close(): void {
    this.ended.abort();
    for (const timer of [...this.timers, this.firstLook]) clearInterval(timer);
    clearTimeout(this.retry);
    this.wanted = false;
    this.disconnect();
    this.release();
    if (this.state !== 'failed') this.enter('idle');
  }

  private get audio(): HTMLAudioElement {
    return this.options.audio;
  }

  get playing(): boolean {
    return this.state === 'playing';
  }

  /** Returns the seconds between the audio heard and the room; null while unknown. */
  get behindLiveSeconds(): number | null {
    if (!this.hls) return nativeLatency(this.audio);
    if (!this.hls.latestLevelDetails) return null;
    const byPlaylist = this.hls.latency;
    const heard = this.hls.playingDate;
    // The delay by the clock includes encoding and delivery, but is wrong if this device's clock is wrong.
    const byClock = heard ? (Date.now() - heard.getTime()) / 1000 : NaN;
    // The playlist of the past ends with a whole segment, so it is further behind.
    return Math.abs(byClock - byPlaylist) < (this.past ? 9 : 3) ? byClock : byPlaylist;
  }

  /** Moment of the stream that is being heard, in milliseconds since the Unix epoch; null if unknown. */
  get heardAt(): number | null {
    return (this.playing && this.hls?.playingDate?.getTime()) || null;
  }

  /** True if the listener has gone back. */
  get rewound(): boolean {
    return this.back !== null;
  }

  /** True if this player can rewind, which requires hls.js. */
  get canRewind(): boolean {
    return this.transport === 'hls.js';
  }

  /** Duration of the rewind playlist in seconds; null while it is not loaded. */
  get pastSeconds(): number | null {
    return (this.past && this.hls?.latestLevelDetails?.totalduration) || null;
  }

  /** Plays from a past moment, given in milliseconds since the Unix epoch. */
  rewindTo(moment: number): void {
    if (this.ended.signal.aborted || !this.canRewind) return;
    this.back = moment;
    this.wanted = true;
    const details = this.past ? this.hls?.latestLevelDetails : undefined;
    const position = details && positionOf(details.fragments, moment);
    if (position == null) return this.connectAgain();
    this.audio.currentTime = position;
    if (this.audio.paused) this.play();
    this.options.changed();
  }

  /** Plays near live again. */
  goLive(): void {
    if (this.back === null) return;
    this.back = null;
    this.wanted = true;
    if (this.past) this.connectAgain();
  }

  private connectAgain(): void {
    clearTimeout(this.retry);
    this.enter('connecting');
    void this.connect();
  }

  play(): void {
    if (this.ended.signal.aborted) return;
    this.wanted = true;
    if (this.state === 'failed' || this.state === 'waiting') return;
    const halted = this.state === 'paused' || this.state === 'ready';
    // A plain stream that continued after a pause would remain behind live by the length of the pause.
    if (this.state === 'idle' || (halted && this.transport === 'plain')) {
      this.enter('connecting');
      return void this.connect();
    }
    if (halted) this.enter('buffering');
    this.jumpToLive();
    this.start();
  }

  pause(): void {
    this.wanted = false;
    this.audio.pause();
  }

  /** Records whether the channel reports that the room can be heard; null while that is unknown. */
  expect(audible: boolean | null): void {
    const before = this.audible;
    this.audible = audible;
    if (this.state !== 'waiting' || audible === false || before !== false) return;
    clearTimeout(this.retry);
    this.failures = 0;
    this.retry = setTimeout(() => void this.connect(), Math.random() * SPREAD_MS);
  }

  private async connect(): Promise<void> {
    this.disconnect();
    const { round } = this;
    const { hls, tokens } = this.options;
    try {
      if (hls && this.hlsClass === undefined) this.hlsClass = await loaded(hls);
      // Do not wait if the token is known: a wait would delay the first sound.
      if (tokens.current === null) await tokens.get();
    } catch (thrown) {
      const problem = problemOf(thrown, 'no_token');
      if (round === this.round) this.fell({ kind: problem.retryable ? 'broken' : 'failed', problem });
      return;
    }
    if (round !== this.round) return;
    if (this.hlsClass) this.connectHls(this.hlsClass);
    else if (this.audio.canPlayType('application/vnd.apple.mpegurl')) void this.connectElement('native');
    else if (this.audio.canPlayType('audio/aac')) void this.connectElement('plain');
    else this.fell(UNSUPPORTED);
  }

  private disconnect(): void {
    this.round += 1;
    this.hls?.destroy();
    this.hls = null;
    this.audio.onerror = this.audio.onended = null;
  }

  /** Ends the element's own connection. */
  private release(): void {
    this.audio.onerror = this.audio.onended = null;
    this.audio.removeAttribute('src');
    this.audio.load();
  }

  private connectHls(hlsClass: typeof Hls): void {
    const { Events } = hlsClass;
    const past = this.back !== null;
    const hls = new hlsClass(configOf(hlsClass, past, (xhr, url) => this.authorize(xhr, url)));
    this.transport = 'hls.js';
    this.hls = hls;
    this.past = past;
    this.fetching = new Fetching();
    hls.on(Events.ERROR, (_, data) => {
      const error = describe(data);
      this.record(error);
      if (data.details === 'bufferStalledError') setTimeout(() => closeUp(hls), CLOSE_UP_MS);
      const verdict = judge(data, error);
      // hls.js requests a refused key repeatedly; a refusal is final.
      if (data.fatal || verdict.kind !== 'broken') this.fell(verdict);
    });
    hls.on(Events.FRAG_BUFFERED, () => {
      this.failures = 0;
    });
    hls.on(Events.MEDIA_ENDED, () => this.fell(OFF_AIR));
    let newest: number | undefined;
    hls.on(Events.LEVEL_LOADED, (_, { details }) => {
      const first = newest === undefined;
      // The end of a broadcast is served for a while: current listeners hear it, but nobody starts with it.
      if (!details.live && (first || this.audio.paused)) return this.fell(OFF_AIR);
      if (first && past) hls.startLoad(positionOf(details.fragments, this.back ?? 0) ?? -1);
      if (first) this.begin();
      // A lost mixer's window is lost too: hls.js would wait at the end of its buffer forever.
      const jumped = newest !== undefined && details.startSN > newest + 1;
      newest = details.endSN;
      if (!jumped) return;
      // With less than `ENOUGH_TO_START_SECONDS` in the playlist, hls.js may load a part, stall, and stop.
      const missing = Math.max(0, ENOUGH_TO_START_SECONDS - details.totalduration);
      setTimeout(() => this.hls === hls && this.startOver(), missing * 1000);
    });
    if (!past) hls.on(Events.LEVEL_UPDATED, (_, { details }) => setEnds(details.fragments));
    const { playlist, rewind } = this.options.addresses;
    hls.loadSource(past ? rewind : playlist);
    hls.attachMedia(this.audio);
  }

  /** Connects the media element itself. It sends no header, so the token is part of the URL. */
  private async connectElement(transport: 'native' | 'plain'): Promise<void> {
    this.transport = transport;
    const { round } = this;
    const { playlist, plain } = this.options.addresses;
    const token = `?token=${encodeURIComponent(this.token)}`;
    const { error, verdict } = await askAhead(playlist + token);
    if (round !== this.round) return;
    if (error) this.record(error);
    if (verdict) return this.fell(verdict);
    this.audio.onerror = () => {
      this.record(described(`mediaElement${this.audio.error?.code ?? 0}`, true));
      this.fell(UNREACHABLE);
    };
    this.audio.onended = () => this.fell(OFF_AIR);
    // Do not fetch the plain stream while paused: nobody hears it, and its sound would be old afterwards.
    if (transport === 'native' || this.wanted) this.audio.src = (transport === 'plain' ? plain : playlist) + token;
    this.begin();
  }

  private get token(): string {
    return this.options.tokens.current ?? '';
  }

  /** Adds the token to requests for playlists and keys; parts and segments stay cacheable without it. */
  private authorize(xhr: XMLHttpRequest, url: string): void {
    const { pathname, origin } = new URL(url, this.options.addresses.playlist);
    const guarded = GUARDED.some((name) => pathname.endsWith(name));
    if (!this.token || !guarded || origin !== new URL(this.options.addresses.playlist).origin) return;
    xhr.open('GET', url, true);
    xhr.setRequestHeader('Authorization', `Bearer ${this.token}`);
  }

  private begin(): void {
    if (this.wanted) this.start();
    else this.enterPaused(false);
  }

  private start(): void {
    this.audio.play().catch((refusal: DOMException) => {
      // Browsers let a page play audio only after the user has interacted with it.
      if (refusal.name === 'NotAllowedError' && !this.ended.signal.aborted) this.enter('ready');
    });
  }

  /** Checks often while the element is about to start. */
  private lookOften(): void {
    clearInterval(this.firstLook);
    this.firstLook = setInterval(() => {
      this.lookAtPlayhead();
      if (this.playing || this.audio.paused) clearInterval(this.firstLook);
    }, FIRST_LOOK_MS);
  }

  /** Updates the state from the playhead: playing means that it moves, whatever the element reports. */
  private lookAtPlayhead(): void {
    const { audio, state } = this;
    if (audio.paused && state === 'playing') this.paused();
    if (audio.paused || audio.seeking) return;
    const motion = this.playhead.look(audio.currentTime, performance.now());
    if (motion === 'standing' && state === 'playing') this.enter('buffering');
    if (motion !== 'moving' || state === 'playing' || state === 'failed') return;
    this.firstSoundMs ??= Math.round(performance.now());
    // If the system had paused the element, the system has also resumed it.
    this.wanted = true;
    this.enter('playing');
  }

  /** Handles a pause by the user, or by the system: a call, another app, unplugged headphones. */
  private paused(): void {
    const { audio, state, wanted: unasked } = this;
    // Elements also report a pause at the end of the media.
    if (!audio.paused || audio.ended || state === 'paused') return;
    if (unasked && state !== 'playing' && state !== 'buffering') return;
    // After a pause, a stream that returns by itself, such as that of a restarted room, must not play.
    this.wanted = false;
    this.enterPaused(unasked);
    if (this.transport === 'plain' && !unasked) this.release();
  }

  private fell(verdict: Verdict): void {
    clearTimeout(this.retry);
    this.disconnect();
    if (this.back !== null && verdict.kind !== 'broken') {
      // The past is not available. Try near live; if that is refused as well, the refusal gives the reason.
      this.back = null;
      return this.connectAgain();
    }
    const renewed = verdict.problem.code.startsWith('token_') && this.options.tokens.refused(this.token);
    if (verdict.kind === 'failed' && !renewed) return this.enter('failed', verdict.problem);
    const waiting = verdict.kind === 'waiting';
    const told = this.audible === false && verdict.problem.code === OFF_AIR.problem.code;
    const longest = !waiting ? MAX_RETRY_MS : told ? MAX_TOLD_RETRY_MS : MAX_WAITING_RETRY_MS;
    const delay = Math.min(FIRST_RETRY_MS * 2 ** this.failures, longest);
    // Stop counting at the longest delay, so that the first failure of another kind after a long wait is
    // retried soon.
    if (delay < longest) this.failures += 1;
    this.enter(waiting ? 'waiting' : 'connecting', { ...verdict.problem, retryable: true });
    // Many listeners lose the same room at the same moment: spread their return.
    this.retry = setTimeout(() => void this.connect(), delay * (0.75 + Math.random() / 2));
  }

  private keepUp(): void {
    if (this.past) return this.remember();
    if (this.playing && this.hls && this.hls.latency > (this.hls.targetLatency ?? 0) + JUMP_BEHIND_SECONDS) {
      this.jumpToLive();
    }
  }

  /** Remembers the moment that is heard, so that playback continues there if the connection is lost. */
  private remember(): void {
    if (this.back === null || this.audio.seeking || !this.playing) return;
    this.back = this.heardAt ?? this.back;
  }

  private look(): void {
    this.lookAtPlayhead();
    this.resumeFetching();
    this.unstick();
  }

  /** Restarts loading if hls.js has stopped it, while audio is still buffered. */
  private resumeFetching(): void {
    const { audio, hls } = this;
    const last = audio.buffered.length - 1;
    const edge = hls?.latestLevelDetails?.edge;
    if (!hls || this.past || edge === undefined || last < 0 || audio.paused) return;
    const bufferEnd = audio.buffered.end(last);
    const idle = hls.inFlightFragments.main.state === 'IDLE';
    if (!this.fetching.look({ idle, position: audio.currentTime, bufferEnd, edge }, performance.now())) return;
    this.record(described('loadingResumed', false));
    hls.stopLoad();
    hls.startLoad(bufferEnd + PAST_END_SECONDS);
  }

  /** Moves a playhead that stands still although there is more to play. */
  private unstick(): void {
    const { audio, hls } = this;
    const stands = hls && this.firstSoundMs !== null && !audio.paused && audio.currentTime === this.stoodAt;
    this.stoodFor = stands ? this.stoodFor + 1 : 0;
    this.stoodAt = audio.currentTime;
    const last = audio.buffered.length - 1;
    if (!hls || this.stoodFor < STUCK_LOOKS || last < 0) {
      this.lostFor = 0;
      return;
    }
    const [start, end] = [audio.buffered.start(last), audio.buffered.end(last)];
    // Count only while the playlist has audio to fetch: while a room has no mixer, there is none.
    const unfetched = (hls.latestLevelDetails?.edge ?? 0) > end + UNFETCHED_SECONDS;
    this.lostFor = unfetched && !this.past ? this.lostFor + 1 : 0;
    const from = Math.max(start, audio.currentTime);
    if (end - from >= ENOUGH_SECONDS) {
      // The seek skips a gap between buffered ranges, and the browser then resumes with less buffered audio.
      audio.currentTime = Math.min(Math.max(from + 0.01, (!this.past && hls.liveSyncPosition) || 0), end - ENOUGH_SECONDS / 2);
      this.stoodFor = 0;
    } else if (this.lostFor >= LOST_LOOKS) {
      this.startOver();
    }
  }

  private startOver(): void {
    this.record(described('startedOver', false));
    this.lostFor = 0;
    this.enter('connecting', BROKE_OFF.problem);
    void this.connect();
  }

  private jumpToLive(): void {
    const live = this.hls?.liveSyncPosition;
    if (!this.past && live && live > this.audio.currentTime + 1) this.audio.currentTime = live;
  }

  private record(error: PlaybackError): void {
    this.errors.push(error);
    if (this.errors.length > KEPT_ERRORS) this.errors.shift();
  }

  private enterPaused(byDevice: boolean): void {
    this.pausedByDevice = byDevice;
    this.enter('paused');
  }

  private enter(state: PlaybackState, problem: Problem | null = null): void {
    this.state = state;
    this.problem = problem;
    this.options.changed();
  }
}
