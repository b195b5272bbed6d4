// Id by which the server recognises a client, so that a new connection replaces the previous one. Pure.

import { StentorError } from './errors.js';

/**
 * Ids that the server accepts. Checked here because the server refuses others before the upgrade, and a
 * browser cannot distinguish that from a network failure.
 */
const TAKEN = /^[!-~]{1,64}$/;

/**
 * Returns the application's id, or a random one. Throws if the server would refuse the id on every attempt.
 */
export function clientIdOf(chosen: string | null | undefined, random: () => number): string {
  // Storage without a value returns null.
  if (chosen === undefined || chosen === null) return part(random) + part(random);
  if (TAKEN.test(chosen)) return chosen;
  const message = 'clientId must be 1 to 64 visible ASCII characters, like those of crypto.randomUUID(); leave it out for a random one';
  throw new StentorError({ code: 'invalid_client_id', message, retryable: false });
}

const part = (random: () => number): string => Math.floor(random() * 36 ** 8).toString(36).padStart(8, '0');
