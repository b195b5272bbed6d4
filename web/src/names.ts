// Names that people chose, and how they stand in a page without changing what is around them. Pure.

/** Control characters, and those that set the direction of text (Unicode Standard Annex 9). */
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** A name without the characters that act on other text; empty if nothing else is in it. */
export const plain = (name: string): string => name.replace(CONTROLS, '').trim();

/** A name within a sentence: its direction does not spread (FIRST STRONG ISOLATE, POP DIRECTIONAL ISOLATE). */
export const isolated = (name: string): string => `\u2068${name}\u2069`;

/** One or two letters for a picture. */
export function initials(name: string): string {
  const words = name.split(/[\s_-]+/).map((word) => /[\p{L}\p{N}\p{So}]/u.exec(word)?.[0] ?? '').filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0] ?? ''];
  return letters.join('').toUpperCase();
}
