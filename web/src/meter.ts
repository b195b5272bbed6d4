// A level meter: how loud a stream is, shown as a bar by a custom property. Owns its AudioContext.

/** Quieter is shown as silence, louder as full; decibels below full scale. */
const [FLOOR_DB, CEILING_DB] = [-60, -6];
const REFRESH_MS = 50;

export class Meter {
  /** The loudest level since the last {@link Meter.watch}, 0 to 1. */
  peak = 0;
  private context: AudioContext | null = null;
  private source: MediaStreamAudioSourceNode | null = null;
  private analyser: AnalyserNode | null = null;
  private timer: number | undefined;
  private level = 0;

  constructor(private readonly bars: HTMLElement[]) {}

  /** Shows this stream from now on; null: nothing. */
  watch(stream: MediaStream | null): void {
    window.clearInterval(this.timer);
    this.source?.disconnect();
    this.show(0);
    this.peak = 0;
    if (!stream) return;
    this.context ??= new AudioContext();
    this.analyser ??= new AnalyserNode(this.context, { fftSize: 1024, smoothingTimeConstant: 0 });
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
    const wave = new Float32Array(this.analyser.fftSize);
    this.timer = window.setInterval(() => this.look(wave), REFRESH_MS);
  }

  private look(wave: Float32Array<ArrayBuffer>): void {
    // Begun without a touch of the person, the context may stand still.
    if (this.context?.state === 'suspended') void this.context.resume();
    this.analyser?.getFloatTimeDomainData(wave);
    const rms = Math.sqrt(wave.reduce((sum, sample) => sum + sample * sample, 0) / wave.length);
    const db = 20 * Math.log10(Math.max(rms, 1e-6));
    const level = Math.max(0, Math.min(1, (db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
    this.peak = Math.max(this.peak, level);
    // Quick up, slow down, as the eye expects.
    this.show(level > this.level ? level : this.level * 0.85 + level * 0.15);
  }

  private show(level: number): void {
    this.level = level;
    for (const bar of this.bars) bar.style.setProperty('--level', `${Math.round(level * 100)}%`);
  }
}
