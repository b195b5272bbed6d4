// Texts and times of the replay page. Pure.

import type { ReplayInfo, ReplayRange } from '@stentor/client';
import { needed } from '../needed';
import { shownLocale, t, type Text } from '../texts';
import { timeOf } from '../listen/words';
import { plain } from '../names';

/** Parses a time that a user has typed, such as `75`, `1:15` or `1:02:15`; returns seconds, or null. */
export function secondsOf(text: string): number | null {
  if (!/^\d{1,5}(:\d{1,2}){0,2}([.,]\d{1,3})?$/.test(text.trim())) return null;
  const parts = text.trim().replace(',', '.').split(':').map(Number);
  if (parts.slice(1).some((part) => part >= 60)) return null;
  return parts.reduce((sum, part) => sum * 60 + part, 0);
}

/** Returns the range between two typed times, or a message for the user if it is not valid. */
export function rangeIn(from: string, to: string, open: ReplayRange): ReplayRange | string {
  const [first, last] = [secondsOf(from), secondsOf(to)];
  if (first === null || last === null) return t('Write a time like 1:15.');
  if (first >= last) return t('The start must be before the end.');
  // The page shows times in whole seconds, so a typed time may be up to a second outside the part.
  if (first < Math.floor(open.from) || last > Math.ceil(open.to)) return t('Choose times from {from} to {to}.', { from: timeOf(open.from), to: timeOf(open.to) });
  return { from: Math.max(first, open.from), to: Math.min(last, open.to) };
}

/** Returns the title of a recording: the room's title, or the room id if it has none. */
export const titleOf = ({ title, roomId }: Pick<ReplayInfo, 'title' | 'roomId'>): string => plain(title ?? '') || roomId;

/** Returns day, time and duration of a recording. */
export function about({ startedAt, duration }: Pick<ReplayInfo, 'startedAt' | 'duration'>, locale: string | undefined = shownLocale): string {
  const day = new Intl.DateTimeFormat(locale, { dateStyle: 'long', timeStyle: 'short' }).format(startedAt);
  return `${day} · ${lengthOf(duration)}`;
}

/** Returns a duration in hours and minutes, or in seconds if it is short. */
export function lengthOf(seconds: number): string {
  if (seconds < 60) return t('{seconds} s', { seconds: Math.round(seconds) });
  const minutes = Math.round(seconds / 60);
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  if (!hours) return t('{minutes} min', { minutes });
  return rest ? t('{hours} h {minutes} min', { hours, minutes: rest }) : t('{hours} h', { hours });
}

/** Returns a position for a screen reader. */
export const spoken = (position: number, to: number): string => t('{position} of {all}', { position: timeOf(position), all: timeOf(to) });

/** Returns the text for a failure code. */
export function failure(code: string): string {
  if (code === 'unsupported_browser') return t('This browser cannot play the recording. It needs {browsers}.', { browsers: needed() });
  return t(FAILURES[code] ?? 'The recording cannot be played. Ask for a new link.');
}

const FAILURES: Readonly<Record<string, Text>> = {
  token_missing: 'This page needs a link with a token. Ask for a link to the recording.',
  token_invalid: 'This link is not valid. Ask for a new one.',
  token_expired: 'This link has expired. Ask for a new one.',
  token_wrong_room: 'This link is for another recording.',
  token_wrong_audience: 'This link is not for a recording. Ask for a link to the recording.',
  recording_not_found: 'This recording was deleted.',
  recording_not_ready: 'The broadcast is not over yet. The recording starts here by itself when it is ready.',
  media_unavailable: 'The recording cannot be reached at the moment. Trying again…',
  gone: 'The connection was lost. Connecting again…',
};
