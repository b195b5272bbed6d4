// The dozens of entries of `getStats`, condensed to what says how a call is. Pure.

/** One direction of the sound. */
export interface FlowStats {
  /** Since the peer connection began. */
  packets: number;
  bytes: number;
  /** Packets lost since the peer connection began; of the outbound, as the server reports it. */
  packetsLost: number;
  /** Share of packets lost since the last look, 0 to 1; `null` when too few went. */
  lossRatio: number | null;
  /** Variation of the packets' delay, milliseconds; `null` while unknown. */
  jitterMs: number | null;
  /** Bits per second since the last look; `null` at the first. */
  bitrate: number | null;
}

/** How the call is. */
export interface RoomStats {
  /** When this was looked at, milliseconds since the Unix epoch. */
  at: number;
  /** There and back between here and the media server, milliseconds; `null` while unknown. */
  roundTripMs: number | null;
  sent: FlowStats;
  received: FlowStats;
  quality: Quality;
}

/** In one word; `unknown` while too little is known. */
export type Quality = 'good' | 'fair' | 'poor' | 'unknown';

type Entry = Record<string, unknown> & { type: string };

/** Fewer packets than one fifth of a second holds say nothing about loss. */
const TELLING_PACKETS = 10;

/** `before` is the last result for the same peer connection, and was so long ago; a date is no measure of that. */
export function condense(entries: Iterable<Entry>, at: number, elapsedMs: number | null, before: RoomStats | null): RoomStats {
  const all = [...entries].filter((entry) => entry.kind === undefined || entry.kind === 'audio');
  const find = (type: string): Entry | undefined => all.find((entry) => entry.type === type);
  const [out, back, into] = [find('outbound-rtp'), find('remote-inbound-rtp'), find('inbound-rtp')];
  const pair = all.find((entry) => entry.type === 'candidate-pair' && (entry.nominated === true || entry.selected === true));
  const seconds = elapsedMs !== null && elapsedMs > 0 ? elapsedMs / 1000 : null;
  const sent = flow(count(out?.packetsSent), count(out?.bytesSent), count(back?.packetsLost), back?.jitter, seconds, before?.sent);
  const received = flow(
    count(into?.packetsReceived), count(into?.bytesReceived), count(into?.packetsLost), into?.jitter, seconds, before?.received,
  );
  const roundTripMs = milliseconds(back?.roundTripTime) ?? milliseconds(pair?.currentRoundTripTime);
  return { at, roundTripMs, sent, received, quality: judge(roundTripMs, sent, received) };
}

function flow(
  packets: number, bytes: number, packetsLost: number, jitter: unknown, seconds: number | null, before: FlowStats | undefined,
): FlowStats {
  const jitterMs = milliseconds(jitter);
  if (seconds === null || !before) return { packets, bytes, packetsLost, lossRatio: null, jitterMs, bitrate: null };
  // Late packets can take losses back.
  const lost = Math.max(0, packetsLost - before.packetsLost);
  const gone = packets - before.packets + lost;
  const lossRatio = gone >= TELLING_PACKETS ? lost / gone : null;
  return { packets, bytes, packetsLost, lossRatio, jitterMs, bitrate: Math.round(((bytes - before.bytes) * 8) / seconds) };
}

/** Limits at which speech begins to suffer, and at which it is hard to follow (compare ITU-T G.114 for delay). */
function judge(roundTripMs: number | null, sent: FlowStats, received: FlowStats): Quality {
  const losses = [sent.lossRatio, received.lossRatio].filter((loss) => loss !== null);
  if (losses.length === 0) return 'unknown';
  const worst = Math.max(...losses);
  const jitter = Math.max(sent.jitterMs ?? 0, received.jitterMs ?? 0);
  const delay = roundTripMs ?? 0;
  if (worst > 0.08 || delay > 500 || jitter > 80) return 'poor';
  return worst > 0.02 || delay > 250 || jitter > 30 ? 'fair' : 'good';
}

const count = (value: unknown): number => (typeof value === 'number' ? value : 0);
const milliseconds = (seconds: unknown): number | null =>
  typeof seconds === 'number' ? Math.round(seconds * 10_000) / 10 : null;
