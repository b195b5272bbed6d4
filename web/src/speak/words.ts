// Texts for states and problems: meaning for the user and remedy. Pure.

import type { Problem, RoomStats, RoomStatus } from '@stentor/client';
import { needed } from '../needed';
import { decimal, t, type Text, type Values } from '../texts';
import type { DeviceNews } from './devices';

/** Action offered after an end. */
export type Way = 'again' | 'here' | 'none';

/** Reason for the end of a visit. */
export interface Ending {
  title: string;
  text: string;
  way: Way;
}

/** Returns the text for a problem after which nothing continues by itself. */
export function ending({ code, message, reason }: Problem): Ending {
  const known = (code === 'room_closed' && CLOSED[reason ?? '']) || ENDINGS[code];
  if (known) return known;
  if (code === 'not_admitted') return { ...end('You were not let in', 'You were not let in'), text: sentence(message) };
  return end('The connection ended', '{message} If joining again does not help, tell whoever runs this server: {code}.', 'again', { message: sentence(message), code });
}

const end = (title: Text, text: Text, way: Way = 'none', values: Values = {}): Ending => ({ title: t(title), text: t(text, values), way });

const ENDINGS: Record<string, Ending> = {
  left: end('You left the room', 'The others no longer hear you. Your invite still works.', 'again'),
  removed: end('You were removed', 'A host removed you from this room, or made you a listener. Wait a few seconds and open the link again. It works once a host lets you in or lets you speak again.'),
  room_closed: end('The room is over', 'Thank you for speaking. If it goes on air again, the same link opens it.', 'again'),
  room_gone: end('There is no such room', 'It has ended or never existed. Ask for a new invite.'),
  room_over: end('The room is over', 'It has ended, or your invite was withdrawn. Ask for a new one.'),
  replaced: end('You are speaking elsewhere', 'You joined from another tab or device, and it took over from this one.', 'here'),
  token_expired: end('This invite has expired', 'Ask whoever invited you for a new link.'),
  token_invalid: end('This invite is not valid', 'It may be incomplete, or it was withdrawn. Open the whole link you were given, or ask for a new one.'),
  consent_required: end('Your consent is needed', 'This room may be recorded. Join again and agree to that, or listen instead.', 'again'),
  no_invite: end('You need an invite', 'To speak here, you need a personal link. Ask a host of the room for one.'),
  invalid_url: end('Nobody can speak here', 'This page cannot connect to the address that this server gives to speakers. Whoever runs it should check "http.public_ws_url".'),
  no_gateway: end('Nobody can speak here', 'This server is not set up for speakers. Whoever runs it can give it the role "gateway", or name a gateway in "http.public_ws_url".'),
  unsupported_browser: end('This browser cannot speak here', 'It has no WebRTC, or a setting or extension has switched it off. Speaking needs {browsers}.', 'none', { browsers: needed() }),
  flooding: end('Too many requests', 'This page sent too many requests in a short time. Join again in a moment.', 'again'),
  media_refused: end('The sound could not be set up', 'The server did not accept what this browser offered. Speaking needs {browsers}.', 'again', { browsers: needed() }),
};

/** Texts for the end of a room, by the reason that the server gave. */
const CLOSED: Record<string, Ending> = {
  max_duration: end('The room is over', 'It has been on air for as long as it may. If it goes on air again, the same link opens it.', 'again'),
  empty: end('The room is over', 'Nobody was there to speak for a while. If it goes on air again, the same link opens it.', 'again'),
  deleted: end('The room is over', 'Thank you for speaking. The room was deleted, and this link no longer works.'),
};

/** Facts that texts about failures need besides the status of the room. */
export interface Situation {
  /** Address of the gateway. */
  gateway: string;
  /** True if the browser believes that it has a network. */
  online: boolean;
}

/** Returns the text while entering or returning; `now` is for the countdown. */
export function underWay(status: RoomStatus, situation: Situation, now: number): string {
  const { step, retryAt } = status;
  if (step !== 'waiting') return said(status, situation);
  const seconds = Math.max(1, Math.ceil(((retryAt ?? now) - now) / 1000));
  return t('{why} Trying again in {seconds} s.', { why: said(status, situation), seconds });
}

/**
 * Returns the text of {@link underWay} without the countdown, which a screen reader must not read out each
 * second.
 */
export function said(status: RoomStatus, situation: Situation): string {
  const { step, problem, mediaFlows } = status;
  const why = !problem ? '' : shutOut(status, situation) ? notAdmitted(situation) : hindrance(problem);
  const what = step === 'waiting' ? (mediaFlows ? t('Sound may still get through.') : '') : doing(status);
  return [why, what].filter(Boolean).join(' ');
}

/** Returns the shortest text, for the pill. */
export function short(status: RoomStatus): string {
  if (status.state === 'connected') return t('Connected');
  return status.state === 'reconnecting' ? t('Reconnecting') : status.state === 'connecting' ? t('Connecting') : '';
}

function doing({ step, state }: RoomStatus): string {
  switch (step) {
    case 'opening':
      return t(state === 'reconnecting' ? 'Connecting again…' : 'Connecting to the server…');
    case 'joining':
      return t('Joining the room…');
    default:
      return t('Setting up the sound…');
  }
}

/**
 * Returns true if several attempts of a first connection have failed although the browser has a network. The
 * gateway may refuse the page, which browsers do not distinguish from a lost network.
 */
function shutOut({ state, problem, failures }: RoomStatus, { online }: Situation): boolean {
  return online && state === 'connecting' && problem?.code === 'gone' && failures >= DOUBTFUL;
}

/**
 * Minimum number of failed attempts for which {@link shutOut} returns true: after fewer, the network may just
 * be returning.
 */
const DOUBTFUL = 3;

const notAdmitted = ({ gateway }: Situation): string =>
  t('The server for speakers ({gateway}) cannot be reached, or does not admit this page. If your network works, ask whoever runs it to check "http.public_ws_url" and "http.allowed_origins".', { gateway });

function hindrance({ code, message }: Problem): string {
  const known = HINDRANCES[code];
  return known ? t(known) : sentence(message);
}

const HINDRANCES: Record<string, Text> = {
  gone: 'The server cannot be reached. Check your network.',
  timeout: 'The server does not answer.',
  room_full: 'The room is full: somebody has to leave before you can speak.',
  room_locked: 'The room is locked. You join as soon as a host unlocks it.',
  not_on_air: 'The room is not on air yet.',
  already_connected: 'You are connected from another tab or device. Leave the room there to continue here.',
  too_many_pins: 'Too many wrong pins.',
  media_lost: 'Sound no longer gets through.',
  media_timeout: 'No sound gets through to the server; a firewall may block it. Try another network.',
  media_unavailable: 'The room\'s sound server does not answer.',
  media_failed: 'The sound could not be set up.',
  reconnect: 'The sound must be set up again.',
  draining: 'Another server takes over from this one.',
  unavailable: 'A part of the server does not answer.',
  admission_unavailable: 'The application that admits people does not answer.',
  peer_dead: 'The connection was lost.',
  too_slow: 'This network is too slow for the room.',
};

/** Returns the text for a microphone that could not be opened. */
export function microphone(code: string): { title: string; remedy: string } {
  switch (code) {
    case 'microphone_denied':
      return trouble('The microphone is blocked', 'Allow it for this page: click the icon left of the address, switch the microphone on, then try again.');
    case 'microphone_missing':
      return trouble('No microphone was found', 'Plug one in or switch it on, then try again. You can also join and only listen.');
    case 'microphone_busy':
      return trouble('The microphone is taken', 'Another program is using it. Close that program, or choose another microphone.');
    case 'microphone_insecure':
      return trouble('This page may not use a microphone', 'Browsers allow it only on pages opened with https, or on localhost. Ask for an https link.');
    default:
      return trouble('The microphone could not be opened', 'Choose another one, or restart the browser.');
  }
}

const trouble = (title: Text, remedy: Text): { title: string; remedy: string } => ({ title: t(title), remedy: t(remedy) });

/**
 * Returns the text for a microphone that appeared or disappeared; `problem` is the reason why none is in use.
 */
export function device(news: Exclude<DeviceNews, 'interruption'>, problem: string | null): string {
  if (news === 'replaced') return t('Your microphone is gone; another one is in use.');
  if (news === 'back') return t('Your microphone is in use.');
  if (problem === 'microphone_missing') return t('Your microphone is gone. Plug one in and press “Use microphone”.');
  const { title, remedy } = microphone(problem ?? '');
  return `${title}. ${remedy}`;
}

/** Text while the system gives the microphone to something else. */
export const INTERRUPTED = t('Your microphone is interrupted, perhaps by a call. The others do not hear you until that is over.');

const QUALITIES: Record<RoomStats['quality'], Text> = { good: 'Good connection', fair: 'Fair connection', poor: 'Weak connection', unknown: 'Measuring…' };

/** Returns the quality of the connection: a word and the figures. */
export function quality({ quality, roundTripMs, sent, received }: RoomStats): string {
  const word = t(QUALITIES[quality]);
  // While nobody speaks, no packets are sent, so none can be lost.
  if (quality === 'unknown') return roundTripMs === null ? word : `${t('Connected')} · ${Math.round(roundTripMs)} ms`;
  const loss = Math.max(sent.lossRatio ?? 0, received.lossRatio ?? 0);
  const figures = [roundTripMs === null ? '' : `${Math.round(roundTripMs)} ms`, loss >= 0.005 ? t('{percent} % lost', { percent: decimal(loss * 100) }) : ''];
  return [word, ...figures].filter(Boolean).join(' · ');
}

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
