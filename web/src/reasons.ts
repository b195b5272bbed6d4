// Reasons why the server refused access, as texts shared by all pages. Pure.

import { Refusal } from './server';
import { t, type Text, type Values } from './texts';

export interface Reason {
  title: string;
  /** Remedy. */
  text: string;
  /** True if a retry may succeed in a moment. */
  passing: boolean;
}

/** Returns the reason for an error that a function of `server` threw: an error response, or no response. */
export function reasonOf(thrown: unknown): Reason {
  if (!(thrown instanceof Refusal)) return passing('The server does not answer', 'Try again in a moment.');
  const { code, status, message } = thrown;
  const known = BY_CODE[code];
  if (known) return known;
  const name = code || String(status);
  if (status === 429 || status >= 500) return passing('The server cannot do this at the moment', 'Try again in a moment. If that does not help, tell whoever runs it: {name}.', { name });
  return lasting('The server refused this', 'Tell whoever runs it the reason: {message} ({name}).', { message, name });
}

/** Returns a reason as one paragraph. */
export const inBrief = ({ title, text }: Pick<Reason, 'title' | 'text'>): string => `${title}. ${text}`;

const passing = (title: Text, text: Text, values: Values = {}): Reason => ({ title: t(title), text: t(text, values), passing: true });
const lasting = (title: Text, text: Text, values: Values = {}): Reason => ({ ...passing(title, text, values), passing: false });

const BY_CODE: Readonly<Record<string, Reason>> = {
  room_not_found: lasting('There is no such room', 'It has ended or never existed. Ask the person who told you about it.'),
  room_removing: lasting('The room is over', 'It is being removed now. Ask the person who told you about it whether there will be another one.'),
  pages_closed: lasting('You need an invite', 'To come in, you need a personal link. Ask a host of the room for one.'),
  invalid_name: passing('This name cannot be shown', 'Choose another one.'),
  host_not_allowed: lasting('This server does not answer to the name in the address', 'On its own machine, open it as "localhost". Otherwise, whoever runs it should check "http.allowed_origins".'),
  origin_not_allowed: lasting('This server accepts no requests from this page', 'Whoever runs it should check "http.allowed_origins".'),
};
