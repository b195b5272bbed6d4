// What an application hands to a room and hears from it. Owns: shapes and their meaning. Never does: act.

import type { Problem } from './errors.js';
import type { WireMember } from './protocol.js';

/** How to enter a room. */
export interface RoomOptions {
  /** The gateway, like `wss://live.example.org/ws`; `POST /api/rooms/{id}/users` answers it as `wsUrl`. */
  url: string;
  /** The user's token; or what gets one, asked at each connection, for visits that outlast a token. */
  token: string | (() => string | Promise<string>);
  /** The room's pin, where the application asks people for it. */
  pin?: string;
  /** What the others see: 1 to 64 characters. */
  displayName?: string;
  /**
   * Names this tab, 1 to 64 visible ASCII characters: a connection with the same id replaces the one before at
   * once. Keep it in `sessionStorage` to be back at once after a reload. Default: random. Another one is refused by
   * the constructor.
   */
  clientId?: string;
  /** Enter with the microphone closed. */
  muted?: boolean;
}

/**
 * - `idle`: not joined yet.
 * - `connecting`: on the way in, for the first time.
 * - `connected`: in the room, sound flows.
 * - `reconnecting`: on the way back; sound may still flow, see {@link RoomStatus.mediaFlows}.
 * - `closed`: over; make a new room object to come again.
 */
export type RoomState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed';

/** What is being done to get in, or waited for. */
export type RoomStep = 'opening' | 'joining' | 'negotiating' | 'waiting';

/** The state of a visit, and why it is so. */
export interface RoomStatus {
  state: RoomState;
  /** Only while connecting or reconnecting. */
  step?: RoomStep;
  /** What went wrong last, or why it is closed. */
  problem?: Problem;
  /** Tries that failed in a row. */
  failures: number;
  /**
   * When the next try begins, milliseconds since the Unix epoch; only while `step` is `waiting`. It follows the
   * system's clock when somebody sets that: for a countdown, look at `status` at each tick.
   */
  retryAt?: number;
  /** Sound still gets through although signalling does not. */
  mediaFlows: boolean;
}

/** Somebody in the room. */
export interface Member extends WireMember {
  talking: boolean;
  /** It is this user. */
  me: boolean;
}

/** What `StentorRoom.on` can listen to. */
export interface RoomEvents {
  /** Any change of `StentorRoom.status`. */
  state: RoomStatus;
  /** A try to come back begins to be waited for, with the reason. */
  reconnecting: { problem: Problem; failures: number; retryInMs: number };
  /** It is over; nothing follows. `left` is the code after `StentorRoom.leave`. */
  closed: Problem;
  /** Who is in the room; also told at each change of mute and talking. */
  members: Member[];
  /** Somebody begins or ceases to talk, by the level of the voice. */
  talking: { userId: string; talking: boolean };
  /**
   * The voices of all others, mixed and at their own level, to be played. Again whenever it is another stream: after a
   * reconnection that could not keep the media, and when the browser lets the library amplify the mix, or stops that.
   */
  stream: MediaStream;
  /** One's own microphone was closed or opened, by oneself or a host. */
  muted: { muted: boolean; by: 'self' | 'host' };
  /** A host would like to hear this user, who closed the microphone himself: only he can open it. */
  unmuteRequested: Record<string, never>;
  /** Packets are lost between here and the server, on the way up or down. */
  slowLink: { uplink: boolean; lost: number };
}
