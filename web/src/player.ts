// Plays one room: hls.js where there is Media Source, the browser's own HLS elsewhere. Starts over by itself
// after any failure that may pass. Owns the media element and the connection; never touches the page.

import Hls, { Events, type HlsConfig } from 'hls.js';
import { NEEDED } from './browsers';
import { Fetching, setEnds } from './fetching';
import { askAhead, nativeLatency } from './native';
import { Playhead } from './playhead';
import { PatientPlaylistLoader } from './loader';
import { describe, judge, OFF_AIR, type PlayerError, type Verdict } from './errors';

export type State = 'connecting' | 'ready' | 'playing' | 'buffering' | 'paused' | 'waiting' | 'failed';

/** Soon also after an end: who stops a room and starts it again has it on air at once. */
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 8000;
/** While a room is not on air. */
const MAX_WAITING_RETRY_MS = 2000;
/** Further behind its target than this, the player jumps: at 5 % more speed it would take a minute. */
const JUMP_BEHIND_SECONDS = 3;
const KEPT_ERRORS = 100;
const LOOK_MS = 500;
/** Between two looks at the playhead. */
const MOTION_LOOK_MS = 100;
/** Until it moves after `playing`: to the first sound. */
const FIRST_LOOK_MS = 10;
/** Sound from here on that a playhead needs to move: Chromium asks for twice as much after every stall, up to 3 s. */
const ENOUGH_SECONDS = 0.5;
/** Sound that a playlist needs to hold for a start without a stall. */
const ENOUGH_TO_START_SECONDS = 1;
/** Looks that find the playhead where it was, although there is enough, before it is helped. */
const STUCK_LOOKS = 3;
/** The playlist this far ahead of the buffer, and nothing of it comes: hls.js has lost its thread. */
const UNFETCHED_SECONDS = 0.5;
/** Looks that find that before the player starts over: hls.js comes first. */
const LOST_LOOKS = 12;
/** hls.js does not choose again what ends before where loading starts. */
const PAST_END_SECONDS = 0.001;

export class Player {
  state: State = 'connecting';
  words = 'Connecting…';
  /** Since the page was opened; null until sound has begun. */
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
    // Elements also report this while nothing is attached: only a break in playing is news.
    audio.addEventListener('waiting', () => this.playing && this.enter('buffering', 'Buffering…'));
    audio.addEventListener('pause', () => this.paused());
    window.setInterval(() => this.keepUp(), LOOK_MS);
    window.setInterval(() => this.look(), MOTION_LOOK_MS);
    this.connect();
  }

  get playing(): boolean {
    return this.state === 'playing';
  }

  /** Seconds between what is heard and the room; null while that is unknown. */
  get behindLiveSeconds(): number | null {
    if (!this.hls) return nativeLatency(this.audio);
    if (!this.hls.latestLevelDetails) return null;
    const byPlaylist = this.hls.latency;
    const heard = this.hls.playingDate;
    // The playlist's dates include encoding and delivery, but are only as good as this device's clock.
    const byClock = heard ? (Date.now() - heard.getTime()) / 1000 : NaN;
    return Math.abs(byClock - byPlaylist) < 3 ? byClock : byPlaylist;
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
      // hls.js asks for a refused key again and again; a refusal is an answer.
      if (data.fatal || verdict.kind !== 'broken') this.fell(verdict);
    });
    hls.on(Events.FRAG_BUFFERED, () => {
      this.failures = 0;
    });
    hls.on(Events.MEDIA_ENDED, () => this.fell(OFF_AIR));
    let newest: number | undefined;
    hls.on(Events.LEVEL_LOADED, (_, { details }) => {
      const first = newest === undefined;
      // The end of a live is served for a while: who hears it hears it out, but nobody begins with it.
      if (!details.live && (first || this.audio.paused)) return this.fell(OFF_AIR);
      if (first) this.begin();
      // A mixer that dies takes its window along. hls.js would wait at the end of it for what never comes.
      const jumped = newest !== undefined && details.startSN > newest + 1;
      newest = details.endSN;
      if (!jumped) return;
      // Given less, hls.js may load a part, stall, and stand still.
      const missing = Math.max(0, ENOUGH_TO_START_SECONDS - details.totalduration);
      window.setTimeout(() => this.hls === hls && this.startOver(), missing * 1000);
    });
    hls.on(Events.LEVEL_UPDATED, (_, { details }) => setEnds(details.fragments));
    hls.loadSource(this.url);
    hls.attachMedia(this.audio);
  }

  /** Without Media Source no header can be added to the player's requests: the token goes into the URL. */
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
      // Neither liveSyncDuration nor ...Count: hls.js then keeps the playlist's own PART-HOLD-BACK.
      lowLatencyMode: true,
      maxLiveSyncPlaybackRate: 1.05,
      // When FFmpeg dies, up to 0.7 s of media are not made, and three parts of buffer are 0.6 s: that stalls. By
      // itself hls.js stays a whole second further behind then; two parts more are enough to bear the next time.
      liveSyncOnStallIncrease: 0.4,
      maxBufferLength: 10,
      backBufferLength: 10,
      // Remuxing a part takes 0.4 ms; a worker would only cost its start.
      enableWorker: false,
      testBandwidth: false,
      playlistLoadPolicy: policy,
      pLoader: PatientPlaylistLoader,
      fragLoadPolicy: policy,
      keyLoadPolicy: policy,
      xhrSetup: (xhr, url) => this.authorize(xhr, url),
    };
  }

  /** Playlist and keys carry the token; parts and segments stay cacheable without. */
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
      // Browsers let a page sound only after the person has touched it.
      if (refusal.name === 'NotAllowedError') this.enter('ready', 'On air. Press play to listen.');
    });
  }

  /** The element is about to play. */
  private lookOften(): void {
    window.clearInterval(this.firstLook);
    this.firstLook = window.setInterval(() => {
      this.lookAtPlayhead();
      if (this.playing || this.audio.paused) window.clearInterval(this.firstLook);
    }, FIRST_LOOK_MS);
  }

  /** Live is what moves, whatever the element reports. */
  private lookAtPlayhead(): void {
    const { audio, state } = this;
    if (audio.paused && state === 'playing') this.paused();
    if (audio.paused || audio.seeking) return;
    const motion = this.playhead.look(audio.currentTime, performance.now());
    if (motion === 'standing' && state === 'playing') this.enter('buffering', 'Buffering…');
    if (motion !== 'moving' || state === 'playing' || state === 'failed') return;
    this.firstSoundMs ??= Math.round(performance.now());
    // Where the system had paused it and lets it go on.
    this.wanted = true;
    this.enter('playing', 'Live');
  }

  /** By the person, or unasked by the system: a call, another app, headphones that were unplugged. */
  private paused(): void {
    const { audio, state, wanted: unasked } = this;
    // Elements also report it at the end of the media.
    if (!audio.paused || audio.ended || state === 'paused') return;
    if (unasked && state !== 'playing' && state !== 'buffering') return;
    // What comes back by itself, such as a restarted room, is not to sound then.
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
    // Not beyond: after a night of waiting, what breaks when the room starts is tried again as soon.
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

  /** Acts while there still is sound. */
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

  /** Helps a playhead that stands still although there is more to play. */
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
    // Counted from when there is something to fetch: while a room has no mixer, nothing is lost but time.
    const unfetched = (hls.latestLevelDetails?.edge ?? 0) > end + UNFETCHED_SECONDS;
    this.lostFor = unfetched ? this.lostFor + 1 : 0;
    const from = Math.max(start, audio.currentTime);
    if (end - from >= ENOUGH_SECONDS) {
      // A seek makes the browser content with little again, and passes what may lie between two ranges.
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
