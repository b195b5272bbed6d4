// What a browser that plays HLS by itself tells of where it is.

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
