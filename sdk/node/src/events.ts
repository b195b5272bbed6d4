// Readers of the event ledger: page by page, and as an endless stream.

import { StentorError } from './errors.js';
import type { Client } from './rest/client/index.js';
import { listEvents } from './rest/sdk.gen.js';
import type { LedgerEntry } from './rest/types.gen.js';

/** Time without a byte after which a stream counts as dead; a node sends a comment every 15 seconds. */
const SILENCE_MS = 40_000;
/** Shortest and longest delay before a stream is opened again. */
const DELAYS_MS = [500, 8_000] as const;

export interface EventFilter {
  /** Events of this room only. */
  room?: string;
  /** Events of this type only. */
  type?: string;
}

/**
 * Yields the events that the ledger has now after the cursor `after`. Without `after`, begins with the oldest event.
 *
 * @throws {StentorError} if a request is refused
 */
export async function* pages(client: Client, options: EventFilter & { after?: string } = {}): AsyncGenerator<LedgerEntry> {
  for (let { after, ...filter } = options; ; ) {
    const page = await listEvents({ client, query: { ...filter, after, limit: 1000 } });
    yield* page.events;
    if (!page.more) return;
    after = page.next;
  }
}

/**
 * Yields the events after the cursor `after`, and then every new one, until `signal` is aborted. After the loss of a
 * connection it continues after the last event, so it yields each event exactly once. The cursor `0` is before all
 * events.
 *
 * @throws {StentorError} if the request is refused and would be refused again
 */
export async function* follow(
  client: Client,
  options: EventFilter & { after: string; signal?: AbortSignal },
): AsyncGenerator<LedgerEntry> {
  const { signal, ...query } = options;
  for (let failures = 0; signal?.aborted !== true; failures += 1) {
    if (failures > 0) await pause(Math.random() * Math.min(DELAYS_MS[0] * 2 ** failures, DELAYS_MS[1]), signal);
    try {
      for await (const event of stream(client, query, signal)) {
        failures = 0;
        query.after = event.cursor;
        yield event;
      }
    } catch (error) {
      if (error instanceof StentorError) {
        if (error.retryAfter === undefined) throw error;
        await pause(error.retryAfter * 1000, signal);
      } else if (!isConnectionError(error)) {
        throw error;
      }
    }
  }
}

/** Yields the events of one connection, until the connection ends. */
async function* stream(client: Client, query: EventFilter & { after: string }, signal?: AbortSignal): AsyncGenerator<LedgerEntry> {
  const silence = new AbortController();
  const stop = () => silence.abort();
  signal?.addEventListener('abort', stop, { once: true });
  let timer = setTimeout(stop, SILENCE_MS);
  try {
    const body = (await client.get({
      url: '/api/events',
      query: { ...query },
      security: [{ type: 'http', scheme: 'bearer' }],
      headers: { accept: 'text/event-stream' },
      parseAs: 'stream',
      responseStyle: 'data',
      signal: silence.signal,
    })) as unknown as ReadableStream<Uint8Array>;
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of body) {
      clearTimeout(timer);
      timer = setTimeout(stop, SILENCE_MS);
      text += decoder.decode(chunk, { stream: true });
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      // The node writes the data of an event in one line.
      for (const line of lines) {
        if (line.startsWith('data:')) yield JSON.parse(line.slice(5)) as LedgerEntry;
      }
    }
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
    stop();
  }
}

/** Returns true for the errors of `fetch` and of its body: a `TypeError`, or an abort because of silence. */
function isConnectionError(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof Error && error.name === 'AbortError');
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
    if (signal?.aborted === true) done();
    signal?.addEventListener('abort', done, { once: true });
  });
}
