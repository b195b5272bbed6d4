// Failures in words for listeners, and whether a retry can help.

import { ErrorTypes, type ErrorData } from 'hls.js';

export interface PlayerError {
  /** Time in milliseconds since the page was opened. */
  atMs: number;
  /** Error detail of hls.js, or name of the media element's error. */
  detail: string;
  fatal: boolean;
  /** HTTP status, if a request was answered. */
  status?: number;
  /** Stable error code of the server, if it sent one. */
  code?: string;
}

export type Verdict =
  /** A retry cannot help. */
  | { kind: 'failed'; words: string }
  /** The room is not on air: retry soon, then every few seconds. */
  | { kind: 'waiting'; words: string }
  /** The connection or the media failed: restart immediately, then with growing delays. */
  | { kind: 'broken'; words: string };

export const OFF_AIR: Verdict = { kind: 'waiting', words: 'The room is not on air. It starts here by itself.' };

/** Meaning of the server's codes for a listener, where the status is not enough. */
const BY_CODE = new Map<string, Verdict>([
  ['invalid_room_id', failed('This link names no valid room.')],
  // The token is the only part of the query that is neither of hls.js nor of the server.
  ['invalid_query', failed('This link has no valid token. Ask for a new link.')],
  ['token_wrong_room', failed('This link is for another room. Ask for a link to this one.')],
  ['token_wrong_audience', failed('This link is not for listening. Ask for a link for listeners.')],
  ['room_not_on_air', OFF_AIR],
  // Sent only to holders of a valid token. A playlist outlives its broadcast and the keys, so that every listener
  // learns of the end, and a node may learn of a start or an end later than the one that served the playlist.
  ['key_refused', OFF_AIR],
  ['key_not_found', OFF_AIR],
  ['media_not_ready', { kind: 'broken', words: 'The room is starting…' }],
]);

export function describe(data: ErrorData): PlayerError {
  return described(data.details, data.fatal, data.response?.code, serverCode(data.networkDetails));
}

/** Describes a response that hls.js did not request; without a status, the server could not be reached. */
export function describeAnswer(detail: string, status?: number, body = ''): PlayerError {
  return described(detail, true, status, codeIn(body));
}

export function judge(data: ErrorData, error: PlayerError): Verdict {
  if (data.type === ErrorTypes.NETWORK_ERROR) return judgeAnswer(error);
  return { kind: 'broken', words: 'The sound broke off. Starting again…' };
}

export function judgeAnswer(error: PlayerError): Verdict {
  const known = BY_CODE.get(error.code ?? '');
  if (known) return known;
  switch (error.status) {
    case 401:
      return failed('This link has no valid token, or it has expired. Ask for a new link.');
    case 404:
      return { kind: 'waiting', words: 'There is no such room on air. It starts here by itself.' };
    default:
      return { kind: 'broken', words: 'The connection was lost. Connecting again…' };
  }
}

function failed(words: string): Verdict {
  return { kind: 'failed', words };
}

function described(detail: string, fatal: boolean, status?: number, code?: string): PlayerError {
  const error: PlayerError = { atMs: Math.round(performance.now()), detail, fatal };
  if (status) error.status = status;
  if (code) error.code = code;
  return error;
}

/** Returns `code` of the server's JSON error body; key requests ask for bytes, the others for text. */
function serverCode(request: unknown): string | undefined {
  if (!(request instanceof XMLHttpRequest) || request.status < 400) return undefined;
  const body = request.response as unknown;
  return codeIn(body instanceof ArrayBuffer ? new TextDecoder().decode(body) : String(body));
}

function codeIn(body: string): string | undefined {
  try {
    const code: unknown = JSON.parse(body).code;
    return typeof code === 'string' ? code : undefined;
  } catch {
    return undefined;
  }
}
