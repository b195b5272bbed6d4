// Level meter: shows the level of a stream as a bar, through a custom property. Owns its AudioContext. If a
// browser does not let it run, the bar stays empty.

/** Levels shown as silence and as full, in decibels relative to full scale. */
const [FLOOR_DB, CEILING_DB] = [-60, -6];
const REFRESH_MS = 50;

export class Meter {
  /** Highest level since the last {@link Meter.watch}, 0 to 1. */
  peak = 0;
  /** Time in milliseconds for which the meter has actually measured since the last {@link Meter.watch}. */
  listenedMs = 0;
  private context: AudioContext | null = null;
  private source: MediaStreamAudioSourceNode | null = null;
  private timer: number | undefined;
  private level = 0;
  private resuming = false;

  constructor(private readonly bars: HTMLElement[]) {
    // Some browsers let the context run only after a touch.
    for (const touch of ['pointerup', 'keydown']) document.addEventListener(touch, () => this.resume());
  }

  /** Shows this stream from now on; null: none. */
  watch(stream: MediaStream | null): void {
    window.clearInterval(this.timer);
    this.source?.disconnect();
    this.source = null;
    this.show(0);
    this.peak = this.listenedMs = 0;
    if (!stream) return;
    // Firefox refuses a microphone if its sample rate differs from that of the context; a new context may
    // fit.
    const analyser = this.connect(stream) ?? this.connect(stream, true);
    if (!analyser) return;
    const wave = new Float32Array(analyser.fftSize);
    this.timer = window.setInterval(() => this.look(analyser, wave), REFRESH_MS);
  }

  private connect(stream: MediaStream, anew = false): AnalyserNode | null {
    try {
      if (anew || !this.context) {
        void this.context?.close().catch(() => undefined);
        this.resuming = false;
        this.context = new AudioContext();
      }
      const analyser = new AnalyserNode(this.context, { fftSize: 1024, smoothingTimeConstant: 0 });
      this.source = this.context.createMediaStreamSource(stream);
      this.source.connect(analyser);
      return analyser;
    } catch {
      return null;
    }
  }

  private look(analyser: AnalyserNode, wave: Float32Array<ArrayBuffer>): void {
    if (this.context?.state !== 'running') {
      this.show(0);
      // One request is enough: the browser resumes the context as soon as its rules allow that.
      if (!this.resuming) this.resume();
      return;
    }
    this.listenedMs += REFRESH_MS;
    analyser.getFloatTimeDomainData(wave);
    const rms = Math.sqrt(wave.reduce((sum, sample) => sum + sample * sample, 0) / wave.length);
    const db = 20 * Math.log10(Math.max(rms, 1e-6));
    const level = Math.max(0, Math.min(1, (db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
    this.peak = Math.max(this.peak, level);
    // The level rises fast and falls slowly, as users expect of a meter.
    this.show(level > this.level ? level : this.level * 0.85 + level * 0.15);
  }

  /** Resumes the context. It is suspended without a user gesture, or after a phone call. */
  private resume(): void {
    const { context } = this;
    if (!this.source || !context || context.state === 'running' || context.state === 'closed') return;
    this.resuming = true;
    const done = (): void => void (this.resuming = false);
    context.resume().then(done, done);
  }

  private show(level: number): void {
    this.level = level;
    for (const bar of this.bars) bar.style.setProperty('--level', `${Math.round(level * 100)}%`);
  }
}
