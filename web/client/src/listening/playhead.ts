// Detects from samples of a media element whether its audio moves, because the element's events are
// unreliable. Pure.

/**
 * Time without movement after which a playhead counts as standing still. Samples are further apart than the
 * resolution of the position, so each sample of a moving playhead advances.
 */
const STANDSTILL_MS = 500;

/**
 * Samples that must advance before a playhead counts as moving: after a seek, browsers correct the position
 * once.
 */
const ADVANCES = 2;

export type Motion =
  | 'moving'
  | 'standing'
  /** Too early to decide. */
  | 'unknown';

export class Playhead {
  private position: number | null = null;
  private movedAtMs = 0;
  /** Samples that advanced since the last standstill or seek. */
  private advances = 0;

  /** Discards the last position after a seek: the next sample says nothing about motion. */
  jumped(): void {
    this.position = null;
    this.advances = 0;
  }

  /**
   * Takes a sample. `nowMs`: time of a clock that runs while a page is frozen. The first sample after a
   * freeze therefore shows a standstill.
   */
  look(position: number, nowMs: number): Motion {
    const before = this.position;
    this.position = position;
    if (before !== null && position > before) {
      this.movedAtMs = nowMs;
      this.advances += 1;
      return this.advances >= ADVANCES ? 'moving' : 'unknown';
    }
    if (nowMs - this.movedAtMs < STANDSTILL_MS) return 'unknown';
    this.advances = 0;
    return 'standing';
  }
}
