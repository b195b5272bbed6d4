// Names, types and codes of the signalling protocol. The server's side is in crates/domain/src/signalling;
// docs/signalling.md describes the protocol. Owns: constants and types. Does not act.

/**
 * Role of a user in a room. Hosts and co-hosts (`co_host`) can also mute, kick and ban others, among other
 * things. Only hosts can change roles, and kick or ban hosts and co-hosts. Tokens claim `host` or `anchor`.
 */
export type Role = 'host' | 'co_host' | 'anchor';

/** `onair`: sends audio. `idle`: is in the room and sends none. */
export type Activity = 'onair' | 'idle';

/** One user in the room, as sent by the server. */
export interface WireMember {
  userId: string;
  /** The user's id in the listener channel. Servers of earlier versions omit it. */
  personId?: string;
  role: Role;
  status: Activity;
  muted: boolean;
  /**
   * `whip`: the user publishes with WHIP. `url` and `file`: the server plays a stream or a file. Absent for
   * clients with a WebSocket.
   */
  source?: 'whip' | 'url' | 'file';
  displayName?: string;
}

/** Result of `join`. */
export interface JoinResult {
  /** Resume token, sealed by the server. Sent with the next `join`, it restores the session and its media. */
  jtoken: string;
  /** True if session and media are the previous ones: keep the peer connection. */
  resume: boolean;
  /** Servers for `RTCConfiguration.iceServers`. */
  iceServers: RTCIceServer[];
  /** Gain in dB that restores the level of the mix. Earlier servers omit it and mix at full level. */
  mixGainDb?: number;
}

/** Notifications from the server: method and parameters. */
export interface Notifications {
  /** `locked`, `backstage` and `startsAt` (RFC 3339): absent from servers of earlier versions. */
  roomStatus: { roomId: string; members: WireMember[]; locked?: boolean; backstage?: boolean; startsAt?: string };
  talking: { userId: string; talking: boolean };
  icecandidate: { candidate: RTCIceCandidateInit | null };
  slowLink: { uplink: boolean; lost: number };
  reconnect: { reason: string; retryAfterMs: number };
  /** `reason`: absent from servers of earlier versions. */
  roomClosed: { roomId: string; reason?: string };
}

/** Errors of calls after which the server closes the connection with a more specific code. */
export const CLOSE_FOLLOWS: ReadonlySet<string> = new Set(['room_over', 'already_connected']);
/** Time to wait for the close frame after such an error. */
export const CLOSE_GRACE_MS = 1_000;

/**
 * Largest assumed difference from the server's clock. A refused token that expires within this time counts as
 * expired.
 */
export const CLOCK_DIFFERENCE_MS = 60_000;

/** Subprotocol of signalling. */
export const SUBPROTOCOL = 'stentor';
/** Prefix of the subprotocol that carries the token. */
export const BEARER = 'bearer.';
/** Characters allowed in a subprotocol. */
export const SENDABLE = /^[\w!#$%&'*+.^`|~-]+$/;

/** Time limit for opening a socket. */
export const OPEN_TIMEOUT_MS = 10_000;
/** Time limit of a call, after which the connection is given up as well; the server's own limit is 15 s. */
export const CALL_TIMEOUT_MS = 20_000;
/** Time limit of a keepalive, after which the network counts as lost. */
export const SILENCE_MS = 5_000;
/** Interval between keepalives. The server removes a silent member after 30 s. */
export const KEEPALIVE_MS = 10_000;
/** Number of candidates that the server accepts after one offer; the end of candidates does not count. */
export const MAX_CANDIDATES = 32;

/** Reason for the end of a connection. */
export interface CloseMeaning {
  code: string;
  /** True if connecting again can help. */
  retryable: boolean;
  /** Text for people. */
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
  4403: terminal('removed', 'you were kicked out of the room, are banned from it, or may only listen'),
  4404: terminal('room_gone', 'there is no such room'),
  4407: passing('not_joined', 'the connection was not in the room for too long'),
  4408: passing('peer_dead', 'the server heard nothing from here for too long'),
  4409: terminal('replaced', 'the same user connected from elsewhere'),
  4410: terminal('room_closed', 'the room is over'),
  4412: passing('role_changed', 'you have another role in the room now'),
  4413: passing('too_slow', 'this connection is too slow for what is sent to it'),
  4423: passing('already_connected', 'the same user is connected from elsewhere'),
  4429: terminal('flooding', 'too many calls were made'),
  4503: passing('draining', 'the server is being shut down; another takes over'),
  4504: passing('unavailable', 'a part of the server does not answer'),
};

/**
 * Returns the meaning of a WebSocket close code. An unknown code, which a proxy may send, counts as
 * temporary.
 */
export function closeMeaning(code: number): CloseMeaning {
  return CLOSE_CODES[code] ?? passing('gone', `the connection was closed (${code})`);
}
