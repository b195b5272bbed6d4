// Tests of the library in browsers that lack an API.

import assert from 'node:assert/strict';
import test from 'node:test';
import { browser } from '../dist/environment.js';
import { handshake, settle, visit } from './support.mjs';

test('ICE state replaces a missing connectionState', async () => {
  const { environment, room } = visit();
  const { createPeer } = environment;
  environment.createPeer = (config) => {
    const peer = createPeer(config);
    delete peer.connectionState;
    return peer;
  };
  const entered = room.join();
  await settle();
  await handshake(environment);
  await environment.socket.answer('offer', { sdp: { type: 'answer', sdp: 'v=0 answer' } });
  const become = (state) => {
    environment.peer.iceConnectionState = state;
    environment.peer.oniceconnectionstatechange();
  };
  become('checking');
  assert.equal(room.state, 'connecting');
  become('connected');
  await entered;
  become('completed');
  assert.deepEqual([room.state, room.status.mediaFlows], ['connected', true]);
  become('failed');
  assert.equal(room.state, 'reconnecting');
});

test('missing WebRTC ends the visit with its code', async () => {
  const { environment, room } = visit();
  environment.createPeer = browser.createPeer;
  const entered = room.join();
  await settle();
  await handshake(environment);
  await assert.rejects(entered, { name: 'StentorError', code: 'unsupported_browser', retryable: false });
  assert.equal(room.state, 'closed');
});
