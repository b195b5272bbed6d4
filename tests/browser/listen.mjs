// Opens the player page in headless Chromium, listens to its sound output and prints one line of JSON.
//
//   node listen.mjs URL SECONDS [native | plain]
//
// `native`: simulates a browser without Media Source that plays HLS itself. `plain`: simulates a browser that
// plays no HLS. Sound is measured: a Web Audio analyser on the page's media element distinguishes silence from
// a tone.

import { createDecipheriv } from 'node:crypto';
import { chromium } from 'playwright-core';

const [url, seconds, lacks] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
if (!url || !(seconds > 0)) {
  console.error('usage: node listen.mjs URL SECONDS [native | plain]');
  process.exit(2);
}

/** Interval between checks that the machine is running. */
const LOOK_MS = 50;
/** Delays shorter than this are normal jitter of timers. */
const STANDSTILL_MS = 250;
/** Time limit for the page to play or to fail; the final values are read after that. */
const SETTLED_WITHIN_MS = 10_000;

/** Runs in the page, before its first script: taps the media element and samples it. */
function tap() {
  const heard = { firstSoundMs: null, lastSoundMs: null, longestSilenceMs: 0, dominantHz: null, behind: [] };
  window.__heard = heard;
  const SILENCE_RMS = 0.002;
  const listen = (audio) => {
    const context = new AudioContext({ sampleRate: 48000 });
    const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
    context.createMediaElementSource(audio).connect(analyser).connect(context.destination);
    const wave = new Float32Array(512);
    const spectrum = new Float32Array(analyser.frequencyBinCount);
    setInterval(() => {
      const now = performance.now();
      analyser.getFloatTimeDomainData(wave);
      const rms = Math.sqrt(wave.reduce((sum, s) => sum + s * s, 0) / wave.length);
      if (heard.lastSoundMs !== null) {
        heard.longestSilenceMs = Math.max(heard.longestSilenceMs, now - heard.lastSoundMs);
      }
      if (rms < SILENCE_RMS) return;
      heard.firstSoundMs ??= now;
      heard.lastSoundMs = now;
      analyser.getFloatFrequencyData(spectrum);
      heard.dominantHz = (spectrum.indexOf(spectrum.reduce((a, b) => Math.max(a, b))) * 48000) / 8192;
    }, 10);
    setInterval(() => {
      const behind = window.stentorPlayer?.behindLiveSeconds;
      if (window.stentorPlayer?.playing && behind != null) heard.behind.push(behind);
    }, 200);
  };
  const wait = new MutationObserver(() => {
    const audio = document.querySelector('audio');
    if (!audio) return;
    wait.disconnect();
    listen(audio);
  });
  wait.observe(document, { childList: true, subtree: true });
}

/** Runs in the page, before its first script: removes Media Source. */
function withoutMediaSource() {
  delete window.MediaSource;
  delete window.ManagedMediaSource;
}

/** Runs in the page, before its first script: makes media elements report that they cannot play HLS. */
function withoutHls() {
  const { canPlayType } = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.canPlayType = function (type) {
    return /mpegurl/i.test(type) ? '' : canPlayType.call(this, type);
  };
}

/**
 * Serves the room unencrypted to Chromium's own HLS player: removes the key and low-latency tags from the
 * playlist, and decrypts the segments on the way.
 */
async function decryptOnTheWay(page) {
  const sealed = new Map();
  const keys = new Map();
  await page.route('**/index.m3u8*', async (route) => {
    const response = await route.fetch();
    let [sequence, key] = [0, null];
    const clear = [];
    for (const line of (await response.text()).split('\n')) {
      const [, first] = /^#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(line) ?? [];
      const [, uri] = /^#EXT-X-KEY:METHOD=AES-128,URI="([^"]+)"/.exec(line) ?? [];
      if (first) sequence = Number(first);
      if (uri) key = new URL(uri, route.request().url()).href;
      if (line && !line.startsWith('#')) sealed.set(new URL(line, route.request().url()).href, { key, sequence: sequence++ });
      if (!/^#EXT-X-(KEY|PART|PRELOAD-HINT|SERVER-CONTROL)/.test(line)) clear.push(line);
    }
    await route.fulfill({ response, body: clear.join('\n') });
  });
  await page.route((target) => sealed.has(target.href), async (route) => {
    const { key, sequence } = sealed.get(route.request().url());
    if (!keys.has(key)) keys.set(key, await (await page.request.get(key)).body());
    const iv = Buffer.alloc(16);
    iv.writeBigUInt64BE(BigInt(sequence), 8);
    const response = await page.request.get(route.request().url());
    const decipher = createDecipheriv('aes-128-cbc', keys.get(key), iv);
    const body = Buffer.concat([decipher.update(await response.body()), decipher.final()]);
    await route.fulfill({ response, body });
  });
}

const quantile = (values, q) => {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
};

/**
 * Measures standstills of the machine: this process is nearly idle, so a late timer means that the machine
 * stood still.
 */
function watchMachine() {
  let [last, longest] = [performance.now(), 0];
  const look = () => {
    const now = performance.now();
    const late = now - last - LOOK_MS;
    if (late > STANDSTILL_MS) longest = Math.max(longest, late);
    last = now;
  };
  const timer = setInterval(look, LOOK_MS);
  return {
    /** Returns the longest standstill in milliseconds. */
    end() {
      clearInterval(timer);
      return longest;
    },
  };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--disable-dev-shm-usage'],
});
try {
  const page = await browser.newPage();
  const pageErrors = [];
  const foreignRequests = [];
  const { origin } = new URL(url);
  page.on('pageerror', (error) => pageErrors.push({ detail: `page: ${error.message}`, fatal: true }));
  page.on('request', (request) => {
    const target = request.url();
    if (!target.startsWith(`${origin}/`) && !target.startsWith(`blob:${origin}/`)) foreignRequests.push(target);
  });
  await page.addInitScript(tap);
  if (lacks) await page.addInitScript(withoutMediaSource);
  if (lacks === 'native') await decryptOnTheWay(page);
  if (lacks === 'plain') await page.addInitScript(withoutHls);
  const awake = watchMachine();
  await page.goto(url, { waitUntil: 'commit' });
  await page.waitForTimeout(seconds * 1000);
  const settled = () => ['playing', 'failed'].includes(window.stentorPlayer?.state);
  await page.waitForFunction(settled, null, { timeout: SETTLED_WITHIN_MS }).catch(() => {});
  const frozenMs = awake.end();
  const { heard, state, errors } = await page.evaluate(() => ({
    heard: window.__heard,
    state: window.stentorPlayer?.state ?? 'no player',
    errors: [...(window.stentorPlayer?.errors ?? [])],
  }));
  console.log(
    JSON.stringify({
      firstSoundMs: heard.firstSoundMs,
      behindLive: { p50: quantile(heard.behind, 0.5), p95: quantile(heard.behind, 0.95) },
      errors: [...errors, ...pageErrors],
      longestSilenceMs: heard.longestSilenceMs,
      frozenMs,
      dominantHz: heard.dominantHz,
      state,
      foreignRequests,
    }),
  );
} finally {
  await browser.close();
}
