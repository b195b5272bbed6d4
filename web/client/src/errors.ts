// The one error of this library.

/** What went wrong, and whether trying again can help. */
export interface Problem {
  /**
   * Stable. A signalling error's `data.code` (`wrong_pin`, `room_full`, …), the name of a close code (`removed`,
   * `room_closed`, …), or one of this side: `left`, `timeout`, `token_expired`, `token_invalid` (also for what cannot
   * be sent as a token), `no_token` (the function that gets one failed), `invalid_url` (the gateway's address is none,
   * or a page served over https may not call it), `invalid_client_id` (thrown by the constructor), `unsupported_browser`
   * (it has no WebRTC),
   * `media_lost`, `media_timeout`, `media_failed`, `not_connected`.
   */
  code: string;
  /** For people; may change. */
  message: string;
  retryable: boolean;
  /** Earlier is in vain. */
  retryAfterMs?: number;
}

/** Thrown by every call of this library that fails. */
export class StentorError extends Error implements Problem {
  override readonly name = 'StentorError';
  readonly code: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;

  constructor(problem: Problem, options?: ErrorOptions) {
    super(problem.message, options);
    this.code = problem.code;
    this.retryable = problem.retryable;
    if (problem.retryAfterMs !== undefined) this.retryAfterMs = problem.retryAfterMs;
  }

  /** Without the stack: what an event carries. */
  get problem(): Problem {
    const { code, message, retryable, retryAfterMs } = this;
    return retryAfterMs === undefined ? { code, message, retryable } : { code, message, retryable, retryAfterMs };
  }
}

/** Whatever was thrown, as a problem. */
export function problemOf(thrown: unknown, code: string): Problem {
  if (thrown instanceof StentorError) return thrown.problem;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return { code, message, retryable: true };
}
