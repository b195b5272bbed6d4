// Controls of `<stentor-stage>` for hosts and co-hosts: raised hands, mute all, lock, floor, kick. Owns their
// DOM nodes. Does not decide who is a host; the server does.

import type { RoomChannel } from '../channel/channel.js';
import { queueOf, type ChannelMember, type ChannelState, type Hand } from '../channel/state.js';
import { Items, make, write } from './base.js';

/** Texts of the controls for hosts and co-hosts. */
export interface HostWords {
  hands: string;
  noHands: string;
  invite: string;
  uninvite: string;
  dismiss: string;
  kick: string;
  /** Question before somebody is kicked; `#` is replaced by the name. */
  kickAsk: string;
  muteAll: string;
  lock: string;
  /** `#` is replaced by the minutes. */
  giveFloor: string;
  endFloor: string;
}

export const HOST_WORDS: HostWords = {
  hands: 'Raised hands', noHands: 'No hand is raised.', invite: 'Invite', uninvite: 'Take back', dismiss: 'Lower',
  kick: 'Kick', kickAsk: 'Disconnect # from the room?', muteAll: 'Mute all', lock: 'Lock the room',
  giveFloor: 'Floor for # min', endFloor: 'End the floor',
};

/** Runs a request and shows its failure. */
export type Ask = (request: (channel: RoomChannel) => Promise<unknown>) => unknown;

const FLOOR_MINUTES = 2;

const button = (part: string, click: () => void): HTMLButtonElement =>
  make('button', { part: `button ${part}`, type: 'button', class: 'small', click });

/** Panel above the chat: raised hands and actions on the whole room. */
export class HostPanel {
  readonly node: HTMLElement;
  private readonly title = make('p', { class: 'name' });
  private readonly empty = make('p', { class: 'muted' });
  private readonly muteAll: HTMLButtonElement;
  private readonly lock: HTMLButtonElement;
  private readonly hands: Items<Hand>;
  private words = HOST_WORDS;
  private locked = false;

  constructor(private readonly ask: Ask, private readonly nameOf: (person: { name?: string }) => string) {
    const list = make('ol', { part: 'hands', class: 'hands' });
    this.hands = new Items<Hand>(list, (hand) => this.newHand(hand.person.id), (item, hand) => this.showHand(item, hand));
    this.muteAll = button('mute-all', () => ask((channel) => channel.muteAll()));
    this.lock = button('lock', () => ask((channel) => channel.lock(!this.locked)));
    const row = make('div', { class: 'row' }, this.muteAll, this.lock);
    this.node = make('div', { part: 'host', class: 'chat', role: 'group', hidden: true }, this.title, list, this.empty, row);
  }

  show(state: ChannelState, words: HostWords): void {
    this.words = words;
    this.locked = state.room.locked === true;
    const queue = queueOf(state);
    write(this.title, words.hands);
    write(this.empty, words.noHands);
    this.empty.hidden = queue.length > 0;
    write(this.muteAll, words.muteAll);
    write(this.lock, words.lock);
    this.lock.setAttribute('aria-pressed', String(this.locked));
    this.hands.show(queue, ({ person }) => person.id);
    this.hands.arrange(queue, ({ person }) => person.id);
  }

  private newHand(person: string): HTMLElement {
    const invite = button('invite', () => this.ask((channel) => channel.invite(person, invite.getAttribute('aria-pressed') !== 'true')));
    const lower = button('dismiss', () => this.ask((channel) => channel.lowerHandOf(person)));
    return make('li', { part: 'raised', class: 'row' }, make('bdi', { class: 'name' }), make('span', { class: 'muted text', dir: 'auto' }), invite, lower);
  }

  private showHand(item: HTMLElement, { person, note, invited }: Hand): void {
    const [name, text, invite, lower] = [...item.children] as [HTMLElement, HTMLElement, HTMLElement, HTMLElement];
    const { words } = this;
    write(name, this.nameOf(person));
    write(text, note ?? '');
    write(invite, invited ? words.uninvite : words.invite);
    write(lower, words.dismiss);
    invite.setAttribute('aria-pressed', String(invited));
    for (const action of [invite, lower]) action.setAttribute('aria-label', `${action.textContent}: ${name.textContent}`);
  }
}

/** Adds the actions of hosts and co-hosts to a member's item. */
export function memberActions(item: HTMLElement, member: () => ChannelMember | undefined, ask: Ask, words: () => HostWords & { anonymous: string }): void {
  const kick = button('kick', () => {
    const [now, { kickAsk, anonymous }] = [member(), words()];
    // Pass a function: in a replacement text, `$` in the name would have a special meaning.
    if (now && confirm(kickAsk.replace('#', () => now.name || anonymous))) ask((channel) => channel.kick(now.id));
  });
  const floor = button('floor', () => {
    const now = member();
    const has = floor.getAttribute('aria-pressed') === 'true';
    if (now) ask((channel) => (has ? channel.endFloor() : channel.giveFloor(now.id, FLOOR_MINUTES * 60)));
  });
  item.append(make('span', { class: 'row', hidden: true }, floor, kick));
}

/**
 * Updates the actions of hosts and co-hosts. `shown`: this user moderates, and the member is somebody else.
 */
export function showMemberActions(item: HTMLElement, shown: boolean, hasFloor: boolean, name: string, words: HostWords): void {
  const row = item.lastElementChild as HTMLElement;
  const [floor, kick] = [...row.children] as [HTMLElement, HTMLElement];
  row.hidden = !shown;
  write(floor, hasFloor ? words.endFloor : words.giveFloor.replace('#', String(FLOOR_MINUTES)));
  write(kick, words.kick);
  floor.setAttribute('aria-pressed', String(hasFloor));
  for (const action of [floor, kick]) action.setAttribute('aria-label', `${action.textContent}: ${name}`);
}
