// Waiting for a scheduled room: the time of its start and a countdown, on the server's clock.

import type { StentorListener } from '@stentor/client';
import { byId, write } from '../dom';
import { countdown, localTime } from '../schedule';
import { t } from '../texts';

const TICK_MS = 250;

export class Waiting {
  constructor(private readonly listener: StentorListener) {
    listener.on('room', () => this.show());
    listener.on('state', () => this.show());
    window.setInterval(() => this.show(), TICK_MS);
  }

  /** Time of the start, while the room waits for it; in milliseconds since the Unix epoch. */
  get startsAt(): number | null {
    const { channel, roomState, status } = this.listener;
    const at = Date.parse(roomState.room.startsAt ?? '');
    const waits = ['created', 'backstage'].includes(roomState.room.status) && status.state === 'waiting';
    return waits && channel.serverTime !== null && !Number.isNaN(at) ? at : null;
  }

  private show(): void {
    const at = this.startsAt;
    byId('upcoming').hidden = at === null;
    document.body.classList.toggle('scheduled', at !== null);
    if (at === null) return;
    const left = at - this.listener.channel.serverTime!;
    write(byId('countdown'), left > 0 ? countdown(left) : t('a moment'));
    // This device's clock may be wrong, so use the server's current time: the start minus the time left.
    write(byId('starts-at'), localTime(at, at - left));
    const pressed = navigator.userActivation?.hasBeenActive ?? false;
    write(byId('starts-how'), t(pressed ? 'The sound starts here by itself.' : 'Press play once, and the sound starts here by itself.'));
  }
}
