// Captions of a recording: parser of the server's WebVTT file. Pure.

/** Words of a recording, with positions in seconds. */
export interface ReplayCaption {
  from: number;
  to: number;
  text: string;
}

const TIMES = /^(\d+):(\d{2}):(\d{2}\.\d{3}) --> (\d+):(\d{2}):(\d{2}\.\d{3})/;
const seconds = (hours = '0', minutes = '0', rest = '0'): number => Number(hours) * 3600 + Number(minutes) * 60 + Number(rest);

/** Parses the WebVTT file of a recording. Each of its cues has one line of text without markup. */
export function captionsOf(webvtt: string): ReplayCaption[] {
  const lines = webvtt.split('\n');
  return lines.flatMap((line, n) => {
    const times = TIMES.exec(line);
    if (!times) return [];
    const text = (lines[n + 1] ?? '').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
    return [{ from: seconds(times[1], times[2], times[3]), to: seconds(times[4], times[5], times[6]), text }];
  });
}

/** Returns the caption at a position: of several, the one that began last. */
export const captionAt = (captions: readonly ReplayCaption[], position: number): ReplayCaption | undefined =>
  captions.filter(({ from, to }) => from <= position && position < to).at(-1);
