// JSON-RPC 2.0 over any text channel: matches answers to calls, and passes on notifications. Owns: ids,
// timeouts, correlation. Does not open or close the channel.

import { StentorError } from './errors.js';
import type { Timers } from './environment.js';

/** Receiver of notifications. */
export type Notified = (method: string, params: unknown) => void;

interface Waiting {
  resolve(result: unknown): void;
  reject(error: StentorError): void;
  timer: unknown;
}

/** Calls of one channel; unusable after {@link Rpc.end}. */
export class Rpc {
  private next = 1;
  private readonly waiting = new Map<number, Waiting>();
  private ended: StentorError | null = null;

  constructor(
    private readonly send: (text: string) => void,
    private readonly notified: Notified,
    private readonly timers: Timers,
  ) {}

  /** Rejects with the server's error, with `timeout`, or with the error passed to {@link Rpc.end}. */
  call(method: string, params: object, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.ended) {
        reject(this.ended);
        return;
      }
      const id = this.next++;
      const timer = this.timers.setTimeout(() => {
        this.waiting.delete(id);
        reject(new StentorError({ code: 'timeout', message: `no answer to ${method}`, retryable: true }));
      }, timeoutMs);
      this.waiting.set(id, { resolve, reject, timer });
      this.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }));
    });
  }

  /** Sends a call that needs no answer. */
  notify(method: string, params: object): void {
    if (!this.ended) this.send(JSON.stringify({ jsonrpc: '2.0', method, params }));
  }

  /**
   * Handles one text from the server: an answer, a notification, or a batch of them. Other texts are ignored.
   */
  receive(text: string): void {
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    for (const one of Array.isArray(message) ? message : [message]) this.take(one);
  }

  /** Ends the channel: every pending and every later call fails with this error. */
  end(error: StentorError): void {
    this.ended ??= error;
    for (const call of this.waiting.values()) {
      this.timers.clearTimeout(call.timer);
      call.reject(error);
    }
    this.waiting.clear();
  }

  private take(message: unknown): void {
    if (typeof message !== 'object' || message === null) return;
    const { id, method, params, result, error } = message as Record<string, unknown>;
    if (typeof method === 'string') {
      this.notified(method, params);
      return;
    }
    const call = typeof id === 'number' ? this.waiting.get(id) : undefined;
    if (!call) return;
    this.waiting.delete(id as number);
    this.timers.clearTimeout(call.timer);
    if (error === undefined) call.resolve(result);
    else call.reject(errorOf(error));
  }
}

function errorOf(error: unknown): StentorError {
  const { message, data } = (error ?? {}) as { message?: unknown; data?: Record<string, unknown> };
  const { code, retryable, retryAfterMs } = data ?? {};
  return new StentorError({
    code: typeof code === 'string' ? code : 'internal',
    message: typeof message === 'string' ? message : 'the call failed',
    retryable: retryable === true,
    ...(typeof retryAfterMs === 'number' ? { retryAfterMs } : {}),
  });
}
