// `<stentor-stage>`: activity in a room, and the controls by which a listener takes part.

import { REACTIONS } from '../channel/channel.js';
import { floorAt, moderates, placeOf, type ChannelMember, type ChannelState, type Message } from '../channel/state.js';
import type { Problem } from '../errors.js';
import { StentorListener, type StageStatus } from '../listener.js';
import { Base, Items, make, shadow, write } from './base.js';
import { HOST_WORDS, HostPanel, memberActions, showMemberActions, type Ask, type HostWords } from './host.js';
import { StentorPlayerElement } from './player.js';

/** Texts of the stage, for translations; `problem` is followed by the server's text. */
export interface StageWords extends HostWords {
  onStage: string;
  nobody: string;
  talking: string;
  muted: string;
  host: string;
  raise: string;
  lower: string;
  /** `#` is replaced by the place in the queue. */
  place: string;
  /** Label of the field for a note to the host. */
  note: string;
  pinned: string;
  invited: string;
  accept: string;
  decline: string;
  entering: string;
  speaking: string;
  mute: string;
  leave: string;
  name: string;
  message: string;
  send: string;
  chat: string;
  chatClosed: string;
  react: string;
  anonymous: string;
  /** Remaining time of the floor: `#` is replaced by the time, such as 1:30. */
  floor: string;
  problem: string;
}

const WORDS: StageWords = {
  ...HOST_WORDS,
  onStage: 'On the stage', nobody: 'Nobody speaks yet.', talking: 'Talking', muted: 'Muted', host: 'Host',
  raise: '✋ Raise hand', lower: '✋ Lower hand', place: 'Your hand is up · place #',
  note: 'Note to the host', pinned: 'Pinned',
  invited: 'The host invites you to speak.', accept: 'Speak', decline: 'Not now',
  entering: 'Going to the stage…', speaking: 'You are on the stage.', mute: 'Mute', leave: 'Leave the stage',
  name: 'Your name', message: 'Message', send: 'Send', chat: 'Chat', chatClosed: 'The chat is closed.',
  react: 'React', anonymous: 'Anonymous', floor: 'has the floor · #', problem: 'That did not work:',
};

const MAX_SIGNS = 12;
const SIGN_MS = 2500;
const NEAR_END_PX = 60;
const SECOND_MS = 1000;

/**
 * Stage of a room.
 *
 * Attributes: `for` (id of the `<stentor-player>` of the same room), `name` (name of a listener whose token
 * has none; without it, the element asks for one), `theme`. Parts: `stage`, `members`, `member`
 * (also `talking` while the member talks), `announcement`, `invitation`, `speaking`, `reactions`, `reaction`,
 * `hand`, `note`, `chat`, `pinned`, `messages`, `message`, `form`, `input`, `button`, `problem`; for hosts
 * and co-hosts also `host`, `hands`, `raised`, `invite`, `dismiss`, `mute-all`, `lock`, `floor`, `kick`.
 */
export class StentorStageElement extends Base {
  static readonly observedAttributes = ['for', 'name'];

  private current: StentorListener | null = null;
  private talking: readonly string[] = [];
  private ownWords: StageWords = WORDS;
  private unfollow: (() => void)[] = [];
  private tick: number | undefined;
  private readonly view = this.build();
  /** Follows the player named by `for` when its listener changes. */
  private readonly changed = ({ target }: Event): void => {
    if (target instanceof StentorPlayerElement && target.id === this.getAttribute('for')) this.listener = target.listener;
  };

  /** Listener whose room is shown; set by `for`, or by the application. */
  get listener(): StentorListener | null {
    return this.current;
  }

  set listener(listener: StentorListener | null) {
    if (listener === this.current) return;
    this.unfollow.splice(0).forEach((end) => end());
    this.current = listener;
    this.talking = [];
    if (listener) {
      this.unfollow = [
        listener.on('room', () => this.show()),
        listener.on('stage', (status) => this.stage(status)),
        listener.on('reactions', (counts) => this.rise(counts)),
        listener.on('talking', (ids) => {
          this.talking = ids;
          this.show();
        }),
        listener.channel.on('refused', (problem) => this.complain(problem)),
      ];
      listener.follow();
    }
    this.complain(null);
    this.show();
  }

  /** Texts of the stage; the defaults apply to texts that are not given. */
  set words(words: Partial<StageWords>) {
    this.ownWords = { ...WORDS, ...words };
    this.show();
  }

  connectedCallback(): void {
    document.addEventListener('listenerchange', this.changed);
    // The remaining time of the floor.
    this.tick = window.setInterval(() => this.current?.roomState.floor && this.show(), SECOND_MS);
    this.find();
    this.show();
  }

  disconnectedCallback(): void {
    document.removeEventListener('listenerchange', this.changed);
    window.clearInterval(this.tick);
    if (this.hasAttribute('for')) queueMicrotask(() => this.isConnected || (this.listener = null));
  }

  attributeChangedCallback(name: string): void {
    if (name === 'for') this.find();
    else this.show();
  }

  private find(): void {
    const id = this.getAttribute('for');
    const player = id && this.isConnected ? (this.getRootNode() as Document | ShadowRoot).getElementById(id) : null;
    if (player instanceof StentorPlayerElement) this.listener = player.listener;
  }

  private build() {
    if (!('attachShadow' in this)) return null as never;
    const root = shadow(this, STYLE);
    const button = (part: string, click: () => void, primary = false): HTMLButtonElement =>
      make('button', { part: `button ${part}`, type: 'button', class: primary ? 'primary' : '', click });
    const title = make('p', { class: 'name' });
    const nobody = make('p', { class: 'muted' });
    const members = make('ul', { part: 'members', class: 'members' });
    const announcement = make('p', { part: 'announcement', class: 'notice', role: 'status', dir: 'auto' });
    const accept = button('accept', () => void this.takeStage(), true);
    const decline = button('decline', () => void this.ask((it) => it.channel.lowerHand()));
    const invitedText = make('p', {});
    const invitation = make('div', { part: 'invitation', class: 'notice row', role: 'alert' }, invitedText, accept, decline);
    const mute = button('mute', () => void this.ask(({ stage }) => (stage?.muted ? stage.unmute() : stage?.mute())));
    const leave = button('leave', () => this.current?.leaveStage());
    const speakingText = make('p', { role: 'status' });
    const speaking = make('div', { part: 'speaking', class: 'notice row', role: 'group' }, speakingText, mute, leave);
    const reactions = make('div', { part: 'reactions', class: 'row', role: 'group' });
    for (const [reaction, sign] of Object.entries(REACTIONS)) {
      const react = (): void => void this.ask((it) => it.channel.react(reaction));
      reactions.append(make('button', { part: 'reaction', class: 'reaction', type: 'button', 'data-reaction': reaction, click: react }, sign));
    }
    const hand = button('hand', () => void this.toggleHand());
    const place = make('span', { class: 'muted', role: 'status' });
    const name = make('input', { part: 'input', type: 'text', maxlength: '64', dir: 'auto', autocomplete: 'nickname' });
    const note = make('input', { part: 'input note', type: 'text', maxlength: '140', dir: 'auto', autocomplete: 'off' });
    const handRow = make('div', { class: 'row' }, hand, note, place);
    const pinnedWord = make('span', { class: 'name' });
    const pinnedName = make('bdi', { class: 'name' });
    const pinnedText = make('span', { class: 'text', dir: 'auto' });
    const pinned = make('p', { part: 'pinned', class: 'notice' }, pinnedWord, ' · ', pinnedName, ' ', pinnedText);
    const messages = make('ol', { part: 'messages', class: 'messages', role: 'log', tabindex: '0' });
    const closed = make('p', { class: 'muted' });
    const text = make('input', { part: 'input', type: 'text', maxlength: '500', dir: 'auto', autocomplete: 'off' });
    const send = make('button', { part: 'button', type: 'submit', class: 'primary' });
    const submit = (event: Event): void => {
      event.preventDefault();
      void this.say();
    };
    const form = make('form', { part: 'form', class: 'row', submit }, text, send);
    const chat = make('div', { part: 'chat', class: 'chat' }, pinned, messages, closed, form);
    const problem = make('p', { part: 'problem', class: 'problem', role: 'alert', hidden: true });
    const host = new HostPanel(this.asHost, ({ name }) => name || this.ownWords.anonymous);
    const stage = make('div', { part: 'stage', class: 'stage' },
      announcement, invitation, speaking, title, members, nobody, host.node, reactions, name, handRow, chat, problem);
    root.append(stage);
    return {
      stage, title, nobody, announcement, invitation, invitedText, accept, decline, speaking, speakingText, mute, leave,
      reactions, hand, handRow, note, place, name, pinned, pinnedWord, pinnedName, pinnedText, chat, messages, closed, text, send, form, problem, host,
      memberItems: new Items<ChannelMember>(members, ({ id }) => this.newMember(id), (item, member) => this.showMember(item, member)),
      messageItems: new Items<Message>(messages, (message) => this.newMessage(message), () => undefined),
    };
  }

  private show(): void {
    const { current, view, ownWords: words } = this;
    const state = current?.roomState;
    view.stage.hidden = !state?.known && view.problem.hidden;
    if (!current || !state?.known) return;
    const status = current.stageStatus.state;
    const onStage = status === 'speaking' || status === 'reconnecting';
    write(view.title, words.onStage);
    view.memberItems.show(state.members, ({ id }) => id);
    write(view.nobody, words.nobody);
    view.nobody.hidden = state.members.length > 0;
    view.announcement.hidden = state.announcement === null;
    write(view.announcement, state.announcement ?? '');
    const listening = state.you?.role === 'listener' && !onStage;
    view.invitation.hidden = !listening || !current.invited;
    view.accept.disabled = status === 'entering';
    write(view.invitedText, status === 'entering' ? words.entering : words.invited);
    write(view.accept, words.accept);
    write(view.decline, words.decline);
    view.speaking.hidden = !onStage;
    write(view.speakingText, status === 'speaking' ? words.speaking : words.entering);
    write(view.mute, words.mute);
    view.mute.setAttribute('aria-pressed', String(current.stage?.muted ?? false));
    write(view.leave, words.leave);
    for (const react of view.reactions.children) react.setAttribute('aria-label', `${words.react}: ${(react as HTMLElement).dataset.reaction}`);
    this.showHand(state, listening, words);
    view.host.node.hidden = !moderates(state.you);
    if (moderates(state.you)) view.host.show(state, words);
    this.showChat(state, words);
  }

  private showHand(state: ChannelState, listening: boolean, words: StageWords): void {
    const { view } = this;
    const place = placeOf(state, state.you?.id);
    view.handRow.hidden = !listening;
    view.hand.disabled = place === null && !state.settings.handsOpen;
    view.hand.setAttribute('aria-pressed', String(place !== null));
    write(view.hand, place === null ? words.raise : words.lower);
    view.note.hidden = place !== null || !state.settings.handsOpen;
    view.note.placeholder = words.note;
    view.note.setAttribute('aria-label', words.note);
    write(view.place, place === null ? '' : words.place.replace('#', String(place)));
    view.name.hidden = state.you?.verified === true || this.hasAttribute('name') || !listening;
    view.name.placeholder = words.name;
    view.name.setAttribute('aria-label', words.name);
  }

  private showChat(state: ChannelState, words: StageWords): void {
    const { view } = this;
    const { messages } = view;
    const atEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < NEAR_END_PX;
    view.messageItems.show(state.messages, ({ id }) => String(id));
    if (atEnd) messages.scrollTop = messages.scrollHeight;
    const { pinned } = state;
    view.pinned.hidden = pinned === null;
    write(view.pinnedWord, words.pinned);
    write(view.pinnedName, pinned?.person.name || words.anonymous);
    write(view.pinnedText, pinned?.text ?? '');
    messages.setAttribute('aria-label', words.chat);
    messages.hidden = state.messages.length === 0;
    const open = state.settings.chatOpen || state.you?.role !== 'listener';
    view.form.hidden = !open;
    view.closed.hidden = open;
    write(view.closed, words.chatClosed);
    view.text.placeholder = words.message;
    view.text.setAttribute('aria-label', words.message);
    write(view.send, words.send);
  }

  private showMember(item: HTMLElement, { id, name, role, muted }: ChannelMember): void {
    const { ownWords: words } = this;
    const talking = !muted && this.talking.includes(id);
    const state = this.current!.roomState;
    const floor = floorAt(state, this.current!.heardTime);
    const has = floor?.person === id;
    item.setAttribute('part', talking ? 'member talking' : 'member');
    item.classList.toggle('talking', talking);
    write(item.children[0]!, name || words.anonymous);
    const doing = talking ? words.talking : muted ? words.muted : role !== 'anchor' ? words.host : '';
    write(item.children[1]!, has ? words.floor.replace('#', clock(floor.seconds)) : doing);
    item.classList.toggle('floor', has);
    showMemberActions(item, moderates(state.you) && state.you?.id !== id, has, name || words.anonymous, words);
  }

  private newMember(id: string): HTMLElement {
    const item = make('li', { class: 'member' }, make('bdi', { class: 'name' }), make('span', { class: 'muted' }));
    const member = (): ChannelMember | undefined => this.current?.roomState.members.find((it) => it.id === id);
    memberActions(item, member, this.asHost, () => this.ownWords);
    return item;
  }

  private get asHost(): Ask {
    return (request) => this.ask((it) => request(it.channel));
  }

  private newMessage({ person, text }: Message): HTMLElement {
    const name = make('bdi', { class: 'name' }, person.name || this.ownWords.anonymous);
    return make('li', { part: 'message' }, name, make('p', { dir: 'auto', class: 'text' }, text));
  }

  /** Name to send if the listener's token has no name; `null` if the token has one. */
  private get ownName(): { name: string } | null {
    if (this.current?.roomState.you?.verified) return null;
    return { name: this.getAttribute('name') ?? this.view.name.value.trim() };
  }

  /** Returns true if a name is missing, and moves the focus to the field for the name. */
  private asksName(): boolean {
    const missing = this.ownName?.name === '';
    if (missing) this.view.name.focus();
    return missing;
  }

  private async toggleHand(): Promise<void> {
    const { roomState } = this.current!;
    if (placeOf(roomState, roomState.you?.id) !== null) return void this.ask((it) => it.channel.lowerHand());
    if (this.asksName()) return;
    const note = this.view.note.value.trim();
    const hand = { ...this.ownName, ...(note ? { note } : {}) };
    if (await this.ask((it) => it.channel.raiseHand(hand))) this.view.note.value = '';
  }

  private async say(): Promise<void> {
    const { text } = this.view;
    const words = text.value.trim();
    if (!words) return text.focus();
    if (this.asksName()) return;
    if (await this.ask((it) => it.channel.say(words, this.ownName ?? {}))) text.value = '';
    text.focus();
  }

  private async takeStage(): Promise<void> {
    const { ownName } = this;
    await this.ask((it) => it.takeStage(ownName?.name ? { displayName: ownName.name } : {}));
  }

  private stage({ state }: StageStatus): void {
    const room = this.current?.stage;
    // The listener sets its `stage` once per visit, and then emits this state, so each room gets one handler.
    if (state === 'entering' && room) room.on('muted', () => this.show());
    this.show();
  }

  /** Runs a request; returns true if it succeeded. */
  private async ask(request: (listener: StentorListener) => Promise<unknown> | undefined): Promise<boolean> {
    try {
      if (this.current) await request(this.current);
      this.complain(null);
      return true;
    } catch (thrown) {
      const problem = thrown as Problem;
      if (problem.code !== 'left') this.complain(problem);
      return false;
    }
  }

  private complain(problem: Problem | null): void {
    this.view.problem.hidden = problem === null;
    write(this.view.problem, problem ? `${this.ownWords.problem} ${problem.message}.` : '');
    if (problem) this.show();
  }

  /** Shows emojis that rise above the buttons. */
  private rise(counts: Record<string, number>): void {
    for (const [reaction, count] of Object.entries(counts)) {
      const button = [...this.view.reactions.children].find((it) => (it as HTMLElement).dataset.reaction === reaction);
      if (!button) continue;
      const sign = make('span', { class: 'rising', 'aria-hidden': 'true' }, `${REACTIONS[reaction]}${count > 1 ? ` ${count}` : ''}`);
      button.append(sign);
      setTimeout(() => sign.remove(), SIGN_MS);
      while (button.querySelectorAll('.rising').length > MAX_SIGNS) button.querySelector('.rising')!.remove();
    }
  }
}

/** Formats seconds as minutes and seconds, such as 1:30. */
const clock = (seconds: number): string => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;

const STYLE = `
.stage { display: grid; gap: .75rem; padding: 1rem; border: 1px solid var(--line); border-radius: var(--radius); background: var(--surface); }
.notice { padding: .75rem 1rem; border: 1px solid var(--accent); border-radius: var(--radius); }
.notice.row p { flex: 1 1 100%; }
.members { display: flex; flex-wrap: wrap; gap: .5rem; }
.member { display: grid; min-width: 6rem; padding: .25rem 1rem; border: 1px solid var(--line); border-radius: var(--radius); transition: border-color .15s; }
.member.talking { border-color: var(--good); }
.member.talking .muted { color: var(--good); }
.member.floor { border-color: var(--accent); }
.hands { display: grid; gap: .5rem; }
.hands .text { flex: 1 1 8rem; }
.member .muted { min-height: 1.5em; }
.reaction { position: relative; width: 2.75rem; padding: 0; border-radius: 50%; background: var(--sunken); font-size: 1.25rem; }
.rising { position: absolute; bottom: 100%; left: 50%; translate: -50% 0; opacity: 0; white-space: nowrap; pointer-events: none; animation: rise 2.4s ease-out; }
@keyframes rise { from { opacity: 1; transform: translateY(2rem); } }
.chat { display: grid; gap: .75rem; }
.messages { display: grid; gap: .5rem; align-content: start; max-height: var(--stentor-chat-height, 16rem); overflow-y: auto; overscroll-behavior: contain; }
.text { overflow-wrap: anywhere; }
.problem { color: var(--bad); }
`;
