// Connection to hls.js, which the application passes in. The library does not contain hls.js and imports only
// its types.

import type Hls from 'hls.js';
import type { HlsConfig } from 'hls.js';
import { patient } from './loader.js';

/** The class of hls.js: the default export of `hls.js` or of the smaller `hls.js/light`. */
export interface HlsClass {
  isSupported(): boolean;
  // `any`, so that an application without hls.js does not need its types.
  new (config?: any): object;
}

/** Time after a stall at which the additional distance from live is given up. */
export const CLOSE_UP_MS = 60_000;

/** Loads the class of hls.js when it is needed, like `() => import('hls.js/light')`. */
export type HlsLoader = () => Promise<HlsClass | { default: HlsClass }>;

/** Initial retry delay. Short: a room that is stopped and started again is on air immediately. */
export const FIRST_RETRY_MS = 250;

/** Returns the class if it runs in this browser. */
export async function loaded(hls: HlsClass | HlsLoader): Promise<typeof Hls | null> {
  if ('isSupported' in hls) return usable(hls);
  try {
    const module = await hls();
    return usable('default' in module ? module.default : module);
  } catch {
    // Without hls.js, the player uses the browser's own HLS or the plain stream.
    return null;
  }
}

/** Returns the class if it runs in this browser. */
export const usable = (hls: HlsClass): typeof Hls | null => (hls.isSupported() ? (hls as unknown as typeof Hls) : null);

/**
 * Returns the configuration of hls.js; with `past`, for the rewind playlist. `authorize` adds the token to a
 * request.
 */
export function configOf(
  hls: typeof Hls, past: boolean, authorize: (xhr: XMLHttpRequest, url: string) => void,
): Partial<HlsConfig> {
  const errorRetry = { maxNumRetry: 6, retryDelayMs: FIRST_RETRY_MS, maxRetryDelayMs: 2000 };
  const timeoutRetry = { maxNumRetry: 2, retryDelayMs: 0, maxRetryDelayMs: 0 };
  const policy = { default: { maxTimeToFirstByteMs: 10000, maxLoadTimeMs: 20000, timeoutRetry, errorRetry } };
  return {
    // Neither liveSyncDuration nor ...Count: hls.js then uses the playlist's PART-HOLD-BACK.
    lowLatencyMode: !past,
    maxLiveSyncPlaybackRate: past ? 1 : 1.05,
    // The start position in the past is known only once the playlist has been loaded.
    autoStartLoad: !past,
    // Playback stalls when FFmpeg dies, because up to 0.7 s of media are missing and the buffer of three
    // parts holds 0.6 s. By default hls.js then stays a whole second further behind. Two more parts are
    // enough to bridge the next gap.
    liveSyncOnStallIncrease: 0.4,
    maxBufferLength: 10,
    backBufferLength: 10,
    // Remuxing a part takes 0.4 ms; a worker would only add its start-up time.
    enableWorker: false,
    testBandwidth: false,
    playlistLoadPolicy: policy,
    pLoader: patient(hls),
    fragLoadPolicy: policy,
    keyLoadPolicy: policy,
    xhrSetup: authorize,
  };
}

/** Returns hls.js to the playlist's distance from live. By itself, it keeps what it adds for each stall. */
export function closeUp(hls: Hls): void {
  const holdBack = hls.latestLevelDetails?.partHoldBack;
  if (holdBack) hls.targetLatency = holdBack;
}
