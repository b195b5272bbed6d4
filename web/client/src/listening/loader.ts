// Playlist loader for hls.js that waits for blocking reloads.

import type Hls from 'hls.js';
import type {
  HlsConfig,
  LoaderCallbacks,
  LoaderConfiguration,
  LoaderContext,
  PlaylistLoaderContext,
} from 'hls.js';

/** Default target duration of the server, used until a playlist has been loaded. */
const TARGET_SECONDS = 2;
/** Time allowed for the transmission of a response. */
const SLACK_MS = 2000;

type Loader = HlsConfig['loader'];
type PlaylistLoader = NonNullable<HlsConfig['pLoader']>;

/**
 * Returns the loader class for hls.js. The server answers a blocking reload with the next part, or with an
 * error, after at most three target durations. hls.js itself gives up after 0.8 target durations, and from
 * then on requests once per second without blocking. A part that is late, because FFmpeg was restarted or the
 * machine is busy, would then come another second later.
 */
export const patient = (hls: typeof Hls): PlaylistLoader =>
  class extends (hls.DefaultConfig.loader as Loader) {
    override load(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
      const { deliveryDirectives, levelOrTrack } = context as PlaylistLoaderContext;
      if (deliveryDirectives?.msn === undefined) return super.load(context, config, callbacks);
      const timeout = 3000 * (levelOrTrack?.details?.targetduration ?? TARGET_SECONDS) + SLACK_MS;
      const loadPolicy = { ...config.loadPolicy, maxTimeToFirstByteMs: timeout, maxLoadTimeMs: timeout };
      super.load(context, { ...config, loadPolicy, timeout }, callbacks);
    }
  } as unknown as PlaylistLoader;
