// Data of the dashboard as the node sends it, and the texts for it.

export type Status = 'created' | 'backstage' | 'starting' | 'onair' | 'degraded' | 'removing';

export interface Room {
  id: string;
  title?: string;
  status: Status;
  reason: string | null;
  startedAt: number | null;
  startsAt?: string;
  janus: string | null;
  mixer: string | null;
  anchors: number;
  talking: number;
  listeners: number;
  mediaAgeMs: number | null;
  mix: { clippedSeconds: number; silentSeconds: number; levelDb?: number | null } | null;
}

export interface Module {
  kind: 'janus' | 'mixer';
  id: string;
  status?: 'healthy' | 'unhealthy';
  host?: string;
  version?: string;
  startedAt?: number;
  mark?: string;
  load: number;
  capacity?: number;
  machineLoad?: { busyPercent: number; mediaPercent: number };
  roomsLeft?: number;
  pickable: boolean;
  reason?: string;
  heartbeatAgeMs: number | null;
}

export interface Sample {
  at: number;
  rooms: number;
  listeners: number;
  joins: number;
  lateParts: number;
  restarts: number;
  storeMs: number | null;
}

export interface Overview {
  at: number;
  node: { id: string; version: string; startedAt: number; ready: boolean; problems: string[] };
  rooms: Room[];
  roomsOmitted: number;
  modules: Module[];
  sample: Sample | null;
}

export interface RoomDetail {
  anchors: { id: string; name: string | null; role: string; muted: boolean; talking: boolean }[] | null;
  events: { id: string; type: string; time: string; data: unknown }[] | null;
}

export interface Actor {
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
  children: Actor[];
}

/** Time within which a room normally starts. */
const START_MS = 15_000;

export type Tone = 'good' | 'warn' | 'bad' | '';

const STATUS: Record<Status, { text: string; tone: Tone }> = {
  created: { text: 'off air', tone: '' },
  backstage: { text: 'backstage', tone: 'warn' },
  starting: { text: 'starting', tone: 'warn' },
  onair: { text: 'on air', tone: 'good' },
  degraded: { text: 'degraded', tone: 'bad' },
  removing: { text: 'removing', tone: 'warn' },
};

/**
 * Returns the text and the tone of a room's status. A newer node may send a status that is unknown to this
 * page.
 */
export const statusOf = (room: Room): { text: string; tone: Tone } => STATUS[room.status] ?? { text: room.status, tone: '' };

/**
 * Returns true if an operator should examine the room. A reason reported during a normal start does not
 * count.
 */
export function needsAttention({ status, reason, startedAt }: Room, at: number): boolean {
  if (status === 'degraded') return true;
  return reason !== null && status !== 'removing' && (startedAt === null || at - startedAt > START_MS);
}

/** Returns true if the module does not work or is gone. */
export const isDown = (module: Module): boolean => module.status !== 'healthy';

/** Formats milliseconds in at most two units, such as `2 h 5 min`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} min ${seconds % 60} s`;
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Returns the time of day in UTC, in the format of the log. */
export const clock = (unixMs: number): string => new Date(unixMs).toISOString().slice(11, 23);
