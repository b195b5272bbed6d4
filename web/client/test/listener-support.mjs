// A simulated page for a listener: a media element, hls.js, a server with scripted answers, and timers on
// demand.

import { mock } from 'node:test';
import { StentorListener } from '../dist/index.js';
import { settle } from './support.mjs';

export const URL_OF_ROOM = 'https://live.example.org/hls/rooms/demo/index.m3u8';
export { settle };

export class FakeAudio extends EventTarget {
  paused = true;
  ended = false;
  seeking = false;
  currentTime = 0;
  buffered = { length: 0 };
  error = null;
  src = '';
  loads = 0;
  /** Error of `play`, if the browser refuses it. */
  refusal = null;
  plays = new Set(['audio/aac']);

  canPlayType(type) {
    return this.plays.has(type) ? 'maybe' : '';
  }
  play() {
    if (this.refusal) return Promise.reject(this.refusal);
    this.paused = false;
    this.dispatchEvent(new Event('playing'));
    return Promise.resolve();
  }
  pause() {
    if (this.paused) return;
    this.paused = true;
    this.dispatchEvent(new Event('pause'));
  }
  removeAttribute(name) {
    if (name === 'src') this.src = '';
  }
  load() {
    this.loads += 1;
  }
  /** Plays for some time: the playhead advances. */
  async advance(seconds) {
    for (let at = 0; at < seconds; at += 0.1) {
      this.currentTime += 0.1;
      await pass(100);
    }
  }
}

export class FakeHls {
  static Events = Object.fromEntries(['ERROR', 'FRAG_BUFFERED', 'MANIFEST_PARSED', 'MEDIA_ENDED', 'LEVEL_LOADED', 'LEVEL_UPDATED'].map((it) => [it, it]));
  static DefaultConfig = { loader: class {} };
  static supported = true;
  static made = [];
  static isSupported = () => FakeHls.supported;

  #listeners = new Map();
  latency = 1;
  targetLatency = 1;
  liveSyncPosition = null;
  latestLevelDetails = { edge: 0 };
  playingDate = null;
  inFlightFragments = { main: { state: 'LOADING' } };
  destroyed = false;

  constructor(config) {
    this.config = config;
    FakeHls.made.push(this);
  }
  on(event, listener) {
    this.#listeners.set(event, listener);
  }
  loadSource(url) {
    this.url = url;
  }
  attachMedia() {}
  /** Positions from which the player has started to load. */
  started = [];
  startLoad(position) {
    this.started.push(position);
  }
  destroy() {
    this.destroyed = true;
  }
  tell(event, data) {
    this.#listeners.get(event)?.(event, data);
  }
  /** The first playlist has arrived. */
  loaded() {
    this.tell('LEVEL_LOADED', { details: { live: true, startSN: 1, endSN: 5, totalduration: 8 } });
  }
  refused(status, code) {
    const networkDetails = Object.assign(new XMLHttpRequest(), { status, response: JSON.stringify({ code }) });
    this.tell('ERROR', { type: 'networkError', details: 'levelLoadError', fatal: true, response: { code: status }, networkDetails });
  }
  static get newest() {
    return FakeHls.made.at(-1);
  }
}

/** Lets time pass, and runs all timers that become due. */
export async function pass(ms) {
  for (let gone = 0; gone < ms; gone += 50) {
    mock.timers.tick(50);
    await settle();
  }
}

/** A response that sends server-sent events on demand. */
export function events(...first) {
  let stream;
  const text = (event, data, id) => `${id ? `id: ${id}\n` : ''}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  const body = new ReadableStream({ start: (controller) => void (stream = controller) });
  const send = (...event) => stream.enqueue(new TextEncoder().encode(text(...event)));
  first.forEach((event) => send(...event));
  return { response: new Response(body, { status: 200 }), send, end: () => stream.close() };
}

export const refusal = (status, code) => Response.json({ success: false, error: 'no', code }, { status });

/**
 * Replaces timers, `fetch` and `XMLHttpRequest`. `answer(method, path, init)` returns the response to a
 * request.
 */
export function simulate(answer) {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  FakeHls.made = [];
  FakeHls.supported = true;
  const asked = [];
  globalThis.window = globalThis;
  globalThis.Audio = FakeAudio;
  globalThis.XMLHttpRequest = class {
    headers = {};
    open() {}
    setRequestHeader(name, value) {
      this.headers[name] = value;
    }
  };
  globalThis.fetch = async (url, init = {}) => {
    const { method = 'GET', body, headers = {} } = init;
    asked.push({ method, path: url.replace('https://live.example.org', ''), body: body && JSON.parse(body), headers });
    const response = await answer(method, asked.at(-1).path, init);
    if (response instanceof Error) throw response;
    return response;
  };
  return asked;
}

/** Ends the simulation. */
export function restore() {
  mock.timers.reset();
}

export function listener(options = {}) {
  const audio = new FakeAudio();
  const made = new StentorListener({ url: URL_OF_ROOM, token: 'a.b.c', hls: FakeHls, audio, ...options });
  const heard = [];
  for (const name of ['state', 'room', 'reactions', 'talking', 'invited', 'stage']) made.on(name, (event) => heard.push([name, event]));
  const states = () => heard.filter(([name]) => name === 'state').map(([, { state }]) => state);
  return { listener: made, audio, heard, states };
}
