// Source of tokens: one text, or a function of the application that provides one for each connection.

import { problemOf, StentorError } from './errors.js';

/** A token, or a function that provides one. */
export type Token = string | (() => string | Promise<string>);

export class TokenSource {
  /** Token in use; `null` until a function has provided one. */
  current: string | null;

  constructor(private readonly source: Token) {
    this.current = typeof source === 'string' ? source : null;
  }

  /** Returns a token. Rejects with the {@link StentorError} that the function threw, or with `no_token`. */
  async get(): Promise<string> {
    if (this.current !== null || typeof this.source === 'string') return this.current ?? '';
    try {
      return (this.current = await this.source());
    } catch (thrown) {
      throw new StentorError(problemOf(thrown, 'no_token'));
    }
  }

  /**
   * Drops a token that the server refused. Returns true if the next {@link TokenSource.get} may provide a
   * different one.
   */
  refused(token: string): boolean {
    if (typeof this.source === 'string') return false;
    // The player and the channel share the source, so one of them may already have got a new token.
    if (this.current === token) this.current = null;
    return true;
  }
}
