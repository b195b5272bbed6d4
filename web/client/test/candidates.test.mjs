import assert from 'node:assert/strict';
import test from 'node:test';
import { CandidateChoice } from '../dist/candidates.js';

const LIMIT = 32;
const attribute = (address, type, { component = 1, transport = 'udp', port = 50_000 } = {}) => ({
  candidate: `candidate:1 ${component} ${transport} 2122260223 ${address} ${port} typ ${type}`,
  sdpMid: '0',
});
const many = (count, make) => Array.from({ length: count }, (_, i) => make(i));

/** Returns the candidates that are sent, in order, and the number sent before the end of gathering. */
function choose(candidates) {
  const choice = new CandidateChoice(LIMIT);
  const now = candidates.filter((candidate) => choice.add(candidate));
  return { sent: [...now, ...choice.end()], before: now.length };
}

const count = (sent, pattern) => sent.filter(({ candidate }) => pattern.test(candidate)).length;

test('forty interfaces leave places for every kind', () => {
  const hosts = many(40, (i) => attribute(`10.0.0.${i}`, 'host'));
  const others = [
    attribute('2001:db8::1', 'host'), attribute('198.51.100.1', 'srflx'), attribute('2001:db8::2', 'srflx'),
    ...many(3, (i) => attribute('203.0.113.1', 'relay', { port: 40_000 + i })), attribute('2001:db8::3', 'relay'),
  ];
  const { sent } = choose([...hosts, ...others]);
  assert.equal(sent.length, LIMIT);
  for (const candidate of others) assert.ok(sent.includes(candidate), candidate.candidate);
});

test('forty relays do not displace hosts that come later', () => {
  const relays = many(40, (i) => attribute('203.0.113.1', 'relay', { port: 40_000 + i }));
  const hosts = [...many(3, (i) => attribute(`10.0.0.${i}`, 'host')), attribute('2001:db8::1', 'host')];
  const { sent } = choose([...relays, ...hosts]);
  assert.equal(sent.length, LIMIT);
  for (const candidate of hosts) assert.ok(sent.includes(candidate), candidate.candidate);
});

test('few candidates are sent at once', () => {
  const usual = [
    ...many(4, (i) => attribute(`10.0.0.${i}`, 'host')), ...many(4, (i) => attribute(`fd00::${i}`, 'host')),
    attribute('d2a5.local', 'host'), attribute('198.51.100.1', 'srflx'),
    ...many(3, (i) => attribute('203.0.113.1', 'relay', { port: 40_000 + i })),
  ];
  assert.deepEqual(choose(usual), { sent: usual, before: usual.length });
});

test('places that stay free are filled in turn at the end', () => {
  const hosts = many(20, (i) => attribute(`10.0.0.${i}`, 'host'));
  const tcp = many(20, (i) => attribute(`10.0.0.${i}`, 'host', { transport: 'TCP', port: 9 }));
  const { sent, before } = choose([...hosts, ...tcp]);
  assert.equal(sent.length, LIMIT);
  assert.ok(before < LIMIT);
  assert.ok(count(sent, / udp /) >= 16 && count(sent, / TCP /) >= 8, `${count(sent, / udp /)} ${count(sent, / TCP /)}`);
});

test('duplicates, TCP and RTCP take no reserved place', () => {
  const one = attribute('10.0.0.1', 'host');
  const doubles = many(40, () => ({ ...one }));
  const rest = [
    ...many(40, (i) => attribute(`10.0.1.${i}`, 'host', { transport: 'tcp', port: 9 })),
    ...many(40, (i) => attribute(`10.0.2.${i}`, 'host', { component: 2 })),
  ];
  const relay = attribute('203.0.113.1', 'relay');
  const { sent } = choose([one, ...doubles, ...rest, relay]);
  assert.equal(count(sent, /10\.0\.0\.1 /), 1);
  assert.ok(sent.includes(relay));
});
