// Summary of the entries of `getStats`. Pure.

/** One direction of the audio. */
export interface FlowStats {
  /** Packets since the peer connection began. */
  packets: number;
  bytes: number;
  /** Packets lost since the peer connection began; for the outbound direction, as reported by the server. */
  packetsLost: number;
  /** Share of packets lost since the previous statistics, 0 to 1; `null` if there were too few packets. */
  lossRatio: number | null;
  /** Jitter of the packets in milliseconds; `null` while unknown. */
  jitterMs: number | null;
  /** Bits per second since the previous statistics; `null` in the first statistics. */
  bitrate: number | null;
}

/** Statistics of a call. */
export interface RoomStats {
  /** Time of the statistics, in milliseconds since the Unix epoch. */
  at: number;
  /** Round-trip time to the media server in milliseconds; `null` while unknown. */
  roundTripMs: number | null;
  sent: FlowStats;
  received: FlowStats;
  quality: Quality;
}

/** Quality of the call; `unknown` while there is too little data. */
export type Quality = 'good' | 'fair' | 'poor' | 'unknown';

type Entry = Record<string, unknown> & { type: string };

/** Minimum number of packets for a loss ratio: one fifth of a second. */
const TELLING_PACKETS = 10;

/**
 * Computes the statistics. `before` is the previous result for the same peer connection, `elapsedMs` earlier;
 * dates are not used to measure time.
 */
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
  // Late packets can reduce the number of losses.
  const lost = Math.max(0, packetsLost - before.packetsLost);
  const gone = packets - before.packets + lost;
  const lossRatio = gone >= TELLING_PACKETS ? lost / gone : null;
  return { packets, bytes, packetsLost, lossRatio, jitterMs, bitrate: Math.round(((bytes - before.bytes) * 8) / seconds) };
}

/**
 * Rates a call by two limits: one at which speech begins to suffer, and one at which it is hard to follow
 * (compare ITU-T G.114 for delay).
 */
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
