// Next steps of a visit to a room. Pure: events, time and randomness come in, effects go out.
//
//            opened          joined, no media      answered          linked
//   opening ───────▶ joining ───────────────▶ offering ───────▶ linking ───────▶ up
//      ▲                │ joined, media linked: at once ─────────────────────────▶│
//      │ alarm, hurry   │ joined, media broken: offering an ICE restart           │ unlinked: offering an ICE restart
//   waiting ◀───────────┴── any step failed, and may be tried again ◀─────────────┘
//   closed  ◀── left, or failed for good (from anywhere)
//
// Invariants: the peer connection outlives the socket. It is given up only if the server resumed nothing, or
// if an ICE restart or repeated attempts did not restore it. A working socket is kept open, because it holds
// the user's connection lock: after a failure that did not break the socket, the machine sends another
// `join`.

import { backoff } from './backoff.js';
import type { Problem } from './errors.js';
import { CALL_TIMEOUT_MS, OPEN_TIMEOUT_MS } from './protocol.js';
import type { RoomStep } from './types.js';

export type Phase = 'idle' | 'opening' | 'joining' | 'offering' | 'linking' | 'up' | 'waiting' | 'closed';

/** Steps that are reported to applications, by phase of entering a room. */
export const STEPS: Partial<Record<Phase, RoomStep>> = {
  opening: 'opening',
  joining: 'joining',
  offering: 'negotiating',
  linking: 'negotiating',
  waiting: 'waiting',
};

export type Event =
  | { type: 'start' | 'opened' | 'linked' | 'unlinked' | 'alarm' | 'hurry' | 'leave' }
  /** `linked`: resumed and working. `broken`: resumed, but no packet gets through. `none`: not resumed. */
  | { type: 'joined'; media: 'linked' | 'broken' | 'none' }
  | { type: 'answered'; linked: boolean }
  /** `socket`: true if the socket still works. */
  | { type: 'failed'; problem: Problem; socket: boolean };

export type Effect =
  /** Open a socket. */
  | 'open'
  | 'join'
  /** Create a peer connection and its offer. */
  | 'offer'
  /** Send an offer that restarts ICE of the current peer connection. */
  | 'restart'
  /** Check whether the socket still works. */
  | 'probe'
  /** Do not resume anything with the next join. */
  | 'forget'
  /** Close the socket and keep the peer connection. */
  | 'drop'
  /** Close everything. */
  | 'end';

const LINK_TIMEOUT_MS = 15_000;
/** If a connection lasted at least this long, the next failure counts as the first one. */
const STEADY_MS = 10_000;
/** Number of failures after which the session is given up, even if it can be resumed each time. */
const STUBBORN = 3;

const TIMED_OUT: Record<string, Problem> = {
  opening: { code: 'timeout', message: 'the server does not answer', retryable: true },
  joining: { code: 'timeout', message: 'the server does not answer', retryable: true },
  offering: { code: 'timeout', message: 'the server does not answer', retryable: true },
  linking: { code: 'media_timeout', message: 'no sound gets through to the server', retryable: true },
};
const MEDIA_LOST: Problem = { code: 'media_lost', message: 'sound no longer gets through', retryable: true };
const LEFT: Problem = { code: 'left', message: 'you left the room', retryable: false };

export class Machine {
  phase: Phase = 'idle';
  /** Reason for waiting, retrying or the end; `null` when all is well. */
  problem: Problem | null = null;
  /** Number of consecutive failed attempts. */
  failures = 0;
  /** True if the phase `up` was reached at least once. */
  everUp = false;
  /** Time at which `alarm` is due, in the clock of `now`. */
  alarmAt: number | null = null;
  private socket = false;
  private upAt = 0;
  private notBefore = 0;
  private repairing = false;

  /** Handles one event. The caller must run the effects in the returned order. */
  step(event: Event, now: number, random: number): Effect[] {
    if (this.phase === 'closed') return [];
    switch (event.type) {
      case 'leave':
        return this.close(LEFT);
      case 'failed':
        return this.fail(event.problem, event.socket, now, random);
      case 'alarm':
        return this.alarm(now, random);
      case 'hurry':
        return this.hurry(now);
      case 'start':
        return this.phase === 'idle' ? this.enter('opening', now, OPEN_TIMEOUT_MS, 'open') : [];
      case 'opened':
        if (this.phase !== 'opening') return [];
        this.socket = true;
        return this.enter('joining', now, CALL_TIMEOUT_MS, 'join');
      case 'joined':
        return this.phase === 'joining' ? this.joined(event.media, now) : [];
      case 'answered':
        if (this.phase !== 'offering') return [];
        return event.linked ? this.up(now) : this.enter('linking', now, LINK_TIMEOUT_MS);
      case 'linked':
        return this.phase === 'linking' ? this.up(now) : [];
      case 'unlinked':
        return this.unlinked(now, random);
    }
  }

  private joined(media: 'linked' | 'broken' | 'none', now: number): Effect[] {
    if (media === 'linked') return this.up(now);
    this.repairing = media === 'broken';
    return this.enter('offering', now, CALL_TIMEOUT_MS, this.repairing ? 'restart' : 'offer');
  }

  private up(now: number): Effect[] {
    this.everUp = true;
    this.repairing = false;
    this.problem = null;
    this.upAt = now;
    return this.enter('up', now, null);
  }

  private unlinked(now: number, random: number): Effect[] {
    if (this.phase === 'up') {
      this.problem = MEDIA_LOST;
      this.repairing = true;
      return this.enter('offering', now, CALL_TIMEOUT_MS, 'restart');
    }
    return this.phase === 'linking' ? this.fail(MEDIA_LOST, true, now, random) : [];
  }

  private again(now: number): Effect[] {
    if (this.socket) return this.enter('joining', now, CALL_TIMEOUT_MS, 'join');
    return this.enter('opening', now, OPEN_TIMEOUT_MS, 'open');
  }

  private alarm(now: number, random: number): Effect[] {
    if (this.alarmAt === null || now < this.alarmAt) return [];
    if (this.phase === 'waiting') return this.again(now);
    const problem = TIMED_OUT[this.phase];
    return problem ? this.fail(problem, this.phase === 'linking', now, random) : [];
  }

  private hurry(now: number): Effect[] {
    if (this.phase === 'up') return ['probe'];
    if (this.phase !== 'waiting') return [];
    if (now >= this.notBefore) return this.again(now);
    this.alarmAt = this.notBefore;
    return [];
  }

  private fail(problem: Problem, socket: boolean, now: number, random: number): Effect[] {
    if (this.phase === 'idle') return [];
    if (this.phase === 'waiting') return this.failedMeanwhile(problem, socket);
    const inMedia = this.phase === 'offering' || this.phase === 'linking';
    const gone = inMedia && problem.code === 'not_joined';
    // After a refused ICE restart or a lost session, the visit continues with a new session.
    const anew = gone || (inMedia && (problem.code.startsWith('media_') || this.failures >= STUBBORN));
    const curable = gone || (this.repairing && problem.code === 'media_refused');
    if (!problem.retryable && !curable) return this.close(problem);
    if (this.phase === 'up' && now - this.upAt >= STEADY_MS) this.failures = 0;
    const wait = backoff(this.failures, random, problem.retryAfterMs);
    this.failures += 1;
    this.problem = problem;
    this.repairing = false;
    this.notBefore = now + (problem.retryAfterMs ?? 0);
    this.socket = socket;
    const effects: Effect[] = [...(socket ? [] : (['drop'] as const)), ...(anew ? (['forget'] as const) : [])];
    return this.enter('waiting', now, wait, ...effects);
  }

  /** Handles a failure while waiting: the socket kept for the next attempt may be gone as well. */
  private failedMeanwhile(problem: Problem, socket: boolean): Effect[] {
    if (socket) return [];
    if (!problem.retryable) return this.close(problem);
    this.socket = false;
    return ['drop'];
  }

  private close(problem: Problem): Effect[] {
    this.problem = problem;
    return this.enter('closed', 0, null, 'end');
  }

  private enter(phase: Phase, now: number, alarmIn: number | null, ...effects: Effect[]): Effect[] {
    this.phase = phase;
    this.alarmAt = alarmIn === null ? null : now + alarmIn;
    return effects;
  }
}
