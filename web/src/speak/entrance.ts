// Server and token with which the page joins the room. Owns: the requests for them. Does not change the page.

import { StentorError } from '@stentor/client';
import { config, token, type Config } from '../server';

export interface Entrance {
  server: Config & { wsUrl: string };
  token: string;
}

/**
 * Returns the server and the token with which the page can join the room. `invite`: token in the link, or ''
 * if the link has none; a server in open mode then gives a token to anybody. Throws a {@link StentorError} if
 * no visit is possible, or the error of `server` if a request fails.
 */
export async function entrance(room: string, name: string, invite: string): Promise<Entrance> {
  const { open, wsUrl } = await config();
  if (!wsUrl) throw noWay('no_gateway');
  if (!invite && !open) throw noWay('no_invite');
  return { server: { open, wsUrl }, token: invite || (await token(room, 'anchor', name)) };
}

const noWay = (code: string): StentorError => new StentorError({ code, message: code, retryable: false });
