// The bar of a listener on the stage: state, mute, leave. `StentorListener` owns the visit to the stage.

import type { Problem, StageStatus, StentorListener, StentorRoom } from '@stentor/client';
import { nameOf, refused } from '../channel/chat';
import { byId, remembered, toast, write } from '../dom';
import { inBrief } from '../reasons';
import { recordingNotice, roomOfPage } from '../server';
import { ending, microphone } from '../speak/words';
import { t } from '../texts';

export class OnStage {
  private readonly mute = byId<HTMLButtonElement>('stage-mute');
  /** Current visit, until its end has been shown. */
  private visited: StentorRoom | null = null;

  constructor(private readonly listener: StentorListener) {
    listener.on('stage', (status) => this.show(status));
    this.mute.addEventListener('click', () => void this.toggleMute());
    byId('stage-leave').addEventListener('click', () => listener.leaveStage());
    window.addEventListener('pagehide', () => listener.leaveStage());
  }

  async enter(): Promise<void> {
    const { stageStatus, roomState } = this.listener;
    if (stageStatus.state !== 'listening') return;
    const { you, members } = roomState;
    const displayName = you?.name ?? remembered.get('name') ?? nameOf({ person: members.find(({ id }) => id === you?.id) ?? {} });
    const { consentRequired } = await recordingNotice(roomOfPage());
    const agreed = consentRequired && confirm(t('This room may be recorded. Do you agree that your voice is recorded?'));
    if (consentRequired && !agreed) return toast(t('Without your consent you cannot come to the stage.'));
    // The `stage` event also reports failures.
    await this.listener.takeStage({ displayName, recordingConsent: agreed }).catch(() => undefined);
  }

  private show({ state, problem }: StageStatus): void {
    const room = this.listener.stage;
    if (room && room !== this.visited) this.watch(room);
    byId('invitation-wait').hidden = state !== 'entering' || room !== null;
    byId('stage-bar').hidden = room === null;
    byId('stage-bar').dataset.state = state;
    const heard = room?.backstage ? 'You are backstage. Listeners do not hear you yet.' : 'You are on the stage. Everybody hears you.';
    write(byId('stage-state'), t(state === 'speaking' ? heard : 'Going to the stage…'));
    if (state !== 'listening') return;
    if (problem && problem.code !== 'left') toast(this.words(problem));
    this.visited = null;
  }

  private words(problem: Problem): string {
    if (problem.code.startsWith('microphone_')) {
      const { title, remedy } = microphone(problem.code);
      return `${title}. ${remedy}`;
    }
    // If there was no visit, the request to the channel was refused.
    return this.visited ? inBrief(ending(problem)) : refused(problem);
  }

  private watch(room: StentorRoom): void {
    this.visited = room;
    room.on('muted', ({ by, muted }) => {
      this.showMuted();
      if (by === 'host') toast(t(muted ? 'A host muted you.' : 'A host unmuted you. You can be heard.'));
    });
    room.on('schedule', () => this.show(this.listener.stageStatus));
    room.on('unmuteRequested', () => toast(t('The host asks you to unmute.')));
    this.showMuted();
  }

  private showMuted(): void {
    const muted = this.listener.stage?.muted ?? false;
    this.mute.setAttribute('aria-pressed', String(muted));
    write(byId('stage-mute-text'), t(muted ? 'Unmute' : 'Mute'));
  }

  private async toggleMute(): Promise<void> {
    const { stage } = this.listener;
    await (stage?.muted ? stage.unmute() : stage?.mute())?.catch(() => toast(t('You may not be heard yet.')));
  }
}
