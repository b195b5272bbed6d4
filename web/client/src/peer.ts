// One RTCPeerConnection to the room's media server: one audio line in both directions. The sent track may
// change without negotiation. Owns: offer, answer, candidates, and the state of the link. Does not decide the
// next step.

import { CandidateChoice } from './candidates.js';
import type { Environment } from './environment.js';
import { MAX_CANDIDATES } from './protocol.js';

export interface PeerListener {
  /** Sends a candidate; `null`: the end of candidates. Is called only after {@link Peer.accept}. */
  candidate(candidate: RTCIceCandidateInit | null): void;
  linked(): void;
  unlinked(): void;
  stream(stream: MediaStream): void;
}

/** Time within which ICE often recovers by itself. */
const DISCONNECTED_MS = 4_000;

export class Peer {
  /** True if packets got through at least once, so that the server has a session that can be resumed. */
  everLinked = false;
  private readonly pc: RTCPeerConnection;
  private readonly sender: RTCRtpSender;
  private outbox: (RTCIceCandidateInit | null)[] | null = [];
  private choice = new CandidateChoice(MAX_CANDIDATES);
  private inbox: (RTCIceCandidateInit | null)[] | null = [];
  private lossTimer: unknown = null;

  constructor(
    iceServers: RTCIceServer[],
    track: MediaStreamTrack | null,
    private readonly environment: Environment,
    private readonly listener: PeerListener,
  ) {
    this.pc = environment.createPeer({ iceServers });
    this.sender = this.pc.addTransceiver(track ?? 'audio', { direction: 'sendrecv' }).sender;
    this.pc.onicecandidate = ({ candidate }) => this.gathered(candidate?.toJSON() ?? null);
    // Firefox before 113 has no `connectionState`.
    if ('connectionState' in this.pc) this.pc.onconnectionstatechange = () => this.changed();
    else (this.pc as RTCPeerConnection).oniceconnectionstatechange = () => this.changed();
    this.pc.ontrack = ({ track, streams }) => listener.stream(streams[0] ?? environment.createStream(track));
  }

  get linked(): boolean {
    return this.state === 'connected';
  }

  /** Begins a negotiation: sets the local description and returns the SDP of the offer. */
  async offer(restart: boolean): Promise<string> {
    this.outbox = [];
    this.choice = new CandidateChoice(MAX_CANDIDATES);
    this.inbox = [];
    await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: restart }));
    return this.pc.localDescription?.sdp ?? '';
  }

  /** Applies the answer, then sends the local and adds the remote candidates that came before it. */
  async accept(sdp: string): Promise<void> {
    await this.pc.setRemoteDescription({ type: 'answer', sdp });
    const [outbox, inbox] = [this.outbox ?? [], this.inbox ?? []];
    this.outbox = this.inbox = null;
    outbox.forEach((candidate) => this.send(candidate));
    inbox.forEach((candidate) => this.add(candidate));
  }

  /** Adds a candidate from the server. */
  add(candidate: RTCIceCandidateInit | null): void {
    if (this.inbox) this.inbox.push(candidate);
    // Ignore an unusable candidate: the others are sufficient.
    else this.pc.addIceCandidate(candidate ?? undefined).catch(() => undefined);
  }

  /** Sends this track from now on, or nothing if it is `null`; needs no new offer. */
  async replace(track: MediaStreamTrack | null): Promise<void> {
    await this.sender.replaceTrack(track);
  }

  async statistics(): Promise<RTCStatsReport> {
    return this.pc.getStats();
  }

  close(): void {
    this.environment.clearTimeout(this.lossTimer);
    this.pc.onicecandidate = this.pc.ontrack = null;
    this.pc.onconnectionstatechange = this.pc.oniceconnectionstatechange = null;
    this.pc.close();
  }

  private gathered(candidate: RTCIceCandidateInit | null): void {
    // Browsers may announce the end twice: as an empty candidate and as null.
    if (candidate?.candidate === '') return;
    if (this.outbox) this.outbox.push(candidate);
    else this.send(candidate);
  }

  private send(candidate: RTCIceCandidateInit | null): void {
    if (candidate === null) {
      this.choice.end().forEach((held) => this.listener.candidate(held));
      this.listener.candidate(null);
    } else if (this.choice.add(candidate)) {
      this.listener.candidate(candidate);
    }
  }

  private get state(): RTCPeerConnectionState | RTCIceConnectionState {
    const { connectionState, iceConnectionState } = this.pc as Partial<RTCPeerConnection>;
    return connectionState ?? (iceConnectionState === 'completed' ? 'connected' : (iceConnectionState ?? 'new'));
  }

  private changed(): void {
    this.environment.clearTimeout(this.lossTimer);
    switch (this.state) {
      case 'connected':
        this.everLinked = true;
        this.listener.linked();
        break;
      case 'disconnected':
        this.lossTimer = this.environment.setTimeout(() => this.listener.unlinked(), DISCONNECTED_MS);
        break;
      case 'failed':
        this.listener.unlinked();
    }
  }
}
