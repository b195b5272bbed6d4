// A minimal application server in Node (18 or newer, no dependencies): it keeps the API key, decides who may
// speak, and sends people to Stentor's pages.
//
//   STENTOR_API=http://127.0.0.1:3000 STENTOR_API_KEY=… node server.mjs
//
// GET  /                      a page with one form
// POST /speak   name=Ann      303 to the speaking page of the room, with a token for Ann
// GET  /listen                303 to the listen page, with a listener token
//
// Replace `maySpeak` with the sign-in of your application.

import { createServer } from 'node:http';

const api = process.env.STENTOR_API ?? 'http://127.0.0.1:3000';
const key = process.env.STENTOR_API_KEY;
const room = process.env.ROOM ?? 'example';
const port = Number(process.env.PORT ?? 4000);

/** Calls the REST API. Throws an `Error` with the documented `code` when the answer is not a success. */
async function stentor(method, path, body) {
  const response = await fetch(`${api}/api/${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  if (!answer.success) throw Object.assign(new Error(answer.error), { code: answer.code });
  return answer;
}

/** Creates the room and puts it on air. Safe to repeat. */
async function openRoom() {
  try {
    await stentor('POST', 'rooms', { roomId: room });
  } catch (error) {
    if (error.code !== 'room_exists') throw error;
  }
  await stentor('POST', `rooms/${room}/start`);
}

/** Returns the user id of the person, or null if they may not speak. */
function maySpeak(name) {
  return /^[A-Za-z0-9_.-]{1,64}$/.test(name) ? name : null;
}

async function speak(form) {
  const userId = maySpeak(form.get('name') ?? '');
  if (!userId) return { status: 403, text: 'Use a name of 1 to 64 letters, digits, dots, dashes or underscores.\n' };
  const { inviteUrl } = await stentor('POST', `rooms/${room}/users`, { role: 'anchor', userId });
  return { status: 303, location: inviteUrl };
}

async function listen() {
  const { token } = await stentor('POST', 'token', { roomId: room });
  const { room: { hlsUrl } } = await stentor('GET', `rooms/${room}`);
  return { status: 303, location: new URL(`/listen/${room}#token=${token}`, hlsUrl).href };
}

const page = `<!doctype html><meta name="viewport" content="width=device-width"><title>Example</title>
<h1>${room}</h1><form method="post" action="/speak"><label>Name <input name="name" required></label>
<button>Speak</button></form><p><a href="/listen">Listen</a></p>`;

async function route(request) {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (request.method === 'POST' && pathname === '/speak') return speak(await readForm(request));
  if (request.method === 'GET' && pathname === '/listen') return listen();
  if (request.method === 'GET' && pathname === '/') return { status: 200, html: page };
  return { status: 404, text: 'Not found.\n' };
}

async function readForm(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > 4096) throw new Error('the form is larger than 4096 bytes');
  }
  return new URLSearchParams(text);
}

await openRoom();
const server = createServer(async (request, response) => {
  let answer;
  try {
    answer = await route(request);
  } catch (error) {
    console.error(`${request.method} ${request.url}: ${error.code ?? ''} ${error.message}`);
    answer = { status: 502, text: 'The audio server did not accept the request.\n' };
  }
  response.writeHead(answer.status, {
    'content-type': answer.html ? 'text/html; charset=utf-8' : 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    ...(answer.location && { location: answer.location }),
  });
  response.end(answer.html ?? answer.text ?? '');
});
server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/`));
