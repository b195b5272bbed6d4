// Tells from looks at a media element whether its sound moves; its events do not always say so. Pure.

/** A playhead that is not moved for this long stands still; its position is finer than a look's distance. */
const STANDSTILL_MS = 500;

export type Motion =
  | 'moving'
  | 'standing'
  /** Too early to tell. */
  | 'unknown';

export class Playhead {
  private position: number | null = null;
  private movedAtMs = 0;

  /** The position was set, not played to: the next look says nothing about motion. */
  jumped(): void {
    this.position = null;
  }

  /** `nowMs`: of a clock that goes on while a page is frozen, so that the first look after that finds a standstill. */
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
