// Dashboard for operators: shows the live state of the installation, as this node sees it, and offers
// actions.

import { BASE } from './base';
import { byId, pill, write } from './dom';
import { drawActors, fetchActors, nameNode, showsOwnNode, startActors } from './dashboard/actors';
import { addSample, setHistory, showCharts, startCharts } from './dashboard/charts';
import { isDown, needsAttention, type Actor, type Overview, type Sample } from './dashboard/data';
import { drawModules } from './dashboard/modules';
import { startOperator } from './dashboard/operator';
import { drawRooms, startRooms } from './dashboard/rooms';

const VIEWS = ['rooms', 'modules', 'actors', 'charts'] as const;
type View = (typeof VIEWS)[number];

/** Time without an update after which the node counts as silent. */
const SILENT_MS = 8000;
/** Open streams by path. */
const streams = new Map<string, EventSource>();
let view: View = 'rooms';
let heardAt = performance.now();

/** Opens a stream; `events` are its handlers by event name. The browser reconnects by itself. */
function follow(path: string, events: Record<string, (data: unknown) => void>): void {
  if (streams.has(path)) return;
  const stream = new EventSource(BASE + path);
  streams.set(path, stream);
  for (const [name, handle] of Object.entries(events)) {
    stream.addEventListener(name, (event) => {
      heardAt = performance.now();
      byId('problem').hidden = true;
      handle(JSON.parse((event as MessageEvent<string>).data));
    });
  }
  stream.addEventListener('error', () => {
    // The browser does not reconnect a refused stream.
    if (stream.readyState === EventSource.CLOSED) unfollow(path);
  });
}

function unfollow(path: string): void {
  streams.get(path)?.close();
  streams.delete(path);
}

function drawOverview(overview: Overview): void {
  const { node, rooms, modules } = overview;
  write(byId('node'), `${node.id} · ${node.version}`);
  write(byId('charts-node'), node.id);
  nameNode(node.id);
  pill(node.ready ? 'good' : 'bad', node.ready ? 'ready' : `not ready: ${node.problems.join('; ')}`);
  const sum = (value: (room: Overview['rooms'][number]) => number): number => rooms.reduce((total, room) => total + value(room), 0);
  const attention = rooms.filter((room) => needsAttention(room, overview.at)).length + modules.filter(isDown).length;
  write(byId('figure-rooms'), String(rooms.filter((room) => ['onair', 'degraded', 'starting'].includes(room.status)).length));
  write(byId('figure-listeners'), String(sum((room) => room.listeners)));
  write(byId('figure-anchors'), String(sum((room) => room.anchors)));
  write(byId('figure-modules'), `${modules.filter((module) => !isDown(module)).length} of ${modules.length}`);
  write(byId('figure-attention'), String(attention));
  byId('figure-attention').parentElement!.dataset.tone = attention > 0 ? 'bad' : 'good';
  drawRooms(overview);
  drawModules(overview);
  addSample(overview.sample);
}

/** Follows the streams that the view needs, while the page is visible. */
function keepUp(): void {
  if (document.hidden) {
    for (const path of [...streams.keys()]) unfollow(path);
    return;
  }
  follow('/dashboard/live', {
    history: (data) => setHistory((data as { samples: Sample[] }).samples),
    overview: (data) => drawOverview(data as Overview),
  });
  if (view === 'actors' && showsOwnNode()) follow('/dashboard/actors', { actors: (data) => showsOwnNode() && drawActors(data as Actor | null) });
  else unfollow('/dashboard/actors');
  if (view === 'actors') void fetchActors();
}

function show(wanted: View, focus = false): void {
  view = wanted;
  for (const name of VIEWS) {
    const tab = byId(`tab-${name}`);
    tab.setAttribute('aria-selected', String(name === wanted));
    tab.tabIndex = name === wanted ? 0 : -1;
    byId(name).hidden = name !== wanted;
    if (focus && name === wanted) tab.focus();
  }
  showCharts(wanted === 'charts');
  keepUp();
}

const ofAddress = (): View => VIEWS.find((name) => `#${name}` === location.hash) ?? 'rooms';

for (const name of VIEWS) {
  byId(`tab-${name}`).addEventListener('click', () => {
    history.replaceState(null, '', `#${name}`);
    show(name);
  });
}
document.querySelector('[role=tablist]')!.addEventListener('keydown', (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[(event as KeyboardEvent).key];
  if (!step) return;
  const next = VIEWS[(VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length]!;
  history.replaceState(null, '', `#${next}`);
  show(next, true);
});
window.addEventListener('hashchange', () => show(ofAddress()));
document.addEventListener('visibilitychange', () => {
  heardAt = performance.now();
  keepUp();
});
window.setInterval(() => {
  if (document.hidden) return;
  keepUp();
  if (performance.now() - heardAt < SILENT_MS) return;
  const problem = byId('problem');
  write(problem, 'The node does not answer. Everything below is the last known state.');
  problem.hidden = false;
  pill('bad', 'no answer');
}, 2000);

startOperator();
startRooms();
startActors(keepUp);
startCharts();
show(ofAddress());
byId('not-started').remove();
