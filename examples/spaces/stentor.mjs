// All calls to Stentor, through its server SDK.

import {
  connect,
  createRoom,
  createUser,
  deleteRoom,
  getRecording,
  getRoom,
  issueReplayToken,
  startRoom,
  StentorError,
  stopRoom,
  TokenSigner,
  WebhookVerifier,
} from '@stentor/sdk';

/** People who may speak at the same time. */
const MAX_SPEAKERS = 5;
/** A space without anybody on the stage ends after this time, in seconds. */
const EMPTY_TIMEOUT = 600;

/**
 * Handler for `catch`: returns `answer()` for the error with this code, and throws every other error again.
 */
const unless = (code, answer) => (error) => {
  if (error instanceof StentorError && error.code === code) return answer();
  throw error;
};

export class Stentor {
  #client;
  #signer;
  #verifier;

  constructor({ api, apiKey, jwtSecret, webhookSecret }) {
    this.#client = connect(api, apiKey);
    this.#signer = new TokenSigner(jwtSecret);
    this.#verifier = new WebhookVerifier(webhookSecret);
  }

  /** Creates the room of a space, or returns it if it exists, so that a failed start can be repeated. */
  async create({ id, title, description, host }) {
    const client = this.#client;
    const limits = { maxAnchors: MAX_SPEAKERS, emptyTimeout: EMPTY_TIMEOUT };
    const fields = { title, ...(description && { description }), owner: host.id };
    const created = createRoom({ client, body: { roomId: id, ...fields, ...limits } });
    const { room } = await created.catch(unless('room_exists', () => getRoom({ client, path: { id } })));
    return room;
  }

  /** Puts a room on air. Safe to repeat. */
  async start(id) {
    await startRoom({ client: this.#client, path: { id } });
  }

  /** Returns a token with which the host speaks and moderates, and the address for it. */
  async hostTicket({ id, host }) {
    const { token, wsUrl } = await createUser({
      client: this.#client,
      path: { id },
      body: { userId: host.id, role: 'host' },
    });
    return { token, wsUrl };
  }

  /**
   * Signs a token with which a person listens. No request is needed, so many new listeners cause no load on
   * Stentor.
   */
  listenerTicket({ id, roomCreatedAt }, user) {
    return { token: this.#signer.listener(id, { user: user.id, name: user.name, roomCreatedAt }) };
  }

  /** Ends the broadcast of a room. */
  async close(id) {
    await stopRoom({ client: this.#client, path: { id } });
  }

  /** Deletes a room. Safe to repeat. */
  async remove(id) {
    await deleteRoom({ client: this.#client, path: { id } }).catch(unless('room_not_found', () => null));
  }

  /** Returns an address at which a browser plays a recording for a few hours. */
  async replayUrl(id) {
    const path = { id };
    const { recording } = await getRecording({ client: this.#client, path });
    const { token } = await issueReplayToken({ client: this.#client, path });
    return `${recording.downloadUrl}?${new URLSearchParams({ token })}`;
  }

  /** Returns the event of a genuine webhook; throws a `WebhookError` otherwise. */
  verify(body, headers) {
    return this.#verifier.verify(body, headers);
  }
}
