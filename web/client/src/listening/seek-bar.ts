// A seek bar: connects a range input and a button of the application with a listener. Keeps the position that
// the user chose until it is heard. Creates no elements.

import type { StentorListener } from '../listener.js';
import { behindInWords, LEAST_BACK_SECONDS } from './past.js';

/** Elements of a seek bar. */
export interface SeekBarParts {
  /** Whole bar; hidden while the listener cannot go back. */
  bar: HTMLElement;
  /** Position in seconds: 0 is live; the minimum, which is negative, is the oldest moment. */
  range: HTMLInputElement;
  /** Button that returns to live; shown as pressed while the listener is near live. */
  live: HTMLButtonElement;
}

/** Texts of a seek bar for screen readers, for translations. */
export interface SeekBarWords {
  live: string;
  /** Returns the text for a position `seconds` before live; `seconds` is a whole number. */
  behind: (seconds: number) => string;
}

const WORDS: SeekBarWords = { live: 'live', behind: behindInWords };
/** Step of the arrow keys, in seconds. */
const STEP_SECONDS = 5;
/** Interval between updates. */
const LOOK_MS = 500;
/** Time without a further key press after which the chosen position is played. */
const SETTLE_MS = 300;
/** Time after a choice after which the bar shows the heard position again, if something is heard. */
const SHOW_CHOSEN_MS = 2000;

/** A seek bar; follows the listener until {@link SeekBar.close}. */
export class SeekBar {
  /** Seconds before live that the user has chosen; null while the bar shows the heard position. */
  private chosen: number | null = null;
  private chosenAt = 0;
  private settling: number | undefined;
  private readonly ended = new AbortController();
  private readonly looking: number;

  constructor(
    private readonly listener: StentorListener, private readonly parts: SeekBarParts, private readonly words: SeekBarWords = WORDS,
  ) {
    const { range, live } = parts;
    const { signal } = this.ended;
    range.step = 'any';
    range.max = '0';
    range.addEventListener('keydown', (event) => this.key(event), { signal });
    range.addEventListener('input', () => this.choose(-Number(range.value)), { signal });
    range.addEventListener('change', () => this.settle(0), { signal });
    live.addEventListener('click', () => this.goLive(), { signal });
    this.looking = setInterval(() => this.show(), LOOK_MS);
    this.show();
  }

  /** Releases elements and listener. */
  close(): void {
    this.ended.abort();
    clearInterval(this.looking);
    clearTimeout(this.settling);
  }

  /**
   * Moves the position with the keys. A range input's own steps are too small for hours: arrows move 5
   * seconds, Page Up and Page Down a minute.
   */
  private key(event: KeyboardEvent): void {
    const { range } = this.parts;
    const now = -Number(range.value);
    const to = new Map([
      ['ArrowLeft', now + STEP_SECONDS], ['ArrowDown', now + STEP_SECONDS], ['PageDown', now + 60],
      ['ArrowRight', now - STEP_SECONDS], ['ArrowUp', now - STEP_SECONDS], ['PageUp', now - 60],
      ['Home', -Number(range.min)], ['End', 0],
    ]).get(event.key);
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const within = Math.min(Math.max(to, 0), -Number(range.min));
    // The first step back from live is longer than the buffered audio.
    this.choose(within > now && within <= LEAST_BACK_SECONDS ? 2 * STEP_SECONDS : within);
    this.settle(SETTLE_MS);
  }

  private choose(seconds: number): void {
    this.chosen = seconds;
    this.chosenAt = Infinity;
    this.show();
  }

  private settle(delay: number): void {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.chosenAt = Date.now();
      this.listener.rewind(this.chosen ?? 0);
      this.show();
    }, delay);
  }

  private goLive(): void {
    clearTimeout(this.settling);
    this.chosen = null;
    this.listener.goLive();
    this.show();
  }

  private show(): void {
    const { bar, range, live } = this.parts;
    const { listener, words } = this;
    const { rewindSeconds: reach, behindLiveSeconds: behind, rewound } = listener;
    if (behind !== null && Date.now() - this.chosenAt > SHOW_CHOSEN_MS) this.chosen = null;
    bar.hidden = reach === 0;
    range.min = String(-reach);
    const before = this.chosen ?? (rewound ? (behind ?? -Number(range.value)) : 0);
    range.value = String(-Math.min(before, reach));
    const isLive = this.chosen === null ? !rewound : this.chosen < LEAST_BACK_SECONDS;
    range.setAttribute('aria-valuetext', isLive ? words.live : words.behind(Math.round(before)));
    live.setAttribute('aria-pressed', String(isLive));
  }
}
