// The application server. It keeps every secret, decides what a person may do, and keeps the list of spaces.
// A browser gets only tokens, each for one room. `run.sh` starts it together with Stentor; `README.md`
// explains the parts.

import { createServer } from 'node:http';
import { randomBytes } from 'node:crypto';
import { StentorError, WebhookError } from '@stentor/sdk';
import { body, HttpError, json, pathOf, serveFile, Session, text } from './http.mjs';
import { Spaces } from './spaces.mjs';
import { Stentor } from './stentor.mjs';

const env = (name) => process.env[name] ?? fail(`set ${name}; run.sh sets all variables`);
const fail = (message) => {
  console.error(message);
  process.exit(1);
};

const url = process.env.SPACES_URL ?? 'http://localhost:4100';
const session = new Session(env('SPACES_SECRET'), url.startsWith('https:'));
const spaces = new Spaces(env('SPACES_FILE'));
const stentor = new Stentor({
  api: env('STENTOR_API'),
  apiKey: env('STENTOR_API_KEY'),
  jwtSecret: env('STENTOR_JWT_SECRET'),
  webhookSecret: env('STENTOR_WEBHOOK_SECRET'),
});

/** Pages may load scripts only from here, and connect only to here and to Stentor. */
const origins = env('STENTOR_ORIGINS');
const securityHeaders = {
  'content-security-policy': [
    `default-src 'self'; connect-src 'self' ${origins}; media-src 'self' blob: ${origins}`,
    "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'",
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/**
 * Texts for people, by error code; all other codes get the last text. The log has the code and the request
 * id.
 */
const REFUSALS = {
  no_capacity: 'All stages are taken right now. Try again in a few minutes.',
  user_removed: 'The host removed you from this space.',
  store_unavailable: 'The audio server is restarting. Try again in a moment.',
  default: 'The audio server did not accept this. Try again in a moment.',
};

// --- Actions of people -------------------------------------------------------------------------------------

/**
 * Signs a user in. Replace it with the sign-in of your application, which must provide a stable id and a
 * name.
 */
async function signIn({ request, response }) {
  const name = text((await body(request)).name, 'Your name', 1, 40);
  const user = { id: `user-${randomBytes(8).toString('hex')}`, name };
  session.write(response, user);
  return { user };
}

async function create({ request, user }) {
  const { title, description = '', startsAt } = await body(request);
  const space = spaces.add({
    title: text(title, 'The title', 1, 100),
    description: text(description, 'The description', 0, 500, { lines: true }),
    startsAt: startsAt ? future(startsAt) : null,
    host: user,
  });
  if (startsAt) return { id: space.id };
  await goLive(space).catch((error) => {
    spaces.remove(space.id);
    throw error;
  });
  return { id: space.id };
}

function future(startsAt) {
  const time = Date.parse(startsAt);
  if (!(time > Date.now())) throw new HttpError(400, 'Choose a start time in the future.');
  return time;
}

async function goLive(space) {
  const { hlsUrl, createdAt } = await stentor.create(space);
  spaces.change(space.id, { hlsUrl, roomCreatedAt: createdAt });
  // The webhook `room_started` makes the space live for everybody.
  await stentor.start(space.id);
}

/**
 * Returns the data with which a browser takes part: for the host, a token to speak; for others, a token to
 * listen.
 */
async function enter({ space, user }) {
  if (space.status !== 'live') throw new HttpError(409, 'This space is not live.');
  spaces.change(space.id, { people: { ...space.people, [user.id]: user.name } });
  const host = space.host.id === user.id;
  return {
    host,
    url: space.hlsUrl,
    ...(host ? await stentor.hostTicket(space) : stentor.listenerTicket(space, user)),
  };
}

async function start({ space }) {
  if (space.status !== 'upcoming') throw new HttpError(409, 'This space has already started.');
  await goLive(space);
  return {};
}

async function end({ space }) {
  if (!space.hlsUrl) spaces.remove(space.id);
  // The webhook `room_ended` triggers the remaining steps, as for a space that ends in any other way.
  else if (space.status !== 'ended') await stentor.close(space.id);
  return {};
}

async function replay({ space }) {
  if (!space.recordingId) throw new HttpError(404, 'There is no recording.');
  return { url: await stentor.replayUrl(space.recordingId) };
}

const hostOnly = (action) => (context) => {
  if (context.space.host.id !== context.user.id) throw new HttpError(403, 'Only the host can do this.');
  return action(context);
};
const actions = { enter, replay, end: hostOnly(end), start: hostOnly(start) };

// --- Reports from Stentor ----------------------------------------------------------------------------------

/** Receives a webhook. Stentor sends an event again if the answer is not 2xx, so it may come more than once. */
async function receive({ request }) {
  const event = stentor.verify(await body(request, { raw: true }), request.headers);
  const space = spaces.get(event.roomId);
  if (!space || space.history.some(({ id }) => id === event.id)) return {};
  const at = Date.parse(event.time);
  const name = space.people[event.data.userId];
  if (event.type === 'room_started') note({ type: 'started' }, { status: 'live', startedAt: at });
  else if (event.type === 'anchor_invited') note({ type: 'joined', name });
  else if (event.type === 'user_banned') note({ type: 'removed', name });
  else if (event.type === 'room_ended') {
    // A space takes place only once: its room is deleted, and the recording stays.
    await stentor.remove(space.id);
    note({ type: 'ended' }, { status: 'ended', endedAt: at });
  } else if (event.type === 'recording_ready') note({ type: 'recorded' }, { recordingId: event.data.recordingId });
  return {};

  function note(entry, change = {}) {
    spaces.change(space.id, { ...change, history: [...space.history, { id: event.id, at, ...entry }] });
  }
}

// --- HTTP --------------------------------------------------------------------------------------------------

/** Sends the list of spaces, and sends it again after each change, as server-sent events. */
function follow({ request, response, user }) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  const send = () =>
    response.write(`data: ${JSON.stringify(spaces.list().map((space) => shown(space, user)))}\n\n`);
  const unwatch = spaces.watch(send);
  const beat = setInterval(() => response.write(': \n\n'), 15_000);
  request.on('close', () => {
    unwatch();
    clearInterval(beat);
  });
  send();
}

/** Returns the public data of a space. User ids stay on the server. */
function shown(
  { id, title, description, status, startsAt, startedAt, endedAt, host, history, recordingId },
  user,
) {
  return {
    id,
    title,
    description,
    status,
    startsAt,
    startedAt,
    endedAt,
    history,
    host: host.name,
    mine: host.id === user?.id,
    recorded: Boolean(recordingId),
  };
}

/** Runs the route of a request. A returned object is the answer, as JSON. */
async function route(context) {
  const { request, response, pathname } = context;
  const [, id, action] = /^\/api\/spaces\/([\w-]+)\/(\w+)$/.exec(pathname) ?? [];
  // Browsers state which site sends a request. The cookie alone would also admit requests from pages on other
  // ports of this host.
  const site = request.headers['sec-fetch-site'] ?? 'same-origin';
  if (request.method === 'POST' && site !== 'same-origin')
    throw new HttpError(403, 'Another site sent this.');
  context.user = session.read(request);
  context.space = id && spaces.get(id);
  const signedIn = (handler) =>
    context.user ? handler(context) : Promise.reject(new HttpError(401, 'Sign in first.'));
  switch (`${request.method} ${id ? '/api/spaces/:id/:action' : pathname}`) {
    case 'GET /api/me':
      return { user: context.user };
    case 'POST /api/sign-in':
      return signIn(context);
    case 'POST /api/sign-out':
      session.clear(response);
      return {};
    case 'GET /api/spaces':
      return follow(context);
    case 'POST /api/spaces':
      return signedIn(create);
    case 'POST /api/spaces/:id/:action':
      if (!context.space) throw new HttpError(404, 'This space does not exist.');
      if (!Object.hasOwn(actions, action)) throw new HttpError(404, 'There is no such action.');
      return signedIn(actions[action]);
    case 'POST /webhooks':
      return receive(context);
    default:
      if (request.method === 'GET' || request.method === 'HEAD') return serveFile(response, pathname);
      throw new HttpError(404, 'There is nothing here.');
  }
}

const server = createServer(async (request, response) => {
  for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
  try {
    const answer = await route({ request, response, pathname: pathOf(request) });
    if (answer) json(response, 200, answer);
  } catch (error) {
    const own = error instanceof HttpError;
    if (!own)
      console.error(
        `${request.method} ${request.url}: ${error.code ?? ''} ${error.message} ${error.requestId ?? ''}`,
      );
    const status = own
      ? error.status
      : error instanceof WebhookError
        ? 401
        : error instanceof StentorError
          ? 502
          : 500;
    json(response, status, { error: own ? error.message : (REFUSALS[error.code] ?? REFUSALS.default) });
  }
});

server.on('error', ({ message }) => fail(`${message}; choose another port with PORT`));
server.listen(Number(process.env.PORT ?? 4100), '127.0.0.1', () => console.log(`Spaces is at ${url}`));
const stop = () => {
  server.close();
  server.closeAllConnections();
};
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, stop);
