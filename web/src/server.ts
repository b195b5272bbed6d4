// Requests from the pages to the node that serves them.

import { BASE, withoutBase } from './base';

export interface Config {
  /** True if rooms are listed and tokens given to anybody; otherwise people need an invite link. */
  open: boolean;
  /** URL of the gateway; null if this server has none. Nobody can then speak. */
  wsUrl: string | null;
}

export interface RoomOnAir {
  roomId: string;
  /** Number of anchors; absent while the server does not know the number. */
  anchors?: number;
  listeners: number;
  /** Milliseconds since the Unix epoch. */
  onAirSince: number;
  /** Title of the room, if it has one. */
  title?: string;
}

export type PageRole = 'listener' | 'anchor' | 'host';

export const ROOM_ID = /^[A-Za-z0-9_-]{3,32}$/;
const TIMEOUT_MS = 8000;

/** Returns the room in the path of the page's own address. */
export function roomOfPage(): string {
  const segment = withoutBase(location.pathname).split('/')[2] ?? '';
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Returns the path of the room's playlist, from which the client library derives the other paths. */
export const playlistOf = (room: string): string => `${BASE}/hls/rooms/${encodeURIComponent(room)}/index.m3u8`;

export async function config(): Promise<Config> {
  const { open, wsUrl } = await ask<Partial<Config>>(`${BASE}/pages/config`);
  return { open: open === true, wsUrl: wsUrl ?? null };
}

export interface RecordingNotice {
  /** True if the room is recorded, or will be as soon as it is on air. */
  recorded: boolean;
  /** True if anchors have to agree to being recorded before they join. */
  consentRequired: boolean;
  /** Title of the room; null if it has none, or without a valid token. */
  title: string | null;
  /** Cover of the room, under the same condition. */
  coverUrl: string | null;
}

/**
 * Returns the notice for users before they join or listen. A node of an earlier version has no such notice.
 */
export async function recordingNotice(room: string, token?: string): Promise<RecordingNotice> {
  const headers: HeadersInit = token ? { authorization: `bearer ${token}` } : {};
  const told = ask<Partial<RecordingNotice>>(`${BASE}/pages/rooms/${encodeURIComponent(room)}/recording`, { headers });
  const { recorded, consentRequired, title, coverUrl } = await told.catch((): Partial<RecordingNotice> => ({}));
  const [isRecorded, isRequired] = [recorded === true, consentRequired === true];
  return { recorded: isRecorded, consentRequired: isRequired, title: title ?? null, coverUrl: coverUrl ?? null };
}

export async function rooms(): Promise<Config & { rooms: RoomOnAir[] }> {
  const { open, wsUrl, rooms } = await ask<Partial<Config> & { rooms?: RoomOnAir[] }>(`${BASE}/pages/rooms`);
  return { open: open === true, wsUrl: wsUrl ?? null, rooms: rooms ?? [] };
}

/**
 * Requests a token in open mode ({@link Config.open}). The user id is made from `name`, so that people
 * recognise it.
 */
export async function token(room: string, role: PageRole, name?: string): Promise<string> {
  const body = JSON.stringify({ role, ...(name && role !== 'listener' ? { name } : {}) });
  const headers = { 'content-type': 'application/json' };
  return (await ask<{ token: string }>(`${BASE}/pages/rooms/${encodeURIComponent(room)}/token`, { method: 'POST', headers, body })).token;
}

/** Returns the path of the page for this role, with the token in the fragment, which no server sees. */
export async function pathFor(room: string, role: PageRole, name?: string): Promise<string> {
  const page = role === 'listener' ? 'listen' : 'speak';
  return `${BASE}/${page}/${encodeURIComponent(room)}#token=${await token(room, role, name)}`;
}

/** An error response; `code` is the server's stable code. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), TIMEOUT_MS);
  try {
    return await answered(await fetch(path, { ...init, signal: patience.signal }));
  } finally {
    clearTimeout(timer);
  }
}

async function answered<T>(response: Response): Promise<T> {
  if (response.ok) return response.json() as Promise<T>;
  const body = (await response.json().catch(() => ({}))) as { code?: string; error?: string };
  throw new Refusal(response.status, body.code ?? '', body.error ?? `the server answered ${response.status}`);
}
