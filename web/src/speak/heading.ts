// Headings of the page.

import { showCover } from '../cover';
import { byId, write } from '../dom';

/** Shows the name of the room, which is its title or its id, and its cover. */
export function named(name: string, coverUrl?: string): void {
  document.title = `${name} · Stentor`;
  for (const id of ['lobby-room', 'room-name']) write(byId(id), name);
  for (const id of ['lobby-cover', 'room-cover']) showCover(byId<HTMLImageElement>(id), coverUrl);
}
