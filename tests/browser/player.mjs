// Plays a stream in a browser and writes the sound to a WAV file (mono, 48 kHz):
//
//   node player.mjs PLAYER BROWSER URL SECONDS FILE
//
// PLAYER: hls.js, video.js, shaka (Shaka Player without its low-latency mode), or audio (the media element
// without a library). BROWSER: chromium, firefox (with a sound server of its own), or webkit (WebKitGTK's
// MiniBrowser, which needs DISPLAY). Exit code 1: the player reported a fatal error.

import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

const PLAYERS = {
  'hls.js': { script: 'hls.js/dist/hls.min.js', start: startHlsJs },
  'video.js': { script: 'video.js/dist/video.min.js', start: startVideoJs },
  shaka: { script: 'shaka-player/dist/shaka-player.compiled.js', start: startShaka },
  audio: { start: startElement },
};
const BROWSERS = { chromium: openChromium, firefox: openFirefox, webkit: openWebKit };
const MINI_BROWSER = [
  '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser',
  '/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser',
];

const [player, browser, url, seconds, file] = process.argv.slice(2);
const chosen = PLAYERS[player];
const open = BROWSERS[browser];
if (!chosen || !open || !(Number(seconds) > 0) || !file) {
  console.error(`usage: node player.mjs ${Object.keys(PLAYERS).join('|')} ${Object.keys(BROWSERS).join('|')} URL SECONDS FILE`);
  process.exit(2);
}

// The functions from here to `main` run in the page.

function startHlsJs(url, audio, failed) {
  const hls = new window.Hls();
  hls.on(window.Hls.Events.ERROR, (_, { fatal, details }) => fatal && failed(details));
  hls.loadSource(url);
  hls.attachMedia(audio);
  return audio.play();
}

function startVideoJs(url, audio, failed) {
  const api = window.videojs(audio, { autoplay: true });
  api.on('error', () => failed(String(api.error()?.message)));
  api.src({ src: url, type: 'application/vnd.apple.mpegurl' });
}

async function startShaka(url, audio, failed) {
  window.shaka.polyfill.installAll();
  const player = new window.shaka.Player();
  const report = ({ severity, code, data }) => severity === 2 && failed(`Shaka error ${code}: ${data}`);
  player.addEventListener('error', ({ detail }) => report(detail));
  player.configure('streaming.lowLatencyMode', false);
  await player.attach(audio);
  await player.load(url, null, 'application/x-mpegurl');
  return audio.play();
}

function startElement(url, audio, failed) {
  audio.onerror = () => failed(`media error ${audio.error?.code} ${audio.error?.message}`);
  audio.src = url;
  return audio.play();
}

/** Sends the samples of the media element to the server as 16-bit integers, twice a second. */
async function record(audio) {
  const context = new AudioContext({ sampleRate: 48000 });
  const code = `registerProcessor('tap', class extends AudioWorkletProcessor {
    process([input]) { if (input[0]) this.port.postMessage(input[0]); return true; }
  })`;
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
  const tap = new AudioWorkletNode(context, 'tap', { channelCount: 1, channelCountMode: 'explicit' });
  context.createMediaElementSource(audio).connect(tap);
  tap.connect(context.destination);
  let pending = [];
  let sent = Promise.resolve();
  tap.port.onmessage = ({ data }) => {
    for (const sample of data) pending.push(Math.round(Math.max(-1, Math.min(1, sample)) * 32767));
    if (pending.length < 24000) return;
    const body = Int16Array.from(pending);
    pending = [];
    sent = sent.then(() => fetch('/heard', { method: 'POST', body }));
  };
}

function main(record, start, url) {
  const audio = document.querySelector('audio');
  const failed = (reason) => fetch('/failed', { method: 'POST', body: String(reason) });
  document.querySelector('button').onclick = () =>
    record(audio)
      .then(() => start(url, audio, failed))
      .catch(failed);
}

/** Returns the header of a WAV stream of unknown length: both RIFF length fields have the largest value. */
function header() {
  const bytes = Buffer.alloc(44);
  bytes.write('RIFF\xff\xff\xff\xffWAVEfmt ', 0, 'latin1');
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20); // PCM
  bytes.writeUInt16LE(1, 22); // channels
  bytes.writeUInt32LE(48000, 24);
  bytes.writeUInt32LE(96000, 28); // bytes per second
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write('data\xff\xff\xff\xff', 36, 'latin1');
  return bytes;
}

/** Opens a page in Chromium and presses its button. Returns a function that closes the browser. */
async function openChromium(page) {
  const chrome = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox'],
  });
  const tab = await chrome.newPage();
  await tab.goto(page);
  await tab.click('button');
  return () => chrome.close();
}

/**
 * Opens a page in Firefox and presses its button. Firefox plays nothing without a sound card, so it gets a sound
 * server without a real output. Returns a function that closes both.
 */
async function openFirefox(page) {
  const socket = join(mkdtempSync(join(tmpdir(), 'sound-')), 'pulse');
  const modules = ['module-null-sink', `module-native-protocol-unix auth-anonymous=1 socket=${socket}`];
  const args = ['-n', '--daemonize=no', '--use-pid-file=no', '--exit-idle-time=-1', ...modules.flatMap((it) => ['-L', it])];
  const sound = spawn('setpriv', ['--pdeathsig', 'KILL', 'pulseaudio', ...args], { stdio: 'ignore' });
  await until('pulseaudio starts', () => existsSync(socket));
  const firefox = await puppeteer.launch({
    browser: 'firefox',
    timeout: 60_000,
    executablePath: new URL('firefox.sh', import.meta.url).pathname,
    env: { ...process.env, PULSE_SERVER: `unix:${socket}` },
    extraPrefsFirefox: { 'media.autoplay.default': 0, 'media.autoplay.blocking_policy': 0 },
  });
  const tab = await firefox.newPage();
  await tab.goto(page);
  await tab.click('button');
  return async () => {
    await firefox.close();
    sound.kill();
  };
}

/**
 * Opens a page in WebKitGTK and presses its button, through WebDriver (W3C). Returns a function that closes
 * the browser.
 */
async function openWebKit(page) {
  const port = await freePort();
  // WebKitGTK's own HLS is off by default.
  const env = { ...process.env, WEBKIT_GST_ENABLE_HLS_SUPPORT: '1' };
  const driver = spawn('WebKitWebDriver', [`--port=${port}`], { env, stdio: 'ignore' });
  const call = async (method, path, body) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`WebDriver: ${value.error}: ${value.message}`);
    return value;
  };
  try {
    await listening(port);
    const options = { binary: MINI_BROWSER.find(existsSync), args: ['--automation'] };
    const session = await call('POST', '/session', {
      capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': options } },
    });
    const inSession = `/session/${session.sessionId}`;
    await call('POST', `${inSession}/url`, { url: page });
    const button = await call('POST', `${inSession}/element`, { using: 'css selector', value: 'button' });
    await call('POST', `${inSession}/element/${Object.values(button)[0]}/click`, {});
    return async () => {
      await call('DELETE', inSession);
      driver.kill();
    };
  } catch (error) {
    driver.kill();
    throw error;
  }
}

async function freePort() {
  const probe = createServer();
  await new Promise((bound) => probe.listen(0, '127.0.0.1', bound));
  const { port } = probe.address();
  await new Promise((closed) => probe.close(closed));
  return port;
}

/** Waits until a server answers on a port. */
async function listening(port) {
  await until('the driver answers', () => fetch(`http://127.0.0.1:${port}/status`).catch(() => null));
}

/** Waits until a condition holds, for at most 30 seconds. */
async function until(what, holds) {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what}: not in time`);
    await new Promise((later) => setTimeout(later, 50));
  }
}

const library = chosen.script && readFileSync(new URL(`node_modules/${chosen.script}`, import.meta.url));
const page = `<!doctype html><meta charset="utf-8"><audio id="player" crossorigin="anonymous"></audio>
<button>Play</button>
${library ? '<script src="/library.js"></script>' : ''}
<script>(${main})(${record}, ${chosen.start}, ${JSON.stringify(url)})</script>`;
const wav = createWriteStream(file);
wav.write(header());
let reportFailure;
const failed = new Promise((resolve) => (reportFailure = resolve));
const server = createServer(async (request, response) => {
  if (request.url === '/') return response.setHeader('content-type', 'text/html').end(page);
  if (request.url === '/library.js') return response.setHeader('content-type', 'text/javascript').end(library);
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (request.url === '/heard') wav.write(body);
  else if (request.url === '/failed') reportFailure(body.toString());
  else response.statusCode = 404;
  response.end();
});
await new Promise((bound) => server.listen(0, '127.0.0.1', bound));
let failure = null;
let close = async () => {};
try {
  close = await open(`http://127.0.0.1:${server.address().port}/`);
  const done = new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000, null));
  failure = await Promise.race([failed, done]);
} finally {
  await close();
  server.closeAllConnections();
  server.close();
  await new Promise((finished) => wav.end(finished));
}
if (failure !== null) {
  console.error(`${player} in ${browser} stopped: ${failure}`);
  process.exit(1);
}
