// The room as the server reports it: users, talking state, lock, schedule. Owns: these values. Does not emit
// events.

import type { Notifications, WireMember } from './protocol.js';
import type { RoomEvents } from './types.js';

/** The server's last report about a room. */
export class Roster {
  users: WireMember[] = [];
  locked = false;
  schedule: RoomEvents['schedule'] = { backstage: false, startsAt: null };
  /** Users who talk. A user may be reported here before the list of users contains them. */
  readonly talking = new Set<string>();

  find(userId: string | undefined): WireMember | undefined {
    return this.users.find((user) => user.userId === userId);
  }

  /** Applies a report. Returns true for the lock and for the schedule if they have changed. */
  update(report: Notifications['roomStatus']): { locked: boolean; schedule: boolean } {
    const { members, locked = false, backstage = false, startsAt } = report;
    const before = { users: this.users, locked: this.locked, schedule: this.schedule };
    const starts = Date.parse(startsAt ?? '');
    this.schedule = { backstage, startsAt: Number.isNaN(starts) ? null : starts };
    this.locked = locked;
    this.users = members;
    for (const { userId } of before.users) {
      if (!this.find(userId)) this.talking.delete(userId);
    }
    const { schedule } = before;
    return {
      locked: locked !== before.locked,
      schedule: schedule.backstage !== backstage || schedule.startsAt !== this.schedule.startsAt,
    };
  }

  talk(userId: string, talking: boolean): void {
    if (talking) this.talking.add(userId);
    else this.talking.delete(userId);
  }
}
