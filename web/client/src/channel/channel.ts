// Connection to a room's listener channel: follows the events, connects again, and sends requests. Owns the
// connection and the state; never accesses the page. `docs/listeners.md` describes requests and events.

import { Emitter } from '../emitter.js';
import { problemOf, StentorError, type Problem } from '../errors.js';
import { addressesOf } from '../listening/addresses.js';
import { TokenSource, type Token } from '../tokens.js';
import type { Caption } from './captions.js';
import { SseReader } from './sse.js';
import { applied, initial, type ChannelState, type Settings } from './state.js';

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 15_000;
/** Time without data after which the connection counts as lost. The server sends a comment every 15 s. */
const SILENCE_MS = 40_000;
/** HTTP statuses of refusals for which a retry with the same token cannot help. */
const FINAL = new Set([400, 401, 403, 404, 409]);

/** Reactions that can be sent, and their emojis. */
export const REACTIONS: Readonly<Record<string, string>> = { clap: '👏', heart: '❤️', laugh: '😂', wow: '😮', agree: '👍', fire: '🔥' };

/** Events of `RoomChannel.on`. */
export interface ChannelEvents {
  /** Any change of `RoomChannel.state` or `RoomChannel.connected`. */
  state: ChannelState;
  /** Sums of the reactions of about one second, from all listeners. */
  reactions: Record<string, number>;
  /** Words of the anchors, as a speech recogniser understood them; usually before they are heard. */
  caption: Caption;
  /** The server refuses the channel for good; no event follows. */
  refused: Problem;
}

/** Options of a channel. */
export interface ChannelOptions {
  /** URL of the room's playlist, `hlsUrl` of the API; relative URLs are relative to the page. */
  url: string;
  /** Token of a listener, an anchor or a host, or a function that provides one for each connection. */
  token: Token;
}

/** Name of a listener, needed if the token has no name. */
export interface Named {
  name?: string;
}

/** A room's listener channel: stage, hands, reactions, chat. */
export class RoomChannel extends Emitter<ChannelEvents> {
  /** State of the room, according to the events received so far. */
  state = initial();
  /** True while connected. */
  connected = false;
  private readonly prefix: string;
  private readonly tokens: TokenSource;
  private readonly reader = new SseReader();
  private failures = 0;
  /**
   * Latest time reported by the server (milliseconds since the Unix epoch), and `performance.now()` on its
   * arrival.
   */
  private told: { at: number; heardAt: number } | null = null;
  private phase: 'new' | 'open' | 'closed' = 'new';
  private abort = new AbortController();

  constructor({ url, token }: ChannelOptions, tokens = new TokenSource(token)) {
    super();
    this.prefix = addressesOf(url, globalThis.location?.href).channel;
    this.tokens = tokens;
  }

  /**
   * Current time by the server's clock, in milliseconds since the Unix epoch; null until a `snapshot` or
   * `room` event has arrived.
   */
  get serverTime(): number | null {
    return this.told && this.told.at + performance.now() - this.told.heardAt;
  }

  /** Follows the events of the room until {@link RoomChannel.close}; connects again after failures. */
  open(): void {
    if (this.phase !== 'new') return;
    this.phase = 'open';
    void this.run();
  }

  /** Ends the channel for good. */
  close(): void {
    this.phase = 'closed';
    this.abort.abort();
  }

  /** Raises the hand, or changes its note. `name`: needed if the listener's token has no name. */
  async raiseHand(hand: Named & { note?: string } = {}): Promise<void> {
    await this.send('POST', 'hand', hand);
  }

  /** Lowers this listener's hand, which also declines an invitation. */
  async lowerHand(): Promise<void> {
    await this.send('DELETE', 'hand');
  }

  /** Sends one of {@link REACTIONS}. */
  async react(reaction: string): Promise<void> {
    await this.send('POST', 'reactions', { reaction });
  }

  /** Sends a chat message. `name`: needed if the listener's token has no name. */
  async say(text: string, { name }: Named = {}): Promise<void> {
    await this.send('POST', 'chat', name === undefined ? { text } : { text, name });
  }

  /** Deletes a message: this user's own or, as host or co-host, any. */
  async deleteMessage(message: number): Promise<void> {
    await this.send('DELETE', `chat/${message}`);
  }

  /**
   * As host or co-host: invites a person whose hand is raised to the stage. `invited` false withdraws the
   * invitation.
   */
  async invite(person: string, invited = true): Promise<void> {
    await this.send(invited ? 'PUT' : 'DELETE', `hands/${encodeURIComponent(person)}/invitation`);
  }

  /** As host or co-host: lowers the hand of a person. */
  async lowerHandOf(person: string): Promise<void> {
    await this.send('DELETE', `hands/${encodeURIComponent(person)}`);
  }

  /** As host or co-host: bans a person, listener or anchor, from the room. */
  async ban(person: string): Promise<void> {
    await this.send('PUT', `bans/${encodeURIComponent(person)}`);
  }

  /** As host or co-host: lifts the ban of a person. */
  async unban(person: string): Promise<void> {
    await this.send('DELETE', `bans/${encodeURIComponent(person)}`);
  }

  /**
   * As host or co-host: disconnects a person, listener or anchor, who may come back after about ten seconds.
   */
  async kick(person: string): Promise<void> {
    await this.send('POST', `kicks/${encodeURIComponent(person)}`);
  }

  /** As host or co-host: pins a message; `null` unpins. */
  async pin(message: number | null): Promise<void> {
    await (message === null ? this.send('DELETE', 'pinned') : this.send('PUT', 'pinned', { message }));
  }

  /** As host or co-host: shows an announcement; `null` removes it. */
  async announce(text: string | null): Promise<void> {
    await (text === null ? this.send('DELETE', 'announcement') : this.send('PUT', 'announcement', { text }));
  }

  /**
   * As host or co-host: gives a person the floor for 5 to 3,600 seconds. Everybody sees the remaining time;
   * nobody is muted when it is over.
   */
  async giveFloor(person: string, seconds: number): Promise<void> {
    await this.send('PUT', 'floor', { person, seconds });
  }

  /** As host or co-host, or as the person who has the floor: ends the floor. */
  async endFloor(): Promise<void> {
    await this.send('DELETE', 'floor');
  }

  /** As host or co-host: mutes all anchors once, except this user. They may unmute themselves. */
  async muteAll(): Promise<void> {
    await this.send('POST', 'mute');
  }

  /** As host or co-host: locks the room for new anchors (true), or unlocks it (false). */
  async lock(locked: boolean): Promise<void> {
    await this.send(locked ? 'PUT' : 'DELETE', 'lock');
  }

  /** As host or co-host: changes the settings of the channel. */
  async configure(settings: Settings): Promise<void> {
    await this.send('PUT', 'settings', settings);
  }

  /**
   * Sends any channel request; `path` is relative to the room. Rejects with a {@link StentorError} that has
   * the server's code, or `gone` if the server cannot be reached.
   */
  async send<T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<T> {
    const headers: Record<string, string> = { authorization: `Bearer ${await this.tokens.get()}` };
    if (body !== undefined) headers['content-type'] = 'application/json';
    const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const response = await fetch(this.prefix + path, init).catch(() => undefined);
    if (!response) throw new StentorError({ code: 'gone', message: 'the server cannot be reached', retryable: true });
    const answer = (await response.json().catch(() => ({}))) as unknown;
    if (!response.ok) throw refusal(response, answer);
    return answer as T;
  }

  private async run(): Promise<void> {
    while (this.phase === 'open' && !this.state.closed) {
      const problem = await this.follow().catch((thrown: unknown) => problemOf(thrown, 'gone'));
      this.connected = false;
      if (this.phase !== 'open') return;
      this.emit('state', this.state);
      if (problem && !problem.retryable) return this.emit('refused', problem);
      const delay = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures) * (0.5 + Math.random() / 2);
      this.failures += 1;
      await new Promise((resolve) => setTimeout(resolve, Math.max(delay, problem?.retryAfterMs ?? 0)));
    }
  }

  /** Follows one response to its end; returns the problem if the server refused the request. */
  private async follow(): Promise<Problem | null> {
    this.abort = new AbortController();
    this.reader.restart();
    const token = await this.tokens.get();
    const headers: Record<string, string> = { authorization: `Bearer ${token}`, accept: 'text/event-stream' };
    if (this.reader.lastEventId) headers['last-event-id'] = this.reader.lastEventId;
    const response = await fetch(`${this.prefix}events`, { headers, signal: this.abort.signal, cache: 'no-store' });
    if (!response.ok || !response.body) {
      const { problem } = refusal(response, await response.json().catch(() => ({})));
      const renewable = response.status === 401 && this.tokens.refused(token);
      return { ...problem, retryable: renewable || !FINAL.has(response.status) };
    }
    const chunks = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const silence = setTimeout(() => this.abort.abort(), SILENCE_MS);
      const { done, value } = await chunks.read().finally(() => clearTimeout(silence));
      if (done || this.phase !== 'open') return null;
      for (const { event, data } of this.reader.feed(decoder.decode(value, { stream: true }))) {
        if (this.hear(event, data)) continue;
        this.abort.abort();
        return null;
      }
    }
  }

  /** Applies an event. Returns false if the channel must connect again. */
  private hear(event: string, data: string): boolean {
    const parsed: any = JSON.parse(data);
    this.connected = true;
    this.failures = 0;
    // In these two events, `at` is the time of sending; other events may be repeated with an earlier time.
    if ((event === 'snapshot' || event === 'room') && typeof parsed.at === 'number') {
      this.told = { at: parsed.at, heardAt: performance.now() };
    }
    const before = this.state.you?.role;
    if (event === 'reactions') this.emit('reactions', parsed.counts);
    else if (event === 'caption') this.emit('caption', parsed);
    else {
      this.state = applied(this.state, event, parsed);
      this.emit('state', this.state);
    }
    // Hosts and co-hosts get more data than others. After a role change, only a snapshot contains all of this
    // data.
    const sameRole = before === undefined || before === this.state.you?.role || this.reader.lastEventId === '';
    if (!sameRole) this.reader.lastEventId = '';
    return sameRole;
  }
}

function refusal(response: Response, answer: unknown): StentorError {
  const { code, error } = (answer ?? {}) as { code?: string; error?: string };
  const seconds = Number(response.headers.get('retry-after'));
  return new StentorError({
    code: code ?? `http_${response.status}`,
    message: error ?? `the server answered ${response.status}`,
    retryable: response.status === 429 || response.status >= 500,
    ...(seconds > 0 ? { retryAfterMs: seconds * 1000 } : {}),
  });
}
