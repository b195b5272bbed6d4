// What went wrong, in words a listener can act on, and whether trying again can help.

import { ErrorTypes, type ErrorData } from 'hls.js';

export interface PlayerError {
  /** Milliseconds since the page was opened. */
  atMs: number;
  /** hls.js error detail, or the name of the media element's error. */
  detail: string;
  fatal: boolean;
  /** HTTP status, when a request was answered. */
  status?: number;
  /** The server's stable error code, when it sent one. */
  code?: string;
}

export type Verdict =
  /** Trying again cannot help. */
  | { kind: 'failed'; words: string }
  /** The room is not on air: look again every few seconds. */
  | { kind: 'waiting'; words: string }
  /** The connection or the media broke: start over at once, then with growing pauses. */
  | { kind: 'broken'; words: string };

export function describe(data: ErrorData): PlayerError {
  const error: PlayerError = { atMs: Math.round(performance.now()), detail: data.details, fatal: data.fatal };
  if (data.response?.code) error.status = data.response.code;
  const code = serverCode(data.networkDetails);
  if (code) error.code = code;
  return error;
}

export function judge(data: ErrorData, error: PlayerError): Verdict {
  if (data.type === ErrorTypes.NETWORK_ERROR) return judgeAnswer(error);
  return { kind: 'broken', words: 'The sound broke off. Starting again…' };
}

function judgeAnswer(error: PlayerError): Verdict {
  if (error.code === 'room_not_on_air') {
    return { kind: 'waiting', words: 'The room is not on air. It starts here by itself.' };
  }
  switch (error.status) {
    case 400:
      return { kind: 'failed', words: 'This link names no valid room.' };
    case 401:
      return { kind: 'failed', words: 'This link has no valid token, or it has expired. Ask for a new link.' };
    case 403:
      return { kind: 'failed', words: 'This link is for another room. Ask for a link to this one.' };
    case 404:
      return { kind: 'waiting', words: 'There is no such room on air. It starts here by itself.' };
    default:
      return { kind: 'broken', words: 'The connection was lost. Connecting again…' };
  }
}

/** `code` of the server's JSON error body; key requests ask for bytes, the others for text. */
function serverCode(request: unknown): string | undefined {
  if (!(request instanceof XMLHttpRequest) || request.status < 400) return undefined;
  try {
    const body = request.response as unknown;
    const text = body instanceof ArrayBuffer ? new TextDecoder().decode(body) : String(body);
    const code: unknown = JSON.parse(text).code;
    return typeof code === 'string' ? code : undefined;
  } catch {
    return undefined;
  }
}
