// Delay before a retry: exponential with full jitter, so that clients that lost the same server at the same
// moment do not all return at once.

const FIRST_MS = 500;
const MAX_MS = 8_000;

/**
 * Returns the delay before the next attempt, in milliseconds.
 *
 * @param failures - consecutive failed attempts, 0 for the first
 * @param random - random number in [0, 1)
 * @param notBefore - delay requested by the server, to which the jitter is added
 */
export function backoff(failures: number, random: number, notBefore = 0): number {
  const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(failures, 16));
  return Math.round(Math.max(0, notBefore) + random * ceiling);
}
