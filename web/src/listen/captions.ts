// Captions of the room below the player, switched on and off by the listener.

import type { Caption, StentorListener } from '@stentor/client';
import { byId, remembered, write } from '../dom';
import { language } from '../texts';

const ON = 'on';

export class Captions {
  private readonly button = byId<HTMLButtonElement>('captions');
  private shown: Caption | null = null;
  private on = remembered.get('captions') === ON;

  constructor(listener: StentorListener) {
    listener.captionLanguage = language;
    listener.on('caption', (caption) => {
      // A room without a recogniser needs no switch.
      if (caption) this.button.hidden = false;
      this.shown = caption;
      this.show();
    });
    this.button.addEventListener('click', () => this.toggle());
    this.show();
  }

  private toggle(): void {
    this.on = !this.on;
    remembered.set('captions', this.on ? ON : 'off');
    this.show();
  }

  private show(): void {
    const line = byId('caption');
    this.button.setAttribute('aria-pressed', String(this.on));
    line.hidden = !this.on || this.button.hidden;
    // An empty `lang` means that the language is not known (HTML section 3.2.6.1).
    line.lang = this.shown && this.shown.language !== 'und' ? this.shown.language : '';
    write(line, this.shown?.text ?? '\u00a0');
  }
}
