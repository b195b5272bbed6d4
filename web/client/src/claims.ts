// What a token says about its holder. Read, never believed: only the server can verify it.

import type { Role } from './protocol.js';

/** The claims of an anchor's token that a page may want to show. */
export interface Claims {
  userId: string;
  roomId: string;
  role: Role;
  /** Milliseconds since the Unix epoch. */
  expiresAt: number;
}

/** `null` for what is no token of an anchor. */
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
