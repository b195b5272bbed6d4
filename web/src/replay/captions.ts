// Captions of the recording below the player, switched on and off by the listener.

import { captionAt, type ReplayCaption, type StentorReplay } from '@stentor/client';
import { byId, remembered, write } from '../dom';

const ON = 'on';

export class ReplayCaptions {
  private readonly button = byId<HTMLButtonElement>('captions');
  private captions: ReplayCaption[] = [];
  private on = remembered.get('captions') === ON;

  constructor(private readonly replay: StentorReplay) {
    replay.on('position', () => this.show());
    this.button.addEventListener('click', () => {
      this.on = !this.on;
      remembered.set('captions', this.on ? ON : 'off');
      this.show();
    });
  }

  /** Loads the captions. A recording without captions needs no switch. */
  async load(): Promise<void> {
    this.captions = await this.replay.captions();
    this.button.hidden = this.captions.length === 0;
    this.show();
  }

  private show(): void {
    const line = byId('caption');
    this.button.setAttribute('aria-pressed', String(this.on));
    line.hidden = !this.on || this.button.hidden;
    write(line, captionAt(this.captions, this.replay.position)?.text ?? '\u00a0');
  }
}
