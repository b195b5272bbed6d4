// A listener of a room: the class for applications. Combines the player, the channel and the visit to the
// stage.

import { CaptionClock, type Caption } from './channel/captions.js';
import { RoomChannel } from './channel/channel.js';
import { audible, isInvited, TalkingClock, type ChannelState } from './channel/state.js';
import { Emitter } from './emitter.js';
import { problemOf, StentorError, type Problem } from './errors.js';
import { addressesOf } from './listening/addresses.js';
import type { PlaybackError } from './listening/failures.js';
import type { HlsClass, HlsLoader } from './listening/hls.js';
import { LEAST_BACK_SECONDS, reachOf } from './listening/past.js';
import { Player, type PlaybackState, type Transport } from './listening/player.js';
import type { StentorRoom } from './room.js';
import type { StageOptions } from './stage.js';
import { TokenSource, type Token } from './tokens.js';

/** Interval between checks of who talks, and of the caption, at the playback position. */
const TALKING_LOOK_MS = 100;

/** Options of a listener. */
export interface ListenerOptions {
  /** URL of the room's playlist, `hlsUrl` of the API; relative URLs are relative to the page. */
  url: string;
  /** The listener's token (`POST /api/token`), or a function that provides new ones when they expire. */
  token: Token;
  /**
   * hls.js, as its class or as a function that loads it: `() => import('hls.js/light')`. Without it, the
   * player uses the browser's own HLS where there is one (Safari), otherwise the plain stream, which has more
   * delay.
   */
  hls?: HlsClass | HlsLoader;
  /** Element that plays the sound; default: a new one that is not part of the page. */
  audio?: HTMLAudioElement;
}

/** State of playback, and its reason. */
export interface ListenerStatus {
  state: PlaybackState;
  /** Reason for `waiting`, `failed`, and for `connecting` after a failure. */
  problem?: Problem;
  /** With `paused`: who paused it. */
  pausedBy?: 'application' | 'device';
}

/**
 * State of the visit to the stage:
 * - `listening`: not on the stage.
 * - `entering`: opening the microphone, then joining; `StentorListener.stage` is set once joining starts.
 * - `speaking`: on the stage, and the sound flows.
 * - `reconnecting`: returning to the stage after a failure.
 */
export type StageState = 'listening' | 'entering' | 'speaking' | 'reconnecting';

/** State of the visit to the stage, and the reason for its end. */
export interface StageStatus {
  state: StageState;
  /**
   * Reason why the last visit ended or never began, only with `listening`. The code of the reason is `left`
   * after `leaveStage`.
   */
  problem?: Problem;
}

/** Events of `StentorListener.on`. */
export interface ListenerEvents {
  /** Any change of `StentorListener.status`. */
  state: ListenerStatus;
  /** Any change of the room's state, from the channel. */
  room: ChannelState;
  /** Sums of the reactions of about one second, from all listeners. */
  reactions: Record<string, number>;
  /**
   * Ids of the members whose voices are heard from now on: emitted when the delayed sound reaches that
   * moment.
   */
  talking: readonly string[];
  /**
   * Caption to show now, with the words that are heard; `null`: none. Captions come from a speech recogniser
   * that is connected to the room.
   */
  caption: Caption | null;
  /** A host or co-host invites this listener to the stage (true), or the invitation ended (false). */
  invited: boolean;
  /** Any change of `StentorListener.stageStatus`. */
  stage: StageStatus;
}

/** A listener of a room: hears it, follows it, and comes to the stage when invited. */
export class StentorListener extends Emitter<ListenerEvents> {
  /** Element that plays the sound of the room: for volume and mute. */
  readonly audio: HTMLAudioElement;
  /** Id of the room. */
  readonly room: string;
  /** Channel of the room: hand, reactions, chat. */
  readonly channel: RoomChannel;
  private readonly player: Player;
  private readonly clock = new TalkingClock();
  private readonly captions = new CaptionClock();
  private shownCaption: Caption | null = null;
  private heardTalking: readonly string[] = [];
  private wasInvited = false;
  private visit: StentorRoom | null = null;
  private voices: HTMLAudioElement | null = null;
  private onStage: StageStatus = { state: 'listening' };
  private talkingTimer: number | undefined;
  private closed = false;

  /** Requests nothing yet. Throws a {@link StentorError} with the code `invalid_url`. */
  constructor(options: ListenerOptions) {
    super();
    const addresses = addressesOf(options.url, globalThis.location?.href);
    const tokens = new TokenSource(options.token);
    this.room = addresses.room;
    this.audio = options.audio ?? new Audio();
    this.channel = new RoomChannel(options, tokens);
    const changed = (): void => this.emit('state', this.status);
    this.player = new Player({ audio: this.audio, addresses, tokens, hls: options.hls, changed });
    this.channel.on('state', (state) => this.roomChanged(state));
    this.channel.on('reactions', (counts) => this.emit('reactions', counts));
    this.channel.on('caption', (caption) => this.captions.heard(caption, this.captionTime));
  }

  /** State of playback: `playing` only while the sound actually advances. */
  get status(): ListenerStatus {
    const { state, problem, pausedByDevice } = this.player;
    return {
      state,
      ...(problem ? { problem } : {}),
      ...(state === 'paused' ? { pausedBy: pausedByDevice ? ('device' as const) : ('application' as const) } : {}),
    };
  }

  /** Transport of the sound; `null` until the first connection. */
  get transport(): Transport | null {
    return this.player.transport;
  }

  /** Seconds between the sound that is heard and the room; `null` while unknown. */
  get behindLiveSeconds(): number | null {
    return this.player.playing ? this.player.behindLiveSeconds : null;
  }

  /**
   * Seconds that the listener can go back now; 0 if the room does not offer it, the player cannot rewind, or
   * the channel is not followed ({@link StentorListener.follow}).
   */
  get rewindSeconds(): number {
    if (!this.player.canRewind) return 0;
    const { rewind, onAirSince } = this.roomState.room;
    return reachOf({ offered: rewind, onAirSince, listed: this.player.pastSeconds, now: Date.now() });
  }

  /** True while the listener hears the past, after {@link StentorListener.rewind}. */
  get rewound(): boolean {
    return this.player.rewound;
  }

  /**
   * Moment of the room that is heard now, in milliseconds since the Unix epoch by the server's clock. The
   * stream is about a second behind the room. On the stage, or without sound, this is the current time;
   * `null` while unknown. Compare room times with it, such as the end of a floor.
   */
  get heardTime(): number | null {
    return (this.player.playing ? this.player.heardAt : null) ?? this.channel.serverTime;
  }

  /**
   * Preferred language of captions (BCP 47). Another one is shown until a caption in this language has
   * arrived.
   */
  get captionLanguage(): string {
    return this.captions.language;
  }

  set captionLanguage(language: string) {
    this.captions.language = language;
  }

  /** Milliseconds from the start of the page to the first sound; `null` before it. */
  get firstSoundMs(): number | null {
    return this.player.firstSoundMs;
  }

  /** The last playback failures, including those that the player has repaired; for diagnosis. */
  get errors(): readonly PlaybackError[] {
    return this.player.errors;
  }

  /** State of the room; its `known` is false until {@link StentorListener.follow} has received it. */
  get roomState(): ChannelState {
    return this.channel.state;
  }

  /** True while an invitation to the stage is open. */
  get invited(): boolean {
    return isInvited(this.channel.state);
  }

  /** State of the visit to the stage. */
  get stageStatus(): StageStatus {
    return this.onStage;
  }

  /** The visit to the stage, for its microphone and statistics; `null` while listening. */
  get stage(): StentorRoom | null {
    return this.visit;
  }

  /**
   * Plays the room near live, and starts by itself when the room goes on air. If the browser allows sound
   * only after a click, call this in a click handler. Otherwise the state becomes `ready`; call this again
   * after a click.
   */
  play(): void {
    this.player.play();
  }

  /** Pauses the sound. */
  pause(): void {
    this.player.pause();
  }

  /** Goes back: plays the sound of `seconds` ago. Playback stays that far behind live until `goLive`. */
  rewind(seconds: number): void {
    if (seconds < LEAST_BACK_SECONDS) return this.goLive();
    const { heardAt, behindLiveSeconds } = this.player;
    // The stream's dates come from the server's clock, which may differ from this device's.
    const live = heardAt && behindLiveSeconds !== null ? heardAt + behindLiveSeconds * 1000 : Date.now();
    this.player.rewindTo(live - seconds * 1000);
  }

  /** Plays near live again. */
  goLive(): void {
    this.player.goLive();
  }

  /** Follows the room: its state, reactions and chat, until {@link StentorListener.close}. */
  follow(): void {
    this.channel.open();
    this.talkingTimer ??= setInterval(() => {
      this.lookTalking();
      this.lookCaption();
    }, TALKING_LOOK_MS);
  }

  /**
   * Takes an invitation: opens the microphone, joins, and plays the voices of the others without delay
   * instead of the stream. Resolves when the sound flows. Rejects with a {@link StentorError}: a microphone
   * error, the server's refusal such as `not_invited` or `room_locked`, the reason why the visit ended, or
   * `already_on_stage`.
   */
  async takeStage(options: StageOptions = {}): Promise<StentorRoom> {
    if (this.closed || this.onStage.state !== 'listening') {
      throw new StentorError({ code: 'already_on_stage', message: 'the listener is on the stage, or closed', retryable: false });
    }
    this.enterStage({ state: 'entering' });
    let room: StentorRoom;
    try {
      const { visitStage } = await import('./stage.js');
      room = await visitStage(this.channel, options, (problem) => this.stageEnded(problem));
    } catch (thrown) {
      const problem = problemOf(thrown, 'internal');
      this.enterStage({ state: 'listening', problem });
      throw new StentorError(problem);
    }
    this.visit = room;
    room.on('stream', (stream) => this.playVoices(stream));
    room.on('state', ({ state }) => {
      if (state === 'connected') this.enterStage({ state: 'speaking' });
      else if (state === 'reconnecting') this.enterStage({ state: 'reconnecting' });
    });
    this.enterStage({ state: 'entering' });
    if (this.closed) room.leave();
    await room.join();
    return room;
  }

  /** Leaves the stage and listens again. */
  leaveStage(): void {
    this.visit?.leave();
  }

  /** Ends playback, channel and visit for good. */
  close(): void {
    this.closed = true;
    this.leaveStage();
    this.channel.close();
    this.player.close();
    clearInterval(this.talkingTimer);
  }

  private roomChanged(state: ChannelState): void {
    this.clock.heard(state.talking);
    this.player.expect(audible(state, this.channel.connected));
    this.emit('room', state);
    const invited = isInvited(state);
    if (invited === this.wasInvited) return;
    this.wasInvited = invited;
    this.emit('invited', invited);
  }

  private lookTalking(): void {
    const talking = this.clock.at(this.player.heardAt);
    const known = this.heardTalking;
    if (talking.length === known.length && talking.every((id, at) => id === known[at])) return;
    this.heardTalking = talking;
    this.emit('talking', talking);
  }

  /** Moment whose captions are shown; null while the sound is paused. */
  private get captionTime(): number | null {
    return this.player.playing || this.visit ? this.heardTime : null;
  }

  private lookCaption(): void {
    const caption = this.captions.at(this.captionTime);
    if (caption === this.shownCaption) return;
    this.shownCaption = caption;
    this.emit('caption', caption);
  }

  private playVoices(stream: MediaStream): void {
    this.voices ??= new Audio();
    this.voices.srcObject = stream;
    // Browsers let a page that uses a microphone play audio.
    void this.voices.play().catch(() => undefined);
  }

  private enterStage(status: StageStatus): void {
    this.onStage = status;
    // Never play both: on the stage, the listener hears the others over WebRTC, without the delay of the
    // stream.
    if (status.state === 'speaking') this.player.pause();
    this.emit('stage', status);
  }

  private stageEnded(problem: Problem): void {
    this.visit = null;
    if (this.voices) this.voices.srcObject = null;
    this.enterStage({ state: 'listening', problem });
    if (!this.closed) this.player.play();
  }
}
