// The chat of a room: messages, the pinned message, and the input field. Hosts and co-hosts also delete and
// pin.

import { moderates, StentorError, type ChannelState, type Message, type Person, type Problem, type RoomChannel } from '@stentor/client';
import { byId, remembered, toast, write } from '../dom';
import { isolated, plain } from '../names';
import { t, type Text } from '../texts';

const NEAR_END_PX = 60;

export class Chat {
  private readonly list = byId('messages');
  private readonly items = new Map<number, HTMLElement>();
  private host = false;
  private readonly form = byId<HTMLFormElement>('say');
  private readonly input = byId<HTMLInputElement>('say-text');
  private readonly name = byId<HTMLInputElement>('say-name');

  /**
   * `ownName`: the name that the user has already given on this page; without it, the form asks for one.
   * `ban`: asks the user for confirmation, then bans the author of a message; without it, messages have no
   * button for that.
   */
  constructor(
    private readonly channel: () => RoomChannel | null,
    private readonly ownName: () => string = () => '',
    private readonly ban?: (person: Person) => void,
  ) {
    this.name.value = remembered.get('name') ?? '';
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.send();
    });
    byId('unpin').addEventListener('click', () => void this.ask('DELETE', 'pinned'));
    this.list.addEventListener('click', (event) => {
      const button = (event.target as HTMLElement).closest<HTMLElement>('[data-do]');
      const id = Number(button?.closest<HTMLElement>('[data-message]')?.dataset.message);
      if (!button || !id) return;
      const author = this.channel()?.state.messages.find((message) => message.id === id)?.person;
      if (button.dataset.do === 'pin') void this.ask('PUT', 'pinned', { message: id });
      else if (button.dataset.do === 'ban') author && this.ban?.(author);
      else void this.ask('DELETE', `chat/${id}`);
    });
  }

  show(state: ChannelState): void {
    const host = moderates(state.you);
    const open = state.settings.chatOpen || state.you?.role !== 'listener';
    this.form.hidden = !open;
    byId('chat-closed').hidden = open;
    byId('say-name-field').hidden = state.you?.verified === true || this.ownName() !== '';
    byId('pinned').hidden = state.pinned === null;
    byId('unpin').hidden = !host;
    if (state.pinned) write(byId('pinned-text'), `${isolated(nameOf(state.pinned))}: ${state.pinned.text}`);
    this.showMessages(state.messages, host, state.you?.id);
    byId('chat-empty').hidden = state.messages.length > 0;
  }

  private showMessages(messages: Message[], host: boolean, me: string | undefined): void {
    // Hosts and co-hosts get different buttons, so draw all messages again.
    if (host !== this.host) {
      this.items.clear();
      this.list.replaceChildren();
      this.host = host;
    }
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR_END_PX;
    const ids = new Set(messages.map(({ id }) => id));
    for (const [id, item] of this.items) {
      if (ids.has(id)) continue;
      item.remove();
      this.items.delete(id);
    }
    for (const message of messages) {
      if (this.items.has(message.id)) continue;
      const item = this.item(message, host, me);
      this.items.set(message.id, item);
      this.list.append(item);
    }
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  private item(message: Message, host: boolean, me: string | undefined): HTMLElement {
    const item = document.createElement('li');
    item.className = 'message';
    item.dataset.message = String(message.id);
    const head = document.createElement('p');
    head.className = 'message-head';
    const name = nameOf(message);
    const author = document.createElement('bdi');
    author.className = 'strong';
    author.textContent = name;
    head.append(author);
    if (message.person.role !== 'listener') head.append(tag(message.person.role));
    if (message.person.id === me) head.append(tag('you'));
    const text = document.createElement('p');
    text.className = 'message-text';
    text.dir = 'auto';
    text.textContent = message.text;
    item.append(head, text);
    const actions = document.createElement('p');
    actions.className = 'message-actions';
    if (host) actions.append(action('pin', 'Pin', t('Pin the message of {name}', { name })));
    if (host || message.person.id === me) actions.append(action('delete', 'Delete', t('Delete the message of {name}', { name })));
    if (host && this.ban && message.person.id !== me) actions.append(action('ban', 'Ban', t('Ban {name} from the room', { name })));
    if (actions.hasChildNodes()) item.append(actions);
    return item;
  }

  private async send(): Promise<void> {
    const text = this.input.value.trim();
    const name = this.ownName() || this.name.value.trim();
    const named = this.channel()?.state.you?.verified === true;
    if (!named && !name) return this.name.focus();
    if (!text) return this.input.focus();
    if (!named) remembered.set('name', name);
    if (await this.ask('POST', 'chat', named ? { text } : { text, name })) this.input.value = '';
    this.input.focus();
  }

  private async ask(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<boolean> {
    return sent(() => this.channel()?.send(method, path, body));
  }
}

/** Sends a request; shows a short-lived message if it fails. Returns true if it succeeded. */
export async function sent(send: () => Promise<unknown> | undefined): Promise<boolean> {
  try {
    await send();
    return true;
  } catch (error) {
    toast(error instanceof StentorError ? refused(error) : t('The server does not answer. Try again in a moment.'));
    return false;
  }
}

const TAGS: Readonly<Record<string, Text>> = { host: 'host', co_host: 'co-host', anchor: 'speaker', you: 'you' };

const WORDS: Readonly<Record<string, Text>> = {
  slow_mode: 'Slow mode is on: wait a little before the next message.',
  too_many_requests: 'That was too fast. Wait a moment.',
  chat_closed: 'The chat is closed.',
  hands_closed: 'Raising hands is switched off in this room.',
  hands_full: 'Too many hands are raised. Try again later.',
  name_required: 'Enter your name first.',
  invalid_name: 'This name cannot be shown. Choose another one.',
  invalid_text: 'This text is too long, or has characters that cannot be shown.',
  room_locked: 'The room is locked. Your invitation stays open until a host unlocks it.',
  not_invited: 'The invitation is no longer open.',
  user_removed: 'A host removed you from this room.',
  person_not_found: 'This person is no longer known here.',
  too_many_users: 'This room has the maximum number of bans and assigned roles. Lift some bans first.',
  token_expired: 'Your link has expired. Ask for a new one.',
  gone: 'The server does not answer. Try again in a moment.',
};

/** Returns the text for a refused channel request. */
export const refused = ({ code, message }: Problem): string => (WORDS[code] ? t(WORDS[code]) : t('That was refused: {message}.', { message }));

export const nameOf = ({ person }: { person: { name?: string } }): string => plain(person.name ?? '') || t('Anonymous');

function tag(what = ''): HTMLElement {
  const element = document.createElement('span');
  element.className = what === 'host' ? 'tag host' : 'tag';
  const text = TAGS[what];
  element.textContent = text ? t(text) : '';
  return element;
}

function action(what: string, text: Text, label: string): HTMLElement {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'link';
  button.dataset.do = what;
  button.textContent = t(text);
  button.setAttribute('aria-label', label);
  return button;
}
