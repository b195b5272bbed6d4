// One WebSocket to the gateway, from opening to end; never reopened. Owns: the socket, its calls, its
// keepalive.

import { problemOf, StentorError, type Problem } from './errors.js';
import type { Environment } from './environment.js';
import { BEARER, CALL_TIMEOUT_MS, CLOSE_FOLLOWS, CLOSE_GRACE_MS, closeMeaning, KEEPALIVE_MS, SILENCE_MS, SUBPROTOCOL, type Activity } from './protocol.js';
import { Rpc, type Notified } from './rpc.js';

export interface ConnectionListener {
  opened(): void;
  notified: Notified;
  /** Takes the end, once, unless this side ended the connection. `opened`: true if there was a connection. */
  ended(problem: Problem, opened: boolean): void;
}

/** Time limit for a keepalive that checks the connection after the network has probably changed. */
const PROBE_TIMEOUT_MS = 3_000;
/** Errors of a keepalive that mean that the session is gone: join again as soon as the room has a place. */
const OUT: ReadonlySet<string> = new Set(['not_joined', 'room_full']);

export class Connection {
  private readonly socket: WebSocket;
  private readonly rpc: Rpc;
  private keepaliveTimer: unknown = null;
  private opened = false;
  private over = false;

  constructor(
    url: string,
    token: string,
    private readonly environment: Environment,
    private readonly listener: ConnectionListener,
  ) {
    this.socket = environment.openSocket(url, [SUBPROTOCOL, BEARER + token]);
    this.rpc = new Rpc((text) => this.send(text), listener.notified, environment);
    this.socket.onopen = () => {
      this.opened = true;
      listener.opened();
    };
    this.socket.onmessage = ({ data }) => this.rpc.receive(String(data));
    this.socket.onclose = ({ code }) => this.fall(closeMeaning(code));
  }

  /** Rejects with a {@link StentorError}. A call without an answer counts as the end of the connection. */
  async call(method: string, params: object, timeoutMs = CALL_TIMEOUT_MS): Promise<unknown> {
    try {
      return await this.rpc.call(method, params, timeoutMs);
    } catch (error) {
      const problem = problemOf(error, 'internal');
      // No answer arrived, not even the server's timeout error, so the connection counts as lost.
      if (problem.code === 'timeout' && !this.over) this.fall(problem);
      throw error;
    }
  }

  notify(method: string, params: object): void {
    this.rpc.notify(method, params);
  }

  /** Sends keepalives from now on. Calls `answered` after each successful one. */
  keepAlive(activity: () => Activity, answered: () => void): void {
    this.environment.clearTimeout(this.keepaliveTimer);
    this.keepaliveTimer = this.environment.setTimeout(() => {
      if (this.over) return;
      void this.beat(activity(), SILENCE_MS, answered);
      this.keepAlive(activity, answered);
    }, KEEPALIVE_MS);
  }

  /** Checks quickly whether the server still answers. */
  probe(activity: Activity): void {
    void this.beat(activity, PROBE_TIMEOUT_MS);
  }

  /**
   * Ends the connection without notifying the listener. `goodbye`: true to leave the room for good; otherwise
   * the server keeps the session for a while.
   */
  end(goodbye: boolean): void {
    if (this.over) return;
    if (goodbye) this.rpc.notify('leave', {});
    this.stop({ code: 'not_connected', message: 'this client ended the connection', retryable: true });
  }

  private async beat(activity: Activity, timeoutMs: number, answered?: () => void): Promise<void> {
    try {
      await this.call('keepalive', { status: activity }, timeoutMs);
      answered?.();
    } catch (error) {
      const problem = problemOf(error, 'internal');
      // Other failures, such as an unavailable store, do not end a call in progress.
      if (OUT.has(problem.code)) this.fall({ ...problem, retryable: true });
      else if (CLOSE_FOLLOWS.has(problem.code) && !this.over) {
        this.environment.clearTimeout(this.keepaliveTimer);
        this.keepaliveTimer = this.environment.setTimeout(() => this.fall(problem), CLOSE_GRACE_MS);
      }
    }
  }

  private fall(problem: Problem): void {
    if (this.over) return;
    this.stop(problem);
    this.listener.ended(problem, this.opened);
  }

  private stop(problem: Problem): void {
    this.over = true;
    this.environment.clearTimeout(this.keepaliveTimer);
    this.rpc.end(new StentorError({ ...problem, retryable: true }));
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }

  private send(text: string): void {
    // While the socket is closing, the browser would discard the text; `onclose` then ends the calls.
    if (this.socket.readyState === 1) this.socket.send(text);
  }
}
