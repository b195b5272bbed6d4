// The connection to a node with the role `rooms`.

import { StentorError } from './errors.js';
import { createClient, type Client } from './rest/client/index.js';

/**
 * Returns the client that the functions of the room API take. It keeps no connection open.
 *
 * The functions return the body of the answer. They throw a `StentorError` for every refusal, and the error of
 * `fetch` if the node does not answer.
 *
 * @param url address of the room API, e.g. `http://127.0.0.1:3000`
 * @param apiKey one of `auth.api_keys`; none for `auth.mode: open`
 */
export function connect(url: string, apiKey?: string): Client {
  const client = createClient({ baseUrl: url.replace(/\/+$/, ''), auth: apiKey, throwOnError: true });
  client.interceptors.error.use((error, response) =>
    response === undefined || response.ok ? error : StentorError.of(response, error),
  );
  return client;
}
