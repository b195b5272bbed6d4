// The queue of raised hands for hosts and co-hosts, and the channel's settings.

import { moderates, queueOf, type BannedPerson, type ChannelState, type Hand, type Person, type RoomChannel } from '@stentor/client';
import { nameOf, sent } from '../channel/chat';
import { byId, clone, write } from '../dom';
import { isolated } from '../names';
import { audience, t } from '../texts';

export class Hands {
  private readonly items = new Map<string, HTMLElement>();

  private readonly banned = new Map<string, HTMLElement>();

  /** `ban`: asks the user for confirmation, then bans the person. */
  constructor(
    private readonly channel: () => RoomChannel | null,
    private readonly ban: (person: Person) => void,
  ) {
    byId('hands').addEventListener('click', (event) => {
      const button = (event.target as HTMLElement).closest<HTMLElement>('[data-do]');
      const person = button?.closest<HTMLElement>('[data-person]')?.dataset.person;
      if (!button || !person) return;
      const hand = this.channel()?.state.hands.find((hand) => hand.person.id === person);
      const invitation = button.getAttribute('aria-pressed') === 'true' ? 'DELETE' : 'PUT';
      if (button.dataset.do === 'ban') hand && this.ban(hand.person);
      else if (button.dataset.do === 'invite') void this.send(invitation, `hands/${person}/invitation`);
      else void this.send('DELETE', `hands/${person}`);
    });
    byId('bans').addEventListener('click', (event) => {
      const person = (event.target as HTMLElement).closest('[data-do]')?.closest<HTMLElement>('[data-person]')?.dataset.person;
      if (person) void sent(() => this.channel()?.unban(person));
    });
    for (const id of ['hands-open', 'chat-open', 'slow-mode', 'hand-order']) byId(id).addEventListener('change', () => void this.configure());
    byId<HTMLFormElement>('announce-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = byId<HTMLInputElement>('announce-text').value.trim();
      void (text ? this.send('PUT', 'announcement', { text }) : this.send('DELETE', 'announcement'));
    });
  }

  show(state: ChannelState): void {
    const { hands, settings, you } = state;
    const host = moderates(you);
    byId('audience').hidden = !state.known;
    byId('hands-panel').hidden = byId('settings-panel').hidden = !host;
    const present = new Set(hands.map(({ person }) => person.id));
    for (const [id, item] of this.items) {
      if (present.has(id)) continue;
      item.remove();
      this.items.delete(id);
    }
    if (host) queueOf(state).forEach((hand, place) => this.item(hand, place));
    this.showBans(host ? state.bans : []);
    byId('hands-empty').hidden = hands.length > 0;
    write(byId('hands-count'), hands.length > 0 ? String(hands.length) : '');
    byId<HTMLInputElement>('hands-open').checked = settings.handsOpen;
    byId<HTMLInputElement>('chat-open').checked = settings.chatOpen;
    byId<HTMLSelectElement>('slow-mode').value = String(settings.slowModeSeconds);
    byId<HTMLSelectElement>('hand-order').value = settings.handOrder ?? 'time';
    const { listeners, recorded } = state.room;
    byId('recorded').hidden = !recorded;
    write(byId('audience-count'), audience(listeners));
  }

  private item({ person, note, invited }: Hand, place: number): void {
    let item = this.items.get(person.id);
    if (!item) {
      item = clone('hand-item');
      item.dataset.person = person.id;
      this.items.set(person.id, item);
    }
    // Moves only misplaced items, so the focus stays.
    const list = byId('hands');
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
    const name = nameOf({ person });
    write(item.querySelector('.name')!, name);
    write(item.querySelector('.hand-note')!, note ?? '');
    write(item.querySelector('.hand-state')!, invited ? t('Invited') : '');
    const invite = item.querySelector<HTMLElement>('[data-do=invite]')!;
    write(invite, t(invited ? 'Take back' : 'Invite'));
    invite.setAttribute('aria-pressed', String(invited));
    invite.setAttribute('aria-label', t(invited ? 'Take back the invitation of {name}' : 'Invite {name} to speak', { name: isolated(name) }));
    item.querySelector('[data-do=ban]')!.setAttribute('aria-label', t('Ban {name} from the room', { name: isolated(name) }));
    item.querySelector('[data-do=lower]')!.setAttribute('aria-label', t('Lower the hand of {name}', { name: isolated(name) }));
  }

  private showBans(bans: BannedPerson[]): void {
    byId('bans-panel').hidden = bans.length === 0;
    write(byId('bans-count'), String(bans.length));
    const present = new Set(bans.map(({ id }) => id));
    for (const [id, item] of this.banned) {
      if (present.has(id)) continue;
      item.remove();
      this.banned.delete(id);
    }
    for (const { id, name } of bans) {
      if (this.banned.has(id)) continue;
      const item = clone('ban-item');
      const shown = nameOf({ person: name === undefined ? {} : { name } });
      item.dataset.person = id;
      write(item.querySelector('.name')!, shown);
      item.querySelector('[data-do=unban]')!.setAttribute('aria-label', t('Let {name} in again', { name: isolated(shown) }));
      this.banned.set(id, item);
      byId('bans').append(item);
    }
  }

  private async configure(): Promise<void> {
    const handsOpen = byId<HTMLInputElement>('hands-open').checked;
    const chatOpen = byId<HTMLInputElement>('chat-open').checked;
    const slowModeSeconds = Number(byId<HTMLSelectElement>('slow-mode').value);
    const handOrder = byId<HTMLSelectElement>('hand-order').value;
    await this.send('PUT', 'settings', { handsOpen, chatOpen, slowModeSeconds, handOrder });
  }

  private send(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<boolean> {
    return sent(() => this.channel()?.send(method, path, body));
  }
}
