// A listener on the stage: takes an invitation and joins the room with a microphone. The module is loaded
// only when it is needed, because most listeners never speak. Owns: the visit, and a microphone that it
// opened itself.

import type { RoomChannel } from './channel/channel.js';
import { StentorError, type Problem } from './errors.js';
import { openMicrophone, type MicrophoneOptions } from './microphone.js';
import { StentorRoom } from './room.js';

/** Options for taking an invitation. */
export interface StageOptions {
  /**
   * Microphone to send: a stream that the application opened, or options for opening one. Default: the
   * system's microphone.
   */
  microphone?: MediaStream | MicrophoneOptions;
  /** Name shown to others; default: the name in the room's channel. */
  displayName?: string;
  /** True if the user agrees to being recorded; see {@link RoomOptions.recordingConsent}. */
  recordingConsent?: boolean;
}

interface Entry {
  token: string;
  wsUrl: string | null;
}

/**
 * Takes the invitation. The returned visit has not joined yet. Calls `ended` with the reason when the visit
 * is over.
 */
export async function visitStage(channel: RoomChannel, options: StageOptions, ended: (problem: Problem) => void): Promise<StentorRoom> {
  const { microphone = {} } = options;
  const own = !('getTracks' in microphone);
  // Open the microphone first: if that fails, the invitation stays open.
  const stream = 'getTracks' in microphone ? microphone : await openMicrophone(microphone);
  const stop = (): void => {
    if (own) for (const track of stream.getTracks()) track.stop();
  };
  try {
    const { token, wsUrl } = await channel.send<Entry>('POST', 'stage', {});
    if (!wsUrl) throw new StentorError({ code: 'no_gateway', message: 'this server has no gateway, so nobody can speak', retryable: false });
    const displayName = options.displayName ?? nameIn(channel);
    const room = new StentorRoom({ url: wsUrl, token, ...(displayName ? { displayName } : {}), ...(options.recordingConsent ? { recordingConsent: true } : {}) });
    room.on('closed', (problem) => {
      stop();
      ended(problem);
    });
    void room.publish(stream);
    return room;
  } catch (thrown) {
    stop();
    throw thrown;
  }
}

function nameIn({ state: { you, hands, members } }: RoomChannel): string | undefined {
  const known = [you, ...hands.map(({ person }) => person), ...members].find((person) => person?.id === you?.id && person?.name);
  return known?.name;
}
