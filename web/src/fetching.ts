// Finds out that hls.js has stopped loading although there is more to load. Pure.
//
// hls.js 1.7.4 with parts: Chromium's buffer may end a microsecond before a segment does. hls.js allows for that by the
// segment's `endDTS`, which is missing where the playlist listed the segment as whole before its last part was parsed. It
// then takes the segment for the next one to load, finds it loaded, and stays idle until its parts leave the playlist,
// three target durations later. `setEnds` prevents that; `Fetching` ends what it does not prevent.

/** Sets the ends that hls.js has not measured yet to those of the playlist. */
export function setEnds(fragments: { readonly end: number; endDTS?: number }[]): void {
  for (const fragment of fragments) fragment.endDTS ??= fragment.end;
}

/** More than hls.js needs between two parts. */
const IDLE_MS = 100;
/** The playlist is further ahead of the buffer than a part that is about to be loaded. */
const UNFETCHED_SECONDS = 0.3;
/** With more than this ahead of the playhead hls.js may be idle for good reason. */
const AHEAD_SECONDS = 5;
/** What a restart needs to show effect. */
const RESTART_MS = 1000;

/** What one look finds. Positions are seconds of the media's time line. */
export interface FetchLook {
  /** hls.js is about to choose what to load, and loads nothing. */
  idle: boolean;
  position: number;
  bufferEnd: number;
  /** The end of the newest playlist. */
  edge: number;
}

/** Whether loading has stopped, if hls.js has been idle for `idleMs`. */
export function stopped({ idle, position, bufferEnd, edge }: FetchLook, idleMs: number): boolean {
  const starving = bufferEnd - position < AHEAD_SECONDS;
  return idle && idleMs >= IDLE_MS && starving && edge - bufferEnd > UNFETCHED_SECONDS;
}

/** Follows the looks at one hls.js. */
export class Fetching {
  private idleSince: number | null = null;
  private bufferEnd = 0;
  private restartedAt = -Infinity;

  /** Returns whether loading is to be restarted past the end of the buffer. */
  look(look: FetchLook, nowMs: number): boolean {
    // A buffer that grows between two idle looks is being loaded.
    if (!look.idle || look.bufferEnd !== this.bufferEnd) this.idleSince = null;
    this.bufferEnd = look.bufferEnd;
    if (look.idle) this.idleSince ??= nowMs;
    const idleMs = this.idleSince === null ? 0 : nowMs - this.idleSince;
    if (!stopped(look, idleMs) || nowMs - this.restartedAt < RESTART_MS) return false;
    this.restartedAt = nowMs;
    return true;
  }
}
