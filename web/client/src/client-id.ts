// What names a client to the server, so that a connection takes the place of the one before. Pure.

import { StentorError } from './errors.js';

/** What the server takes; anything else it refuses before the upgrade, which no browser tells from a lost network. */
const TAKEN = /^[!-~]{1,64}$/;

/** The application's choice, or a random one. Throws where the server would refuse the choice at each try, unheard. */
export function clientIdOf(chosen: string | null | undefined, random: () => number): string {
  // Storage that holds none answers null.
  if (chosen === undefined || chosen === null) return part(random) + part(random);
  if (TAKEN.test(chosen)) return chosen;
  const message = 'clientId must be 1 to 64 visible ASCII characters, like those of crypto.randomUUID(); leave it out for a random one';
  throw new StentorError({ code: 'invalid_client_id', message, retryable: false });
}

const part = (random: () => number): string => Math.floor(random() * 36 ** 8).toString(36).padStart(8, '0');
