// Detects that hls.js has stopped loading although there is more to load. Pure.
//
// hls.js 1.7.4 with parts: Chromium's buffer may end a microsecond before a segment does. hls.js allows for
// that with the segment's `endDTS`, which is missing if the playlist listed the segment as complete before
// its last part was parsed. hls.js then selects that segment as the next one to load, finds it loaded, and
// stays idle until its parts leave the playlist, three target durations later. `setEnds` prevents that;
// `Fetching` ends the cases that it does not prevent.

/** Sets the segment ends that hls.js has not measured yet to those in the playlist. */
export function setEnds(fragments: { readonly end: number; endDTS?: number }[]): void {
  for (const fragment of fragments) fragment.endDTS ??= fragment.end;
}

/** Idle time longer than hls.js needs between two parts. */
const IDLE_MS = 100;
/**
 * If the playlist ends this far after the buffer, more is missing than the part that is about to be loaded.
 */
const UNFETCHED_SECONDS = 0.3;
/** If at least this much audio is buffered ahead of the playhead, hls.js may be idle on purpose. */
const AHEAD_SECONDS = 5;
/** Time within which a restart takes effect. */
const RESTART_MS = 1000;

/** Result of one check. Positions are seconds of the media timeline. */
export interface FetchLook {
  /** True if hls.js is about to choose what to load, and loads nothing. */
  idle: boolean;
  position: number;
  bufferEnd: number;
  /** End of the newest playlist. */
  edge: number;
}

/** Returns true if loading has stopped, given that hls.js has been idle for `idleMs`. */
export function stopped({ idle, position, bufferEnd, edge }: FetchLook, idleMs: number): boolean {
  const starving = bufferEnd - position < AHEAD_SECONDS;
  return idle && idleMs >= IDLE_MS && starving && edge - bufferEnd > UNFETCHED_SECONDS;
}

/** Evaluates the checks of one hls.js instance. */
export class Fetching {
  private idleSince: number | null = null;
  private bufferEnd = 0;
  private restartedAt = -Infinity;

  /**
   * Takes the state of loading. Returns true if loading must be restarted past the end of the buffer, and
   * then assumes that the caller does so.
   */
  look(look: FetchLook, nowMs: number): boolean {
    // If the buffer grew between two idle checks, hls.js is loading.
    if (!look.idle || look.bufferEnd !== this.bufferEnd) this.idleSince = null;
    this.bufferEnd = look.bufferEnd;
    if (look.idle) this.idleSince ??= nowMs;
    const idleMs = this.idleSince === null ? 0 : nowMs - this.idleSince;
    if (!stopped(look, idleMs) || nowMs - this.restartedAt < RESTART_MS) return false;
    this.restartedAt = nowMs;
    return true;
  }
}
