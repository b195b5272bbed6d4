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
  /** Web Audio, which runs as soon as the browser lets it; `null` where there is none. */
  createAudioContext?(): AudioContext | null;
  /** Lets a received stream flow although no element plays it. Returns the end. */
  keepFlowing?(stream: MediaStream): () => void;
  /** Calls back when trying at once is worth it: the network is back, the page is looked at again. Returns the end. */
  onHurry(action: () => void): () => void;
}

const NO_WEBRTC = { code: 'unsupported_browser', message: 'this browser has no WebRTC, or it is switched off', retryable: false };
/** What browsers take for a person's wish to hear sound. */
const GESTURES = ['pointerup', 'keydown'];

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
  createAudioContext() {
    if (typeof AudioContext === 'undefined') return null;
    const context = new AudioContext({ latencyHint: 'interactive' });
    // Before the person has touched the page, browsers keep it suspended.
    const resume = (): void => {
      if (context.state === 'suspended') context.resume().catch(() => undefined);
      if (context.state !== 'closed') return;
      GESTURES.forEach((name) => document.removeEventListener(name, resume));
    };
    GESTURES.forEach((name) => document.addEventListener(name, resume));
    resume();
    return context;
  },
  keepFlowing(stream) {
    // Chromium feeds a received stream to Web Audio only while an element plays it, be it muted.
    const element = new Audio();
    element.muted = true;
    element.srcObject = stream;
    element.play().catch(() => undefined);
    return () => {
      element.srcObject = null;
    };
  },
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
