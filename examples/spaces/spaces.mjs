// The list of spaces. A real application has a database. Here it is a map, with a copy in a file for the next
// start.

import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';

export class Spaces {
  #file;
  #spaces = new Map();
  #watchers = new Set();

  constructor(file) {
    this.#file = file;
    try {
      for (const space of JSON.parse(readFileSync(file, 'utf8'))) this.#spaces.set(space.id, space);
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
  }

  /** Adds a space. Its id is also the id of its room, so a webhook leads back to it. */
  add({ title, description, startsAt, host }) {
    const id = randomBytes(6).toString('hex');
    const space = {
      id,
      title,
      description,
      startsAt,
      host,
      status: 'upcoming',
      createdAt: Date.now(),
      history: [],
      people: {},
    };
    this.#spaces.set(id, space);
    this.#changed();
    return space;
  }

  get(id) {
    return this.#spaces.get(id);
  }

  change(id, change) {
    Object.assign(this.#spaces.get(id), change);
    this.#changed();
  }

  remove(id) {
    this.#spaces.delete(id);
    this.#changed();
  }

  /** Returns all spaces, the newest first. */
  list() {
    return [...this.#spaces.values()].sort((a, b) => b.createdAt - a.createdAt);
  }

  /** Calls `watcher` after each change, until the returned function is called. */
  watch(watcher) {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  #changed() {
    // A crash leaves the old file or the new one, never a part.
    writeFileSync(`${this.#file}.new`, JSON.stringify(this.list()), { mode: 0o600 });
    renameSync(`${this.#file}.new`, this.#file);
    for (const watcher of this.#watchers) watcher();
  }
}
