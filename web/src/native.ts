// What a browser that plays HLS by itself tells of where it is, and what it does not tell.

import { describeAnswer, judgeAnswer, OFF_AIR, type PlayerError, type Verdict } from './errors';

interface NativeHls extends HTMLAudioElement {
  /** Wall-clock date of the media's zero, from EXT-X-PROGRAM-DATE-TIME; only where HLS is native. */
  getStartDate?(): Date;
}

/** Seconds between what is heard and the room, by this device's clock; null while that is unknown. */
export function nativeLatency(audio: NativeHls): number | null {
  const start = audio.getStartDate?.().getTime() ?? NaN;
  const behind = (Date.now() - start) / 1000 - audio.currentTime;
  // A clock that is wrong says nothing.
  return behind > 0 && behind < 60 ? behind : null;
}

/**
 * Asks for the playlist ahead of the media element, which tells no status, and would play a live that is over once
 * more. Without a verdict the room can be played.
 */
export async function askAhead(url: string): Promise<{ error?: PlayerError; verdict?: Verdict }> {
  const answer = await fetch(url).catch(() => undefined);
  const text = await answer?.text().catch(() => '');
  if (answer?.ok) return text?.includes('#EXT-X-ENDLIST') ? { verdict: OFF_AIR } : {};
  const error = describeAnswer('playlistLoadError', answer?.status, text);
  return { error, verdict: judgeAnswer(error) };
}
