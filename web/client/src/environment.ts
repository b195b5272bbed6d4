// Environment of the library in one place, so that tests can replace it.

import { StentorError } from './errors.js';

/** Timers. */
export interface Timers {
  setTimeout(action: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** A browser, or its replacement in tests. */
export interface Environment extends Timers {
  /** Milliseconds of a monotonic clock; used for all delays. */
  now(): number;
  /** Milliseconds since the Unix epoch; for dates from the server and for display. */
  wallClock(): number;
  /** Returns a random number in [0, 1). */
  random(): number;
  openSocket(url: string, protocols: string[]): WebSocket;
  createPeer(config: RTCConfiguration): RTCPeerConnection;
  createStream(track: MediaStreamTrack): MediaStream;
  /** Creates a Web Audio context that runs as soon as the browser allows it; `null` where there is none. */
  createAudioContext?(): AudioContext | null;
  /** Keeps a received stream flowing although no element plays it. Returns a function that ends this. */
  keepFlowing?(stream: MediaStream): () => void;
  /**
   * Calls `action` when an immediate attempt is worthwhile: the network is back, or the page is visible
   * again. Returns a function that ends this.
   */
  onHurry(action: () => void): () => void;
}

const NO_WEBRTC = { code: 'unsupported_browser', message: 'this browser has no WebRTC, or it is switched off', retryable: false };
/** User events after which browsers let a page play audio. */
const GESTURES = ['pointerup', 'keydown'];

/** The browser that the library runs in. */
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
    // Browsers keep it suspended until the user interacts with the page.
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
    // Chromium feeds a received stream to Web Audio only while an element plays it, even if muted.
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
