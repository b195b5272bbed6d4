// Positions in the past of a room. Pure; all moments are milliseconds since the Unix epoch, on the server's
// clock.

/** Segment of a playlist with dates, as hls.js describes it. Positions are seconds of the media timeline. */
export interface DatedSegment {
  readonly start: number;
  readonly duration: number;
  readonly programDateTime: number | null;
}

/**
 * Shortest distance from live to which a listener can go back, because this much audio is buffered anyway.
 */
export const LEAST_BACK_SECONDS = 5;
/**
 * Minimum distance of a position from the start of the playlist, because that start moves on while the
 * segment is being loaded.
 */
const INSIDE_SECONDS = 6;

/**
 * Returns the position of a moment, moved into the playlist and away from its start, because the oldest
 * segments are about to leave the playlist. Returns `null` for a playlist without dates.
 */
export function positionOf(segments: readonly DatedSegment[], moment: number): number | null {
  const dated = segments.filter(({ programDateTime }) => programDateTime !== null);
  const [first, last] = [dated[0], dated.at(-1)];
  if (!first || !last) return null;
  // Measure from the last segment that begins before the moment, because there may be gaps between segments.
  const of = dated.filter((segment) => segment.programDateTime! <= moment).at(-1) ?? first;
  const position = of.start + Math.min(Math.max((moment - of.programDateTime!) / 1000, 0), of.duration);
  const least = Math.min(first.start + INSIDE_SECONDS, last.start);
  return Math.min(Math.max(position, least), last.start + last.duration);
}

/** Facts about the room and about playback that determine how far a listener can go back. */
export interface PastLook {
  /** `rewind` of the room, in seconds; undefined: it offers none. */
  offered: number | undefined;
  /** Start of the broadcast; undefined while the room is not on air. */
  onAirSince: number | undefined;
  /** Duration of the playlist of the past, if it has been loaded. */
  listed: number | null;
  now: number;
}

/** Returns the number of seconds that a listener can go back; 0 if not at all. */
export function reachOf({ offered, onAirSince, listed, now }: PastLook): number {
  if (!offered || onAirSince === undefined) return 0;
  const reach = Math.min(offered, (now - onAirSince) / 1000, listed ?? Infinity);
  return reach > LEAST_BACK_SECONDS ? Math.floor(reach) : 0;
}

/** Returns the distance from live in words, for a screen reader. */
export function behindInWords(seconds: number): string {
  const parts = [[3600, 'hour'], [60, 'minute'], [1, 'second']] as const;
  let rest = Math.round(seconds);
  const said = parts.flatMap(([unit, name]) => {
    const count = Math.floor(rest / unit);
    rest -= count * unit;
    return count ? [`${count} ${name}${count > 1 ? 's' : ''}`] : [];
  });
  return `${said.join(' ') || 'less than a second'} behind live`;
}
