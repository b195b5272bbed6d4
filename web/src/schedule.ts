// Texts for the time until a room goes on air. Pure.

import { shownLocale, t } from './texts';

const MINUTE = 60_000;
const DAY = 86_400_000;

/** Returns the time left as `2:05` or `1:02:05`; in days if it is two days or more. */
export function countdown(ms: number): string {
  if (ms >= 2 * DAY) return t('{count} days', { count: Math.floor(ms / DAY) });
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (part: number): string => String(part).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/**
 * Formats a time in the device's time zone. Includes the day if the time is at least twelve hours before or
 * after `now`.
 */
export function localTime(at: number, now: number, locale: string | undefined = shownLocale): string {
  const near = Math.abs(at - now) < 12 * 60 * MINUTE;
  const format = near ? { timeStyle: 'short' as const } : { dateStyle: 'full' as const, timeStyle: 'short' as const };
  return new Intl.DateTimeFormat(locale, format).format(at);
}
