// Cards of the users in the room, kept across changes so that the focus stays.

import { floorAt, type ChannelState, type Member, type Role } from '@stentor/client';
import { clone, write } from '../dom';
import { timeOf } from '../listen/words';
import { hue, initials, isolated, plain } from '../names';
import { t } from '../texts';

/** Action of a host or co-host on another user. */
export type Act = (what: 'mute' | 'unmute' | 'kick' | 'remove' | 'host' | 'co_host' | 'anchor' | 'listener' | 'transfer' | 'floor', member: Member) => void;

/** With this number of people or more, the cards are small, and a button on each card opens the actions. */
const CROWD = 7;
/** Duration of the floor that a user gets, in minutes. */
export const FLOOR_MINUTES = 2;
/** Shortest speaking time that is shown, in milliseconds. */
const SHOWN_MS = 1000;

export class Members {
  private readonly cards = new Map<string, HTMLElement>();
  private shown = new Map<string, Member>();

  constructor(
    private readonly list: HTMLElement,
    private readonly act: Act,
  ) {}

  /**
   * Shows who has the floor and, to hosts and co-hosts, the speaking times. `now`: the server's current time.
   */
  showStage(state: ChannelState, now: number | null, host: boolean): void {
    const floor = floorAt(state, now);
    for (const [userId, card] of this.cards) {
      const { personId } = this.shown.get(userId) ?? {};
      const has = floor !== null && floor.person === personId;
      const spoken = personId === undefined ? 0 : (state.spoken[personId] ?? 0);
      card.classList.toggle('floor', has);
      const time = host && spoken >= SHOWN_MS ? t('{time} spoken', { time: timeOf(spoken / 1000) }) : '';
      write(card.querySelector('.member-floor')!, has ? t('Has the floor · {time}', { time: timeOf(floor.seconds) }) : time);
      const give = card.querySelector<HTMLElement>('[data-do=floor]')!;
      give.hidden = personId === undefined;
      give.setAttribute('aria-pressed', String(has));
      write(give, has ? t('End the floor') : t('Floor for {minutes} min', { minutes: FLOOR_MINUTES }));
    }
  }

  /**
   * Updates the cards. Returns the users who came and went since the last call; no one if no users were
   * known.
   */
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
    write(card.querySelector('.tag.host')!, t(member.role === 'co_host' ? 'co-host' : 'host'));
    // Of the users in the room, a co-host can kick and ban only anchors. Only hosts can change roles.
    const moderator = !member.me && (mine === 'host' || mine === 'co_host');
    const above = mine === 'host' || (mine === 'co_host' && member.role === 'anchor');
    card.querySelector<HTMLElement>('.member-actions')!.hidden = !moderator;
    const more = card.querySelector<HTMLElement>('.more')!;
    more.hidden = !moderator || !this.list.classList.contains('crowd');
    const about = { name: isolated(name) };
    more.setAttribute('aria-label', t('Actions for {name}', about));
    for (const button of card.querySelectorAll<HTMLElement>('[data-do=kick], [data-do=remove]')) button.hidden = !above;
    const role = card.querySelector<HTMLSelectElement>('[data-do=role]')!;
    role.hidden = mine !== 'host';
    role.value = member.role;
    role.setAttribute('aria-label', t('Role of {name}', about));
    const mute = card.querySelector<HTMLButtonElement>('[data-do=mute]');
    if (mute) write(mute, t(member.muted ? 'Unmute' : 'Mute'));
    mute?.setAttribute('aria-label', t(member.muted ? 'Unmute {name}' : 'Mute {name}', about));
    card.querySelector('[data-do=kick]')?.setAttribute('aria-label', t('Kick {name} out of the room', about));
    card.querySelector('[data-do=remove]')?.setAttribute('aria-label', t('Ban {name} from the room', about));
  }

  private make(member: Member): HTMLElement {
    const { userId } = member;
    const card = clone('member-card');
    card.dataset.user = userId;
    // The listen page knows people only by `personId`. Using it here gives a person the same colour on both
    // pages.
    card.querySelector<HTMLElement>('.avatar')!.style.setProperty('--hue', String(hue(member.personId ?? userId)));
    const more = card.querySelector('.more')!;
    more.addEventListener('click', () => more.setAttribute('aria-expanded', String(card.classList.toggle('open'))));
    const actions = card.querySelector('.member-actions')!;
    actions.addEventListener('click', (event) => {
      const what = (event.target as HTMLElement).dataset.do;
      const now = this.shown.get(userId);
      if (now && what === 'mute') this.act(now.muted ? 'unmute' : 'mute', now);
      if (now && (what === 'kick' || what === 'remove' || what === 'floor')) this.act(what, now);
    });
    actions.addEventListener('change', (event) => {
      const select = event.target as HTMLSelectElement;
      const now = this.shown.get(userId);
      if (!now) return;
      const wanted = select.value as Role | 'listener' | 'transfer';
      // Show the current role until the server reports the change.
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
  if (muted) return t('Muted');
  if (talking) return t('Talking');
  if (source && status === 'idle') return t('No sound arrives');
  return t(source === 'url' || source === 'file' ? 'Playing' : status === 'onair' ? 'On air' : 'Listening');
}
