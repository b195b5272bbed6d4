// Texts of the pages for listeners and speakers, in the reader's language. English texts are the keys of the
// catalogue in `texts/`; other languages are loaded only if they are shown. The dashboard and the API
// reference, for operators and developers, are in English only.

import type { words as german } from './texts/de';

/** A text of the catalogue, in English. */
export type Text = keyof typeof german;

/** Languages in the catalogue. */
export const LANGUAGES = ['en', 'de', 'fr'] as const;
export type Language = (typeof LANGUAGES)[number];

/** Values for the names in braces of a text. */
export type Values = Readonly<Record<string, string | number>>;

/**
 * Returns the language to show: the one that `?lang=` in the address names, otherwise the first of the
 * reader's preferred languages that the catalogue has. `preferred`: as `navigator.languages`.
 */
export function languageFor(search: string, preferred: readonly string[]): Language {
  const wanted = [new URLSearchParams(search).get('lang') ?? '', ...preferred];
  for (const tag of wanted) {
    const found = LANGUAGES.find((language) => language === tag.toLowerCase().split('-')[0]);
    if (found) return found;
  }
  return 'en';
}

/** Language of this page. */
export const language: Language = languageFor(globalThis.location?.search ?? '', globalThis.document ? navigator.languages : []);

let words: Readonly<Partial<Record<string, string>>> = {};

/** Returns a text in the language of this page, with its values. */
export const t = (text: Text, values: Values = {}): string => filled(words[text] ?? text, values);

/** Replaces the names in braces. */
export const filled = (text: string, values: Values): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));

/** Formats a number in the language of this page. */
export const numeral = (value: number): string => value.toLocaleString(language);

/** Formats a number with one decimal in the language of this page. */
export const decimal = (value: number): string =>
  value.toLocaleString(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Returns the number of listeners, in words. */
export const audience = (listeners: number): string =>
  listeners === 1 ? t('1 person listens') : t('{count} people listen', { count: numeral(listeners) });

/** Locale for times: the reader's locale if its language is the page's, otherwise the page's language. */
export const shownLocale: string | undefined =
  globalThis.document && !navigator.language.startsWith(language) ? language : undefined;

/** Attributes whose values are texts. */
const ATTRIBUTES = ['aria-label', 'aria-valuetext', 'placeholder', 'title'];

/** Translates the English texts of the page's HTML, including its templates. Unknown texts stay. */
function translate(root: ParentNode): void {
  for (const element of root.querySelectorAll('*')) {
    for (const name of ATTRIBUTES) {
      const known = words[element.getAttribute(name) ?? ''];
      if (known) element.setAttribute(name, known);
    }
    if (element instanceof HTMLTemplateElement) translate(element.content);
    for (const node of element.childNodes) {
      if (node.nodeType !== Node.TEXT_NODE) continue;
      const [, before, text, after] = /^(\s*)(.*?)(\s*)$/s.exec(node.nodeValue!)!;
      const known = words[text!.replace(/\s+/g, ' ')];
      if (known) node.nodeValue = `${before}${known}${after}`;
    }
  }
}

if (language !== 'en') {
  const load = { de: () => import('./texts/de'), fr: () => import('./texts/fr') }[language];
  // If the catalogue cannot be loaded, the page is in English.
  await load().then((loaded) => {
    words = loaded.words;
    document.documentElement.lang = language;
    translate(document);
  }, () => undefined);
}
