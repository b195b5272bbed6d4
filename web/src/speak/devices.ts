// The microphone in use: opening it, changing it, and what happens when it is unplugged, revoked or interrupted.

import { listMicrophones, openMicrophone, StentorError } from '@stentor/client';
import { remembered } from '../dom';

/**
 * What happens without the person: the microphone went, and another is in use (`replaced`) or none (`gone`); one
 * came, and is in use (`back`); the one that was chosen does not open (`refused`); the system took it away for a
 * while, or gave it back (`interruption`).
 */
export type DeviceNews = 'replaced' | 'gone' | 'back' | 'refused' | 'interruption';

export class Devices {
  stream: MediaStream | null = null;
  /** Stable code of what the last attempt met; null if it worked. */
  problem: string | null = null;
  /** Counts attempts: what an earlier one still opens is closed. */
  private turn = 0;
  /** The newest attempt; those before it end as it does. */
  private latest = Promise.resolve(false);
  /** The last attempt failed, and one is still wanted. */
  private missing = false;

  constructor(
    private readonly menus: HTMLSelectElement[],
    /** The stream is another one, or none. */
    private readonly changed: (stream: MediaStream | null) => void,
    private readonly tell: (news: DeviceNews) => void,
  ) {
    for (const menu of menus) menu.addEventListener('change', () => void this.choose(menu.value));
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.plugged());
  }

  /** For the moment the system gives the microphone to something else, like a phone call. */
  get interrupted(): boolean {
    return this.stream?.getAudioTracks()[0]?.muted ?? false;
  }

  /** Whether the person has allowed it before, so that opening asks nothing. */
  async allowedBefore(): Promise<boolean> {
    try {
      return (await navigator.permissions.query({ name: 'microphone' as PermissionName })).state === 'granted';
    } catch {
      // Some browsers do not tell; then the person is asked when they press a button.
      return false;
    }
  }

  /** Opens this microphone, or the one chosen last, or the system's. False, and `problem`, if none opens. */
  open(deviceId = remembered.get('microphone') ?? undefined): Promise<boolean> {
    this.latest = this.attempt(deviceId, ++this.turn);
    return this.latest;
  }

  /** None is in use, nor will be by what is under way. */
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

  /** Or unplugged. */
  private async plugged(): Promise<void> {
    const found = await this.list();
    if (!this.missing || found === 0 || !(await this.allowedBefore())) return;
    // Still? Another such event, or the person, may have been quicker.
    if (this.missing && (await this.open(''))) this.tell('back');
  }

  /** Fills the menus; how many there are to choose from. */
  private async list(): Promise<number> {
    const devices = await listMicrophones();
    const current = this.stream?.getAudioTracks()[0]?.getSettings().deviceId;
    for (const menu of this.menus) {
      const options = devices.map(({ deviceId, label }, i) => new Option(label || `Microphone ${i + 1}`, deviceId, false, deviceId === current));
      menu.disabled = options.length === 0;
      // Only what is not selected yet can be chosen.
      if (!this.stream) options.unshift(new Option(options.length > 0 ? 'Choose one' : this.problem ? 'None' : 'Not allowed yet', '', false, true));
      menu.replaceChildren(...options);
    }
    return devices.length;
  }
}
