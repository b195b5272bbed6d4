// The few DOM helpers that all pages share.

/** The element with this id, which the page's HTML is known to have. */
export const byId = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;

/** A live region speaks up at each write: only write what changed. */
export function write(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** The first element of a template, fresh. */
export function clone(template: string): HTMLElement {
  const { content } = document.getElementById(template) as HTMLTemplateElement;
  return content.firstElementChild!.cloneNode(true) as HTMLElement;
}

/** The pill in the page's head: a dot with a tone, and a word. */
export function pill(tone: 'good' | 'warn' | 'bad' | '', words: string): void {
  const element = byId('pill');
  element.hidden = words === '';
  element.dataset.tone = tone;
  write(byId('pill-text'), words);
}

/** Says something in passing. */
export function toast(words: string): void {
  const toast = document.createElement('p');
  toast.className = 'toast';
  toast.textContent = words;
  byId('toasts').append(toast);
  window.setTimeout(() => toast.remove(), 4000);
}

/** What a person chose before; a browser may refuse to keep anything. */
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
      // Then it is asked again next time.
    }
  },
};
