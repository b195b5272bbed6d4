// Error class of this library.

/** A failure, and whether a retry can help. */
export interface Problem {
  /**
   * Stable code: a signalling error's `data.code` (`wrong_pin`, `room_full`, …), the name of a close code
   * (`removed`, `room_closed`, …), the code of an HTTP refusal (`not_invited`, `listeners_full`, …), a
   * microphone error (`microphone_denied`, …; see `openMicrophone`), or another code of the client:
   * `left`, `timeout`, `token_expired`, `token_invalid` (also for text that cannot be sent as a token),
   * `no_token` (the function that provides one failed), `invalid_url` (the address is invalid, or a page
   * served over https may not call it), `invalid_client_id` (thrown by the constructor),
   * `unsupported_browser` (it has no WebRTC, or cannot play the stream), `gone` (the server cannot be reached,
   * or the connection broke), `media_lost`, `media_timeout`, `media_failed`, `not_connected`, `no_gateway`,
   * `already_on_stage`, `internal`.
   */
  code: string;
  /** Text for people; may change. */
  message: string;
  retryable: boolean;
  /** Delay in milliseconds before which a retry cannot succeed. */
  retryAfterMs?: number;
  /** With `room_closed`: `stopped`, `max_duration`, `empty`, `deleted` or `other`. */
  reason?: string;
}

/** Error thrown by every call of this library that fails. */
export class StentorError extends Error implements Problem {
  override readonly name = 'StentorError';
  readonly code: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  readonly reason?: string;

  constructor(problem: Problem, options?: ErrorOptions) {
    super(problem.message, options);
    this.code = problem.code;
    this.retryable = problem.retryable;
    if (problem.retryAfterMs !== undefined) this.retryAfterMs = problem.retryAfterMs;
    if (problem.reason !== undefined) this.reason = problem.reason;
  }

  /** The problem without the stack, as contained in events. */
  get problem(): Problem {
    const { code, message, retryable, retryAfterMs, reason } = this;
    return {
      code, message, retryable,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(reason === undefined ? {} : { reason }),
    };
  }
}

/** Converts any thrown value to a problem. */
export function problemOf(thrown: unknown, code: string): Problem {
  if (thrown instanceof StentorError) return thrown.problem;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return { code, message, retryable: true };
}
