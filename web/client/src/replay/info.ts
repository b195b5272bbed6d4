// Description of a recording, as the server sends it, and its positions. Pure.
//
// A position is the time since the start of the recording, in seconds. The media that a browser plays begin
// with the first segment of the playlist and have no gaps, so a time in the media differs from the position.

/** Part of a recording, in seconds. */
export interface ReplayRange {
  from: number;
  to: number;
}

/** Description of a recording. */
export interface ReplayInfo {
  recordingId: string;
  roomId: string;
  /** Title of the room, if it had one. */
  title?: string;
  /** Cover of the room, if it had one; an https URL. */
  coverUrl?: string;
  /** Time of the first recorded sample, in milliseconds since the Unix epoch. */
  startedAt: number;
  /** Duration, which is also the position of the end. */
  duration: number;
  /** Anchors who were in the room, and when. */
  anchors: { displayName?: string; role: string; visits: ReplayRange[] }[];
  /** Chapters, in order; each lasts until the next one begins. */
  chapters: { at: number; title: string }[];
  /** Peaks of equal parts of the recording, from 0 to 255; absent until the server has measured them. */
  waveform?: number[];
  /** Integrated loudness in LUFS; absent until the server has measured it, and for silence. */
  integratedLufs?: number;
  /** Parts that were not recorded. */
  gaps: ReplayRange[];
  /** Position at which the playlist begins. */
  listedFrom: number;
  /** Part to which the token gives access; absent if that is the whole recording. */
  clip?: ReplayRange;
  /** Expiry of the token, in milliseconds since the Unix epoch. */
  expiresAt: number;
}

type Listed = Pick<ReplayInfo, 'gaps' | 'listedFrom'>;

/** Returns the gaps within the playlist. */
const gapsOf = ({ gaps, listedFrom }: Listed): ReplayRange[] => gaps.filter(({ from }) => from >= listedFrom);

/**
 * Converts a position to a time in the media. A position in a gap is converted to the time at which the gap
 * ends.
 */
export function mediaTimeOf(info: Listed, position: number): number {
  const missing = gapsOf(info).map(({ from, to }) => Math.min(Math.max(position - from, 0), to - from));
  return Math.max(0, position - info.listedFrom - missing.reduce((sum, seconds) => sum + seconds, 0));
}

/** Converts a time in the media to a position. */
export function positionAt(info: Listed, mediaTime: number): number {
  let position = info.listedFrom + mediaTime;
  for (const { from, to } of gapsOf(info)) if (position >= from) position += to - from;
  return position;
}

/**
 * Returns the part of the recording to play: the requested part, limited to the part to which the token gives
 * access.
 */
export function rangeOf({ duration, clip }: Pick<ReplayInfo, 'duration' | 'clip'>, asked: Partial<ReplayRange> = {}): ReplayRange {
  const open = { from: clip?.from ?? 0, to: Math.min(clip?.to ?? duration, duration) };
  const from = Math.max(asked.from ?? open.from, open.from);
  const to = Math.min(asked.to ?? open.to, open.to);
  return from < to ? { from, to } : open;
}

/** Returns the index of the chapter at a position; -1 before the first one. */
export const chapterAt = (chapters: ReplayInfo['chapters'], position: number): number =>
  chapters.filter(({ at }) => at <= position + 0.05).length - 1;
