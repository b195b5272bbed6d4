// A listener on the stage: the invitation becomes a visit with a microphone, without leaving the page, and back.

import { openMicrophone, StentorError, StentorRoom, type Problem } from '@stentor/client';
import type { Channel } from '../channel/channel';
import { nameOf, sent } from '../channel/chat';
import { byId, remembered, toast, write } from '../dom';
import { ending, microphone } from '../speak/words';

interface Entry {
  token: string;
  wsUrl: string;
}

export class OnStage {
  private room: StentorRoom | null = null;
  private stream: MediaStream | null = null;
  private busy = false;
  private readonly voices = byId<HTMLAudioElement>('voices');
  private readonly mute = byId<HTMLButtonElement>('stage-mute');

  /** `changed`: the listener comes to the stage (true: its sound flows) or leaves it. */
  constructor(private readonly changed: (onStage: boolean) => void) {
    this.mute.addEventListener('click', () => void this.toggleMute());
    byId('stage-leave').addEventListener('click', () => this.room?.leave());
    window.addEventListener('pagehide', () => this.room?.leave());
  }

  /** For tests and the console. */
  get visit(): StentorRoom | null {
    return this.room;
  }

  async enter(channel: Channel): Promise<void> {
    if (this.busy || this.room) return;
    this.busy = true;
    byId('invitation-wait').hidden = false;
    try {
      // Before the invitation is taken: without a microphone it stays open.
      this.stream = await openMicrophone({});
      const entered = await sent(async () => this.join(await channel.send<Entry>('POST', 'stage', {}), channel));
      if (!entered) this.stop();
    } catch (error) {
      const { title, remedy } = microphone(error instanceof StentorError ? error.code : '');
      toast(`${title}. ${remedy}`);
    } finally {
      this.busy = false;
      byId('invitation-wait').hidden = true;
    }
  }

  private join({ token, wsUrl }: Entry, channel: Channel): void {
    const { you, members } = channel.state;
    const name = you?.name ?? remembered.get('name') ?? nameOf({ person: members.find(({ id }) => id === you?.id) ?? {} });
    const room = new StentorRoom({ url: wsUrl, token, displayName: name });
    this.room = room;
    room.on('stream', (stream) => {
      this.voices.srcObject = stream;
      void this.voices.play().catch(() => undefined);
    });
    room.on('state', ({ state }) => this.show(state));
    room.on('muted', ({ by, muted }) => {
      this.showMuted();
      if (by === 'host') toast(muted ? 'A host muted you.' : 'A host unmuted you. You can be heard.');
    });
    room.on('unmuteRequested', () => toast('The host asks you to unmute.'));
    room.on('closed', (problem) => this.closed(problem));
    void room.publish(this.stream);
    byId('stage-bar').hidden = false;
    this.showMuted();
    this.show(room.state);
    // What goes wrong comes as `closed`.
    void room.join().catch(() => undefined);
  }

  private show(state: string): void {
    const connected = state === 'connected';
    write(byId('stage-state'), connected ? 'You are on the stage. Everybody hears you.' : 'Going to the stage…');
    if (connected) {
      this.changed(true);
      byId('stage-bar').dataset.state = 'connected';
    }
  }

  private closed(problem: Problem): void {
    this.room = null;
    this.stop();
    byId('stage-bar').hidden = true;
    delete byId('stage-bar').dataset.state;
    this.voices.srcObject = null;
    if (problem.code !== 'left') {
      const { title, text } = ending(problem);
      toast(`${title}. ${text}`);
    }
    this.changed(false);
  }

  private stop(): void {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
  }

  private showMuted(): void {
    const muted = this.room?.muted ?? false;
    this.mute.setAttribute('aria-pressed', String(muted));
    write(byId('stage-mute-text'), muted ? 'Unmute' : 'Mute');
  }

  private async toggleMute(): Promise<void> {
    const { room } = this;
    await (room?.muted ? room.unmute() : room?.mute())?.catch(() => toast('You may not be heard yet.'));
  }
}
