// The microphone in use: opening it, changing it, and what happens when it is unplugged.

import { listMicrophones, openMicrophone, StentorError } from '@stentor/client';
import { remembered } from '../dom';

export class Devices {
  stream: MediaStream | null = null;
  /** Stable code of what the last attempt met; null if it worked. */
  problem: string | null = null;

  constructor(
    private readonly menus: HTMLSelectElement[],
    /** The stream is another one, or none. */
    private readonly changed: (stream: MediaStream | null) => void,
    /** The microphone went away by itself; `replaced`: another one is in use now. */
    private readonly unplugged: (replaced: boolean) => void,
  ) {
    for (const menu of menus) menu.addEventListener('change', () => void this.open(menu.value));
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.list());
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
  async open(deviceId = remembered.get('microphone') ?? undefined): Promise<boolean> {
    try {
      const stream = await openMicrophone(deviceId ? { deviceId } : {});
      this.use(stream);
      this.problem = null;
    } catch (error) {
      this.problem = error instanceof StentorError ? error.code : 'microphone_failed';
    }
    await this.list();
    return this.problem === null;
  }

  stop(): void {
    this.use(null);
  }

  private use(stream: MediaStream | null): void {
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.stream = stream;
    const track = stream?.getAudioTracks()[0];
    if (track) track.onended = () => void this.lost();
    const { deviceId } = track?.getSettings() ?? {};
    if (deviceId) remembered.set('microphone', deviceId);
    this.changed(stream);
  }

  private async lost(): Promise<void> {
    this.use(null);
    this.unplugged(await this.open(''));
  }

  private async list(): Promise<void> {
    const devices = await listMicrophones();
    const current = this.stream?.getAudioTracks()[0]?.getSettings().deviceId;
    for (const menu of this.menus) {
      const options = devices.map(({ deviceId, label }, i) => new Option(label || `Microphone ${i + 1}`, deviceId, false, deviceId === current));
      menu.disabled = !this.stream || options.length === 0;
      menu.replaceChildren(...(this.stream ? options : [new Option(this.problem ? 'None' : 'Not allowed yet')]));
    }
  }
}
