// A visit to a room: one user's stay as an anchor, from `join` until it ends, over any number of connections.
// The class for applications. It is a shell around the pure parts: `machine` decides the next step, and
// `voice` the state of the microphone. The class runs sockets, peer connections and timers.

import { readClaims, type Claims } from './claims.js';
import { clientIdOf } from './client-id.js';
import { Connection } from './connection.js';
import { browser, type Environment } from './environment.js';
import { problemOf, StentorError, type Problem } from './errors.js';
import { HostActions } from './host-actions.js';
import { Machine, STEPS, type Effect, type Event } from './machine.js';
import { Mix } from './mix.js';
import { Peer } from './peer.js';
import { CLOSE_FOLLOWS, CLOSE_GRACE_MS, SENDABLE, type Activity, type JoinResult, type Notifications, type Role } from './protocol.js';
import { GONE, INVALID_TOKEN, INVALID_URL, NOT_CONNECTED, problemOfEnd } from './room-problems.js';
import { Roster } from './roster.js';
import { condense, type RoomStats } from './stats.js';
import type { Member, RoomOptions, RoomState, RoomStatus } from './types.js';
import { Voice } from './voice.js';

/** Delay before a failed report of this user's mute state is repeated. */
const RETELL_MS = 1_000;

/** Connection of one user to a room: sends and receives audio, and reconnects after network failures. */
export class StentorRoom extends HostActions {
  private readonly machine = new Machine();
  private readonly voice: Voice;
  private readonly mix: Mix;
  private readonly clientId: string;
  private claims: Claims | null = null;
  private connection: Connection | null = null;
  private peer: Peer | null = null;
  private jtoken: string | null = null;
  private joinedOnce: JoinResult | null = null;
  private track: MediaStreamTrack | null = null;
  private readonly roster = new Roster();
  private lastStats: RoomStats | null = null;
  /** Time of the last statistics, in the clock of the environment's `now`. */
  private lastLook: number | null = null;
  private told = '';
  /** Counts connections, joins and negotiations, so that results of earlier ones are ignored. */
  private round = 0;
  private readonly entrances: { resolve(): void; reject(error: StentorError): void }[] = [];
  private alarm: unknown = null;
  private retelling: unknown = null;
  private stopHurry: (() => void) | null = null;

  /**
   * Throws a {@link StentorError} with the code `invalid_client_id` for a `clientId` that no server accepts.
   * `environment` is for tests; applications omit it.
   */
  constructor(
    private readonly options: RoomOptions,
    private readonly environment: Environment = browser,
  ) {
    super();
    this.voice = new Voice(options.muted ?? false);
    this.mix = new Mix(environment, (stream) => this.emit('stream', stream));
    this.clientId = clientIdOf(options.clientId, () => environment.random());
    if (typeof options.token === 'string') this.claims = readClaims(options.token);
  }

  /** Current status. */
  get status(): RoomStatus {
    const { phase, problem, failures, alarmAt } = this.machine;
    const state = this.state;
    const step = STEPS[phase];
    return {
      state,
      ...(step ? { step } : {}),
      ...(problem ? { problem } : {}),
      failures,
      ...(phase === 'waiting' && alarmAt !== null ? { retryAt: this.environment.wallClock() + this.alarmIn } : {}),
      mediaFlows: this.peer?.linked ?? false,
    };
  }

  /** The `state` of {@link StentorRoom.status}. */
  get state(): RoomState {
    const { phase, everUp } = this.machine;
    if (phase === 'idle' || phase === 'closed') return phase;
    if (phase === 'up') return 'connected';
    return everUp ? 'reconnecting' : 'connecting';
  }

  /** User named in the token; `null` before a token was obtained. */
  get user(): Claims | null {
    return this.claims;
  }

  /** Role of this user in the room, as last reported by the server; until then, the role in the token. */
  get role(): Role | null {
    return this.roster.find(this.claims?.userId)?.role ?? this.claims?.role ?? null;
  }

  /** Users in the room, as last reported. */
  get members(): Member[] {
    const me = this.claims?.userId;
    return this.roster.users.map((member) => {
      const muted = member.userId === me ? this.voice.muted : member.muted;
      // If a microphone is closed while its user talks, the server does not report the end of talking.
      return { ...member, muted, talking: this.roster.talking.has(member.userId) && !muted, me: member.userId === me };
    });
  }

  /** True if the room is locked: no new user may join except hosts and co-hosts. */
  get locked(): boolean {
    return this.roster.locked;
  }

  /** True while listeners do not hear the room yet. */
  get backstage(): boolean {
    return this.roster.schedule.backstage;
  }

  /** Time of the scheduled start, in milliseconds since the Unix epoch; `null` if none is set. */
  get startsAt(): number | null {
    return this.roster.schedule.startsAt;
  }

  /** True if this user's microphone is closed. */
  get muted(): boolean {
    return this.voice.muted;
  }

  /**
   * Enters the room. Resolves when audio flows; rejects with a {@link StentorError} when it is clear that
   * audio will never flow. Temporary failures, such as a full room or an unavailable server, are retried
   * until {@link StentorRoom.leave}.
   */
  join(): Promise<void> {
    if (this.state === 'closed') return Promise.reject(new StentorError(this.machine.problem ?? GONE));
    if (this.state === 'connected') return Promise.resolve();
    const entered = new Promise<void>((resolve, reject) => this.entrances.push({ resolve, reject }));
    if (this.state === 'idle') {
      this.stopHurry = this.environment.onHurry(() => this.feed({ type: 'hurry' }));
      this.feed({ type: 'start' });
    }
    return entered;
  }

  /** Leaves the room for good. The application remains responsible for stopping the microphone. */
  leave(): void {
    this.feed({ type: 'leave' });
  }

  /**
   * Sends this audio from now on: a microphone, or the first audio track of any stream. May be called before
   * {@link StentorRoom.join}, and again to change the device. `null` sends nothing.
   */
  async publish(source: MediaStream | MediaStreamTrack | null): Promise<void> {
    const track = source && 'getAudioTracks' in source ? (source.getAudioTracks()[0] ?? null) : source;
    const before = this.activity;
    this.track = track;
    this.applyVoice();
    await this.peer?.replace(track);
    if (this.activity !== before) this.tellActivity();
  }

  /** Closes the microphone at once, and reports that to everybody. */
  mute(): Promise<void> {
    return this.setMuted(true);
  }

  /** Opens the microphone, even after a host or co-host closed it. */
  unmute(): Promise<void> {
    return this.setMuted(false);
  }

  /**
   * Returns statistics of the connection. Rates cover the time since this method was last called. `null`
   * while there is no peer connection.
   */
  async stats(): Promise<RoomStats | null> {
    const { peer } = this;
    if (!peer) return null;
    const report = await peer.statistics();
    if (peer !== this.peer) return null;
    const entries: never[] = [];
    report.forEach((entry) => entries.push(entry as never));
    const now = this.environment.now();
    const elapsedMs = this.lastLook === null ? null : now - this.lastLook;
    this.lastLook = now;
    this.lastStats = condense(entries, this.environment.wallClock(), elapsedMs, this.lastStats);
    return this.lastStats;
  }

  // Events and their effects.

  private feed(event: Event): void {
    const effects = this.machine.step(event, this.environment.now(), this.environment.random());
    effects.forEach((effect) => this.run(effect));
    this.setAlarm();
    this.announce();
  }

  private run(effect: Effect): void {
    switch (effect) {
      case 'open':
        return void this.open();
      case 'join':
        return void this.enter();
      case 'offer':
        return void this.offer();
      case 'restart':
        return void this.negotiate(true);
      case 'probe':
        this.connection?.probe(this.activity);
        // The network path of ICE may have changed as well: do not wait until ICE notices.
        if (this.peer && !this.peer.linked) queueMicrotask(() => this.feed({ type: 'unlinked' }));
        return;
      case 'forget':
        this.jtoken = null;
        return;
      case 'drop':
        return this.disconnect(false);
      case 'end':
        this.disconnect(true);
        this.environment.clearTimeout(this.retelling);
        this.stopHurry?.();
        this.dropPeer();
        this.mix.close();
        this.roster.talking.clear();
    }
  }

  private async open(): Promise<void> {
    const round = ++this.round;
    const { token } = this.options;
    let fresh: string;
    try {
      fresh = typeof token === 'string' ? token : await token();
    } catch (error) {
      if (round === this.round) this.failed(problemOf(error, 'no_token'), false);
      return;
    }
    if (round !== this.round) return;
    this.claims = readClaims(fresh);
    try {
      this.connection = this.connect(fresh);
    } catch {
      // The browser's error text may contain the token.
      this.failed(SENDABLE.test(fresh) ? INVALID_URL : INVALID_TOKEN, false);
    }
  }

  /** Opens a connection. Throws the browser's error for an address or token that cannot be sent. */
  private connect(token: string): Connection {
    const url = new URL(this.options.url);
    url.searchParams.set('clientId', this.clientId);
    const current = (): boolean => this.connection === connection;
    const connection: Connection = new Connection(url.href, token, this.environment, {
      opened: () => current() && this.feed({ type: 'opened' }),
      notified: (method, params) => current() && this.notified(method as keyof Notifications, params),
      ended: (problem, opened) => current() && this.failed(this.ended(problem, opened), false),
    });
    return connection;
  }

  private ended(problem: Problem, opened: boolean): Problem {
    const validMs = (this.claims?.expiresAt ?? Infinity) - this.environment.wallClock();
    return problemOfEnd(problem, opened, validMs, typeof this.options.token !== 'string');
  }

  private async enter(): Promise<void> {
    const { connection } = this;
    const round = ++this.round;
    const { pin, displayName, recordingConsent } = this.options;
    const jtoken = this.peer?.everLinked ? this.jtoken : null;
    // After the join the server reports who talks, perhaps before it answers the join. It does not retract
    // its earlier reports, so clear them here.
    this.roster.talking.clear();
    // Earlier servers refuse unknown parameters, so send this one only if the application sets it.
    const consent = recordingConsent ? { recordingConsent } : {};
    const params = { clientId: this.clientId, ...(pin ? { pin } : {}), ...(displayName ? { displayName } : {}), ...(jtoken ? { jtoken } : {}), ...consent };
    try {
      const joined = (await connection?.call('join', params)) as JoinResult;
      if (round !== this.round) return;
      this.jtoken = joined.jtoken;
      this.joinedOnce = joined;
      connection?.keepAlive(() => this.activity, () => this.voice.written());
      if (!joined.resume) this.voice.fresh();
      if (this.voice.untold) void this.tellMuted().catch(() => undefined);
      const resumed = joined.resume && this.peer ? (this.peer.linked ? 'linked' : 'broken') : 'none';
      this.feed({ type: 'joined', media: resumed });
      this.tellActivity();
    } catch (error) {
      const problem = problemOf(error, 'internal');
      const tell = (): void => {
        if (round === this.round) this.failed(problem, true);
      };
      if (CLOSE_FOLLOWS.has(problem.code)) this.environment.setTimeout(tell, CLOSE_GRACE_MS);
      else tell();
    }
  }

  private offer(): Promise<void> {
    this.dropPeer();
    const peer: Peer = new Peer(this.joinedOnce?.iceServers ?? [], this.track, this.environment, {
      candidate: (candidate) => this.connection?.notify('icecandidate', { candidate }),
      linked: () => this.feed({ type: 'linked' }),
      unlinked: () => this.feed({ type: 'unlinked' }),
      stream: (stream) => this.mix.receive(stream, this.joinedOnce?.mixGainDb ?? 0),
    });
    this.peer = peer;
    return this.negotiate(false);
  }

  private async negotiate(restart: boolean): Promise<void> {
    const { connection, peer } = this;
    const round = ++this.round;
    const current = (): boolean => round === this.round;
    if (!connection || !peer) return;
    try {
      const sdp = { type: 'offer', sdp: await peer.offer(restart) };
      if (!current()) return;
      const answer = (await connection.call('offer', { sdp })) as { sdp: RTCSessionDescriptionInit };
      if (!current()) return;
      await peer.accept(answer.sdp.sdp ?? '');
      if (current()) this.feed({ type: 'answered', linked: peer.linked });
    } catch (error) {
      if (current()) this.failed(problemOf(error, 'media_failed'), true);
    }
  }

  private failed(problem: Problem, socket: boolean): void {
    const { phase } = this.machine;
    this.feed({ type: 'failed', problem, socket });
    if (phase !== 'waiting' && this.machine.phase === 'waiting') {
      this.emit('reconnecting', { problem, failures: this.machine.failures, retryInMs: this.alarmIn });
    }
  }

  private notified(method: keyof Notifications, params: unknown): void {
    switch (method) {
      case 'roomStatus':
        return this.roomStatus(params as Notifications['roomStatus']);
      case 'talking':
        return this.talk(params as Notifications['talking']);
      case 'icecandidate':
        return this.peer?.add((params as Notifications['icecandidate']).candidate);
      case 'slowLink':
        return this.emit('slowLink', params as Notifications['slowLink']);
      case 'reconnect': {
        const { reason, retryAfterMs } = params as Notifications['reconnect'];
        return this.failed({ code: 'reconnect', message: reason, retryable: true, retryAfterMs }, true);
      }
      case 'roomClosed': {
        const { reason } = params as Notifications['roomClosed'];
        return this.failed({ code: 'room_closed', message: 'the room is over', retryable: false, ...(reason ? { reason } : {}) }, false);
      }
    }
  }

  // Members and voice.

  private roomStatus(report: Notifications['roomStatus']): void {
    const { role } = this;
    const changed = this.roster.update(report);
    const { locked, schedule } = this.roster;
    this.compareVoice();
    this.emit('members', this.members);
    if (changed.locked) this.emit('locked', { locked });
    if (changed.schedule) this.emit('schedule', schedule);
    // The room may be open now: do not wait for the next attempt.
    if (changed.schedule && this.machine.problem?.code === 'not_on_air') this.feed({ type: 'hurry' });
    if (this.role && this.role !== role) this.emit('role', { role: this.role });
  }

  private talk({ userId, talking }: Notifications['talking']): void {
    this.roster.talk(userId, talking);
    this.emit('talking', { userId, talking });
    this.emit('members', this.members);
  }

  private async setMuted(muted: boolean): Promise<void> {
    const before = this.voice.muted;
    this.voice.wish(muted);
    this.voiceChanged(before, 'self');
    // While connecting, `enter` reports the state after the join.
    if (this.joinedHere) await this.tellMuted();
  }

  /** True if the server accepts `mute` and `unmute` on this connection. */
  private get joinedHere(): boolean {
    return ['offering', 'linking', 'up'].includes(this.machine.phase);
  }

  private async tellMuted(): Promise<void> {
    const { connection } = this;
    const { muted } = this.voice;
    const call = this.voice.tell();
    try {
      await connection?.call(muted ? 'mute' : 'unmute', {});
      this.voice.answered(call, muted);
    } catch (error) {
      // If the connection failed as well, the next join reports the mute state.
      if (connection === this.connection && this.voice.isLast(call)) this.notTaken(muted, problemOf(error, 'internal'));
      throw error;
    }
  }

  /** Repeats a temporarily failed report. If `unmute` was refused for good, closes the microphone again. */
  private notTaken(muted: boolean, { code, retryable, retryAfterMs = 0 }: Problem): void {
    if (retryable) {
      this.environment.clearTimeout(this.retelling);
      this.retelling = this.environment.setTimeout(() => {
        if (this.joinedHere && this.voice.untold) void this.tellMuted().catch(() => undefined);
      }, Math.max(RETELL_MS, retryAfterMs));
    } else if (!muted && code !== 'not_joined') {
      const by = code === 'forbidden' ? 'host' : 'self';
      this.voice.refused(by);
      this.voiceChanged(false, by);
    }
  }

  /** Compares this user's microphone with the server's view of it. */
  private compareVoice(): void {
    const mine = this.roster.find(this.claims?.userId);
    if (!mine || !this.joinedHere) return;
    const before = this.voice.muted;
    switch (this.voice.seen(mine.muted)) {
      case 'muted_by_host':
      case 'unmuted_by_host':
        this.voiceChanged(before, 'host');
        return;
      case 'asked_to_unmute':
        // Report the true state to the others.
        void this.tellMuted().catch(() => undefined);
        this.emit('unmuteRequested', {});
    }
  }

  private voiceChanged(before: boolean, by: 'self' | 'host'): void {
    this.applyVoice();
    if (before === this.voice.muted) return;
    this.emit('muted', { muted: this.voice.muted, by });
    this.emit('members', this.members);
    this.tellActivity();
  }

  private applyVoice(): void {
    if (this.track) this.track.enabled = !this.voice.muted;
  }

  private get activity(): Activity {
    return this.track && !this.voice.muted ? 'onair' : 'idle';
  }

  private tellActivity(): void {
    if (this.joinedHere) this.connection?.notify('status', { status: this.activity });
  }

  protected override async call(method: string, params: object): Promise<void> {
    if (!this.connection || !this.joinedHere) throw new StentorError(NOT_CONNECTED);
    await this.connection.call(method, params);
  }

  // Timers and cleanup.

  private disconnect(goodbye: boolean): void {
    this.round += 1;
    this.connection?.end(goodbye);
    this.connection = null;
  }

  private dropPeer(): void {
    this.peer?.close();
    this.peer = null;
    this.lastStats = null;
    this.lastLook = null;
  }

  private setAlarm(): void {
    this.environment.clearTimeout(this.alarm);
    if (this.machine.alarmAt === null) return;
    this.alarm = this.environment.setTimeout(() => this.feed({ type: 'alarm' }), this.alarmIn);
  }

  /** Milliseconds until the machine's alarm, rounded up because the clock has fractions. */
  private get alarmIn(): number {
    return Math.max(0, Math.ceil((this.machine.alarmAt ?? 0) - this.environment.now()));
  }

  private announce(): void {
    const { status } = this;
    // Compare the alarm instead of `retryAt`, whose wall-clock date differs on each evaluation.
    const text = JSON.stringify({ ...status, retryAt: status.retryAt && this.machine.alarmAt });
    if (text === this.told) return;
    this.told = text;
    this.emit('state', status);
    if (status.state === 'connected') this.entrances.splice(0).forEach((entrance) => entrance.resolve());
    if (status.state !== 'closed') return;
    const problem = status.problem ?? GONE;
    this.entrances.splice(0).forEach((entrance) => entrance.reject(new StentorError(problem)));
    this.emit('closed', problem);
  }
}
