// URLs of a room on a listener node, derived from its playlist's URL (`hlsUrl`). Pure.

import { StentorError } from '../errors.js';

export interface Addresses {
  room: string;
  playlist: string;
  /** Playlist of the past. */
  rewind: string;
  /** Prefix of the listener channel's requests; ends with a slash. */
  channel: string;
  plain: string;
}

const PLAYLIST = /^(.*)\/hls\/rooms\/([^/]+)\/index\.m3u8$/;

/**
 * Derives the URLs; `base` is the page's URL. Throws `invalid_url` if `url` is not the URL of a room's
 * playlist.
 */
export function addressesOf(url: string, base: string | undefined): Addresses {
  const known = parse(url, base);
  const [, prefix = '', segment = ''] = PLAYLIST.exec(known?.pathname ?? '') ?? [];
  const room = segment && decoded(segment);
  if (!known || !room) {
    const message = 'url must be the hlsUrl of a room, like https://live.example.org/hls/rooms/demo/index.m3u8';
    throw new StentorError({ code: 'invalid_url', message, retryable: false });
  }
  const root = known.origin + prefix;
  const channel = `${root}/hls/rooms/${segment}/`;
  return { room, playlist: `${channel}index.m3u8`, rewind: `${channel}rewind.m3u8`, channel, plain: `${root}/live/${segment}.aac` };
}

/** Returns the URL, or null if its scheme is neither http nor https. */
export function parse(url: string, base: string | undefined): URL | null {
  try {
    const known = new URL(url, base);
    return known.protocol === 'https:' || known.protocol === 'http:' ? known : null;
  } catch {
    return null;
  }
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return '';
  }
}
