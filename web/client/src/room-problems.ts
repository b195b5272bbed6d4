// Problems that end or prevent a visit. Owns: their codes and texts. Does not throw or emit.

import type { Problem } from './errors.js';
import { CLOCK_DIFFERENCE_MS } from './protocol.js';

/**
 * Returns the problem of an ended connection: `token_expired` if the token seems to have expired, otherwise
 * `problem`. `validMs`: remaining validity of the token, by the clock of this device; `renewable`: another
 * token can be obtained.
 */
export function problemOfEnd(problem: Problem, opened: boolean, validMs: number, renewable: boolean): Problem {
  // Browsers do not report why an upgrade was refused.
  const closed = !opened && problem.code === 'gone';
  // The server closes the connection at expiry by its own clock, which may be ahead of this device's.
  if (closed ? validMs <= 0 : problem.code === 'token_invalid' && validMs <= CLOCK_DIFFERENCE_MS) {
    return { code: 'token_expired', message: 'the token has expired', retryable: renewable };
  }
  return closed ? { ...problem, message: 'the server cannot be reached, or refuses the connection' } : problem;
}

export const GONE: Problem = { code: 'left', message: 'this visit is over', retryable: false };
export const INVALID_TOKEN: Problem = { code: 'token_invalid', message: 'the token has characters that no token has', retryable: false };
export const INVALID_URL: Problem = { code: 'invalid_url', message: 'the address of the gateway cannot be called from here', retryable: false };
export const NOT_CONNECTED: Problem = { code: 'not_connected', message: 'not connected at the moment', retryable: true };
