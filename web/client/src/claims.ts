// Claims of a token. They are read but not verified: only the server can verify them.

import type { Role } from './protocol.js';

/** Claims of an anchor's or host's token that a page may show. */
export interface Claims {
  userId: string;
  roomId: string;
  role: Role;
  /** Expiry in milliseconds since the Unix epoch. */
  expiresAt: number;
}

/** Returns the claims, or `null` if the text is not an anchor's or host's token. */
export function readClaims(token: string): Claims | null {
  try {
    const { sub, roomId, role, exp } = JSON.parse(decode(token.split('.')[1] ?? ''));
    const known = typeof sub === 'string' && typeof roomId === 'string' && typeof exp === 'number';
    if (!known || (role !== 'host' && role !== 'anchor')) return null;
    return { userId: sub, roomId, role, expiresAt: exp * 1000 };
  } catch {
    return null;
  }
}

function decode(base64url: string): string {
  const binary = atob(base64url.replaceAll('-', '+').replaceAll('_', '/'));
  return new TextDecoder().decode(Uint8Array.from(binary, (char) => char.charCodeAt(0)));
}
