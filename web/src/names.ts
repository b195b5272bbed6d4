// Display of names that users chose, so that a name cannot change the text around it. Pure.

/** Control characters, and those that set the direction of text (Unicode Standard Annex 9). */
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** Returns the name without characters that affect other text; may be empty. */
export const plain = (name: string): string => name.replace(CONTROLS, '').trim();

/**
 * Returns the name for use within a sentence: its direction does not spread (FIRST STRONG ISOLATE, POP
 * DIRECTIONAL ISOLATE).
 */
export const isolated = (name: string): string => `\u2068${name}\u2069`;

/** Returns one or two letters for an avatar. */
export function initials(name: string): string {
  const words = name.split(/[\s_-]+/).map((word) => /[\p{L}\p{N}\p{So}]/u.exec(word)?.[0] ?? '').filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0] ?? ''];
  return letters.join('').toUpperCase();
}

/** Returns the hue of an avatar in degrees. `id`: person id, or user id where no person id is known. */
export function hue(id: string): number {
  const hash = [...id].reduce((sum, char) => (sum * 31 + char.codePointAt(0)!) % 65_521, 7);
  // Multiples of the golden angle, so that ids differing by one letter get distant colours.
  return Math.round(hash * 137.508) % 360;
}
