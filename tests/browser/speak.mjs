// Drives speak and listen pages in headless Chromiums and Firefoxes, one browser each, for a test. The test
// sends requests as lines of JSON on stdin, and gets one answer for each on stdout, in the order of
// completion.
//
//   node speak.mjs
//   → {"id": 1, "do": "open", "name": "ann", "url": "http://127.0.0.1:8080/speak/demo#token=…", "wav": "440.wav"}
//   ← {"id": 1, "ok": true, "result": {…}}        or {"id": 1, "ok": false, "error": "…"}
//
// Requests with different names run concurrently; those with the same name run one after the other.
//
// | do         | parameters, besides `name`        | effect and answer |
// |------------|-----------------------------------|-------------------|
// | open       | url, wav? \| firefoxHz?, displayName?, pin?, consent?, hands?, minimum?, without?, selfSigned? | opens the page; its microphone hears the file `wav` in a loop. With `firefoxHz`, opens Firefox, whose microphone hears that tone; only `mouse` works there, and `cut` does not. A speak page is filled in and joined by its buttons; `consent`: agrees to being recorded. `hands`: `mouse`, `keyboard` alone, or `touch` on a phone, where nothing plays before a tap. `minimum`: without the APIs that a minimum browser lacks (`minimum.mjs`). `without`: without these names. `selfSigned`: any certificate is accepted. Answers as `state`, with the `fit` of the page before it is used |
// | wait       | state?, timeoutMs?, view?, code?, pill?, notStarted?, cards?, names?, says? | waits until the visit is in `state` (`connected`, `reconnecting`, `closed`), a listen page shows `pill`, the page says that its script does not run (`notStarted`), the page shows `view` (`room`, `ended`), the last problem has `code`, the cards of users say this (`{"bob": "Muted"}`), the cards have these `names`, and a toast has the text `says`; answers as `state` |
// | state      |                                   | answers `{view, state, problem, mediaFlows, muted, members, heading, words, microphone, cards, names, said, address, errors}`: with the action of its button, the text of each card, and the texts of all toasts so far (`said`); of a listen page `{state, playing, behindLiveSeconds, firstSoundMs, pill, words, address, touched, protocols, errors}`; `touched`: the browser has seen a user activation; `protocols`: of its requests |
// | analyse    | hz: [440, …], ms?                 | listens: `{rms, dominantHz, floorDb, levels: {"440": dB}, hears: {"440": bool}}` |
// | stats      |                                   | answers the client library's statistics: packets sent and received, round trip, … |
// | mute       | user?, muted                      | presses the user's own mute button, or, as host, mutes or unmutes `user`; `muted`: the wanted state |
// | remove     | user                              | as host, with the confirmation |
// | cut        | how: "reset" \| "freeze"          | ends the WebSocket's TCP connection and refuses new ones, or passes no more bytes and reports nothing; media are not affected |
// | restore    |                                   | ends a `cut` |
// | leave      |                                   | presses Leave |
// | play       |                                   | presses Play |
// | fit        |                                   | checks whether the page fits its screen: `{wide, small}`, the CSS pixels by which it is too wide, and the controls that are too small to hit (WCAG 2.2, 2.5.8) |
// | reload     |                                   | reloads the page, and joins again |
// | go         | to                                | goes `back`, `forward`, or to an address; answers `{address}` |
// | disturb    | how                               | simulates an intervention by the system: `pause` of the media, `stall` (without an event) or `resume` |
// | interrupt  | how, ms                           | `freeze`s a hidden page, or takes it `offline`, for this time; only in Chromium |
// | press      | target                            | presses the element of this selector |
// | keys       | target, keys                      | focuses the element of this selector and presses these keys |
// | write      | target, text                      | writes into the field of this selector |
// | text       | target                            | answers the text of the element of this selector, or null if it is hidden or missing; `outer >>> inner` looks into the shadow root of `outer` |
// | screenshot | path                              | PNG of the page |
// | close      |                                   | ends the browser |
//
// The driver and all browsers end when stdin ends. Sound is measured at the output. The microphone's
// processing (echo, noise, gain) is switched off, because it treats a steady tone as noise.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium, devices } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import { missingInMinimum } from './minimum.mjs';

const WAIT_MS = 30_000;
/** Upper bound of the tab stops of a page. */
const MOST_TABS = 60;
const pages = new Map();

/** Proxy between a page and the gateway, so that a connection can fail as in a network. */
class Cable {
  #mode = 'whole';
  #pairs = new Set();
  #server;

  async plug(host, port) {
    this.#server = createServer((near) => this.#link(near, host, port));
    await new Promise((done) => this.#server.listen(0, '127.0.0.1', done));
    return this.#server.address().port;
  }

  cut(how) {
    this.#mode = how;
    for (const pair of this.#pairs) {
      if (how === 'reset') pair.forEach((socket) => socket.resetAndDestroy());
      else pair.forEach((socket) => socket.pause());
    }
  }

  /** Lets new connections through. Frozen ones stay lost: a network that returns does not restore connections. */
  restore() {
    this.#mode = 'whole';
    for (const pair of this.#pairs) pair.forEach((socket) => socket.resetAndDestroy());
  }

  unplug() {
    this.restore();
    this.#server?.close();
  }

  #link(near, host, port) {
    if (this.#mode === 'reset') return near.resetAndDestroy();
    const far = connect(port, host);
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on('data', (bytes) => this.#mode === 'whole' && to.write(bytes));
      from.on('error', () => to.destroy());
      from.on('close', () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
    }
  }
}

/**
 * Returns a function that evaluates a function in this Chromium page. `page.evaluate` and `page.$` mark the page as
 * activated by its user (`userGesture: true` of the DevTools protocol), and Chromium then lets it play without a tap.
 */
async function evaluator(page) {
  const session = await page.context().newCDPSession(page);
  const evaluate = async (options) => {
    for (;;) {
      try {
        return await session.send('Runtime.evaluate', options);
      } catch (error) {
        // The page was replaced during the request: ask the next one.
        if (page.isClosed() || !error.message.includes('Inspected target navigated or closed')) throw error;
      }
    }
  };
  return async (action, argument) => {
    const expression = `(${action})(${JSON.stringify(argument) ?? ''})`;
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await evaluate(options);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
}

/** Input methods of a page. */
const hands = {
  mouse: {
    press: (page, target) => page.click(target),
    write: (page, field, text) => page.fill(field, text),
  },
  touch: {
    press: (page, target) => page.tap(target),
    write: async (page, field, text) => {
      await page.tap(field);
      await replace(page, text);
    },
  },
  keyboard: {
    press: async (page, target) => {
      await walk(page, target);
      await page.keyboard.press('Enter');
    },
    write: async (page, field, text) => {
      await walk(page, field);
      await replace(page, text);
    },
  },
};

async function replace(page, text) {
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(text);
}

async function walk(page, target) {
  const element = await page.waitForSelector(target);
  for (let tabs = 0; tabs < MOST_TABS; tabs += 1) {
    if (await element.evaluate((it) => it === it.getRootNode().activeElement)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`the keyboard does not reach ${target}`);
}

/** Runs in the page: returns by how many CSS pixels it is too wide, and the controls that are too small to hit. */
function fit() {
  const LEAST = 24;
  const { scrollWidth, clientWidth } = document.documentElement;
  const small = [...document.querySelectorAll('button, summary, select, input, [role=button]')]
    .map((it) => ({ it, box: it.getBoundingClientRect() }))
    .filter(({ it, box }) => it.offsetParent !== null && box.width > 0 && (box.width < LEAST || box.height < LEAST))
    .map(({ it, box }) => `${it.id || it.outerHTML.slice(0, 60)}: ${box.width} x ${box.height}`);
  return { wide: scrollWidth - clientWidth, small };
}

/** Runs in the page before its first script: records what `look` needs, and switches microphone processing off. */
function prepare() {
  // Record all toasts: one may disappear before the driver checks.
  const said = (window.__said = []);
  const note = ({ addedNodes }) => addedNodes.forEach((it) => it.classList?.contains('toast') && said.push(it.textContent.trim()));
  new MutationObserver((changes) => changes.forEach(note)).observe(document, { childList: true, subtree: true });
  // Record the elements that play: those outside the document cannot be found otherwise.
  const played = (window.__played = []);
  const { play } = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.play = function () {
    if (!played.includes(this)) played.push(this);
    return play.call(this);
  };
  const open = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
  if (!open) return;
  navigator.mediaDevices.getUserMedia = ({ audio, ...rest }) => {
    const unprocessed = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    return open({ ...rest, audio: { ...(typeof audio === 'object' ? audio : {}), ...unprocessed } });
  };
}

/**
 * Runs before the page's first script: deletes `Interface`, `Interface.member` or
 * `Interface.prototype.member`.
 */
function remove(names) {
  for (const name of names) {
    const path = name.split('.');
    const last = path.pop();
    const owner = path.reduce((object, key) => (object === null || object === undefined ? undefined : object[key]), window);
    if (owner !== undefined && owner !== null) Reflect.deleteProperty(owner, last);
  }
}

/** Runs in the page: returns the spectrum of its audio output, averaged over the time. */
async function listen({ hz, ms }) {
  const RATE = 48_000;
  const SIZE = 8192;
  const audio = window.__played.find((it) => !it.paused && (it.srcObject || it.currentSrc)) ?? document.querySelector('audio');
  const context = (window.__context ??= new AudioContext({ sampleRate: RATE }));
  await context.resume();
  const analyser = new AnalyserNode(context, { fftSize: SIZE, smoothingTimeConstant: 0 });
  const tap = () => {
    const source = context.createMediaElementSource(audio);
    // Without a consumer the audio would not be pulled, and playback would stall.
    source.connect(context.destination);
    return source;
  };
  const source = audio.srcObject ? context.createMediaStreamSource(audio.srcObject) : (audio.__source ??= tap());
  source.connect(analyser);
  const power = new Float64Array(analyser.frequencyBinCount);
  const [spectrum, wave] = [new Float32Array(power.length), new Float32Array(SIZE)];
  let [looks, energy] = [0, 0];
  const end = performance.now() + ms;
  while (performance.now() < end) {
    await new Promise((next) => setTimeout(next, 100));
    analyser.getFloatFrequencyData(spectrum);
    analyser.getFloatTimeDomainData(wave);
    spectrum.forEach((db, bin) => (power[bin] += 10 ** (Math.max(db, -200) / 10)));
    energy += wave.reduce((sum, sample) => sum + sample * sample, 0) / SIZE;
    looks += 1;
  }
  source.disconnect(analyser);
  const decibels = [...power].map((sum) => 10 * Math.log10(sum / looks));
  const bin = (frequency) => Math.round((frequency * SIZE) / RATE);
  const voice = decibels.slice(bin(150), bin(4000)).sort((a, b) => a - b);
  const floorDb = voice[voice.length >> 1];
  const near = (frequency) => Math.max(...decibels.slice(bin(frequency) - 2, bin(frequency) + 3));
  const levels = Object.fromEntries(hz.map((frequency) => [frequency, near(frequency)]));
  const hears = Object.fromEntries(hz.map((frequency) => [frequency, near(frequency) > Math.max(-70, floorDb + 20)]));
  const dominantHz = (decibels.indexOf(Math.max(...decibels)) * RATE) / SIZE;
  return { rms: Math.sqrt(energy / looks), dominantHz, floorDb, levels, hears };
}

/** Runs in the page: returns the state that the request `state` answers with. */
function look() {
  const told = (element) => element?.textContent.trim() ?? null;
  const text = (selector) => told(document.querySelector(selector));
  const all = (selector) => [...document.querySelectorAll(selector)];
  const notice = document.querySelector('#not-started');
  if (notice) return { notStarted: getComputedStyle(notice).visibility === 'visible' ? told(notice) : '' };
  const player = window.stentorPlayer;
  if (player) {
    const { state, playing, behindLiveSeconds, firstSoundMs, errors } = player;
    const words = text('#problem:not([hidden])') ?? text('#state');
    const protocols = [...new Set(performance.getEntriesByType('resource').map((it) => it.nextHopProtocol))];
    const shown = { pill: text('#pill-text'), words, address: location.href, touched: navigator.userActivation?.hasBeenActive ?? null, protocols };
    return { state, playing, behindLiveSeconds, firstSoundMs, errors: [...errors], ...shown };
  }
  const room = window.stentorRoom;
  const { view } = document.body.dataset;
  const words = view === 'room' ? text('#trouble:not([hidden])') : view === 'ended' ? text('#ended-text') : text('#waiting:not([hidden]) p');
  return {
    view,
    state: room?.state ?? 'idle',
    problem: room?.status.problem ?? null,
    mediaFlows: room?.status.mediaFlows ?? false,
    muted: room?.muted ?? false,
    members: room?.members ?? [],
    heading: view === 'ended' ? text('#ended-title') : text(`#${view} h1`),
    words,
    microphone: text('#mute-text'),
    cards: Object.fromEntries(all('#members [data-user]').map((it) => [it.dataset.user, told(it.querySelector('.member-state'))])),
    names: all('#members .name').map(told),
    said: [...(window.__said ?? [])],
    address: location.href,
  };
}

/** Runs in the page: simulates what a system does to a media element without asking the page. */
function disturb(how) {
  const audio = document.querySelector('audio');
  if (how === 'pause') return audio.pause();
  if (how === 'resume') delete audio.playbackRate;
  // The playhead stands still and the element reports nothing, as with an output device that is gone.
  audio.playbackRate = how === 'stall' ? 0 : 1;
  if (how === 'stall') Object.defineProperty(audio, 'playbackRate', { configurable: true, get: () => 1, set: () => {} });
}

/** Runs in the page: returns the text of an element, or null if it is hidden or missing. */
function shownText(target) {
  const pierce = (root, selector) => root?.querySelector(selector) ?? null;
  const [outer, inner] = target.split(' >>> ');
  const element = inner ? pierce(pierce(document, outer)?.shadowRoot, inner) : pierce(document, outer);
  return element?.checkVisibility() ? element.textContent.trim() : null;
}

/** Returns the address of the page's gateway; null on a server without a gateway. */
async function gateway(origin) {
  const response = await fetch(`${origin}/pages/config`).catch(() => null);
  const { wsUrl } = response?.ok ? await response.json() : {};
  if (!wsUrl) return null;
  const { hostname, port, protocol } = new URL(wsUrl);
  return { host: hostname, port: Number(port || (protocol === 'wss:' ? 443 : 80)) };
}

/**
 * Firefox plays nothing without a sound card. This sound server has no real output, and ends with this
 * driver.
 */
let loudspeaker = null;

async function soundServer() {
  const socket = join(mkdtempSync(join(tmpdir(), 'sound-')), 'pulse');
  const modules = ['module-null-sink', `module-native-protocol-unix auth-anonymous=1 socket=${socket}`];
  const args = ['-n', '--daemonize=no', '--use-pid-file=no', '--exit-idle-time=-1', ...modules.flatMap((it) => ['-L', it])];
  spawn('setpriv', ['--pdeathsig', 'KILL', 'pulseaudio', ...args], { stdio: 'ignore' });
  const end = Date.now() + WAIT_MS;
  while (!existsSync(socket)) {
    if (Date.now() > end) throw new Error('pulseaudio does not start');
    await new Promise((next) => setTimeout(next, 50));
  }
  return `unix:${socket}`;
}

async function openInFirefox({ url, firefoxHz, displayName, pin, name }) {
  loudspeaker ??= soundServer();
  const browser = await puppeteer.launch({
    browser: 'firefox',
    timeout: 2 * WAIT_MS,
    executablePath: new URL('firefox.sh', import.meta.url).pathname,
    env: { ...process.env, PULSE_SERVER: await loudspeaker },
    extraPrefsFirefox: {
      'media.autoplay.default': 0,
      'media.autoplay.blocking_policy': 0,
      'media.navigator.permission.disabled': true,
      'media.navigator.streams.fake': true,
      'media.navigator.audio.fake_frequency': firefoxHz,
    },
  });
  const page = await browser.newPage();
  const write = async (page, field, text) => {
    await page.focus(field);
    await page.keyboard.type(text);
  };
  const visit = { browser, page, cable: new Cable(), errors: [], displayName: displayName ?? name, pin, hands: { ...hands.mouse, write }, run: (...it) => page.evaluate(...it) };
  await page.evaluateOnNewDocument(prepare);
  return begin(visit, name, url);
}

async function open({ url, wav, displayName, pin, consent, name, hands: by = 'mouse', minimum, without, selfSigned }) {
  const { origin } = new URL(url);
  const cable = new Cable();
  const to = await gateway(origin);
  const args = [
    '--no-sandbox',
    '--disable-dev-shm-usage',
    `--autoplay-policy=${by === 'touch' ? 'document-user-activation-required' : 'no-user-gesture-required'}`,
    '--use-fake-ui-for-media-stream',
    '--use-fake-device-for-media-stream',
    // Browsers give a microphone only to https and localhost.
    `--unsafely-treat-insecure-origin-as-secure=${origin}`,
  ];
  if (selfSigned) args.push('--ignore-certificate-errors');
  if (wav) args.push(`--use-file-for-fake-audio-capture=${wav}`);
  if (to) args.push(`--host-resolver-rules=MAP ${to.host}:${to.port} 127.0.0.1:${await cable.plug(to.host, to.port)}`);
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
  const page = await browser.newPage(by === 'touch' ? devices['Pixel 7'] : {});
  const run = await evaluator(page);
  const visit = { browser, page, cable, errors: [], displayName: displayName ?? name, pin, consent, hands: hands[by], run };
  await page.addInitScript(prepare);
  if (minimum) await page.addInitScript(remove, await missingInMinimum());
  if (without) await page.addInitScript(remove, without);
  return begin(visit, name, url);
}

/** Opens `url` in the prepared page of a visit, in either browser. */
async function begin(visit, name, url) {
  const { page, errors, run } = visit;
  pages.set(name, visit);
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(url);
  const fitted = await run(fit);
  await enter(visit);
  return { ...(await state(visit)), fit: fitted };
}

async function enter({ page, hands, displayName, pin, consent, run }) {
  if (!(await run(() => document.querySelector('#form') !== null))) return;
  await hands.write(page, '#name', displayName);
  if (consent) {
    await page.waitForSelector('#consent-field:not([hidden])');
    await page.check('#consent');
  }
  if (pin) {
    await hands.press(page, '#pin-field summary');
    await hands.write(page, '#pin', pin);
  }
  await hands.press(page, '#join');
}

async function state({ run, errors }) {
  const seen = await run(look);
  return { ...seen, errors: [...(seen.errors ?? []), ...errors] };
}

async function wait(visit, { state: wanted, view, code, pill, notStarted, cards = {}, names, says, timeoutMs = WAIT_MS }) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const seen = await state(visit);
    const right = (!wanted || seen.state === wanted) && (!view || seen.view === view) && (!code || seen.problem?.code === code);
    const said = Object.entries(cards).every(([user, words]) => seen.cards?.[user] === words) && (!says || seen.said?.includes(says));
    const shown = (!pill || seen.pill === pill) && (!notStarted || Boolean(seen.notStarted)) && (!names || names.every((it) => seen.names?.includes(it)));
    if (right && said && shown) return seen;
    if (Date.now() > end) throw new Error(`not within ${timeoutMs} ms: ${JSON.stringify(seen)}`);
    await new Promise((next) => setTimeout(next, 50));
  }
}

async function interrupt({ page }, { how, ms }) {
  const passed = () => new Promise((next) => setTimeout(next, ms));
  if (how === 'offline') {
    await page.context().setOffline(true);
    await passed();
    await page.context().setOffline(false);
    return;
  }
  const session = await page.context().newCDPSession(page);
  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  await passed();
  await session.send('Page.setWebLifecycleState', { state: 'active' });
  await session.detach();
}

async function mute({ page, hands, run }, { user, muted }) {
  const own = () => run(() => window.stentorRoom.muted);
  if (!user) {
    if ((await own()) !== muted) await hands.press(page, '#mute');
    return { muted: await own() };
  }
  await hands.press(page, `[data-user="${user}"] [data-do=mute]:text-is("${muted ? 'Mute' : 'Unmute'}")`);
  return {};
}

const acts = {
  wait,
  state,
  mute,
  analyse: ({ run }, { hz, ms = 2000 }) => run(listen, { hz, ms }),
  stats: ({ run }) => run(() => window.stentorRoom?.stats() ?? null),
  remove: async ({ page, hands }, { user }) => {
    await hands.press(page, `[data-user="${user}"] [data-do=remove]`);
    await hands.press(page, '#confirm-yes');
  },
  cut: ({ cable }, { how }) => cable.cut(how),
  restore: ({ cable }) => cable.restore(),
  leave: ({ page, hands }) => hands.press(page, '#leave'),
  play: ({ page, hands }) => hands.press(page, '#play'),
  fit: ({ run }) => run(fit),
  reload: async (visit) => {
    await visit.page.reload();
    await enter(visit);
    return state(visit);
  },
  go: async (visit, { to }) => {
    await (to === 'back' ? visit.page.goBack() : to === 'forward' ? visit.page.goForward() : visit.page.goto(to));
    return { address: await visit.run(() => location.href) };
  },
  interrupt,
  disturb: ({ run }, { how }) => run(disturb, how),
  press: ({ page, hands }, { target }) => hands.press(page, target),
  keys: async ({ page }, { target, keys }) => {
    await page.focus(target);
    for (const key of keys) await page.keyboard.press(key);
  },
  write: ({ page, hands }, { target, text }) => hands.write(page, target, text),
  text: ({ run }, { target }) => run(shownText, target),
  screenshot: ({ page }, { path }) => page.screenshot({ path }).then(() => ({ path })),
  close: async (visit, { name }) => {
    pages.delete(name);
    visit.cable.unplug();
    await visit.browser.close();
  },
};

async function perform(request) {
  if (request.do === 'open') return request.firefoxHz ? openInFirefox(request) : open(request);
  const visit = pages.get(request.name);
  if (!visit) throw new Error(`no page is called ${request.name}`);
  const act = acts[request.do];
  if (!act) throw new Error(`there is no ${request.do}`);
  return act(visit, request);
}

async function answer(request) {
  try {
    const result = (await perform(request)) ?? {};
    console.log(JSON.stringify({ id: request.id, ok: true, result }));
  } catch (error) {
    console.log(JSON.stringify({ id: request.id, ok: false, error: String(error.message ?? error) }));
  }
}

const queues = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === '') continue;
  const request = JSON.parse(line);
  const before = queues.get(request.name) ?? Promise.resolve();
  queues.set(request.name, before.then(() => answer(request)));
}
await Promise.all([...pages.values()].map(({ browser }) => browser.close()));
process.exit(0);
