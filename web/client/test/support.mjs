// A simulated browser: a clock that advances on demand, sockets and peer connections that record, and visits
// to a room.

import { StentorRoom } from '../dist/index.js';

export class FakeEnvironment {
  time = 5_000;
  /** Offset of the wall clock, large enough that the two clocks are not confused. */
  wallAhead = 995_000;
  dice = 0.5;
  sockets = [];
  peers = [];
  hurry = () => {};
  #timers = new Map();
  #next = 1;

  now = () => this.time;
  wallClock = () => this.time + this.wallAhead;
  random = () => this.dice;
  setTimeout = (action, ms) => {
    this.#timers.set(this.#next, { action, at: this.time + ms });
    return this.#next++;
  };
  clearTimeout = (timer) => this.#timers.delete(timer);
  openSocket = (url, protocols) => {
    const socket = new FakeSocket(url, protocols);
    this.sockets.push(socket);
    return socket;
  };
  createPeer = (config) => {
    const peer = new FakePeer(config);
    this.peers.push(peer);
    return peer;
  };
  createStream = (track) => ({ track });
  onHurry = (action) => {
    this.hurry = action;
    return () => (this.hurry = () => {});
  };

  get socket() {
    return this.sockets.at(-1);
  }
  get peer() {
    return this.peers.at(-1);
  }
  get timers() {
    return this.#timers.size;
  }

  /** Lets time pass, and runs all timers that become due. */
  async pass(ms) {
    const end = this.time + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].action();
      await settle();
    }
    this.time = end;
  }
}

/** Runs all pending promise callbacks. */
export async function settle() {
  for (let i = 0; i < 30; i++) await Promise.resolve();
}

export class FakeSocket {
  readyState = 0;
  sent = [];
  closed = false;
  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
    this.readyState = 3;
  }
  open() {
    this.readyState = 1;
    this.onopen?.();
  }
  /** The server or the network closes the connection. */
  fall(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
  tell(method, params) {
    this.onmessage?.({ data: JSON.stringify({ jsonrpc: '2.0', method, params }) });
  }
  /** Returns the newest message with this method. */
  said(method) {
    return this.sent.findLast((message) => message.method === method);
  }
  count(method) {
    return this.sent.filter((message) => message.method === method).length;
  }
  async answer(method, result) {
    await settle();
    this.onmessage?.({ data: JSON.stringify({ jsonrpc: '2.0', id: this.said(method).id, result }) });
    await settle();
  }
  async refuse(method, code, retryable, retryAfterMs) {
    await settle();
    const error = { code: -32000, message: code, data: { code, retryable, retryAfterMs } };
    this.onmessage?.({ data: JSON.stringify({ jsonrpc: '2.0', id: this.said(method).id, error }) });
    await settle();
  }
}

class FakePeer {
  connectionState = 'new';
  closed = false;
  offers = [];
  candidates = [];
  sent = undefined;
  constructor(config) {
    this.config = config;
  }
  addTransceiver(track) {
    this.sent = track;
    return { sender: { replaceTrack: async (next) => void (this.sent = next) } };
  }
  async createOffer(options) {
    this.offers.push(options);
    return { type: 'offer', sdp: `v=0 offer ${this.offers.length}` };
  }
  async setLocalDescription(description) {
    this.localDescription = description;
  }
  async setRemoteDescription(description) {
    this.remoteDescription = description;
  }
  async addIceCandidate(candidate) {
    this.candidates.push(candidate);
  }
  async getStats() {
    return new Map();
  }
  close() {
    this.closed = true;
  }
  become(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
  gather(candidate) {
    this.onicecandidate?.({ candidate: candidate && { candidate, toJSON: () => ({ candidate }) } });
  }
}

/** Returns a token like those from the server, but without a valid signature. */
export function token({ sub = 'ann', roomId = 'demo', role = 'host', exp = 2_000_000_000 } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part({ sub, roomId, role, exp })}.x`;
}

export const JOINED = { jtoken: 'sealed-1', resume: false, iceServers: [{ urls: 'stun:192.0.2.1' }] };
export const microphone = () => ({ kind: 'audio', enabled: true });

/** Returns a room and its recorded events. */
export function visit(options = {}) {
  const environment = new FakeEnvironment();
  const room = new StentorRoom({ url: 'ws://x/ws', token: token(), clientId: 'tab', ...options }, environment);
  const heard = [];
  for (const name of ['state', 'reconnecting', 'closed', 'members', 'talking', 'stream', 'muted', 'unmuteRequested', 'slowLink']) {
    room.on(name, (event) => heard.push([name, event]));
  }
  const last = (name) => heard.findLast(([of]) => of === name)?.[1];
  return { environment, room, heard, last };
}

export async function handshake(environment, joined = JOINED) {
  environment.socket.open();
  await environment.socket.answer('join', joined);
}

/** Returns a visit that is connected. */
export async function enter(options) {
  const all = visit(options);
  const entered = all.room.join();
  await settle();
  await handshake(all.environment);
  await all.environment.socket.answer('offer', { sdp: { type: 'answer', sdp: 'v=0 answer' } });
  all.environment.peer.become('connected');
  await entered;
  return { ...all, entered };
}
