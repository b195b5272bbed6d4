// Notice in the lobby that the room is recorded, and the consent of the user where the server needs it.

import { byId, write } from '../dom';
import { recordingNotice, type RecordingNotice } from '../server';
import { t } from '../texts';

export class Consent {
  private readonly box = byId<HTMLInputElement>('consent');
  private required = false;

  /** Shows the notice, and the field for the consent if it is required. Returns the whole notice. */
  async show(room: string, token: string): Promise<RecordingNotice> {
    const notice = await recordingNotice(room, token);
    const { recorded, consentRequired } = notice;
    this.required = consentRequired;
    byId('lobby-recorded').hidden = !recorded && !consentRequired;
    write(byId('lobby-recorded'), t(recorded ? 'This room is recorded.' : 'This room may be recorded.'));
    byId('consent-field').hidden = !consentRequired;
    return notice;
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
