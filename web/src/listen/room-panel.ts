// The room, next to the player: who speaks, reactions, the listener's hand, an invitation, the chat.

import { floorAt, placeOf, REACTIONS, type ChannelState, type RoomChannel, type StentorListener } from '@stentor/client';
import { Chat, sent } from '../channel/chat';
import { artwork, showCover } from '../cover';
import { byId, remembered, write } from '../dom';
import { hue, initials, plain } from '../names';
import { audience, t, type Text } from '../texts';
import { timeOf } from './words';

/** Maximum number of emojis that rise from one button at a time. */
const MAX_SIGNS = 12;
const SECOND_MS = 1000;

const ROLES: Readonly<Record<string, Text>> = { host: 'Host', co_host: 'Co-host' };

export class RoomPanel {
  private readonly channel: RoomChannel;
  private readonly chat: Chat;
  private talking: ReadonlySet<string> = new Set();
  /** Title and cover that the lock screen shows. */
  private told = '';

  /** `accept`: called when the listener takes the invitation. */
  constructor(private readonly listener: StentorListener, private readonly roomId: string, accept: () => void) {
    this.channel = listener.channel;
    listener.on('room', (state) => this.show(state));
    listener.on('stage', () => this.show(listener.roomState));
    // The panel does not work any more; the player shows the reason.
    this.channel.on('refused', () => (byId('channel').hidden = true));
    listener.on('reactions', (counts) => this.rise(counts));
    listener.on('talking', (ids) => {
      this.talking = new Set(ids);
      this.showTalking();
    });
    this.chat = new Chat(() => this.channel);
    for (const [reaction, sign] of Object.entries(REACTIONS)) this.offer(reaction, sign);
    byId('hand').addEventListener('click', () => void this.toggleHand());
    byId<HTMLFormElement>('hand-form').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.raise();
    });
    byId('hand-cancel').addEventListener('click', () => byId<HTMLDialogElement>('hand-dialog').close());
    byId('accept').addEventListener('click', accept);
    byId('decline').addEventListener('click', () => void sent(() => this.channel.send('DELETE', 'hand')));
    listener.follow();
    // The remaining time of the floor.
    window.setInterval(() => listener.roomState.floor && this.showTalking(), SECOND_MS);
  }

  private show(state: ChannelState): void {
    byId('channel').hidden = !state.known;
    document.body.classList.toggle('followed', state.known);
    if (!state.known) return;
    byId('announcement').hidden = state.announcement === null;
    write(byId('announcement'), state.announcement ?? '');
    const { listeners, recorded, title, description, language, coverUrl } = state.room;
    const name = title ?? this.roomId;
    document.title = `${name} · Stentor`;
    write(byId('room'), name);
    showCover(byId<HTMLImageElement>('cover'), coverUrl);
    this.showToSystem(name, coverUrl);
    write(byId('description'), description ?? '');
    byId('description').hidden = !description;
    // An empty `lang` means that the language is not known (HTML section 3.2.6.1).
    for (const id of ['room', 'description']) byId(id).lang = language ?? '';
    byId('recorded').hidden = !recorded;
    write(byId('listeners'), audience(listeners));
    this.showMembers(state);
    this.showHand(state);
    this.chat.show(state);
  }

  /** Shows title and cover on the lock screen. */
  private showToSystem(title: string, coverUrl: string | undefined): void {
    const key = `${title} ${coverUrl}`;
    if (this.told === key || !('mediaSession' in navigator)) return;
    this.told = key;
    navigator.mediaSession.metadata = new MediaMetadata({ title, artist: 'Stentor', artwork: artwork(coverUrl) });
  }

  private showMembers({ members }: ChannelState): void {
    const list = byId('speakers');
    const now = new Map(members.map((member) => [member.id, member]));
    for (const item of [...list.children] as HTMLElement[]) if (!now.has(item.dataset.person!)) item.remove();
    for (const { id, name, role, muted } of members) {
      let item = list.querySelector<HTMLElement>(`[data-person="${id}"]`);
      if (!item) {
        item = document.createElement('li');
        item.className = 'speaker';
        item.dataset.person = id;
        item.append(document.createElement('span'), document.createElement('bdi'), document.createElement('span'));
        item.children[0]!.className = 'avatar small';
        (item.children[0] as HTMLElement).style.setProperty('--hue', String(hue(id)));
        item.children[0]!.setAttribute('aria-hidden', 'true');
        item.children[2]!.className = 'muted speaker-state';
        list.append(item);
      }
      const shown = plain(name ?? '') || t('Speaker');
      write(item.children[0]!, initials(shown));
      write(item.children[1]!, shown);
      item.classList.toggle('muted-member', muted);
      item.classList.toggle('host', role !== 'anchor');
      item.dataset.role = role;
    }
    byId('speakers-empty').hidden = members.length > 0;
    this.showTalking();
  }

  private showTalking(): void {
    for (const item of byId('speakers').children as HTMLCollectionOf<HTMLElement>) {
      const muted = item.classList.contains('muted-member');
      const talking = !muted && this.talking.has(item.dataset.person!);
      item.classList.toggle('talking', talking);
      const role = ROLES[item.dataset.role ?? ''];
      const floor = floorAt(this.channel.state, this.listener.heardTime);
      const has = floor !== null && floor.person === item.dataset.person;
      item.classList.toggle('floor', has);
      const doing: Text | null = talking ? 'Talking' : muted ? 'Muted' : null;
      const words = [role, doing].filter((text) => text != null).map((text) => t(text));
      const state = words.join(' · ') || t('Speaker');
      write(item.children[2]!, has ? t('Has the floor · {time}', { time: timeOf(floor.seconds) }) : state);
    }
  }

  private showHand(state: ChannelState): void {
    const place = placeOf(state, state.you?.id);
    const button = byId<HTMLButtonElement>('hand');
    // Hide the invitation and the hand while the listener is on the stage.
    const listener = state.you?.role === 'listener' && !['speaking', 'reconnecting'].includes(this.listener.stageStatus.state);
    byId('hand-row').hidden = !listener;
    button.disabled = place === null && !state.settings.handsOpen;
    button.setAttribute('aria-pressed', String(place !== null));
    write(byId('hand-text'), t(place === null ? 'Raise hand' : 'Lower hand'));
    const closed = state.settings.handsOpen ? '' : t('Raising hands is switched off.');
    write(byId('hand-place'), place === null ? closed : t('Your hand is up · place {place}', { place }));
    byId('invitation').hidden = !listener || !this.listener.invited;
    byId('hand-name-field').hidden = state.you?.verified === true;
  }

  private async toggleHand(): Promise<void> {
    const { state } = this.channel;
    if (placeOf(state, state.you?.id) !== null) {
      await sent(() => this.channel.send('DELETE', 'hand'));
      return;
    }
    byId<HTMLInputElement>('hand-name').value = remembered.get('name') ?? '';
    byId<HTMLInputElement>('hand-note').value = '';
    byId<HTMLDialogElement>('hand-dialog').showModal();
  }

  private async raise(): Promise<void> {
    const name = byId<HTMLInputElement>('hand-name').value.trim();
    const note = byId<HTMLInputElement>('hand-note').value.trim();
    const named = byId('hand-name-field').hidden;
    if (!named && !name) return byId('hand-name').focus();
    if (!named) remembered.set('name', name);
    const body = { ...(named ? {} : { name }), ...(note ? { note } : {}) };
    if (await sent(() => this.channel.send('POST', 'hand', body))) byId<HTMLDialogElement>('hand-dialog').close();
  }

  private offer(reaction: string, sign: string): void {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'reaction';
    button.dataset.reaction = reaction;
    button.textContent = sign;
    button.setAttribute('aria-label', t('React: {reaction}', { reaction: t(reaction as Text) }));
    button.addEventListener('click', () => void sent(() => this.channel.send('POST', 'reactions', { reaction })));
    byId('reactions').append(button);
  }

  /** Shows an emoji that rises above its button, with the number of reactions. */
  private rise(counts: Record<string, number>): void {
    for (const [reaction, count] of Object.entries(counts)) {
      const button = byId('reactions').querySelector<HTMLElement>(`[data-reaction="${CSS.escape(reaction)}"]`);
      if (!button) continue;
      const sign = document.createElement('span');
      sign.className = 'rising';
      sign.setAttribute('aria-hidden', 'true');
      sign.textContent = `${REACTIONS[reaction]}${count > 1 ? ` ${count}` : ''}`;
      button.append(sign);
      window.setTimeout(() => sign.remove(), 2500);
      while (button.querySelectorAll('.rising').length > MAX_SIGNS) button.querySelector('.rising')!.remove();
    }
  }
}
