// The backstage on the speak page: shows that listeners hear nothing yet, when that changes, and the button
// with which hosts and co-hosts go live.

import { moderates, type StentorRoom } from '@stentor/client';
import { byId, toast, write } from '../dom';
import { countdown, localTime } from '../schedule';
import { t } from '../texts';

export class Backstage {
  private was = false;

  /** `now`: time by the server's clock if it is known. */
  constructor(
    private readonly room: () => StentorRoom | null,
    private readonly now: () => number,
    confirmed: (question: string, effect: string, yes: string) => Promise<boolean>,
  ) {
    byId('go-live').addEventListener('click', () => {
      const count = room()?.members.length ?? 0;
      const who = count > 1 ? t('Listeners hear all {count} of you from then on.', { count }) : t('Listeners hear you from then on.');
      void confirmed(t('Go live now?'), who, t('Go live')).then((yes) => (yes ? this.start() : undefined));
    });
  }

  show(): void {
    const room = this.room();
    const backstage = room?.backstage ?? false;
    byId('backstage').hidden = !backstage;
    document.body.classList.toggle('is-backstage', backstage);
    byId('go-live').hidden = !moderates({ role: room?.role ?? '' });
    if (this.was && room && !backstage) toast(t('You are live: listeners hear you.'));
    this.was = backstage;
    this.tick();
  }

  /** Updates the countdown. */
  tick(): void {
    const room = this.room();
    if (!room?.backstage) return;
    const left = room.startsAt === null ? null : room.startsAt - this.now();
    const host = moderates({ role: room.role ?? '' });
    const asked = t(host ? 'Press “Go live” when all are ready.' : 'A host will take the room live.');
    const when = left === null ? asked : left > 0 ? t('The room goes live by itself in {time}.', { time: countdown(left) }) : t('The room goes live in a moment.');
    write(byId('backstage-when'), when);
  }

  /** Returns the text for a room that cannot be entered before its start; `null` without a schedule. */
  get entrance(): string | null {
    const at = this.room()?.startsAt ?? null;
    if (at === null) return null;
    const now = this.now();
    const when = { at: localTime(at, now), time: countdown(at - now) };
    return at > now
      ? t('The room goes on air at {at}, in {time}. You then join automatically.', when)
      : t('The room goes on air at {at}. You then join automatically.', when);
  }

  private async start(): Promise<void> {
    try {
      await this.room()?.goLive();
    } catch (error) {
      toast(t('That did not work: {message}.', { message: (error as Error).message }));
    }
  }
}
