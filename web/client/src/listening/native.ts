// Playback by the media element alone: the browser's own HLS, or the plain stream. Adds checks that the
// element lacks.

import { describeAnswer, judgeAnswer, OFF_AIR, type PlaybackError, type Verdict } from './failures.js';

interface NativeHls extends HTMLAudioElement {
  /** Wall-clock date of media time zero, from EXT-X-PROGRAM-DATE-TIME; only with native HLS. */
  getStartDate?(): Date;
}

/** Returns the seconds between the audio heard and the room, by this device's clock; null while unknown. */
export function nativeLatency(audio: NativeHls): number | null {
  const start = audio.getStartDate?.().getTime() ?? NaN;
  const behind = (Date.now() - start) / 1000 - audio.currentTime;
  // With a wrong clock the result is meaningless.
  return behind > 0 && behind < 60 ? behind : null;
}

/**
 * Requests the playlist before the media element does, because the element reports no HTTP status and would
 * play a finished broadcast again. If the result has no verdict, the room can be played.
 */
export async function askAhead(url: string): Promise<{ error?: PlaybackError; verdict?: Verdict }> {
  const answer = await fetch(url).catch(() => undefined);
  const text = await answer?.text().catch(() => '');
  if (answer?.ok) return text?.includes('#EXT-X-ENDLIST') ? { verdict: OFF_AIR } : {};
  const error = describeAnswer('playlistLoadError', answer?.status, text);
  return { error, verdict: judgeAnswer(error) };
}
