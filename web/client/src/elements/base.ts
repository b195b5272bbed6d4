// Parts shared by the elements: a base class that also loads on a server, their style, and the creation of
// nodes.

/** `HTMLElement`, or an empty class on a server, where the module loads but no element can be created. */
export const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

type Attributes = Record<string, string | boolean | ((event: Event) => void)>;

/**
 * Creates an element. A function is added as an event listener; `true` gives an empty attribute, `false`
 * none.
 */
export function make<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, attributes: Attributes, ...children: (Node | string)[]): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children);
  return element;
}

/** Sets the text if it differs. A live region is read out on each write. */
export function write(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** Opens the shadow root of an element, with the shared style and the style of that element. */
export function shadow(host: HTMLElement, style: string): ShadowRoot {
  const root = host.attachShadow({ mode: 'open' });
  const text = SHARED + style;
  // Every content security policy allows constructed style sheets; Safari before 16.4 lacks them.
  if ('adoptedStyleSheets' in root && 'replaceSync' in CSSStyleSheet.prototype) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    root.adoptedStyleSheets = [sheet];
  } else {
    root.append(make('style', {}, text));
  }
  return root;
}

/** List items, kept by key, so that focus and animations survive changes. */
export class Items<Value> {
  private readonly items = new Map<string, HTMLElement>();

  constructor(
    private readonly list: HTMLElement,
    private readonly create: (value: Value) => HTMLElement,
    private readonly update: (item: HTMLElement, value: Value) => void,
  ) {}

  show(values: readonly Value[], key: (value: Value) => string): void {
    const keys = new Set(values.map(key));
    for (const [known, item] of this.items) {
      if (keys.has(known)) continue;
      item.remove();
      this.items.delete(known);
    }
    for (const value of values) {
      let item = this.items.get(key(value));
      if (!item) {
        item = this.create(value);
        this.items.set(key(value), item);
        this.list.append(item);
      }
      this.update(item, value);
    }
  }

  /** Brings the items into the order of `values`. Moves only misplaced items, so the focus stays. */
  arrange(values: readonly Value[], key: (value: Value) => string): void {
    values.forEach((value, at) => {
      const item = this.items.get(key(value))!;
      if (this.list.children[at] !== item) this.list.insertBefore(item, this.list.children[at] ?? null);
    });
  }
}

/** Colours on a dark background. */
const DARK = `
  --ink: var(--stentor-ink, #e9f1ef);
  --muted: var(--stentor-muted, #9db1ac);
  --surface: var(--stentor-surface, #131b1a);
  --sunken: var(--stentor-sunken, #1b2523);
  --line: var(--stentor-line, #263330);
  --accent: var(--stentor-accent, #3ad6c1);
  --on-accent: var(--stentor-on-accent, #04231e);
  --good: var(--stentor-good, #4ade80);
  --bad: var(--stentor-bad, #ff9089);`;

const SHARED = `
:host {
  --ink: var(--stentor-ink, #10201d);
  --muted: var(--stentor-muted, #4f615d);
  --surface: var(--stentor-surface, #fff);
  --sunken: var(--stentor-sunken, #eef3f1);
  --line: var(--stentor-line, #dce4e1);
  --accent: var(--stentor-accent, #0b6f66);
  --on-accent: var(--stentor-on-accent, #fff);
  --good: var(--stentor-good, #16703c);
  --bad: var(--stentor-bad, #b3261e);
  --radius: var(--stentor-radius, .75rem);
  display: block;
  color: var(--ink);
  font: var(--stentor-font, 1rem/1.5 ui-sans-serif, system-ui, sans-serif);
}
@media (prefers-color-scheme: dark) {
  :host(:not([theme='light'])) {${DARK}
  }
}
:host([theme='dark']) {${DARK}
}
:host([hidden]), [hidden] { display: none !important; }
*, ::before, ::after { box-sizing: border-box; }
p, ol, ul { margin: 0; padding: 0; list-style: none; }
button, input { font: inherit; color: inherit; }
button {
  min-height: 2.75rem; padding: 0 1rem; border: 1px solid var(--line); border-radius: var(--radius);
  background: var(--surface); font-weight: 600; cursor: pointer;
}
button.small { min-height: 2.25rem; padding: 0 .75rem; font-size: .875rem; }
button:hover { background: var(--sunken); }
button:disabled { opacity: .55; cursor: default; }
button[aria-pressed='true'], .primary { border-color: transparent; background: var(--accent); color: var(--on-accent); }
button[aria-pressed='true']:hover, .primary:hover { background: var(--accent); filter: brightness(1.08); }
input:not([type='range']) {
  flex: 1 1 8rem; min-width: 0; min-height: 2.75rem; padding: 0 .75rem; border: 1px solid var(--muted);
  border-radius: var(--radius); background: var(--surface);
}
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.muted { color: var(--muted); font-size: .875rem; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
.name { overflow-wrap: anywhere; font-weight: 600; }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
`;
