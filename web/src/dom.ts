// DOM helpers shared by all pages.

/** Returns the element with this id, which the page's HTML contains. */
export const byId = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;

/** Sets the text if it differs. A live region is read out on each write. */
export function write(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** Returns a copy of the first element of a template. */
export function clone(template: string): HTMLElement {
  const { content } = document.getElementById(template) as HTMLTemplateElement;
  return content.firstElementChild!.cloneNode(true) as HTMLElement;
}

/** Sets the pill in the page's head: a coloured dot and a text. */
export function pill(tone: 'good' | 'warn' | 'bad' | '', words: string): void {
  const element = byId('pill');
  element.hidden = words === '';
  element.dataset.tone = tone;
  write(byId('pill-text'), words);
}

/** Shows a short-lived message. */
export function toast(words: string): void {
  const toast = document.createElement('p');
  toast.className = 'toast';
  toast.textContent = words;
  byId('toasts').append(toast);
  window.setTimeout(() => toast.remove(), 4000);
}

/** Earlier choices of the user. A browser may refuse to store them. */
export const remembered = {
  get: (key: string): string | null => {
    try {
      return localStorage.getItem(`stentor.${key}`);
    } catch {
      return null;
    }
  },
  set: (key: string, value: string): void => {
    try {
      localStorage.setItem(`stentor.${key}`, value);
    } catch {
      // Not stored; the user is asked again next time.
    }
  },
};
