// Level of the received mix. The server mixes with headroom so that voices never exceed full scale together.
// This module amplifies the mix and limits it. Without Web Audio, or while it is suspended, the mix is played
// unchanged.

import type { Environment } from './environment.js';

/** Level in dB above which the mix is compressed; lower levels are unchanged. */
const THRESHOLD_DB = -3;
const RATIO = 20;
/**
 * Gain that Web Audio applies to a compressor's output: (1 / gain at full scale) ** 0.6 (Web Audio API,
 * section "DynamicsCompressorNode, processing", "computing the makeup gain"). {@link Mix} reverts it.
 */
const COMPRESSOR_MAKEUP_DB = -0.6 * THRESHOLD_DB * (1 - 1 / RATIO);

export class Mix {
  private context: AudioContext | null = null;
  private source: MediaStreamAudioSourceNode | null = null;
  private release: (() => void) | null = null;

  /** Calls `play` with the stream to play, and again whenever the stream changes. */
  constructor(
    private readonly environment: Environment,
    private readonly play: (stream: MediaStream) => void,
  ) {}

  /** Amplifies this stream from now on, and no other. */
  receive(stream: MediaStream, gainDb: number): void {
    this.drop();
    const amplified = gainDb > 0 ? this.amplify(stream, gainDb) : null;
    if (!amplified) return this.play(stream);
    const { context, output } = amplified;
    let played: MediaStream | null = null;
    const choose = (): void => {
      const wanted = context.state === 'running' ? output : stream;
      if (wanted !== played) this.play((played = wanted));
    };
    context.onstatechange = choose;
    choose();
  }

  /** Ends the amplification. */
  drop(): void {
    if (this.context) this.context.onstatechange = null;
    this.source?.disconnect();
    this.release?.();
    this.source = this.release = null;
  }

  close(): void {
    this.drop();
    this.context?.close().catch(() => undefined);
    this.context = null;
  }

  private amplify(stream: MediaStream, gainDb: number): { context: AudioContext; output: MediaStream } | null {
    try {
      const context = (this.context ??= this.environment.createAudioContext?.() ?? null);
      if (!context) return null;
      const source = context.createMediaStreamSource(stream);
      const gain = amplifier(context, gainDb);
      const limiter = context.createDynamicsCompressor();
      limiter.threshold.value = THRESHOLD_DB;
      limiter.knee.value = 0;
      limiter.ratio.value = RATIO;
      limiter.attack.value = 0.003;
      limiter.release.value = 0.25;
      const destination = context.createMediaStreamDestination();
      source.connect(gain).connect(limiter).connect(amplifier(context, -COMPRESSOR_MAKEUP_DB)).connect(destination);
      this.source = source;
      this.release = this.environment.keepFlowing?.(stream) ?? null;
      return { context, output: destination.stream };
    } catch {
      // A browser with incomplete Web Audio: the mix is quieter, but audible.
      this.drop();
      return null;
    }
  }
}

function amplifier(context: AudioContext, db: number): GainNode {
  const node = context.createGain();
  node.gain.value = 10 ** (db / 20);
  return node;
}
