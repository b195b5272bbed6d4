// Connection to a room's listener channel: follows the events, connects again, and sends requests. Owns the connection
// and the state; never touches the page.

import { Refusal } from '../server';
import { SseReader } from './sse';
import { applied, initial, type ChannelState } from './state';

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 15_000;
/** The server sends a comment every 15 s. */
const SILENCE_MS = 40_000;
/** A token that was refused will be refused again. */
const FINAL = new Set([400, 401, 403, 404, 409]);

export const REACTIONS: Readonly<Record<string, string>> = { clap: '👏', heart: '❤️', laugh: '😂', wow: '😮', agree: '👍', fire: '🔥' };

export interface ChannelListener {
  /** The state has changed. */
  changed(state: ChannelState): void;
  /** Sums of the reactions of one second. */
  reactions(counts: Record<string, number>): void;
}

export class Channel {
  state = initial();
  /** The connection stands. */
  connected = false;
  private readonly reader = new SseReader();
  private failures = 0;
  private stopped = false;
  private abort = new AbortController();

  constructor(
    private readonly room: string,
    private readonly token: string,
    private readonly listener: ChannelListener,
  ) {}

  start(): void {
    void this.run();
  }

  stop(): void {
    this.stopped = true;
    this.abort.abort();
  }

  /** Sends a request; throws a {@link Refusal}. */
  async send<T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<T> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.token}` };
    if (body !== undefined) headers['content-type'] = 'application/json';
    const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const response = await fetch(this.url(path), init);
    const answer = (await response.json().catch(() => ({}))) as { code?: string; error?: string };
    if (!response.ok) throw new Refusal(response.status, answer.code ?? '', answer.error ?? `the server answered ${response.status}`);
    return answer as T;
  }

  private url(path: string): string {
    return `/hls/rooms/${encodeURIComponent(this.room)}/${path}`;
  }

  private async run(): Promise<void> {
    while (!this.stopped && !this.state.closed) {
      const status = await this.follow().catch(() => 0);
      this.connected = false;
      this.listener.changed(this.state);
      if (FINAL.has(status)) return;
      const delay = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures) * (0.5 + Math.random() / 2);
      this.failures += 1;
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }

  /** Follows one response to its end; returns its status. */
  private async follow(): Promise<number> {
    this.abort = new AbortController();
    this.reader.restart();
    const headers: Record<string, string> = { authorization: `Bearer ${this.token}`, accept: 'text/event-stream' };
    if (this.reader.lastEventId) headers['last-event-id'] = this.reader.lastEventId;
    const response = await fetch(this.url('events'), { headers, signal: this.abort.signal, cache: 'no-store' });
    if (!response.ok || !response.body) return response.status;
    const chunks = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const silence = setTimeout(() => this.abort.abort(), SILENCE_MS);
      const { done, value } = await chunks.read().finally(() => clearTimeout(silence));
      if (done) return response.status;
      for (const { event, data } of this.reader.feed(decoder.decode(value, { stream: true }))) this.hear(event, data);
    }
  }

  private hear(event: string, data: string): void {
    const parsed: any = JSON.parse(data);
    this.connected = true;
    this.failures = 0;
    if (event === 'reactions') return this.listener.reactions(parsed.counts);
    this.state = applied(this.state, event, parsed);
    this.listener.changed(this.state);
  }
}
