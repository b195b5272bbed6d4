// View of the Janus instances and mixers of the installation.

import { byId, write } from '../dom';
import { duration, isDown, type Module, type Overview } from './data';
import { Rows, UNKNOWN, button, make, tone } from './elements';
import { act } from './operator';

const COLUMNS = ['Module', 'Status', 'Label', 'Rooms', 'Machine', 'Last change', 'Takes rooms', ''] as const;
const NAMES = { janus: 'Janus', mixer: 'Mixer' };

class ModuleRow {
  readonly main = make('tr');
  private readonly cells = COLUMNS.map((label) => {
    const cell = make('td');
    cell.dataset.label = label;
    return cell;
  });
  private readonly name = make('span', 'strong');
  private readonly host = make('span', 'muted');
  private readonly status = make('span', 'state-of');
  private readonly load = make('span');
  private readonly meter = document.createElement('meter');
  private readonly left = make('span', 'reason');
  private readonly takes = make('span', 'state-of');
  private readonly cordon = button('Cordon', () => this.label('cordon'));
  private readonly drain = button('Drain', () => this.label('draining'));
  private readonly ready = button('Remove label', () => this.clear());
  private module!: Module;

  constructor() {
    this.main.append(...this.cells);
    this.cells[0]!.append(this.name, this.host);
    this.cells[1]!.append(this.status);
    this.cells[3]!.append(this.load, this.meter, this.left);
    this.cells[5]!.classList.add('number');
    this.cells[6]!.append(this.takes);
    this.cells[7]!.append(make('div', 'actions', this.cordon, this.drain, this.ready));
    this.meter.min = 0;
  }

  show(module: Module): void {
    this.module = module;
    write(this.name, `${NAMES[module.kind]} ${module.id}`);
    write(this.host, [module.host, module.version].filter(Boolean).join(' · '));
    tone(this.status, isDown(module) ? 'bad' : 'good', module.status ?? 'gone');
    write(this.cells[2]!, module.mark ?? UNKNOWN);
    this.cells[2]!.dataset.empty = String(module.mark === undefined);
    write(this.load, module.capacity === undefined ? String(module.load) : `${module.load} of ${module.capacity}`);
    this.meter.hidden = module.capacity === undefined;
    this.meter.max = Math.max(1, module.capacity ?? 1);
    this.meter.high = 0.85 * this.meter.max;
    this.meter.value = module.load;
    this.meter.setAttribute('aria-label', `Load of ${module.id}`);
    write(this.left, drained(module));
    const machine = module.machineLoad;
    write(this.cells[4]!, machine ? `${machine.busyPercent} % busy, ${machine.mediaPercent} % media` : UNKNOWN);
    write(this.cells[5]!, module.heartbeatAgeMs === null ? 'none' : duration(module.heartbeatAgeMs));
    tone(this.takes, module.pickable ? 'good' : 'warn', module.pickable ? 'yes' : (module.reason ?? 'no'));
    const gone = module.status === undefined;
    this.cordon.hidden = gone || module.mark === 'cordon';
    this.drain.hidden = gone || module.mark === 'draining' || module.mark === 'drained';
    this.ready.hidden = module.mark === undefined || module.mark === 'ready';
  }

  private label(label: 'cordon' | 'draining'): void {
    const { kind, id, load } = this.module;
    const name = `${NAMES[kind]} ${id}`;
    const drains = label === 'draining';
    act(
      { action: 'set_label', kind, id, label },
      {
        title: drains ? `Drain ${name}?` : `Cordon ${name}?`,
        text: drains
          ? `It takes no new room, and its ${load === 1 ? 'room moves' : `${load} rooms move`} to other modules.`
          : 'It takes no new room. Its rooms stay.',
        yes: drains ? 'Drain' : 'Cordon',
        done: `${name} is labelled ${label}`,
        danger: drains,
      },
    );
  }

  private clear(): void {
    const { kind, id } = this.module;
    const name = `${NAMES[kind]} ${id}`;
    act(
      { action: 'clear_label', kind, id },
      { title: `Remove the label of ${name}?`, text: 'It takes new rooms again.', yes: 'Remove label', done: `${name} has no label` },
    );
  }
}

function drained({ mark, roomsLeft }: Module): string {
  if (roomsLeft === undefined) return '';
  if (mark === 'drained') return 'drained';
  return roomsLeft === 0 ? 'no room is left to move' : `${roomsLeft} ${roomsLeft === 1 ? 'room is' : 'rooms are'} left to move`;
}

const rows = new Rows<ModuleRow>(byId('modules-rows'));

export function drawModules({ modules }: Overview): void {
  rows.draw(modules, (module) => `${module.kind}/${module.id}`, () => new ModuleRow(), (row) => [row.main], (row, module) => row.show(module));
  byId('modules-empty').hidden = modules.length > 0;
}
