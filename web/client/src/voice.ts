// Whether the microphone is open, who closed it, and what the server knows of that. Pure. The person's own wish stands
// above a host's: a host can close a microphone and take that back, but never open one that its owner closed.

/** What a change seen at the server means for the person. */
export type VoiceChange = 'none' | 'muted_by_host' | 'unmuted_by_host' | 'asked_to_unmute';

export class Voice {
  /** Closed by the person. */
  bySelf: boolean;
  /** Closed by a host. */
  byHost = false;
  /** What the server has; `null` while it has not answered, or did not take, what it was told last. */
  private there: boolean | null = false;
  private calls = 0;
  /** The list of members may still be older than the last answer. */
  private listLags = false;

  constructor(muted: boolean) {
    this.bySelf = muted;
  }

  get muted(): boolean {
    return this.bySelf || this.byHost;
  }

  /** The server is not known to have what is so here. */
  get untold(): boolean {
    return this.there !== this.muted;
  }

  /** The person's wish. Opening takes a host's muting back too: the server decides whether that is allowed. */
  wish(muted: boolean): void {
    this.bySelf = muted;
    if (!muted) this.byHost = false;
  }

  /** A session of the server begins, with an open microphone. */
  fresh(): void {
    this.there = false;
  }

  /** The server is being told; returns the number of that call. */
  tell(): number {
    this.there = null;
    return ++this.calls;
  }

  /** Nothing was told since this call: only its outcome says what the server has. */
  isLast(call: number): boolean {
    return call === this.calls;
  }

  /** The server took it. */
  answered(call: number, muted: boolean): void {
    if (!this.isLast(call)) return;
    this.there = muted;
    this.listLags = true;
  }

  /** The server did not let the person open the microphone, because a host closed it or else. */
  refused(by: 'host' | 'self'): void {
    this.there = true;
    if (by === 'host') this.byHost = true;
    else this.bySelf = true;
  }

  /** The server has put into its list of members whatever it answered before. */
  written(): void {
    this.listLags = false;
  }

  /** The list says so. What differs from the last answer is a host's act, unless it is older than that. */
  seen(muted: boolean): VoiceChange {
    if (this.there === null) return 'none';
    if (muted === this.there) this.listLags = false;
    if (this.listLags) return 'none';
    this.there = muted;
    if (muted === this.muted) return 'none';
    if (muted) {
      this.byHost = true;
      return 'muted_by_host';
    }
    this.byHost = false;
    return this.bySelf ? 'asked_to_unmute' : 'unmuted_by_host';
  }
}
