// The microphone in use: opens it, changes it, and handles unplugging, revocation and interruption.

import { listMicrophones, openMicrophone, StentorError } from '@stentor/client';
import { remembered } from '../dom';
import { t } from '../texts';

/**
 * Changes that the user did not ask for. The microphone is gone, and another one (`replaced`) or none
 * (`gone`) is in use. A microphone appeared and is in use (`back`). The chosen microphone does not open
 * (`refused`). The system took the microphone away for a while, or returned it (`interruption`).
 */
export type DeviceNews = 'replaced' | 'gone' | 'back' | 'refused' | 'interruption';

export class Devices {
  stream: MediaStream | null = null;
  /** Stable code of the last attempt's failure; null if it worked. */
  problem: string | null = null;
  /** Counts attempts, so that a microphone opened by an earlier one is closed. */
  private turn = 0;
  /** The newest attempt, which supersedes earlier ones. */
  private latest = Promise.resolve(false);
  /** True if the last attempt left no microphone open. Cleared by the next attempt and by `stop`. */
  private missing = false;

  constructor(
    private readonly menus: HTMLSelectElement[],
    /** Callback for changes and the end of the stream. */
    private readonly changed: (stream: MediaStream | null) => void,
    private readonly tell: (news: DeviceNews) => void,
  ) {
    for (const menu of menus) menu.addEventListener('change', () => void this.choose(menu.value));
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.plugged());
  }

  /** True while the system gives the microphone to something else, such as a phone call. */
  get interrupted(): boolean {
    return this.stream?.getAudioTracks()[0]?.muted ?? false;
  }

  /**
   * Returns true if the user has already allowed the microphone. The browser then opens it without asking.
   */
  async allowedBefore(): Promise<boolean> {
    try {
      return (await navigator.permissions.query({ name: 'microphone' as PermissionName })).state === 'granted';
    } catch {
      // Some browsers do not report this; then the user is asked when they press a button.
      return false;
    }
  }

  /**
   * Opens this microphone, or the one chosen last, or the system's. Returns false and sets `problem` if none
   * opens.
   */
  open(deviceId = remembered.get('microphone') ?? undefined): Promise<boolean> {
    this.latest = this.attempt(deviceId, ++this.turn);
    return this.latest;
  }

  /** Closes the microphone. One that is still being opened is closed as soon as it is open. */
  stop(): void {
    this.turn += 1;
    this.latest = Promise.resolve(false);
    this.missing = false;
    this.use(null);
    void this.list();
  }

  private async attempt(deviceId: string | undefined, turn: number): Promise<boolean> {
    this.missing = false;
    let stream: MediaStream | null = null;
    let problem: string | null = null;
    try {
      stream = await openMicrophone(deviceId ? { deviceId } : {});
    } catch (error) {
      problem = error instanceof StentorError ? error.code : 'microphone_failed';
    }
    if (turn !== this.turn) {
      for (const track of stream?.getTracks() ?? []) track.stop();
      return this.latest;
    }
    this.problem = problem;
    if (stream) this.use(stream);
    this.missing = this.stream === null;
    await this.list();
    return problem === null;
  }

  private use(stream: MediaStream | null): void {
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = track.onmute = track.onunmute = null;
      track.stop();
    }
    this.stream = stream;
    const track = stream?.getAudioTracks()[0];
    if (track) {
      track.onended = () => void this.lost();
      track.onmute = track.onunmute = () => this.tell('interruption');
    }
    const { deviceId } = track?.getSettings() ?? {};
    if (deviceId) remembered.set('microphone', deviceId);
    this.changed(stream);
  }

  private async choose(deviceId: string): Promise<void> {
    const before = this.stream;
    const opened = await this.open(deviceId);
    if (opened && !before) this.tell('back');
    if (!opened && this.problem) this.tell('refused');
  }

  private async lost(): Promise<void> {
    this.use(null);
    if (await this.open('')) this.tell('replaced');
    else if (this.missing) this.tell('gone');
  }

  /** Handles plugging and unplugging. */
  private async plugged(): Promise<void> {
    const found = await this.list();
    if (!this.missing || found === 0 || !(await this.allowedBefore())) return;
    // Check again: another such event, or the user, may have been faster.
    if (this.missing && (await this.open(''))) this.tell('back');
  }

  /** Fills the menus. Returns the number of devices to choose from. */
  private async list(): Promise<number> {
    const devices = await listMicrophones();
    const current = this.stream?.getAudioTracks()[0]?.getSettings().deviceId;
    for (const menu of this.menus) {
      const options = devices.map(({ deviceId, label }, i) => new Option(label || t('Microphone {number}', { number: i + 1 }), deviceId, false, deviceId === current));
      menu.disabled = options.length === 0;
      // Without this entry, the menu would show the first device as selected, and the user could not choose
      // it.
      if (!this.stream) options.unshift(new Option(t(options.length > 0 ? 'Choose one' : this.problem ? 'None' : 'Not allowed yet'), '', false, true));
      menu.replaceChildren(...options);
    }
    return devices.length;
  }
}
