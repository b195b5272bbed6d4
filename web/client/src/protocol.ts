// What client and gateway say to each other: names, shapes and codes. The server's side of the same is
// src/domain/signalling, the description docs/signalling.md. Owns: facts. Never does: act.

/** What a person may do in a room: a host may also mute and remove others. */
export type Role = 'host' | 'anchor';

/** `onair`: sends sound. `idle`: is in the room and sends none. */
export type Activity = 'onair' | 'idle';

/** One person in the room, as the server tells it. */
export interface WireMember {
  userId: string;
  role: Role;
  status: Activity;
  muted: boolean;
  displayName?: string;
}

/** The result of `join`. */
export interface JoinResult {
  /** Sealed by the server; sent with the next `join`, it brings the session and its media back. */
  jtoken: string;
  /** Session and media are those of before: keep the peer connection, make no new one. */
  resume: boolean;
  /** Ready for `RTCConfiguration.iceServers`. */
  iceServers: RTCIceServer[];
  /** Gain that gives the mix its level back, in dB. Servers of before leave it out, and mix at full level. */
  mixGainDb?: number;
}

/** What the server says unasked: method and parameters. */
export interface Notifications {
  roomStatus: { roomId: string; members: WireMember[] };
  talking: { userId: string; talking: boolean };
  icecandidate: { candidate: RTCIceCandidateInit | null };
  slowLink: { uplink: boolean; lost: number };
  reconnect: { reason: string; retryAfterMs: number };
  roomClosed: { roomId: string };
}

/** Errors of calls after which the server closes the connection with a code that says more. */
export const CLOSE_FOLLOWS: ReadonlySet<string> = new Set(['room_over', 'already_connected']);
/** How long such a close frame may take. */
export const CLOSE_GRACE_MS = 1_000;

/** Largest difference to the server's clock for which a refused token counts as expired. */
export const CLOCK_DIFFERENCE_MS = 60_000;

/** The subprotocol of signalling, and the prefix of the one that carries the token. */
export const SUBPROTOCOL = 'stentor';
export const BEARER = 'bearer.';
/** A subprotocol may have no other characters. */
export const SENDABLE = /^[\w!#$%&'*+.^`|~-]+$/;

/** How long a socket may take to open. */
export const OPEN_TIMEOUT_MS = 10_000;
/** A call that waits longer is given up, and the connection with it; the server's own limit is 15 s. */
export const CALL_TIMEOUT_MS = 20_000;
/** A keepalive that waits longer: the network is gone without a word. */
export const SILENCE_MS = 5_000;
/** The server takes a member for gone after 30 s. */
export const KEEPALIVE_MS = 10_000;
/** Number of candidates that the server takes after one offer, the end of candidates not counted. */
export const MAX_CANDIDATES = 32;

/** Why a connection ended, in a stable name. */
export interface CloseMeaning {
  code: string;
  /** Whether connecting again can help. */
  retryable: boolean;
  /** For people. */
  message: string;
}

const terminal = (code: string, message: string): CloseMeaning => ({ code, retryable: false, message });
const passing = (code: string, message: string): CloseMeaning => ({ code, retryable: true, message });

const CLOSE_CODES: Readonly<Record<number, CloseMeaning>> = {
  1000: terminal('normal', 'the server ended the connection'),
  1002: terminal('protocol_error', 'the server did not understand this client'),
  1003: terminal('text_only', 'the server did not understand this client'),
  1006: passing('gone', 'the connection broke'),
  1007: terminal('invalid_utf8', 'the server did not understand this client'),
  1009: terminal('too_big', 'a message was too big for the server'),
  1011: passing('internal', 'something went wrong on the server'),
  4401: terminal('token_invalid', 'the token is not valid, or no longer'),
  4403: terminal('removed', 'a host removed you from the room'),
  4404: terminal('room_gone', 'there is no such room'),
  4407: passing('not_joined', 'the connection was not in the room for too long'),
  4408: passing('peer_dead', 'the server heard nothing from here for too long'),
  4409: terminal('replaced', 'the same user connected from elsewhere'),
  4410: terminal('room_closed', 'the room is over'),
  4413: passing('too_slow', 'this connection is too slow for what is sent to it'),
  4423: passing('already_connected', 'the same user is connected from elsewhere'),
  4429: terminal('flooding', 'too many calls were made'),
  4503: passing('draining', 'the server is being shut down; another takes over'),
  4504: passing('unavailable', 'a part of the server does not answer'),
};

/** Of a WebSocket close code; what is unknown, as proxies may send it, is taken for passing. */
export function closeMeaning(code: number): CloseMeaning {
  return CLOSE_CODES[code] ?? passing('gone', `the connection was closed (${code})`);
}
