// State of the microphone: open or closed, by whom, and the server's view of it. Pure. The user's own choice
// takes precedence: hosts and co-hosts can close a microphone and revert that, but never open one that its
// owner closed.

/** Meaning of a change in the server's list. */
export type VoiceChange = 'none' | 'muted_by_host' | 'unmuted_by_host' | 'asked_to_unmute';

export class Voice {
  /** True if closed by the user. */
  bySelf: boolean;
  /** True if closed by a host or co-host. */
  byHost = false;
  /**
   * State at the server; `null` while the last report is unanswered, or after it failed and will be repeated.
   */
  private there: boolean | null = false;
  private calls = 0;
  /** True while the list of members may be older than the last answer. */
  private listLags = false;

  constructor(muted: boolean) {
    this.bySelf = muted;
  }

  get muted(): boolean {
    return this.bySelf || this.byHost;
  }

  /** True if the server may not have the current state. */
  get untold(): boolean {
    return this.there !== this.muted;
  }

  /** Sets the user's choice. Opening also reverts a host's mute; the server decides if that is allowed. */
  wish(muted: boolean): void {
    this.bySelf = muted;
    if (!muted) this.byHost = false;
  }

  /** Records that a new session begins at the server, with an open microphone. */
  fresh(): void {
    this.there = false;
  }

  /** Records a report to the server and returns its number. */
  tell(): number {
    this.there = null;
    return ++this.calls;
  }

  /** Returns true if no report followed this one. The server then has the outcome of this report. */
  isLast(call: number): boolean {
    return call === this.calls;
  }

  /** Records that the server accepted the report. */
  answered(call: number, muted: boolean): void {
    if (!this.isLast(call)) return;
    this.there = muted;
    this.listLags = true;
  }

  /**
   * Records that the server refused to open the microphone. `by`: `host` if a host or co-host muted the user,
   * otherwise `self`.
   */
  refused(by: 'host' | 'self'): void {
    this.there = true;
    if (by === 'host') this.byHost = true;
    else this.bySelf = true;
  }

  /** Records that the list of members now includes everything that the server has accepted. */
  written(): void {
    this.listLags = false;
  }

  /**
   * Compares the list with the last answer. A difference is an action of a host or co-host, unless the list
   * is older than the answer.
   */
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
