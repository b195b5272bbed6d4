// View of the rooms of the installation.

import { BASE } from '../base';
import { byId, write } from '../dom';
import { duration, needsAttention, statusOf, type Overview, type Room, type RoomDetail } from './data';
import { Row, Rows, UNKNOWN, button, make, tone } from './elements';
import { act } from './operator';

const seconds = (count: number): string => (count < 60 ? `${count} s` : duration(count * 1000));

/** Returns the level of the mix in the latest second, in dB relative to full scale. */
function level({ mix, status }: Room): string {
  if (typeof mix?.levelDb === 'number') return `${mix.levelDb.toFixed(0).replace('-', '−')} dB`;
  return mix?.levelDb === null && status === 'onair' ? 'silent' : UNKNOWN;
}

const COLUMNS = ['Room', 'Status', 'Janus', 'Mixer', 'Anchors', 'Listeners', 'Behind', 'Level', 'Silent', 'Clipped', 'Duration'] as const;

/** A room's row, with the anchors and events that are loaded while it is open. */
class RoomRow extends Row {
  private readonly status = make('span', 'state-of');
  private readonly reason = make('span', 'reason');
  private readonly heading = make('span', 'muted');
  private readonly anchors = make('ul', 'people');
  private readonly events = make('ol', 'events');
  private readonly stop = button('Stop the room', () => this.askToStop(), 'button small danger-quiet');
  private room!: Room;

  constructor() {
    super(COLUMNS, () => void this.load());
    this.cells[0]!.append(this.heading);
    this.cells[1]!.append(this.status, this.reason);
    for (const cell of this.cells.slice(4)) cell.classList.add('number');
    const side = (title: string, list: HTMLElement): HTMLElement => make('div', '', make('h3', '', title), list);
    this.details.append(make('div', 'sides', side('Anchors', this.anchors), side('Latest events', this.events)), make('div', 'actions', this.stop));
  }

  show(room: Room, at: number): void {
    this.room = room;
    const { text, tone: of } = statusOf(room);
    this.title(room.id);
    write(this.heading, room.title ?? '');
    tone(this.status, of, text);
    write(this.reason, room.reason ?? (room.startsAt ? `starts ${room.startsAt.slice(0, 16).replace('T', ' ')} UTC` : ''));
    this.text(2, room.janus ?? UNKNOWN);
    this.text(3, room.mixer ?? UNKNOWN);
    this.text(4, room.talking > 0 ? `${room.anchors} · ${room.talking} talk` : String(room.anchors));
    this.text(5, String(room.listeners));
    this.text(6, room.mediaAgeMs === null ? UNKNOWN : duration(room.mediaAgeMs));
    this.text(7, room.mix ? level(room) : UNKNOWN);
    this.text(8, room.mix ? seconds(room.mix.silentSeconds) : UNKNOWN);
    this.text(9, room.mix ? seconds(room.mix.clippedSeconds) : UNKNOWN);
    this.text(10, room.startedAt === null ? UNKNOWN : duration(at - room.startedAt));
    this.stop.hidden = room.startedAt === null || room.status === 'removing';
    if (this.isOpen) void this.load();
  }

  private async load(): Promise<void> {
    try {
      const answer = await fetch(`${BASE}/dashboard/rooms/${encodeURIComponent(this.room.id)}`);
      if (answer.ok) this.draw((await answer.json()) as RoomDetail);
    } catch {
      // The next update tries again.
    }
  }

  private draw({ anchors, events }: RoomDetail): void {
    const person = ({ id, name, role, muted, talking }: NonNullable<RoomDetail['anchors']>[number]): HTMLElement => {
      const state = muted ? 'muted' : talking ? 'talks' : 'quiet';
      const item = make('li', '', make('span', 'strong', name ?? id), make('span', 'muted', ` ${role}${name ? ` · ${id}` : ''} · `));
      const voice = make('span', 'state-of');
      tone(voice, talking && !muted ? 'good' : '', state);
      item.append(voice);
      return item;
    };
    const none = (text: string): HTMLElement => make('li', 'muted', text);
    const people = anchors === null ? [none('Presence is not known on this node.')] : anchors.map(person);
    this.anchors.replaceChildren(...(people.length > 0 ? people : [none('Nobody is in the room.')]));
    const lines = events?.map(({ type, time, data }) => {
      const details = Object.entries((data ?? {}) as Record<string, unknown>).map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`);
      return make('li', '', make('time', 'muted', time.slice(0, 19).replace('T', ' ')), ` ${type.replaceAll('_', ' ')} `, make('span', 'muted', details.join(', ')));
    });
    this.events.replaceChildren(...(lines ?? [none('This node does not follow the event ledger; a node with the role rooms does.')]));
  }

  private askToStop(): void {
    const { id, listeners } = this.room;
    act(
      { action: 'stop_room', room: id },
      {
        title: `Stop ${id}?`,
        text: `The broadcast ends for its anchors and its ${listeners === 1 ? 'listener' : `${listeners} listeners`}. The room stays and can be started again.`,
        yes: 'Stop the room',
        done: `${id} is stopping`,
        danger: true,
      },
    );
  }
}

const filter = byId<HTMLInputElement>('rooms-filter');
const trouble = byId<HTMLInputElement>('rooms-trouble');
const rows = new Rows<RoomRow>(byId('rooms-rows'));
let last: Overview | null = null;

export function drawRooms(overview: Overview): void {
  last = overview;
  const text = filter.value.trim().toLowerCase();
  const wanted = overview.rooms.filter((room) => {
    if (trouble.checked && !needsAttention(room, overview.at)) return false;
    return `${room.id} ${room.title ?? ''} ${room.status} ${room.janus ?? ''} ${room.mixer ?? ''}`.toLowerCase().includes(text);
  });
  rows.draw(wanted, (room) => room.id, () => new RoomRow(), (row) => [row.main, row.more], (row, room) => row.show(room, overview.at));
  const empty = byId('rooms-empty');
  empty.hidden = wanted.length > 0;
  write(empty, overview.rooms.length === 0 ? 'No rooms yet. POST /api/rooms creates one.' : 'No room matches.');
  write(byId('rooms-omitted'), overview.roomsOmitted > 0 ? `${overview.roomsOmitted} more rooms that are off air are not shown.` : '');
}

export function startRooms(): void {
  for (const control of [filter, trouble]) control.addEventListener('input', () => last && drawRooms(last));
}
