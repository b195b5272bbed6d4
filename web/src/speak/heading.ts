// Headings of the page.

import { byId, write } from '../dom';

/** Shows the name of the room: its title, or its id. */
export function named(name: string): void {
  document.title = `${name} · Stentor`;
  for (const id of ['lobby-room', 'room-name']) write(byId(id), name);
}
