// Reader of server-sent events (WHATWG HTML section 9.2.6) from the chunks of a response. Pure.

export interface SseEvent {
  event: string;
  data: string;
}

export class SseReader {
  /** Id of the last event that had one; sent when the client connects again. */
  lastEventId = '';
  private rest = '';
  private event = '';
  private data: string[] = [];

  /** Takes a chunk, and returns the events that it completes. */
  feed(chunk: string): SseEvent[] {
    const lines = (this.rest + chunk).split('\n');
    this.rest = lines.pop()!;
    return lines.flatMap((line) => this.line(line.endsWith('\r') ? line.slice(0, -1) : line));
  }

  /** Discards an incomplete event, after the connection has ended. */
  restart(): void {
    this.rest = '';
    this.event = '';
    this.data = [];
  }

  private line(line: string): SseEvent[] {
    if (line === '') {
      const done = { event: this.event || 'message', data: this.data.join('\n') };
      const empty = this.data.length === 0;
      this.event = '';
      this.data = [];
      return empty ? [] : [done];
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.event = value;
    else if (field === 'data') this.data.push(value);
    else if (field === 'id') this.lastEventId = value;
    return [];
  }
}
