// Building blocks of the dashboard's tables.

import { write } from '../dom';
import type { Tone } from './data';

type Child = Node | string;

/** Text for an unknown value. */
export const UNKNOWN = '–';

/** Returns a new element with children and, if `name` is not empty, a class. */
export function make<K extends keyof HTMLElementTagNameMap>(tag: K, name = '', ...children: Child[]): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

/** Returns a small button. */
export function button(text: string, act: () => void, name = 'button small'): HTMLButtonElement {
  const made = make('button', name, text);
  made.type = 'button';
  made.addEventListener('click', act);
  return made;
}

/** Writes a text, and shows its tone as the colour of a dot before it. */
export function tone(target: HTMLElement, tone: Tone, text: string): void {
  target.dataset.tone = tone;
  write(target, text);
}

/**
 * Two table rows: the cells, and details that a button opens. Updates reuse the elements, so the focus stays.
 */
export class Row {
  readonly main = make('tr');
  readonly more = make('tr', 'more');
  readonly cells: HTMLTableCellElement[];
  readonly details = make('td');
  private readonly opener = button('', () => this.toggle(), 'opener');
  private readonly name = make('span');

  /** `labels` are the titles of the columns, which narrow screens show before each cell. */
  constructor(labels: readonly string[], private readonly opened: () => void) {
    this.cells = labels.map((label) => {
      const cell = make('td');
      cell.dataset.label = label;
      return cell;
    });
    this.cells[0]!.append(this.opener);
    this.opener.append(this.name);
    this.opener.setAttribute('aria-expanded', 'false');
    this.main.append(...this.cells);
    this.details.colSpan = labels.length;
    this.more.append(this.details);
    this.more.hidden = true;
  }

  get isOpen(): boolean {
    return !this.more.hidden;
  }

  title(text: string, note = ''): void {
    write(this.name, text);
    if (note) this.opener.title = note;
  }

  /** Writes a cell other than the first. Narrow screens hide cells without a value. */
  text(column: number, text: string): void {
    const cell = this.cells[column]!;
    write(cell, text);
    cell.dataset.empty = String(text === '' || text === UNKNOWN);
  }

  private toggle(): void {
    this.more.hidden = this.isOpen;
    this.opener.setAttribute('aria-expanded', String(this.isOpen));
    if (this.isOpen) this.opened();
  }
}

/** Table rows by key. */
export class Rows<T> {
  private readonly known = new Map<string, T>();

  constructor(private readonly body: HTMLElement) {}

  /** Draws these items in this order. Reuses rows with the same key. */
  draw<I>(items: I[], key: (item: I) => string, build: (item: I) => T, elements: (row: T) => Element[], fill: (row: T, item: I) => void): void {
    const order: Element[] = [];
    const seen = new Set<string>();
    for (const item of items) {
      const id = key(item);
      seen.add(id);
      const row = this.known.get(id) ?? build(item);
      this.known.set(id, row);
      fill(row, item);
      order.push(...elements(row));
    }
    for (const id of this.known.keys()) if (!seen.has(id)) this.known.delete(id);
    const { children } = this.body;
    const same = children.length === order.length && order.every((element, i) => children[i] === element);
    if (!same) this.body.replaceChildren(...order);
  }

  values(): Iterable<T> {
    return this.known.values();
  }
}
