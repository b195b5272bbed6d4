// Playback failures, and whether a retry can help. Pure, except for the time of a failure.

import type { ErrorData } from 'hls.js';
import type { Problem } from '../errors.js';

/** A failed request, or an error of the media element or of hls.js. */
export interface PlaybackError {
  /** Milliseconds since the page was opened. */
  atMs: number;
  /** Error detail of hls.js, or name of the media element's error. */
  detail: string;
  fatal: boolean;
  /** HTTP status, if a request was answered. */
  status?: number;
  /** Stable error code of the server, if it sent one. */
  code?: string;
}

/**
 * Consequence of a failure:
 * - `failed`: a retry cannot help.
 * - `waiting`: the room is not on air. Retry soon, then every few seconds.
 * - `broken`: connection or media failed. Restart immediately, then with growing delays.
 */
export interface Verdict {
  kind: 'failed' | 'waiting' | 'broken';
  problem: Problem;
}

const failed = (code: string, message: string): Verdict => ({ kind: 'failed', problem: { code, message, retryable: false } });
const waiting = (code: string, message: string): Verdict => ({ kind: 'waiting', problem: { code, message, retryable: true } });
const broken = (code: string, message: string): Verdict => ({ kind: 'broken', problem: { code, message, retryable: true } });

export const OFF_AIR = waiting('room_not_on_air', 'the room is not on air');
export const BROKE_OFF = broken('media_broken', 'the sound broke off');
export const UNREACHABLE = broken('gone', 'the connection to the server was lost');
export const UNSUPPORTED = failed('unsupported_browser', 'this browser plays neither HLS nor AAC');

/** Meaning of the server's codes for a listener, for cases in which the status is not enough. */
const BY_CODE = new Map<string, Verdict>([
  ['invalid_room_id', failed('invalid_room_id', 'the room id is not valid')],
  // The token is the only query parameter that neither hls.js nor the server provides.
  ['invalid_query', failed('token_invalid', 'the token is not valid')],
  ['token_wrong_room', failed('token_wrong_room', 'the token is for another room')],
  ['token_wrong_audience', failed('token_wrong_audience', 'the token is not for listening')],
  ['user_removed', failed('user_removed', 'you were kicked out of the room, or are banned from it')],
  ['room_not_on_air', OFF_AIR],
  // The server sends these only if the token is valid. So the room is over, or this node has not learned of
  // its start yet: a playlist is served for longer than its keys, and nodes learn of a start or an end at
  // different times.
  ['key_refused', OFF_AIR],
  ['key_not_found', OFF_AIR],
  ['listeners_full', waiting('listeners_full', 'the room has no place for another listener')],
  ['media_not_ready', broken('media_not_ready', 'the room is starting')],
]);

export function describe(data: ErrorData): PlaybackError {
  return described(data.details, data.fatal, data.response?.code, serverCode(data.networkDetails));
}

/**
 * Describes the response to a request that hls.js did not send; without a status, the server could not be
 * reached.
 */
export function describeAnswer(detail: string, status?: number, body = ''): PlaybackError {
  return described(detail, true, status, codeIn(body));
}

/** Describes an error without a request. */
export function described(detail: string, fatal: boolean, status?: number, code?: string): PlaybackError {
  const error: PlaybackError = { atMs: Math.round(performance.now()), detail, fatal };
  if (status) error.status = status;
  if (code) error.code = code;
  return error;
}

export function judge(data: ErrorData, error: PlaybackError): Verdict {
  // This is the value of `ErrorTypes.NETWORK_ERROR`. Using that name would import hls.js.
  return (data.type as string) === 'networkError' ? judgeAnswer(error) : BROKE_OFF;
}

export function judgeAnswer({ code, status }: PlaybackError): Verdict {
  const known = BY_CODE.get(code ?? '');
  if (known) return known;
  if (status === 401) return failed(code ?? 'token_invalid', 'the token is missing or not valid');
  if (status === 404) return waiting(code ?? 'room_not_found', 'there is no such room');
  return UNREACHABLE;
}

/**
 * Returns `code` of the server's JSON error body, which is bytes for a key request and text for any other.
 */
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
