// Options, status and events of a room. Owns: types and their meaning. Does not act.

import type { Problem } from './errors.js';
import type { Role, WireMember } from './protocol.js';

/** Options for entering a room. */
export interface RoomOptions {
  /**
   * URL of the gateway, like `wss://live.example.org/ws`; `POST /api/rooms/{id}/users` returns it as `wsUrl`.
   */
  url: string;
  /** The user's token, or a function that provides one for each connection, since tokens expire. */
  token: string | (() => string | Promise<string>);
  /** The room's pin, if the application asks its user for it. */
  pin?: string;
  /** Name shown to others: 1 to 64 characters. */
  displayName?: string;
  /**
   * Id of this tab, 1 to 64 visible ASCII characters. A connection with the same id replaces the previous one
   * immediately. Keep it in `sessionStorage` to return immediately after a reload. Default: random. The
   * constructor refuses other values.
   */
  clientId?: string;
  /**
   * True if the user agrees to being recorded. Where the server requires this (`recording.consent`), a visit
   * without it ends with the problem `consent_required`.
   */
  recordingConsent?: boolean;
  /** Enters with the microphone closed. */
  muted?: boolean;
}

/**
 * State of a visit, which is one user's stay in a room as an anchor, from `join` until it ends:
 * - `idle`: not joined yet.
 * - `connecting`: entering for the first time.
 * - `connected`: in the room, and audio flows.
 * - `reconnecting`: returning; audio may still flow, see {@link RoomStatus.mediaFlows}.
 * - `closed`: ended; create a new room object to enter again.
 */
export type RoomState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed';

/** Current step of entering. */
export type RoomStep = 'opening' | 'joining' | 'negotiating' | 'waiting';

/** State of a visit, and its reason. */
export interface RoomStatus {
  state: RoomState;
  /** Step of the current attempt; only while connecting or reconnecting. */
  step?: RoomStep;
  /** Last failure, or the reason for the end. */
  problem?: Problem;
  /** Number of consecutive failed attempts. */
  failures: number;
  /**
   * Time of the next attempt, in milliseconds since the Unix epoch; only while `step` is `waiting`. It
   * changes when the system clock is set: for a countdown, read `status` at each tick.
   */
  retryAt?: number;
  /** True if audio still flows although signalling does not work. */
  mediaFlows: boolean;
}

/** A user in the room. */
export interface Member extends WireMember {
  talking: boolean;
  /** True for the user of this client. */
  me: boolean;
}

/** Events of `StentorRoom.on`. */
export interface RoomEvents {
  /** Any change of `StentorRoom.status`. */
  state: RoomStatus;
  /** Start of the wait for another attempt, with the reason. */
  reconnecting: { problem: Problem; failures: number; retryInMs: number };
  /** End of the visit; no event follows. `left` is the code after `StentorRoom.leave`. */
  closed: Problem;
  /** Users in the room; also emitted on each change of mute and talking. */
  members: Member[];
  /** This user's role has changed. */
  role: { role: Role };
  /** The room was locked or unlocked. */
  locked: { locked: boolean };
  /**
   * The room went on air or backstage, or its start time changed. `startsAt`: milliseconds since the Unix
   * epoch.
   */
  schedule: { backstage: boolean; startsAt: number | null };
  /** Start or end of talking, detected from the audio level. */
  talking: { userId: string; talking: boolean };
  /**
   * Mixed audio of all others, at its original level, to be played. Emitted again whenever the stream
   * changes: after a reconnection that could not keep the media, and when the browser starts or stops letting
   * the library amplify the mix.
   */
  stream: MediaStream;
  /** This user's microphone was closed or opened, by the user (`self`), or by a host or co-host (`host`). */
  muted: { muted: boolean; by: 'self' | 'host' };
  /** A host or co-host asks this user, who closed their own microphone, to open it. Only the user can. */
  unmuteRequested: Record<string, never>;
  /** Packets are lost to or from the server. */
  slowLink: { uplink: boolean; lost: number };
}
