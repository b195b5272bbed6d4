// Tokens of anchors and listeners: JWT (RFC 7519) with HS256, signed without a request to the node.

import { createHmac, randomUUID } from 'node:crypto';
import type { UserRole } from './rest/types.gen.js';

/** Shortest secret that a node accepts, in bytes. */
const SECRET_MIN = 32;

export interface TokenOptions {
  /** Seconds from now for which the token is valid; a number. */
  ttl?: number;
  /**
   * `createdAt` of the room. It makes the token useless for a later room with the same id. Without it, the room must
   * exist when the token is signed.
   */
  roomCreatedAt?: number;
}

export interface AnchorOptions extends TokenOptions {
  /** Default: `anchor`. */
  role?: UserRole;
}

export interface ListenerOptions extends TokenOptions {
  /** User id; random if absent. */
  user?: string;
  /** Name that others see in the chat and among the raised hands. */
  name?: string;
}

/** Signer of tokens, with one of the secrets in `auth.jwt_secrets`. */
export class TokenSigner {
  readonly #kid: string;
  readonly #secret: string;
  readonly #issuer: string;

  /**
   * @param secret `kid:secret`, as in a line of `auth.jwt_secrets_file`
   * @param issuer `auth.issuer` of the nodes
   */
  constructor(secret: string, issuer = 'stentor') {
    // JavaScript callers pass undefined if the environment variable is missing.
    const text = typeof secret === 'string' ? secret : '';
    const colon = text.indexOf(':');
    this.#kid = text.slice(0, Math.max(colon, 0));
    this.#secret = text.slice(colon + 1);
    this.#issuer = issuer;
    if (this.#kid === '' || Buffer.byteLength(this.#secret) < SECRET_MIN) {
      throw new TypeError(`the secret must be kid:secret, as in auth.jwt_secrets, with ${SECRET_MIN} bytes or more`);
    }
  }

  /** Returns a token with which `user` may speak in `room`; valid for 12 hours if `ttl` is absent. */
  anchor(room: string, user: string, options: AnchorOptions = {}): string {
    return this.#sign('stentor/anchor', options.role ?? 'anchor', room, user, 12 * 3600, options);
  }

  /** Returns a token with which one listener may hear `room`; valid for 6 hours if `ttl` is absent. */
  listener(room: string, options: ListenerOptions = {}): string {
    const { user = randomUUID(), name } = options;
    return this.#sign('stentor/listener', 'listener', room, user, 6 * 3600, options, name === undefined ? {} : { name });
  }

  #sign(
    aud: string,
    role: string,
    roomId: string,
    sub: string,
    defaultTtl: number,
    { ttl = defaultTtl, roomCreatedAt }: TokenOptions,
    more: Record<string, unknown> = {},
  ): string {
    if (!Number.isFinite(ttl)) throw new TypeError('ttl must be a number of seconds');
    const iat = Math.floor(Date.now() / 1000);
    const bound = roomCreatedAt === undefined ? {} : { roomCreatedAt };
    const claims = { exp: iat + ttl, iat, aud, iss: this.#issuer, sub, roomId, role, jti: randomUUID(), ...more, ...bound };
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${part({ typ: 'JWT', alg: 'HS256', kid: this.#kid })}.${part(claims)}`;
    return `${signed}.${createHmac('sha256', this.#secret).update(signed).digest('base64url')}`;
  }
}
