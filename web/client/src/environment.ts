// What the library needs of its surroundings, in one place, so that tests can bring their own.

import { StentorError } from './errors.js';

/** Clock-driven callbacks. */
export interface Timers {
  setTimeout(action: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** A browser, or what stands in for one. */
export interface Environment extends Timers {
  /** Milliseconds since some beginning, of a clock that nobody can set; for all that is waited for. */
  now(): number;
  /** Milliseconds since the Unix epoch; for what others have dated, and for people. */
  wallClock(): number;
  /** In [0, 1). */
  random(): number;
  openSocket(url: string, protocols: string[]): WebSocket;
  createPeer(config: RTCConfiguration): RTCPeerConnection;
  createStream(track: MediaStreamTrack): MediaStream;
  /** Calls back when trying at once is worth it: the network is back, the page is looked at again. Returns the end. */
  onHurry(action: () => void): () => void;
}

const NO_WEBRTC = { code: 'unsupported_browser', message: 'this browser has no WebRTC, or it is switched off', retryable: false };

/** The browser this runs in. */
export const browser: Environment = {
  setTimeout: (action, ms) => globalThis.setTimeout(action, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer as number),
  now: () => performance.now(),
  wallClock: () => Date.now(),
  random: () => Math.random(),
  openSocket: (url, protocols) => new WebSocket(url, protocols),
  createPeer(config) {
    // Missing in the lockdown mode of iOS, and where a setting or an extension has removed it.
    if (typeof RTCPeerConnection === 'undefined') throw new StentorError(NO_WEBRTC);
    return new RTCPeerConnection(config);
  },
  createStream: (track) => new MediaStream([track]),
  onHurry(action) {
    const seen = (): void => {
      if (document.visibilityState === 'visible') action();
    };
    globalThis.addEventListener('online', action);
    document.addEventListener('visibilitychange', seen);
    return () => {
      globalThis.removeEventListener('online', action);
      document.removeEventListener('visibilitychange', seen);
    };
  },
};
