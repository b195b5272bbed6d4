// The start page: lists the rooms on air if the server shows them, and opens a link or a room's page.

import { BASE, withoutBase } from './base';
import { byId, clone, remembered, write } from './dom';
import { inBrief, reasonOf } from './reasons';
import { pathFor, rooms, ROOM_ID, type PageRole, type RoomOnAir } from './server';
import { t } from './texts';

const REFRESH_MS = 3000;
const AWAY = t('The server does not answer. Trying again…');
const cards = new Map<string, HTMLElement>();
const list = byId('rooms');
const problem = byId('problem');

/**
 * Returns the path (with the token's fragment, if there is one) of the page to open; null if the text names
 * no room.
 */
function target(text: string): string | null {
  if (ROOM_ID.test(text)) return `${BASE}/listen/${text}`;
  try {
    const link = new URL(text, location.origin);
    const [, page, room] = /^\/(listen|speak)\/([^/]+)$/.exec(withoutBase(link.pathname)) ?? [];
    return page && room && ROOM_ID.test(room) ? `${BASE}/${page}/${room}${link.hash}` : null;
  } catch {
    return null;
  }
}

function people({ anchors, listeners }: RoomOnAir): string {
  const listening = listeners === 1 ? t('1 listener') : t('{count} listeners', { count: listeners });
  if (anchors === undefined) return listening;
  const speaking = anchors === 0 ? t('No speaker yet') : anchors === 1 ? t('1 speaker') : t('{count} speakers', { count: anchors });
  return `${speaking} · ${listening}`;
}

function duration(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return t('Just started');
  if (minutes < 60) return t('On air for {minutes} min', { minutes });
  return t('On air for {hours} h {minutes} min', { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}

function card(room: string): HTMLElement {
  const made = clone('room-card');
  for (const button of made.querySelectorAll<HTMLButtonElement>('button')) {
    button.setAttribute('aria-label', t('{action} in {room}', { action: button.textContent ?? '', room }));
    button.addEventListener('click', () => void go(button, room, button.dataset.role as PageRole));
  }
  return made;
}

async function go(button: HTMLButtonElement, room: string, role: PageRole): Promise<void> {
  button.disabled = true;
  complain('');
  try {
    location.assign(await pathFor(room, role, remembered.get('name') ?? undefined));
  } catch (error) {
    complain(t('{room} cannot be opened. {why}', { room, why: inBrief(reasonOf(error)) }));
  } finally {
    button.disabled = false;
  }
}

function draw(open: boolean, gateway: boolean, onAir: RoomOnAir[]): void {
  const names = new Set(onAir.map(({ roomId }) => roomId));
  for (const [room, element] of cards) {
    if (names.has(room)) continue;
    element.remove();
    cards.delete(room);
  }
  for (const room of onAir) {
    const element = cards.get(room.roomId) ?? card(room.roomId);
    cards.set(room.roomId, element);
    for (const button of element.querySelectorAll<HTMLElement>('[data-role=anchor], [data-role=host]')) button.hidden = !gateway;
    write(element.querySelector('h3')!, room.title ?? room.roomId);
    write(element.querySelector('.people')!, people(room));
    write(element.querySelector('.since')!, duration(Date.now() - room.onAirSince));
    if (!element.isConnected) list.append(element);
  }
  const count = onAir.length === 1 ? t('1 room on air') : t('{count} rooms on air', { count: onAir.length });
  write(byId('rooms-count'), open ? count : '');
  byId('live').hidden = onAir.length === 0;
  write(byId('live-text'), count);
  byId('empty').hidden = onAir.length > 0;
  // Except in open mode, this page is for listeners.
  byId('next').hidden = !open;
  write(byId('empty-title'), t(open ? 'No room is on air' : 'Rooms here are by invitation'));
  write(byId('empty-text'), t(open
    ? 'As soon as one starts, it appears here by itself.'
    : 'Open the link you were given. This server does not list its rooms.'));
}

function complain(words: string): void {
  problem.hidden = words === '';
  write(problem, words);
}

async function refresh(): Promise<void> {
  try {
    const { open, wsUrl, rooms: onAir } = await rooms();
    draw(open, wsUrl !== null, onAir);
    // Clears only AWAY: a successful refresh does not remove the reason of a failed click.
    if (problem.textContent === AWAY) complain('');
  } catch {
    complain(AWAY);
  }
  byId('rooms-section').removeAttribute('aria-busy');
}

async function keepUp(): Promise<void> {
  if (!document.hidden) await refresh();
  window.setTimeout(() => void keepUp(), REFRESH_MS);
}

byId<HTMLFormElement>('open').addEventListener('submit', (event) => {
  event.preventDefault();
  const input = byId<HTMLInputElement>('room');
  const path = target(input.value.trim());
  if (path) {
    location.assign(path);
    return;
  }
  write(byId('hint'), t('That is neither a link to a room nor a room id (3 to 32 letters, digits, _ or -).'));
  input.setAttribute('aria-invalid', 'true');
  input.focus();
});
document.addEventListener('visibilitychange', () => void (document.hidden || refresh()));
void keepUp();
byId('not-started').remove();
