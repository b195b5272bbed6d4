// View of the supervision tree of a node, with the state and reason of every actor.

import { BASE } from '../base';
import { byId, write } from '../dom';
import { clock, duration, type Actor, type Tone } from './data';
import { Row, Rows, UNKNOWN, button, make, tone } from './elements';
import { act } from './operator';

const COLUMNS = ['Actor', 'Status', 'State', 'Why it waits', 'Mailbox', 'Handler', 'Restarts'] as const;
const TONES: Record<Actor['status'], Tone> = {
  starting: 'warn',
  alive: 'good',
  stuck: 'bad',
  stopping: 'warn',
  restarting: 'warn',
  parked: 'bad',
  dead: 'bad',
};

class ActorRow extends Row {
  private readonly status = make('span', 'state-of');
  private readonly desired = make('pre');
  private readonly observed = make('pre');
  private readonly history = make('pre');
  private readonly restart = button('Restart', () => this.askToRestart(), 'button small danger-quiet');
  private actor!: Actor;

  constructor() {
    super(COLUMNS, () => this.describe());
    this.cells[1]!.append(this.status);
    for (const cell of this.cells.slice(4)) cell.classList.add('number');
    const side = (title: string, text: HTMLElement): HTMLElement => make('div', '', make('h3', '', title), text);
    this.details.append(
      make('div', 'sides', side('Desired', this.desired), side('Observed', this.observed)),
      side('Restarts, failure and transitions', this.history),
      make('div', 'actions', this.restart),
    );
  }

  show(actor: Actor, depth: number): void {
    this.actor = actor;
    this.cells[0]!.style.setProperty('--depth', String(depth));
    this.title(actor.name, actor.path);
    tone(this.status, TONES[actor.status] ?? '', actor.status);
    this.text(2, actor.state);
    this.text(3, why(actor));
    const { depth: waiting, capacity, oldest_age_ms: age } = actor.mailbox;
    this.text(4, `${waiting}/${capacity}${waiting > 0 ? ` · ${duration(age)}` : ''}`);
    this.text(5, actor.handling ? `${actor.handling[0]} ${duration(actor.handling[1])}` : UNKNOWN);
    this.text(6, String(restarts(actor)));
    // Only the dashboard of a node restarts its actors.
    this.restart.hidden = !showsOwnNode();
    if (this.isOpen) this.describe();
  }

  private describe(): void {
    const { actor } = this;
    write(this.desired, JSON.stringify(actor.desired, null, 1));
    write(this.observed, JSON.stringify(actor.observed, null, 1));
    const lines = [`${actor.path} (${actor.kind})`];
    for (const [reason, count] of Object.entries(actor.restarts)) lines.push(`${count} × restarted: ${reason}`);
    if (actor.last_failure) lines.push(`${clock(actor.last_failure.at)}  failure: ${actor.last_failure.text}`);
    for (const t of [...actor.transitions].reverse()) lines.push(`${clock(t.at)}  ${t.from} → ${t.to}  (${t.cause})`);
    write(this.history, lines.join('\n'));
  }

  private askToRestart(): void {
    const { path, children } = this.actor;
    const below = children.length === 0 ? '' : ` The ${children.length} actors directly below it end with it, and start again.`;
    act(
      { action: 'restart_actor', path },
      {
        title: `Restart ${path}?`,
        text: `The actor fails on purpose, and its supervisor starts it again.${below}`,
        yes: 'Restart',
        done: `${path} is restarting`,
        danger: true,
      },
    );
  }
}

function why(actor: Actor): string {
  const retry = actor.next_retry_in_ms === null ? '' : `try ${actor.attempt + 1} in ${duration(actor.next_retry_in_ms)}`;
  const busy = actor.status === 'stuck' && actor.handling ? `in ${actor.handling[0]} for ${duration(actor.handling[1])}` : '';
  return [actor.reason ?? '', busy, retry].filter(Boolean).join(' · ');
}

const restarts = (actor: Actor): number => Object.values(actor.restarts).reduce((sum, n) => sum + n, 0);
const WEIGHTS: Record<string, (actor: Actor) => number> = {
  mailbox: (actor) => actor.mailbox.oldest_age_ms,
  handler: (actor) => actor.handling?.[1] ?? 0,
  restarts,
};

const filter = byId<HTMLInputElement>('actors-filter');
const trouble = byId<HTMLInputElement>('actors-trouble');
const order = byId<HTMLSelectElement>('actors-order');
/** Choice of the node. The first one serves the page. */
const choice = byId<HTMLSelectElement>('actors-of');
const rows = new Rows<ActorRow>(byId('actors-rows'));
let last: Actor | null = null;

export function drawActors(root: Actor | null): void {
  last = root;
  write(byId('actors-node'), choice.value);
  if (!root) {
    rows.draw<Actor>([], () => '', () => new ActorRow(), () => [], () => {});
    write(byId('actors-counts'), '');
    return;
  }
  const counts = new Map<string, number>();
  let list: { actor: Actor; depth: number }[] = [];
  const visit = (actor: Actor, depth: number): void => {
    counts.set(actor.status, (counts.get(actor.status) ?? 0) + 1);
    if (wanted(actor)) list.push({ actor, depth });
    actor.children.forEach((child) => visit(child, depth + 1));
  };
  visit(root, 0);
  const weight = WEIGHTS[order.value];
  if (weight) list = list.map(({ actor }) => ({ actor, depth: 0 })).sort((a, b) => weight(b.actor) - weight(a.actor));
  rows.draw(list, ({ actor }) => actor.path, () => new ActorRow(), (row) => [row.main, row.more], (row, { actor, depth }) => row.show(actor, depth));
  write(byId('actors-counts'), [...counts].map(([status, n]) => `${n} ${status}`).join(', '));
}

/** Returns true if the view shows the node that serves the page, whose actors a stream sends. */
export const showsOwnNode = (): boolean => choice.selectedIndex <= 0;

/** Shows the id of the node that serves the page as the choice, until the list of all nodes is known. */
export function nameNode(id: string): void {
  if (choice.options.length === 0) choice.append(new Option(id));
  write(byId('actors-node'), choice.value);
}

/** Fetches the list of nodes, and the actors of the chosen node if it is another one. */
export async function fetchActors(): Promise<void> {
  try {
    const { nodes } = (await (await fetch(`${BASE}/dashboard/nodes`)).json()) as { nodes?: string[] };
    if (nodes && nodes.join() !== [...choice.options].map((option) => option.value).join()) {
      const chosen = choice.value;
      choice.replaceChildren(...nodes.map((id) => new Option(id)));
      if (nodes.includes(chosen)) choice.value = chosen;
    }
    byId('actors-nodes').hidden = choice.options.length < 2;
    const problem = byId('actors-problem');
    if (showsOwnNode()) return write(problem, '');
    const node = choice.value;
    const answer = await fetch(`${BASE}/dashboard/nodes/${encodeURIComponent(node)}/actors`);
    const { actors, error } = (await answer.json()) as { actors?: Actor; error?: string };
    if (node !== choice.value) return;
    write(problem, error ? `It is not known what they do: ${error}.` : 'Its own dashboard can restart them.');
    drawActors(actors ?? null);
  } catch {
    // The next update tries again.
  }
}

function wanted(actor: Actor): boolean {
  if (trouble.checked && actor.status === 'alive' && actor.reason === null) return false;
  return `${actor.path} ${actor.kind} ${actor.state}`.toLowerCase().includes(filter.value.trim().toLowerCase());
}

/** `follow` is called when another node is chosen. */
export function startActors(follow: () => void): void {
  choice.addEventListener('input', () => {
    drawActors(null);
    follow();
  });
  for (const control of [filter, trouble, order]) control.addEventListener('input', () => drawActors(last));
}
