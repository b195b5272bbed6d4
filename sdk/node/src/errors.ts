// Errors of the room API.

import type { Code, ErrorBody } from './rest/types.gen.js';

/** Refusal or failure of a request. `code` is stable; the message is for people and may change. */
export class StentorError extends Error {
  override readonly name = 'StentorError';

  private constructor(
    message: string,
    /** Code of the error. A newer server may send codes that this version does not list. */
    readonly code: Code | (string & {}),
    /** HTTP status. */
    readonly status: number,
    /** Id of the request, which identifies it in the server's log. */
    readonly requestId: string | undefined,
    readonly details: Record<string, unknown> | undefined,
    /** Seconds after which the same request may succeed; absent if it would fail again. */
    readonly retryAfter: number | undefined,
  ) {
    super(message);
  }

  /** Makes an error of an answer and its body, as parsed from JSON. */
  static of(response: Response, body: unknown): StentorError {
    const told = (typeof body === 'object' && body !== null ? body : {}) as Partial<ErrorBody>;
    const retryAfter = Number.parseInt(response.headers.get('retry-after') ?? '', 10);
    return new StentorError(
      told.error ?? `HTTP status ${response.status}`,
      // A proxy in front of the server may answer with another body.
      told.code ?? 'unexpected_answer',
      response.status,
      told.requestId ?? response.headers.get('x-request-id') ?? undefined,
      (told.details ?? undefined) as Record<string, unknown> | undefined,
      Number.isNaN(retryAfter) ? undefined : retryAfter,
    );
  }
}
