// Captions that are shown in time with the sound. Pure; `docs/captions.md` describes where captions come from.

/** Words of the anchors, as a speech recogniser understood them. */
export interface Caption {
  /** Moments at which the words begin and end, in milliseconds since the Unix epoch. */
  from: number;
  to: number;
  text: string;
  /** False for a preliminary caption, which later captions of the same words replace. */
  final: boolean;
  /** BCP 47 language tag; `und` if it is not known. */
  language: string;
}

/** Caption with the moments between which it is shown. */
interface Shown {
  caption: Caption;
  from: number;
  to: number;
}

/** Shortest duration of the words of a caption, for the time for which it is shown. */
const LEAST_MS = 1500;
/** Time for which a caption stays after its words, unless another one follows. */
const STAYS_MS = 1000;
/** Time after its last caption for which a language is shown in preference to others. */
const SILENT_MS = 15_000;
/** Maximum number of captions that are kept per language: those of some minutes. */
const MOST = 200;

const primary = (tag: string): string => tag.toLowerCase().split('-')[0]!;

/** Captions that were received, except those that ended long ago, by language. */
export class CaptionClock {
  /**
   * Preferred language. Captions in another language are shown until the first caption in the preferred one
   * is due, and again when the preferred one had no caption for `SILENT_MS`.
   */
  language = '';
  private readonly waiting = new Map<string, Shown[]>();

  /** Takes a caption. `heard`: moment of the room that is heard now; null while unknown. */
  heard(caption: Caption, heard: number | null): void {
    const { from, to, language } = caption;
    const replaced = ({ caption: known }: Shown): boolean =>
      (known.from === from || !known.final) && known.from < to && known.to > from;
    const known = (this.waiting.get(language) ?? []).filter((shown) => !replaced(shown));
    // A caption that comes after its words is shown immediately.
    const begins = Math.max(from, heard ?? from);
    known.push({ caption, from: begins, to: Math.max(to, begins + LEAST_MS) + STAYS_MS });
    known.sort((a, b) => a.caption.from - b.caption.from);
    this.waiting.set(language, known.slice(-MOST));
  }

  /** Returns the caption of the words that are heard at `moment`; `null` if there is none. */
  at(moment: number | null): Caption | null {
    if (moment === null) return null;
    // Captions that were shown to their end are kept for a while, as a sign of their language.
    for (const [language, known] of this.waiting) {
      this.waiting.set(language, known.filter(({ to }) => to + SILENT_MS > moment));
    }
    const begun = [...this.waiting.values()]
      .map((known) => known.filter(({ from }) => from <= moment))
      .filter((known) => known.length > 0);
    const chosen = begun.find(([shown]) => primary(shown!.caption.language) === primary(this.language)) ?? begun[0];
    return chosen?.filter(({ to }) => to > moment).at(-1)?.caption ?? null;
  }
}
