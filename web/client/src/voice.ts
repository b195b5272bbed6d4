// Whether the microphone is open, and who closed it. Pure. The person's own wish stands above a host's: a host
// can close a microphone and take that back, but never open one that its owner closed.

/** What a change seen at the server means for the person. */
export type VoiceChange = 'none' | 'muted_by_host' | 'unmuted_by_host' | 'asked_to_unmute';

export class Voice {
  /** Closed by the person. */
  bySelf: boolean;
  /** Closed by a host. */
  byHost = false;

  constructor(muted: boolean) {
    this.bySelf = muted;
  }

  get muted(): boolean {
    return this.bySelf || this.byHost;
  }

  /** The person's wish. Opening takes a host's muting back too: the server decides whether that is allowed. */
  wish(muted: boolean): void {
    this.bySelf = muted;
    if (!muted) this.byHost = false;
  }

  /** The server says so; call only while no wish is on its way there. */
  seen(muted: boolean): VoiceChange {
    if (muted === this.muted) return 'none';
    if (muted) {
      this.byHost = true;
      return 'muted_by_host';
    }
    this.byHost = false;
    return this.bySelf ? 'asked_to_unmute' : 'unmuted_by_host';
  }
}
