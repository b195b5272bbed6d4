// Waveform of a recording: its bars and their shape. Pure.

import type { ReplayRange } from '@stentor/client';

/** Height of the smallest bar, so that silence is a line. */
const LEAST = 0.04;

/**
 * Returns the heights of `count` bars, from 0 to 1, for a part of the recording. `peaks`: the peaks of equal
 * parts of the whole recording, from 0 to 255.
 */
export function barsOf(peaks: readonly number[], duration: number, range: ReplayRange, count: number): number[] {
  const at = (bar: number): number => ((range.from + ((range.to - range.from) * bar) / count) / duration) * peaks.length;
  return Array.from({ length: count }, (_, bar) => {
    const first = Math.min(Math.floor(at(bar)), peaks.length - 1);
    const last = Math.max(Math.ceil(at(bar + 1)), first + 1);
    const peak = Math.max(0, ...peaks.slice(first, last));
    // Perceived loudness is roughly logarithmic; the square root makes quiet speech visible.
    return Math.max(LEAST, Math.sqrt(peak / 255));
  });
}

/** Returns the bars as an SVG path in a box of this width and height. */
export function shapeOf(bars: readonly number[], width: number, height: number): string {
  const step = width / bars.length;
  return bars.map((bar, n) => `M${round(n * step)} ${round((height * (1 - bar)) / 2)}h${round(step * 0.6)}v${round(height * bar)}h${round(-step * 0.6)}z`).join('');
}

const round = (value: number): number => Math.round(value * 100) / 100;
