// Fetches playlists for hls.js. Owns nothing but the patience with a blocking reload.

import Hls, {
  type HlsConfig,
  type LoaderCallbacks,
  type LoaderConfiguration,
  type LoaderContext,
  type PlaylistLoaderContext,
} from 'hls.js';

/** Until a playlist was loaded that tells: that of the server's default. */
const TARGET_SECONDS = 2;
/** An answer's way. */
const SLACK_MS = 2000;

type Loader = HlsConfig['loader'];
type PlaylistLoader = NonNullable<HlsConfig['pLoader']>;

/**
 * The server answers a blocking reload with the next part, or with an error, at the latest after three target
 * durations. hls.js itself gives up after 0.8 of one, and asks once a second from then on without blocking: a part
 * that is late, because FFmpeg was restarted or the machine is busy, then comes a second later still.
 */
export const PatientPlaylistLoader = class extends (Hls.DefaultConfig.loader as Loader) {
  override load(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
    const { deliveryDirectives, levelOrTrack } = context as PlaylistLoaderContext;
    if (deliveryDirectives?.msn === undefined) return super.load(context, config, callbacks);
    const timeout = 3000 * (levelOrTrack?.details?.targetduration ?? TARGET_SECONDS) + SLACK_MS;
    const loadPolicy = { ...config.loadPolicy, maxTimeToFirstByteMs: timeout, maxLoadTimeMs: timeout };
    super.load(context, { ...config, loadPolicy, timeout }, callbacks);
  }
} as unknown as PlaylistLoader;
