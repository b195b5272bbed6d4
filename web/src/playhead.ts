// Detects from samples of a media element if its audio moves; its events do not always tell. Pure.

/** Time without movement after which a playhead stands still. Its position is finer than the sampling interval. */
const STANDSTILL_MS = 500;

export type Motion =
  | 'moving'
  | 'standing'
  /** Too early to decide. */
  | 'unknown';

export class Playhead {
  private position: number | null = null;
  private movedAtMs = 0;

  /** The position was set, not played to: the next sample says nothing about motion. */
  jumped(): void {
    this.position = null;
  }

  /**
   * `nowMs`: time of a clock that runs while a page is frozen, so that the first sample after that finds a
   * standstill.
   */
  look(position: number, nowMs: number): Motion {
    const before = this.position;
    this.position = position;
    if (before !== null && position > before) {
      this.movedAtMs = nowMs;
      return 'moving';
    }
    return nowMs - this.movedAtMs >= STANDSTILL_MS ? 'standing' : 'unknown';
  }
}
