// Player of one room: hls.js with Media Source, otherwise the browser's own HLS. Restarts by itself after temporary
// failures. Owns the media element and the connection; never accesses the page.

import Hls, { Events, type HlsConfig } from 'hls.js';
import { NEEDED } from './browsers';
import { Fetching, setEnds } from './fetching';
import { askAhead, nativeLatency } from './native';
import { Playhead } from './playhead';
import { PatientPlaylistLoader } from './loader';
import { describe, judge, OFF_AIR, type PlayerError, type Verdict } from './errors';

export type State = 'connecting' | 'ready' | 'playing' | 'buffering' | 'paused' | 'waiting' | 'failed';

/** Short also after an end: a room that is stopped and started again is on air immediately. */
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 8000;
/** Longest delay while a room is not on air. */
const MAX_WAITING_RETRY_MS = 2000;
/** Distance behind the target from which the player jumps: at 5 % more speed, catching up would take a minute. */
const JUMP_BEHIND_SECONDS = 3;
const KEPT_ERRORS = 100;
const LOOK_MS = 500;
/** Interval of checks of the playhead. */
const MOTION_LOOK_MS = 100;
/** Interval until the playhead moves after `playing`, to measure the first sound. */
const FIRST_LOOK_MS = 10;
/** Buffered audio that a playhead needs to move: Chromium requires twice as much after every stall, up to 3 s. */
const ENOUGH_SECONDS = 0.5;
/** Audio that a playlist must hold for a start without a stall. */
const ENOUGH_TO_START_SECONDS = 1;
/** Number of checks that find the playhead unmoved, although enough is buffered, before it is moved. */
const STUCK_LOOKS = 3;
/** Lead of the playlist over the buffer from which hls.js counts as having stopped loading. */
const UNFETCHED_SECONDS = 0.5;
/** Number of such checks before the player restarts, to let hls.js recover first. */
const LOST_LOOKS = 12;
/** hls.js does not choose again a fragment that ends before the start position of loading. */
const PAST_END_SECONDS = 0.001;

export class Player {
  state: State = 'connecting';
  words = 'Connecting…';
  /** Time since the page was opened; null until audio has begun. */
  firstSoundMs: number | null = null;
  readonly errors: PlayerError[] = [];
  private hls: Hls | null = null;
  private wanted = true;
  private failures = 0;
  private retry: number | undefined;
  private readonly playhead = new Playhead();
  private fetching = new Fetching();
  private firstLook: number | undefined;
  private stoodAt = 0;
  private stoodFor = 0;
  private lostFor = 0;

  constructor(
    private readonly audio: HTMLAudioElement,
    private readonly url: string,
    private readonly token: string,
    private readonly changed: () => void,
  ) {
    audio.addEventListener('playing', () => this.lookOften());
    audio.addEventListener('seeking', () => this.playhead.jumped());
    // Elements also report this while nothing is attached: only an interruption of playback counts.
    audio.addEventListener('waiting', () => this.playing && this.enter('buffering', 'Buffering…'));
    audio.addEventListener('pause', () => this.paused());
    window.setInterval(() => this.keepUp(), LOOK_MS);
    window.setInterval(() => this.look(), MOTION_LOOK_MS);
    this.connect();
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
    // The playlist's dates include encoding and delivery, but depend on this device's clock.
    const byClock = heard ? (Date.now() - heard.getTime()) / 1000 : NaN;
    return Math.abs(byClock - byPlaylist) < 3 ? byClock : byPlaylist;
  }

  /** Moment of the stream that is heard now, in milliseconds since the Unix epoch; null while that is unknown. */
  get heardAt(): number | null {
    return (this.playing && this.hls?.playingDate?.getTime()) || null;
  }

  play(): void {
    this.wanted = true;
    if (this.state === 'failed' || this.state === 'waiting') return;
    if (this.state === 'paused' || this.state === 'ready') this.enter('buffering', 'Buffering…');
    this.jumpToLive();
    this.start();
  }

  pause(): void {
    this.wanted = false;
    this.audio.pause();
  }

  private connect(): void {
    this.disconnect();
    if (Hls.isSupported()) this.connectHls();
    else if (this.audio.canPlayType('application/vnd.apple.mpegurl')) void this.connectNative();
    else this.enter('failed', `This browser cannot play the room. It needs ${NEEDED}.`);
  }

  private disconnect(): void {
    this.hls?.destroy();
    this.hls = null;
    this.audio.onerror = this.audio.onended = null;
  }

  private connectHls(): void {
    const hls = new Hls(this.hlsConfig());
    this.hls = hls;
    this.fetching = new Fetching();
    hls.on(Events.ERROR, (_, data) => {
      const error = describe(data);
      this.record(error);
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
      if (first) this.begin();
      // A lost mixer takes its window with it. hls.js would wait at its end for media that never come.
      const jumped = newest !== undefined && details.startSN > newest + 1;
      newest = details.endSN;
      if (!jumped) return;
      // With less, hls.js may load a part, stall, and stop.
      const missing = Math.max(0, ENOUGH_TO_START_SECONDS - details.totalduration);
      window.setTimeout(() => this.hls === hls && this.startOver(), missing * 1000);
    });
    hls.on(Events.LEVEL_UPDATED, (_, { details }) => setEnds(details.fragments));
    hls.loadSource(this.url);
    hls.attachMedia(this.audio);
  }

  /** Without Media Source no header can be added to the player's requests, so the token is part of the URL. */
  private async connectNative(): Promise<void> {
    const url = `${this.url}?token=${encodeURIComponent(this.token)}`;
    const { error, verdict } = await askAhead(url);
    if (error) this.record(error);
    if (verdict) return this.fell(verdict);
    this.audio.onerror = () => {
      const detail = `mediaElement${this.audio.error?.code ?? 0}`;
      this.record({ atMs: Math.round(performance.now()), detail, fatal: true });
      this.fell({ kind: 'broken', words: 'The room cannot be reached or is not on air. Trying again…' });
    };
    this.audio.onended = () => this.fell(OFF_AIR);
    this.audio.src = url;
    this.begin();
  }

  private hlsConfig(): Partial<HlsConfig> {
    const errorRetry = { maxNumRetry: 6, retryDelayMs: FIRST_RETRY_MS, maxRetryDelayMs: 2000 };
    const timeoutRetry = { maxNumRetry: 2, retryDelayMs: 0, maxRetryDelayMs: 0 };
    const policy = { default: { maxTimeToFirstByteMs: 10000, maxLoadTimeMs: 20000, timeoutRetry, errorRetry } };
    return {
      // Neither liveSyncDuration nor ...Count: hls.js then uses the playlist's PART-HOLD-BACK.
      lowLatencyMode: true,
      maxLiveSyncPlaybackRate: 1.05,
      // When FFmpeg dies, up to 0.7 s of media are missing, and three parts of buffer are 0.6 s: playback stalls. By
      // default hls.js then stays a whole second further behind; two more parts are enough for the next time.
      liveSyncOnStallIncrease: 0.4,
      maxBufferLength: 10,
      backBufferLength: 10,
      // Remuxing a part takes 0.4 ms; a worker would only add its start.
      enableWorker: false,
      testBandwidth: false,
      playlistLoadPolicy: policy,
      pLoader: PatientPlaylistLoader,
      fragLoadPolicy: policy,
      keyLoadPolicy: policy,
      xhrSetup: (xhr, url) => this.authorize(xhr, url),
    };
  }

  /** Playlist and keys carry the token; parts and segments stay cacheable without it. */
  private authorize(xhr: XMLHttpRequest, url: string): void {
    const { pathname, origin } = new URL(url, location.href);
    const guarded = pathname.endsWith('/index.m3u8') || pathname.endsWith('/enc.key');
    if (!this.token || !guarded || origin !== location.origin) return;
    xhr.open('GET', url, true);
    xhr.setRequestHeader('Authorization', `Bearer ${this.token}`);
  }

  private begin(): void {
    if (this.wanted) this.start();
    else this.enter('paused', 'Paused');
  }

  private start(): void {
    this.audio.play().catch((refusal: DOMException) => {
      // Browsers let a page play audio only after the user has interacted with it.
      if (refusal.name === 'NotAllowedError') this.enter('ready', 'On air. Press play to listen.');
    });
  }

  /** Checks often while the element is about to start. */
  private lookOften(): void {
    window.clearInterval(this.firstLook);
    this.firstLook = window.setInterval(() => {
      this.lookAtPlayhead();
      if (this.playing || this.audio.paused) window.clearInterval(this.firstLook);
    }, FIRST_LOOK_MS);
  }

  /** Live means that the playhead moves, whatever the element reports. */
  private lookAtPlayhead(): void {
    const { audio, state } = this;
    if (audio.paused && state === 'playing') this.paused();
    if (audio.paused || audio.seeking) return;
    const motion = this.playhead.look(audio.currentTime, performance.now());
    if (motion === 'standing' && state === 'playing') this.enter('buffering', 'Buffering…');
    if (motion !== 'moving' || state === 'playing' || state === 'failed') return;
    this.firstSoundMs ??= Math.round(performance.now());
    // The system had paused it and resumes it.
    this.wanted = true;
    this.enter('playing', 'Live');
  }

  /** Handles a pause by the user, or by the system: a call, another app, unplugged headphones. */
  private paused(): void {
    const { audio, state, wanted: unasked } = this;
    // Elements also report it at the end of the media.
    if (!audio.paused || audio.ended || state === 'paused') return;
    if (unasked && state !== 'playing' && state !== 'buffering') return;
    // A stream that returns by itself, such as a restarted room, must not play then.
    this.wanted = false;
    this.enter('paused', unasked ? 'Paused by this device. Press play to go on.' : 'Paused');
  }

  private fell(verdict: Verdict): void {
    window.clearTimeout(this.retry);
    this.disconnect();
    if (verdict.kind === 'failed') {
      this.enter('failed', verdict.words);
      return;
    }
    const waiting = verdict.kind === 'waiting';
    const longest = waiting ? MAX_WAITING_RETRY_MS : MAX_RETRY_MS;
    const delay = Math.min(FIRST_RETRY_MS * 2 ** this.failures, longest);
    // Not beyond: after a night of waiting, a failure at the start of the room is retried as soon.
    if (delay < longest) this.failures += 1;
    this.enter(waiting ? 'waiting' : 'connecting', verdict.words);
    // Many listeners lose the same room at the same moment: spread their return.
    this.retry = window.setTimeout(() => this.connect(), delay * (0.75 + Math.random() / 2));
  }

  private keepUp(): void {
    if (this.playing && this.hls && this.hls.latency > (this.hls.targetLatency ?? 0) + JUMP_BEHIND_SECONDS) {
      this.jumpToLive();
    }
    this.changed();
  }

  private look(): void {
    this.lookAtPlayhead();
    this.resumeFetching();
    this.unstick();
  }

  /** Acts while audio is still buffered. */
  private resumeFetching(): void {
    const { audio, hls } = this;
    const last = audio.buffered.length - 1;
    const edge = hls?.latestLevelDetails?.edge;
    if (!hls || edge === undefined || last < 0 || audio.paused) return;
    const bufferEnd = audio.buffered.end(last);
    const idle = hls.inFlightFragments.main.state === 'IDLE';
    if (!this.fetching.look({ idle, position: audio.currentTime, bufferEnd, edge }, performance.now())) return;
    this.record({ atMs: Math.round(performance.now()), detail: 'loadingResumed', fatal: false });
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
    // Counted from the time when there is something to fetch: while a room has no mixer, no audio is missed.
    const unfetched = (hls.latestLevelDetails?.edge ?? 0) > end + UNFETCHED_SECONDS;
    this.lostFor = unfetched ? this.lostFor + 1 : 0;
    const from = Math.max(start, audio.currentTime);
    if (end - from >= ENOUGH_SECONDS) {
      // After a seek the browser needs little buffer again, and a gap between two ranges is passed.
      audio.currentTime = Math.min(Math.max(from + 0.01, hls.liveSyncPosition ?? 0), end - ENOUGH_SECONDS / 2);
      this.stoodFor = 0;
    } else if (this.lostFor >= LOST_LOOKS) {
      this.startOver();
    }
  }

  private startOver(): void {
    this.record({ atMs: Math.round(performance.now()), detail: 'startedOver', fatal: false });
    this.lostFor = 0;
    this.enter('connecting', 'The sound broke off. Starting again…');
    this.connect();
  }

  private jumpToLive(): void {
    const live = this.hls?.liveSyncPosition;
    if (live && live > this.audio.currentTime + 1) this.audio.currentTime = live;
  }

  private record(error: PlayerError): void {
    this.errors.push(error);
    if (this.errors.length > KEPT_ERRORS) this.errors.shift();
  }

  private enter(state: State, words: string): void {
    this.state = state;
    this.words = words;
    this.changed();
  }
}
