// Texts for the playback state: its meaning for the listener, and the remedy. Pure.

import type { ListenerStatus } from '@stentor/client';
import { needed } from '../needed';
import { t, type Text } from '../texts';

const OFF_AIR: Text = 'The room is not on air. It starts here by itself.';
const FULL: Text = 'The room is full. It starts here as soon as there is a place.';
const NO_ROOM: Text = 'There is no such room yet. Once it is on air, it starts here by itself.';
const LOST: Text = 'The connection was lost. Connecting again…';
const NO_TOKEN: Text = 'This link has no valid token, or it has expired. Ask for a new link.';

/** Returns the text for a playback state. `heard`: this page has already played sound of the room. */
export function playback({ state, problem, pausedBy }: ListenerStatus, heard: boolean): string {
  switch (state) {
    case 'ready':
      return t('On air. Press play to listen.');
    case 'playing':
      return t('Live');
    case 'buffering':
      return t('Buffering…');
    case 'paused':
      return t(pausedBy === 'device' ? 'Paused by this device. Press play to go on.' : 'Paused');
    case 'waiting':
      if (problem?.code === 'listeners_full') return t(FULL);
      if (heard) return t('The room is over. If it goes on air again, it starts here by itself.');
      return t(problem?.code === 'room_not_on_air' ? OFF_AIR : NO_ROOM);
    case 'failed':
      if (problem?.code === 'unsupported_browser') return t('This browser cannot play the room. It needs {browsers}.', { browsers: needed() });
      return t(FAILED[problem?.code ?? ''] ?? NO_TOKEN);
    default:
      return t(problem ? (CONNECTING[problem.code] ?? LOST) : 'Connecting…');
  }
}

/** Formats a duration like a clock: 0:05, 12:30, 1:02:03. */
export function timeOf(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const digits = (value: number): string => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${digits(minutes)}:${digits(rest)}` : `${minutes}:${digits(rest)}`;
}

const FAILED: Readonly<Record<string, Text>> = {
  invalid_room_id: 'This link names no valid room.',
  token_wrong_room: 'This link is for another room. Ask for a link to this one.',
  user_removed: 'A host removed you from this room.',
  token_wrong_audience: 'This link is not for listening. Ask for a link for listeners.',
};

const CONNECTING: Readonly<Record<string, Text>> = {
  media_not_ready: 'The room is starting…',
  media_broken: 'The sound stopped. Starting again…',
};
