// How long to wait before trying again: exponential with full jitter, so that the many who lost the same server
// at the same moment do not come back at the same moment.

const FIRST_MS = 500;
const MAX_MS = 8_000;

/**
 * Milliseconds before the next try.
 *
 * @param failures - tries that failed in a row, 0 for the first
 * @param random - in [0, 1)
 * @param notBefore - what the server asked for; it is waited in full, and the jitter comes on top
 */
export function backoff(failures: number, random: number, notBefore = 0): number {
  const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(failures, 16));
  return Math.round(Math.max(0, notBefore) + random * ceiling);
}
