// The queue of raised hands for a host, and the channel's settings.

import type { ChannelState, Hand, RoomChannel } from '@stentor/client';
import { nameOf, sent } from '../channel/chat';
import { byId, clone, write } from '../dom';
import { isolated } from '../names';

export class Hands {
  private readonly items = new Map<string, HTMLElement>();

  constructor(private readonly channel: () => RoomChannel | null) {
    byId('hands').addEventListener('click', (event) => {
      const button = (event.target as HTMLElement).closest<HTMLElement>('[data-do]');
      const person = button?.closest<HTMLElement>('[data-person]')?.dataset.person;
      if (!button || !person) return;
      const invitation = button.getAttribute('aria-pressed') === 'true' ? 'DELETE' : 'PUT';
      if (button.dataset.do === 'invite') void this.send(invitation, `hands/${person}/invitation`);
      else void this.send('DELETE', `hands/${person}`);
    });
    for (const id of ['hands-open', 'chat-open', 'slow-mode']) byId(id).addEventListener('change', () => void this.configure());
    byId<HTMLFormElement>('announce-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = byId<HTMLInputElement>('announce-text').value.trim();
      void (text ? this.send('PUT', 'announcement', { text }) : this.send('DELETE', 'announcement'));
    });
  }

  show(state: ChannelState): void {
    const { hands, settings, you } = state;
    const host = you?.role === 'host';
    byId('audience').hidden = !state.known;
    byId('hands-panel').hidden = byId('settings-panel').hidden = !host;
    const present = new Set(hands.map(({ person }) => person.id));
    for (const [id, item] of this.items) {
      if (present.has(id)) continue;
      item.remove();
      this.items.delete(id);
    }
    if (host) for (const hand of hands) this.item(hand);
    byId('hands-empty').hidden = hands.length > 0;
    write(byId('hands-count'), hands.length > 0 ? String(hands.length) : '');
    byId<HTMLInputElement>('hands-open').checked = settings.handsOpen;
    byId<HTMLInputElement>('chat-open').checked = settings.chatOpen;
    byId<HTMLSelectElement>('slow-mode').value = String(settings.slowModeSeconds);
    const { listeners, recorded } = state.room;
    byId('recorded').hidden = !recorded;
    write(byId('audience-count'), listeners === 1 ? '1 person listens' : `${listeners.toLocaleString('en')} people listen`);
  }

  private item({ person, note, invited }: Hand): void {
    let item = this.items.get(person.id);
    if (!item) {
      item = clone('hand-item');
      item.dataset.person = person.id;
      this.items.set(person.id, item);
      byId('hands').append(item);
    }
    const name = nameOf({ person });
    write(item.querySelector('.name')!, name);
    write(item.querySelector('.hand-note')!, note ?? '');
    write(item.querySelector('.hand-state')!, invited ? 'Invited' : '');
    const invite = item.querySelector<HTMLElement>('[data-do=invite]')!;
    write(invite, invited ? 'Take back' : 'Invite');
    invite.setAttribute('aria-pressed', String(invited));
    invite.setAttribute('aria-label', invited ? `Take the invitation of ${isolated(name)} back` : `Invite ${isolated(name)} to speak`);
    item.querySelector('[data-do=lower]')!.setAttribute('aria-label', `Lower the hand of ${isolated(name)}`);
  }

  private async configure(): Promise<void> {
    const handsOpen = byId<HTMLInputElement>('hands-open').checked;
    const chatOpen = byId<HTMLInputElement>('chat-open').checked;
    await this.send('PUT', 'settings', { handsOpen, chatOpen, slowModeSeconds: Number(byId<HTMLSelectElement>('slow-mode').value) });
  }

  private send(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<boolean> {
    return sent(() => this.channel()?.send(method, path, body));
  }
}
