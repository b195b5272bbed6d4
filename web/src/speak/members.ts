// Cards of the users in the room, kept across changes so that the focus stays.

import type { Member, Role } from '@stentor/client';
import { clone, write } from '../dom';
import { hue, initials, isolated, plain } from '../names';

/** Action of a host or co-host on another user. */
export type Act = (what: 'mute' | 'unmute' | 'kick' | 'remove' | 'host' | 'co_host' | 'anchor' | 'listener' | 'transfer', member: Member) => void;

/** With this number of people or more, the cards are small, and hosts open the actions on request. */
const CROWD = 7;

export class Members {
  private readonly cards = new Map<string, HTMLElement>();
  private shown = new Map<string, Member>();

  constructor(
    private readonly list: HTMLElement,
    private readonly act: Act,
  ) {}

  /** Updates the cards. Returns the users who came and went since the last call; none at the first. */
  show(members: Member[], mine: Role | null): { came: Member[]; went: Member[] } {
    const first = this.shown.size === 0;
    const now = new Map(members.map((member) => [member.userId, member]));
    const came = first ? [] : members.filter(({ userId }) => !this.shown.has(userId));
    const went = [...this.shown.values()].filter(({ userId }) => !now.has(userId));
    this.shown = now;
    this.list.classList.toggle('crowd', members.length >= CROWD);
    for (const { userId } of went) {
      this.cards.get(userId)?.remove();
      this.cards.delete(userId);
    }
    // This user's card first, then the others in the server's order.
    for (const member of [...members].sort((a, b) => Number(b.me) - Number(a.me))) this.card(member, mine);
    return { came, went };
  }

  clear(): void {
    this.cards.clear();
    this.shown.clear();
    this.list.replaceChildren();
  }

  private card(member: Member, mine: Role | null): void {
    const { userId } = member;
    const card = this.cards.get(userId) ?? this.make(member);
    const name = nameOf(member);
    write(card.querySelector('.name')!, name);
    write(card.querySelector('.avatar')!, initials(name));
    write(card.querySelector('.member-state')!, activity(member));
    card.classList.toggle('talking', member.talking && !member.muted);
    card.classList.toggle('muted-member', member.muted);
    card.classList.toggle('me', member.me);
    card.classList.toggle('software', member.source === 'whip');
    card.classList.toggle('host', member.role !== 'anchor');
    write(card.querySelector('.tag.host')!, member.role === 'co_host' ? 'co-host' : 'host');
    // A co-host moderates, but bans only speakers; roles are changed by hosts.
    const moderator = !member.me && (mine === 'host' || mine === 'co_host');
    const above = mine === 'host' || (mine === 'co_host' && member.role === 'anchor');
    card.querySelector<HTMLElement>('.member-actions')!.hidden = !moderator;
    const more = card.querySelector<HTMLElement>('.more')!;
    more.hidden = !moderator || !this.list.classList.contains('crowd');
    more.setAttribute('aria-label', `Actions for ${isolated(name)}`);
    for (const button of card.querySelectorAll<HTMLElement>('[data-do=kick], [data-do=remove]')) button.hidden = !above;
    const role = card.querySelector<HTMLSelectElement>('[data-do=role]')!;
    role.hidden = mine !== 'host';
    role.value = member.role;
    role.setAttribute('aria-label', `Role of ${isolated(name)}`);
    const mute = card.querySelector<HTMLButtonElement>('[data-do=mute]');
    if (mute) write(mute, member.muted ? 'Unmute' : 'Mute');
    mute?.setAttribute('aria-label', `${member.muted ? 'Unmute' : 'Mute'} ${isolated(name)}`);
    card.querySelector('[data-do=kick]')?.setAttribute('aria-label', `Kick ${isolated(name)} out of the room`);
    card.querySelector('[data-do=remove]')?.setAttribute('aria-label', `Ban ${isolated(name)} from the room`);
  }

  private make(member: Member): HTMLElement {
    const { userId } = member;
    const card = clone('member-card');
    card.dataset.user = userId;
    card.querySelector<HTMLElement>('.avatar')!.style.setProperty('--hue', String(hue(userId)));
    const more = card.querySelector('.more')!;
    more.addEventListener('click', () => more.setAttribute('aria-expanded', String(card.classList.toggle('open'))));
    const actions = card.querySelector('.member-actions')!;
    actions.addEventListener('click', (event) => {
      const what = (event.target as HTMLElement).dataset.do;
      const now = this.shown.get(userId);
      if (now && what === 'mute') this.act(now.muted ? 'unmute' : 'mute', now);
      if (now && (what === 'kick' || what === 'remove')) this.act(what, now);
    });
    actions.addEventListener('change', (event) => {
      const select = event.target as HTMLSelectElement;
      const now = this.shown.get(userId);
      if (!now) return;
      const wanted = select.value as Role | 'listener' | 'transfer';
      // Show the present role until the server reports the change.
      select.value = now.role;
      this.act(wanted, now);
    });
    this.cards.set(userId, card);
    this.list.append(card);
    return card;
  }
}

export const nameOf = ({ displayName, userId }: Member): string => plain(displayName ?? '') || plain(userId);

function activity({ muted, talking, status, source }: Member): string {
  if (muted) return 'Muted';
  if (talking) return 'Talking';
  if (source === 'whip' && status === 'idle') return 'No sound arrives';
  return status === 'onair' ? 'On air' : 'Listening';
}
