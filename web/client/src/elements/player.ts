// `<stentor-player>`: play, state, volume of one room.

import { StentorError } from '../errors.js';
import { StentorListener, type ListenerStatus } from '../listener.js';
import type { PlaybackState } from '../listening/player.js';
import { SeekBar } from '../listening/seek-bar.js';
import type { HlsClass, HlsLoader } from '../listening/hls.js';
import type { Token } from '../tokens.js';
import { Base, make, shadow, write } from './base.js';

/** Texts of the player, for translations. */
export interface PlayerWords extends Record<PlaybackState, string> {
  play: string;
  pause: string;
  mute: string;
  volume: string;
  muted: string;
  off: string;
  /** Name of the state in which the listener hears the past. */
  past: string;
  live: string;
  position: string;
}

const WORDS: PlayerWords = {
  play: 'Play', pause: 'Pause', mute: 'Mute', volume: 'Volume', muted: 'Muted', off: 'No room',
  past: 'Behind live', live: 'Live', position: 'Position',
  idle: 'Press play to listen', connecting: 'Connecting…', ready: 'On air. Press play to listen', playing: 'Live',
  buffering: 'Buffering…', paused: 'Paused', waiting: 'Not on air. It starts here by itself', failed: 'This room cannot be played',
};

/** Events of `<stentor-player>`. */
export interface PlayerElementEvents {
  /** Any change of the playback state. */
  statechange: CustomEvent<ListenerStatus>;
  /**
   * The element has a different listener or none, because `url` or `token` was set or the element was
   * removed. Bubbles.
   */
  listenerchange: CustomEvent<StentorListener | null>;
}

const ICON = '<svg viewBox="0 0 24 24" width="28" height="28" fill="currentColor" aria-hidden="true"><path class="on" d="M8 5.5v13l11-6.5z"/><path class="off" d="M7 5h3.500v14H7zM13.500 5H17v14h-3.500z"/></svg>';

/**
 * Player of a room.
 *
 * Attributes: `url` (`hlsUrl` of the API), `token`, `autoplay`, `label` (name shown; default: the room's id),
 * `theme` (`light` or `dark`; default: the system's). Parts: `player`, `play`, `label`, `state`, `mute`,
 * `volume`, `past`, `seek`, `live`. The seek bar needs the channel, which a `<stentor-stage>` or
 * `listener.follow()` opens.
 */
export class StentorPlayerElement extends Base {
  static readonly observedAttributes = ['url', 'token', 'label'];
  /** hls.js for all elements; default: `hls.js/light`, loaded when the first room is played. */
  // @ts-ignore: only the full build of hls.js has types.
  static hls: HlsClass | HlsLoader | undefined = () => import('hls.js/light') as Promise<{ default: HlsClass }>;

  private current: StentorListener | null = null;
  private seekBar: SeekBar | null = null;
  private tokenSource: Token | null = null;
  private ownWords: PlayerWords = WORDS;
  private invalid = false;
  private settled = true;
  /** URL and token of the current listener. */
  private used: { url: string; token: Token } = { url: '', token: '' };
  private readonly view = this.build();

  /** URL of the room's playlist. */
  get url(): string {
    return this.getAttribute('url') ?? '';
  }

  set url(url: string) {
    this.setAttribute('url', url);
  }

  /** Token of the listener, or a function that provides one. */
  get token(): Token {
    return this.tokenSource ?? this.getAttribute('token') ?? '';
  }

  set token(token: Token) {
    this.tokenSource = token;
    this.renew();
  }

  /** Listener of the room, for uses of the library beyond this element; `null` without a valid `url`. */
  get listener(): StentorListener | null {
    return this.current;
  }

  /** Texts of the player; the defaults apply to texts that are not given. */
  set words(words: Partial<PlayerWords>) {
    this.ownWords = { ...WORDS, ...words };
    this.show();
  }

  /** Plays the room. */
  play(): void {
    this.current?.play();
  }

  /** Pauses the sound. */
  pause(): void {
    this.current?.pause();
  }

  connectedCallback(): void {
    this.renew();
  }

  disconnectedCallback(): void {
    // An element that is only moved is connected again at once.
    queueMicrotask(() => this.isConnected || this.use(null));
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (name === 'label') this.show();
    else if (before !== after) this.renew();
  }

  /** Opens a listener for the current URL and token: one listener for all changes made in one task. */
  private renew(): void {
    if (!this.settled) return;
    this.settled = false;
    queueMicrotask(() => {
      this.settled = true;
      if (!this.isConnected) return;
      const { url, token } = this;
      if (this.current && this.used.url === url && this.used.token === token) return;
      this.used = { url, token };
      this.use(url ? this.open() : null);
    });
  }

  private open(): StentorListener | null {
    try {
      this.invalid = false;
      const { hls } = StentorPlayerElement;
      return new StentorListener({ url: this.url, token: this.token, ...(hls ? { hls } : {}) });
    } catch (thrown) {
      if (!(thrown instanceof StentorError)) throw thrown;
      this.invalid = true;
      return null;
    }
  }

  private use(listener: StentorListener | null): void {
    if (!listener && !this.current) return this.show();
    this.current?.close();
    this.seekBar?.close();
    this.seekBar = null;
    this.current = listener;
    if (listener) {
      const { past, seek, live } = this.view;
      this.seekBar = new SeekBar(listener, { bar: past, range: seek, live });
      listener.on('state', (detail) => {
        if (listener !== this.current) return;
        this.show();
        this.dispatchEvent(new CustomEvent('statechange', { detail }));
      });
      const { audio } = listener;
      audio.volume = Number(this.view.volume.value) / 100;
      audio.addEventListener('volumechange', () => this.show());
      if (this.hasAttribute('autoplay')) listener.play();
    }
    this.show();
    this.dispatchEvent(new CustomEvent('listenerchange', { detail: listener, bubbles: true, composed: true }));
  }

  private build() {
    // A page that is rendered on a server has no shadow DOM.
    if (!('attachShadow' in this)) return null as never;
    const root = shadow(this, STYLE);
    const play = make('button', { part: 'play', class: 'primary play', type: 'button', click: () => this.toggle() });
    play.innerHTML = ICON;
    const label = make('bdi', { part: 'label', class: 'name' });
    const state = make('span', { part: 'state', class: 'muted', role: 'status' });
    const mute = make('button', { part: 'mute', type: 'button', 'aria-pressed': 'false', click: () => this.setMuted() });
    const volume = make('input', { part: 'volume', type: 'range', min: '0', max: '100', value: '100', input: () => this.setVolume() });
    const seek = make('input', { part: 'seek', type: 'range', min: '0', max: '0', value: '0' });
    const live = make('button', { part: 'live', type: 'button', 'aria-pressed': 'true' });
    const past = make('p', { part: 'past', class: 'row past', hidden: true }, seek, live);
    root.append(make('div', { part: 'player', class: 'player' }, play, make('p', { class: 'text' }, label, state), make('p', { class: 'row sound' }, mute, volume), past));
    return { play, label, state, mute, volume, seek, live, past };
  }

  private toggle(): void {
    if (this.current?.audio.paused) this.play();
    else this.pause();
  }

  private setMuted(): void {
    const { current } = this;
    if (current) current.audio.muted = !current.audio.muted;
  }

  private setVolume(): void {
    const { current } = this;
    if (!current) return;
    current.audio.volume = Number(this.view.volume.value) / 100;
    current.audio.muted = false;
  }

  private show(): void {
    const { current, ownWords: words } = this;
    const { play, label, state, mute, volume, seek, live } = this.view;
    const status = current?.status.state;
    const on = status === 'playing' || status === 'buffering';
    const silent = current?.audio.muted ?? false;
    this.dataset.state = status ?? 'idle';
    play.classList.toggle('on', on);
    play.setAttribute('aria-label', on ? words.pause : words.play);
    play.disabled = !current || status === 'failed';
    write(label, this.getAttribute('label') || (current?.room ?? ''));
    write(state, this.invalid ? words.failed : !status ? words.off : status === 'playing' && silent ? words.muted : status === 'playing' && current?.rewound ? words.past : words[status]);
    write(mute, words.mute);
    mute.setAttribute('aria-pressed', String(silent));
    volume.setAttribute('aria-label', words.volume);
    seek.setAttribute('aria-label', words.position);
    write(live, words.live);
  }
}

export interface StentorPlayerElement {
  addEventListener<Name extends keyof PlayerElementEvents>(
    type: Name, listener: (event: PlayerElementEvents[Name]) => void, options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

const STYLE = `
.player {
  display: flex; flex-wrap: wrap; gap: .75rem 1rem; align-items: center; padding: 1rem;
  border: 1px solid var(--line); border-radius: var(--radius); background: var(--surface);
}
.play { display: grid; place-items: center; width: 3.5rem; height: 3.5rem; padding: 0; border-radius: 50%; }
.play .off, .play.on .on { display: none; }
.play.on .off { display: inline; }
.text { display: grid; flex: 1 1 10rem; min-width: 0; }
:host([data-state='playing']) [part='state'] { color: var(--good); }
:host([data-state='failed']) [part='state'] { color: var(--bad); }
.past { flex: 1 1 100%; flex-wrap: nowrap; }
.past[hidden] { display: none; }
.past input { flex: 1; min-width: 0; accent-color: var(--accent); }
[part='live'][aria-pressed='true'] { color: var(--good); }
.sound { flex-wrap: nowrap; }
.sound input { width: 6rem; accent-color: var(--accent); }
`;
