// HTTP helpers that do not depend on the application: bodies, sessions, files.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { extname, normalize } from 'node:path';

const MOST_BYTES = 16_384;
const COOKIE = 'spaces';
const COOKIE_SECONDS = 30 * 24 * 3600;
const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};
/** Folders of the pages and of the packages that they import. */
const FOLDERS = {
  '/client/': new URL('node_modules/@stentor/client/dist/', import.meta.url),
  '/hls/': new URL('node_modules/hls.js/dist/', import.meta.url),
  '/': new URL('web/', import.meta.url),
};

/** Refusal with a message for the person at the browser. */
export class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Returns the path of a request without `..` and query. */
export function pathOf({ url }) {
  try {
    return new URL(`http://localhost${url}`).pathname;
  } catch {
    throw new HttpError(400, 'The address is not valid.');
  }
}

/**
 * Returns a text from a request without spaces at its ends. Throws an error that names the text `what` if it
 * is too short or too long, or has control or direction-changing characters, which Stentor refuses too. With
 * `lines`, line breaks are allowed.
 */
export function text(value, what, least, most, { lines = false } = {}) {
  const trimmed = typeof value === 'string' ? value.trim() : '';
  if (trimmed.length < least || trimmed.length > most) {
    throw new HttpError(400, `${what} must have ${least} to ${most} characters.`);
  }
  // The zero-width joiner is part of emojis.
  if (/[^\P{C}\u200d]/u.test(lines ? trimmed.replaceAll('\n', '') : trimmed)) {
    throw new HttpError(400, `${what} has characters that cannot be shown.`);
  }
  return trimmed;
}

export function json(response, status, value) {
  if (response.headersSent) return void response.end();
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(value));
}

/** Reads a JSON body; with `raw`, returns its bytes. Forms on other sites cannot send this content type. */
export async function body(request, { raw = false } = {}) {
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? ''))
    throw new HttpError(415, 'The body must be JSON.');
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    if ((size += chunk.length) > MOST_BYTES) throw new HttpError(413, 'The body is too large.');
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  if (raw) return bytes;
  try {
    return Object(JSON.parse(bytes));
  } catch {
    throw new HttpError(400, 'The body must be JSON.');
  }
}

/** The signed-in user, in a signed cookie that only this server can make. */
export class Session {
  #secret;
  #attributes;

  constructor(secret, secure) {
    this.#secret = secret;
    this.#attributes = `Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
  }

  write(response, user) {
    const value = Buffer.from(JSON.stringify(user)).toString('base64url');
    response.setHeader(
      'set-cookie',
      `${COOKIE}=${value}.${this.#sign(value)}; Max-Age=${COOKIE_SECONDS}; ${this.#attributes}`,
    );
  }

  clear(response) {
    response.setHeader('set-cookie', `${COOKIE}=; Max-Age=0; ${this.#attributes}`);
  }

  read(request) {
    const [, value, signature] =
      new RegExp(`(?:^|; )${COOKIE}=([\\w-]+)\\.([\\w-]+)`).exec(request.headers.cookie ?? '') ?? [];
    if (!value) return null;
    const [given, expected] = [Buffer.from(signature), Buffer.from(this.#sign(value))];
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
    return JSON.parse(Buffer.from(value, 'base64url'));
  }

  #sign(value) {
    return createHmac('sha256', this.#secret).update(value).digest('base64url');
  }
}

/** Sends a page or one of its files. All spaces have the same page, which requests the data of its space. */
export async function serveFile(response, pathname) {
  const path =
    pathname === '/'
      ? '/index.html'
      : /^\/spaces\/[\w-]+$/.test(pathname)
        ? '/space.html'
        : normalize(pathname);
  const [prefix, folder] = Object.entries(FOLDERS).find(([prefix]) => path.startsWith(prefix));
  const type = TYPES[extname(path)];
  const bytes =
    type && (await readFile(new URL(`.${path.slice(prefix.length - 1)}`, folder)).catch(() => null));
  if (!bytes) throw new HttpError(404, 'There is nothing here.');
  response.writeHead(200, { 'content-type': type, 'cache-control': 'no-cache' });
  response.end(bytes);
}
