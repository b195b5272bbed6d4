// Verification of webhooks, by the Standard Webhooks specification (symmetric signatures, `v1`).

import { createHmac, timingSafeEqual } from 'node:crypto';

/** Largest accepted difference between the time of a webhook and the clock here, in seconds. */
const TOLERANCE = 300;

/** Headers as a `Headers` object, or as Node's `request.headers`. */
export type WebhookHeaders = Headers | Record<string, string | string[] | undefined>;

/** Refusal of a webhook: answer with status 401, and do not use its content. */
export class WebhookError extends Error {
  override readonly name = 'WebhookError';
}

/** Verifier of webhooks, with the secrets of one endpoint. */
export class WebhookVerifier {
  readonly #keys: Buffer[];

  /** @param secrets `whsec_…`; several while a secret is being replaced */
  constructor(...secrets: string[]) {
    this.#keys = secrets.map((secret) => {
      // JavaScript callers pass undefined if the environment variable is missing.
      const encoded = typeof secret === 'string' ? secret.replace(/^whsec_/, '') : '';
      const key = Buffer.from(encoded, 'base64');
      if (key.length === 0 || key.toString('base64').replace(/=+$/, '') !== encoded.replace(/=+$/, '')) {
        throw new TypeError('a webhook secret must be whsec_ and base64');
      }
      return key;
    });
    if (this.#keys.length === 0) throw new TypeError('a webhook secret is required');
  }

  /**
   * Returns the content of a webhook that is genuine and not older than five minutes.
   *
   * A webhook may arrive more than once. Its id, in the header `webhook-id`, is the same each time.
   *
   * @param body the body as it arrived, not parsed and serialised again
   * @param now time in seconds since 1970
   * @throws {WebhookError} if the webhook is refused
   * @throws {TypeError} if the body is neither text nor bytes, for example because a framework has parsed it
   */
  verify<T = unknown>(body: string | Uint8Array, headers: WebhookHeaders, now = Date.now() / 1000): T {
    if (typeof body !== 'string' && !(body instanceof Uint8Array)) {
      throw new TypeError('verify needs the body as it arrived, as text or bytes: switch off the parser of the framework');
    }
    const id = header(headers, 'webhook-id');
    const timestamp = header(headers, 'webhook-timestamp');
    const signatures = header(headers, 'webhook-signature');
    if (!/^\d{1,15}$/.test(timestamp)) throw new WebhookError('webhook-timestamp must be seconds since 1970');
    if (Math.abs(now - Number(timestamp)) > TOLERANCE) {
      throw new WebhookError('the webhook is too old or from the future: compare the clocks of sender and receiver');
    }
    const offered = signatures.split(' ').filter((part) => part.startsWith('v1,'));
    const decoded = offered.map((part) => Buffer.from(part.slice(3), 'base64'));
    const fits = this.#keys.map((key) => {
      const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
      return decoded.map((s) => s.length === expected.length && timingSafeEqual(s, expected)).includes(true);
    });
    if (!fits.includes(true)) throw new WebhookError('the signature of the webhook is wrong');
    return JSON.parse(typeof body === 'string' ? body : Buffer.from(body).toString('utf8')) as T;
  }
}

function header(headers: WebhookHeaders, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : found(headers, name);
  if (value === null || value === undefined || value === '') throw new WebhookError(`the header ${name} is missing`);
  return value;
}

function found(headers: Exclude<WebhookHeaders, Headers>, name: string): string | undefined {
  const entry = Object.entries(headers).find(([key]) => key.toLowerCase() === name);
  return Array.isArray(entry?.[1]) ? entry[1][0] : entry?.[1];
}
