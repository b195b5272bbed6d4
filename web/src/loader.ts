// Fetches playlists for hls.js. Owns nothing but the patience with a blocking reload.

import Hls, { type HlsConfig, type LoaderCallbacks, type LoaderConfiguration, type LoaderContext } from 'hls.js';

/**
 * The server answers a blocking reload with the next part, or with an error after three target durations (6 s).
 * hls.js itself gives up after 0.8 of one, and asks once a second from then on without blocking: a part that is late,
 * because FFmpeg was restarted or the machine is busy, then comes a second later still.
 */
const BLOCKED_MS = 8000;

type Loader = HlsConfig['loader'];
type PlaylistLoader = NonNullable<HlsConfig['pLoader']>;

export const PatientPlaylistLoader = class extends (Hls.DefaultConfig.loader as Loader) {
  override load(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
    const blocking = new URL(context.url, location.href).searchParams.has('_HLS_msn');
    const patient = { ...config.loadPolicy, maxTimeToFirstByteMs: BLOCKED_MS, maxLoadTimeMs: BLOCKED_MS };
    super.load(context, blocking ? { ...config, loadPolicy: patient, timeout: BLOCKED_MS } : config, callbacks);
  }
} as unknown as PlaylistLoader;
