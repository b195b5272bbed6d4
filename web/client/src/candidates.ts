// Selects the ICE candidates to send. The server accepts a limited number after each offer, and a machine
// with many interfaces, VPNs or TURN servers gathers more. Each kind has reserved places, which other kinds
// cannot use until gathering ends. Pure.

/** Number of places reserved for each kind. */
const RESERVED = 3;

type Kind = `${'host' | 'srflx' | 'relay'} ${'IPv4' | 'IPv6' | 'name'}` | 'rest';

/** The kinds with reserved places. Only host candidates have names (mDNS). */
const KINDS: readonly Kind[] = [
  'host IPv4', 'host IPv6', 'host name', 'srflx IPv4', 'srflx IPv6', 'relay IPv4', 'relay IPv6', 'rest',
];

/** The candidates of one offer. */
export class CandidateChoice {
  private readonly sent = new Map<Kind, number>();
  private readonly seen = new Set<string>();
  private held: { kind: Kind; candidate: RTCIceCandidateInit }[] = [];
  private total = 0;

  /** `limit`: number of candidates that the server accepts; at least the sum of all reserved places. */
  constructor(private readonly limit: number) {}

  /**
   * Takes a candidate. Returns true if it must be sent now. Otherwise it is a duplicate, or is held until
   * {@link end}.
   */
  add(candidate: RTCIceCandidateInit): boolean {
    const { kind, key } = parse(candidate.candidate ?? '');
    if (this.seen.has(key)) return false;
    this.seen.add(key);
    if (this.total + this.reservedForOthers(kind) < this.limit) {
      this.count(kind);
      return true;
    }
    this.held.push({ kind, candidate });
    return false;
  }

  /** Ends gathering. Returns the candidates that fill the remaining places, from each kind in turn. */
  end(): RTCIceCandidateInit[] {
    const turns = new Map<Kind, number>();
    const queue = this.held.map((held) => {
      const turn = turns.get(held.kind) ?? 0;
      turns.set(held.kind, turn + 1);
      return { ...held, turn };
    });
    queue.sort((a, b) => a.turn - b.turn);
    const chosen = queue.slice(0, this.limit - this.total);
    chosen.forEach(({ kind }) => this.count(kind));
    this.held = [];
    return chosen.map(({ candidate }) => candidate);
  }

  private reservedForOthers(kind: Kind): number {
    const free = (other: Kind): number => Math.max(0, RESERVED - (this.sent.get(other) ?? 0));
    return KINDS.reduce((sum, other) => sum + (other === kind ? 0 : free(other)), 0);
  }

  private count(kind: Kind): void {
    this.sent.set(kind, (this.sent.get(kind) ?? 0) + 1);
    this.total += 1;
  }
}

/**
 * Parses a candidate attribute (RFC 8839 section 5.1); `RTCIceCandidate` has the fields only in newer
 * browsers. `rest`: candidates for TCP or RTCP (component 2), which Janus does not use by default, and
 * unknown attributes.
 */
function parse(attribute: string): { kind: Kind; key: string } {
  const [, component, transport = '', , address = '', port, , type] = attribute.split(' ');
  if (type !== 'host' && type !== 'srflx' && type !== 'relay') return { kind: 'rest', key: attribute };
  const protocol = transport.toLowerCase();
  const key = [component, protocol, address, port, type].join(' ');
  if (component !== '1' || protocol !== 'udp') return { kind: 'rest', key };
  const family = address.includes(':') ? 'IPv6' : /^[\d.]+$/.test(address) ? 'IPv4' : 'name';
  return { kind: `${type} ${family}`, key };
}
