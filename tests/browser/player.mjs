// Plays a stream with a web player in headless Chromium and writes what is heard to a WAV file (mono, 48 kHz):
//
//   node player.mjs video.js|audio URL SECONDS FILE
//
// `audio` is the media element without a library. Exit code 1: the player reported an error that ended it.

import { createWriteStream, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const [player, url, seconds, file] = process.argv.slice(2);
const PLAYERS = {
  'video.js': { script: 'video.js/dist/video.min.js', start: startVideoJs },
  audio: { start: startElement },
};
const chosen = PLAYERS[player];
if (!chosen || !(Number(seconds) > 0) || !file) {
  console.error('usage: node player.mjs video.js|audio URL SECONDS FILE');
  process.exit(2);
}

/** The following three run in the page. */
function startVideoJs(url) {
  const api = window.videojs('player', { autoplay: true });
  api.on('error', () => window.failed(String(api.error()?.message)));
  api.src({ src: url, type: 'application/vnd.apple.mpegurl' });
}

function startElement(url) {
  const audio = document.querySelector('audio');
  audio.onerror = () => window.failed(String(audio.error?.message));
  audio.src = url;
}

/** Passes on the samples of the media element as 16-bit integers. */
async function record() {
  const context = new AudioContext({ sampleRate: 48000 });
  const code = `registerProcessor('tap', class extends AudioWorkletProcessor {
    process([input]) { if (input[0]) this.port.postMessage(input[0]); return true; }
  })`;
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
  const tap = new AudioWorkletNode(context, 'tap', { channelCount: 1, channelCountMode: 'explicit' });
  context.createMediaElementSource(document.querySelector('audio')).connect(tap);
  tap.connect(context.destination);
  let pending = [];
  tap.port.onmessage = ({ data }) => {
    for (const sample of data) pending.push(Math.round(Math.max(-1, Math.min(1, sample)) * 32767));
    if (pending.length < 24000) return;
    window.heard(pending);
    pending = [];
  };
}

/** Returns a WAV header without a length, as for a stream (RIFF: the largest value). */
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

const page = '<!doctype html><meta charset="utf-8"><audio id="player" crossorigin="anonymous" autoplay></audio>';
const library = chosen.script && readFileSync(new URL(`node_modules/${chosen.script}`, import.meta.url));
const server = createServer((request, response) => {
  if (request.url === '/') return response.setHeader('content-type', 'text/html').end(page);
  if (request.url === '/library.js' && library) return response.setHeader('content-type', 'text/javascript').end(library);
  response.writeHead(404).end();
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'],
});
let failure = null;
try {
  const tab = await browser.newPage();
  const wav = createWriteStream(file);
  wav.write(header());
  await tab.exposeFunction('heard', (samples) => void wav.write(Buffer.from(Int16Array.from(samples).buffer)));
  const failed = new Promise((resolve) => tab.exposeFunction('failed', (reason) => resolve(reason)));
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  if (library) await tab.addScriptTag({ url: '/library.js' });
  await tab.evaluate(record);
  await tab.evaluate(chosen.start, url);
  const done = new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000, null));
  failure = await Promise.race([failed, done]);
  await new Promise((finished) => wav.end(finished));
} finally {
  await browser.close();
  server.close();
}
if (failure !== null) {
  console.error(`${player} stopped: ${failure}`);
  process.exit(1);
}
