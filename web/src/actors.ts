// Page for operators: the supervision tree of this node, with the state and reason of every actor.

interface ActorView {
  name: string;
  path: string;
  kind: string;
  status: 'starting' | 'alive' | 'stuck' | 'stopping' | 'restarting' | 'parked' | 'dead';
  state: string;
  desired: unknown;
  observed: unknown;
  reason: string | null;
  attempt: number;
  next_retry_in_ms: number | null;
  transitions: { from: string; to: string; cause: string; at: number }[];
  restarts: Record<string, number>;
  last_failure: { text: string; at: number } | null;
  mailbox: { depth: number; capacity: number; oldest_age_ms: number };
  handling: [string, number] | null;
  children: ActorView[];
}

interface Readiness {
  ready: boolean;
  checks: { name: string; ok: boolean; reason?: string }[];
}

const REFRESH_MS = 1000;
const TIMEOUT_MS = 5000;
const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const filter = element<HTMLInputElement>('filter');
const trouble = element<HTMLInputElement>('trouble');

/** The two table rows of one actor; kept across refreshes, so that the focus stays. */
class Row {
  readonly main = document.createElement('tr');
  readonly more = document.createElement('tr');
  private readonly name = document.createElement('button');
  private readonly cells = Array.from({ length: 5 }, () => document.createElement('td'));
  private readonly details = document.createElement('pre');

  constructor(depth: number) {
    const first = document.createElement('td');
    first.style.setProperty('--depth', String(depth));
    first.append(this.name);
    this.main.append(first, ...this.cells);
    this.cells[0]!.className = 'status';
    this.cells[3]!.className = this.cells[4]!.className = 'number';
    const wide = document.createElement('td');
    wide.colSpan = 6;
    wide.append(this.details);
    this.more.append(wide);
    this.more.hidden = true;
    this.name.type = 'button';
    this.name.addEventListener('click', () => {
      this.more.hidden = !this.more.hidden;
      this.name.setAttribute('aria-expanded', String(!this.more.hidden));
    });
    this.name.setAttribute('aria-expanded', 'false');
  }

  show(actor: ActorView): void {
    const restarts = Object.values(actor.restarts).reduce((sum, n) => sum + n, 0);
    const age = actor.mailbox.depth > 0 ? ` · ${words(actor.mailbox.oldest_age_ms)}` : '';
    write(this.name, actor.name);
    this.cells[0]!.dataset.status = actor.status;
    [actor.status, actor.state, why(actor), `${actor.mailbox.depth}/${actor.mailbox.capacity}${age}`, String(restarts)]
      .forEach((text, i) => write(this.cells[i]!, text));
    if (!this.more.hidden) write(this.details, describe(actor));
  }
}

function why(actor: ActorView): string {
  const retry = actor.next_retry_in_ms === null ? '' : `try ${actor.attempt + 1} in ${words(actor.next_retry_in_ms)}`;
  const busy = actor.status === 'stuck' && actor.handling ? `in ${actor.handling[0]} for ${words(actor.handling[1])}` : '';
  return [actor.reason ?? '', busy, retry].filter(Boolean).join(' · ');
}

function describe(actor: ActorView): string {
  const lines = [`${actor.path} (${actor.kind})`];
  lines.push(`desired   ${JSON.stringify(actor.desired)}`, `observed  ${JSON.stringify(actor.observed)}`);
  for (const [reason, count] of Object.entries(actor.restarts)) lines.push(`restarts  ${count} × ${reason}`);
  if (actor.last_failure) lines.push(`failure   ${clock(actor.last_failure.at)} ${actor.last_failure.text}`);
  for (const t of [...actor.transitions].reverse()) lines.push(`${clock(t.at)}  ${t.from} → ${t.to}  (${t.cause})`);
  return lines.join('\n');
}

const clock = (unixMs: number): string => new Date(unixMs).toISOString().slice(11, 23);
const words = (ms: number): string => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);

function write(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

const rows = new Map<string, Row>();

function draw(root: ActorView): void {
  const counts = new Map<string, number>();
  const seen = new Set<string>();
  const order: Element[] = [];
  const visit = (actor: ActorView, depth: number): void => {
    counts.set(actor.status, (counts.get(actor.status) ?? 0) + 1);
    seen.add(actor.path);
    if (wanted(actor)) {
      const row = rows.get(actor.path) ?? new Row(depth);
      rows.set(actor.path, row);
      row.show(actor);
      order.push(row.main, row.more);
    }
    actor.children.forEach((child) => visit(child, depth + 1));
  };
  visit(root, 0);
  for (const path of rows.keys()) if (!seen.has(path)) rows.delete(path);
  const tree = element('tree');
  const same = tree.children.length === order.length && order.every((row, i) => tree.children[i] === row);
  if (!same) tree.replaceChildren(...order);
  write(element('counts'), [...counts].map(([status, n]) => `${n} ${status}`).join(', '));
}

function wanted(actor: ActorView): boolean {
  if (trouble.checked && actor.status === 'alive' && actor.reason === null) return false;
  return `${actor.path} ${actor.kind} ${actor.state}`.toLowerCase().includes(filter.value.trim().toLowerCase());
}

function drawReadiness(readiness: Readiness): void {
  const badge = element('ready');
  badge.dataset.ok = String(readiness.ready);
  write(badge, readiness.ready ? 'ready' : 'not ready');
  element('checks').replaceChildren(
    ...readiness.checks.map((check) => {
      const item = document.createElement('li');
      item.dataset.ok = String(check.ok);
      item.textContent = check.ok ? `✓ ${check.name}` : `✗ ${check.name}: ${check.reason ?? ''}`;
      return item;
    }),
  );
}

async function refresh(): Promise<void> {
  const problem = element('problem');
  const patience = new AbortController();
  const timer = window.setTimeout(() => patience.abort(), TIMEOUT_MS);
  const { signal } = patience;
  try {
    const [actors, readiness] = await Promise.all([fetch('/actors', { signal }), fetch('/readyz', { signal })]);
    drawReadiness(await readiness.json());
    const root: ActorView | null = await actors.json();
    if (root) draw(root);
    problem.hidden = true;
  } catch {
    problem.textContent = 'The node does not answer. What is shown below is the last that was known.';
    problem.hidden = false;
    element('ready').dataset.ok = 'false';
    write(element('ready'), 'no answer');
  } finally {
    window.clearTimeout(timer);
  }
}

async function keepUp(): Promise<void> {
  if (!document.hidden) await refresh();
  window.setTimeout(keepUp, REFRESH_MS);
}

filter.addEventListener('input', () => void refresh());
trouble.addEventListener('change', () => void refresh());
document.addEventListener('visibilitychange', () => void (document.hidden || refresh()));
void keepUp();
element('not-started').remove();
