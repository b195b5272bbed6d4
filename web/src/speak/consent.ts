// Notice in the lobby that the room is recorded, and the consent of the user where the server needs it.

import { byId, write } from '../dom';
import { recordingNotice } from '../server';
import { t } from '../texts';

export class Consent {
  private readonly box = byId<HTMLInputElement>('consent');
  private required = false;

  /** Shows the notice, and the field for the consent if it is required. Returns the title of the room. */
  async show(room: string, token: string): Promise<string | null> {
    const { recorded, consentRequired, title } = await recordingNotice(room, token);
    this.required = consentRequired;
    byId('lobby-recorded').hidden = !recorded && !consentRequired;
    write(byId('lobby-recorded'), t(recorded ? 'This room is recorded.' : 'This room may be recorded.'));
    byId('consent-field').hidden = !consentRequired;
    return title;
  }

  /** True if the user has agreed. */
  get given(): boolean {
    return this.box.checked;
  }

  /** True if the server would refuse the user, because consent is required and missing. */
  get missing(): boolean {
    return this.required && !this.given;
  }
}
