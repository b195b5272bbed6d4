// State of a room's listener channel, computed from its events. Pure; `docs/listeners.md` describes the
// events.

export interface Person {
  id: string;
  name?: string;
  role?: 'host' | 'co_host' | 'anchor' | 'listener';
  /** True if the name is a claim of the token. */
  verified?: boolean;
}

export interface Hand {
  person: Person;
  raisedAt: number;
  /** Text of the person who raised the hand; sent to hosts and co-hosts only. */
  note?: string;
  invited: boolean;
}

export interface Message {
  id: number;
  at: number;
  person: Person;
  text: string;
}

export interface ChannelMember {
  id: string;
  name?: string;
  role: 'host' | 'co_host' | 'anchor';
  muted: boolean;
}

export interface RoomLine {
  status: string;
  listeners: number;
  /** True while the broadcast is recorded; earlier versions of the server omit it. */
  recorded?: boolean;
  /** Seconds that listeners can go back; absent if they cannot. */
  rewind?: number;
  /** True if no new anchor may join; absent otherwise. */
  locked?: boolean;
  /** Time at which the room goes on air by itself, in RFC 3339 format. */
  startsAt?: string;
  onAirSince?: number;
  /** Reason for the end of the latest broadcast; absent on air. */
  endReason?: string;
  title?: string;
  description?: string;
  /** BCP 47 language tag. */
  language?: string;
  tags?: string[];
  /** An https URL. */
  coverUrl?: string;
}

/** Banned person; sent to hosts and co-hosts only. */
export interface BannedPerson {
  id: string;
  name?: string;
  /** Milliseconds since the Unix epoch. */
  bannedAt: number;
}

export interface Settings {
  handsOpen: boolean;
  chatOpen: boolean;
  slowModeSeconds: number;
  /**
   * Order of raised hands: by the time they were raised (the default), or by speaking time, shortest first.
   */
  handOrder?: 'time' | 'least_spoken';
}

/**
 * Floor: a host or co-host asked a person to speak from `since` until `until` (milliseconds since the Unix
 * epoch).
 */
export interface Floor {
  person: string;
  since: number;
  until: number;
}

/** Users who talk from the moment `at` on (milliseconds since the Unix epoch). */
export interface Talking {
  at: number;
  people: string[];
}

export interface ChannelState {
  you: Person | null;
  /** False until a snapshot has arrived. */
  known: boolean;
  closed: boolean;
  room: RoomLine;
  members: ChannelMember[];
  talking: Talking;
  hands: Hand[];
  messages: Message[];
  pinned: Message | null;
  announcement: string | null;
  settings: Settings;
  /** Latest floor; its time may be over. `null` if there was none, or if it was ended. */
  floor: Floor | null;
  /** Speaking time in milliseconds, by person id; some seconds old. */
  spoken: Record<string, number>;
  /** Newest first, at most 100; empty for everybody except hosts and co-hosts. */
  bans: BannedPerson[];
}

/** Maximum number of messages that a page keeps; the server keeps the same number. */
const MAX_MESSAGES = 100;

export const initial = (): ChannelState => ({
  you: null,
  known: false,
  closed: false,
  room: { status: '', listeners: 0 },
  members: [],
  talking: { at: 0, people: [] },
  hands: [],
  messages: [],
  pinned: null,
  announcement: null,
  settings: { handsOpen: true, chatOpen: true, slowModeSeconds: 0 },
  floor: null,
  spoken: {},
  bans: [],
});

/** Returns the state after an event. Unknown events change nothing. `data` is the event's parsed JSON. */
export function applied(state: ChannelState, event: string, data: any): ChannelState {
  switch (event) {
    case 'hello':
      return { ...state, you: data.you };
    case 'snapshot':
      return {
        ...state,
        known: true,
        room: data.room,
        members: data.members,
        talking: { at: data.at, people: data.talking },
        hands: data.hands,
        messages: data.messages,
        pinned: data.pinned,
        announcement: data.announcement,
        settings: data.settings,
        floor: data.floor ?? null,
        spoken: data.spoken ?? {},
        bans: data.bans ?? [],
      };
    case 'room':
      return { ...state, room: lineOf(data) };
    case 'members':
      return { ...state, members: data.members };
    case 'talking':
      return { ...state, talking: { at: data.at, people: data.people } };
    case 'hand_raised':
      return { ...state, hands: raised(state.hands, data) };
    case 'hand_lowered':
      return { ...state, hands: state.hands.filter(({ person }) => person.id !== data.person) };
    case 'invited':
    case 'invitation_revoked':
      return { ...state, hands: state.hands.map((hand) => (hand.person.id === data.person ? { ...hand, invited: event === 'invited' } : hand)) };
    case 'message_sent':
      return { ...state, messages: [...state.messages, data].slice(-MAX_MESSAGES) };
    case 'message_deleted': {
      const messages = state.messages.filter(({ id }) => id !== data.message);
      return { ...state, messages, pinned: state.pinned?.id === data.message ? null : state.pinned };
    }
    case 'message_pinned':
      return { ...state, pinned: data.message };
    case 'announced':
      return { ...state, announcement: data.text };
    case 'configured':
      return { ...state, settings: data.settings };
    case 'floor_given':
      return { ...state, floor: { person: data.person, since: data.at, until: data.until } };
    case 'floor_ended':
      return { ...state, floor: null };
    case 'spoken':
      return { ...state, spoken: data.people };
    case 'bans':
      return { ...state, bans: data.people };
    case 'closed':
      return { ...state, closed: true };
    default:
      return state;
  }
}

const lineOf = ({ at: _, ...line }: RoomLine & { at: number }): RoomLine => line;

/** Returns the raised hands in the order of the channel's setting `handOrder`. */
export function queueOf({ hands, settings, spoken }: ChannelState): Hand[] {
  if (settings.handOrder !== 'least_spoken') return hands;
  const time = ({ person }: Hand): number => spoken[person.id] ?? 0;
  // The sort is stable, so people with equal speaking time stay in the order in which they raised their
  // hands.
  return [...hands].sort((a, b) => time(a) - time(b));
}

/**
 * Returns the person who has the floor and the remaining seconds; null if nobody has it. `moment`: time of
 * the sound that is heard, or the server's current time (milliseconds since the Unix epoch).
 */
export function floorAt({ floor }: ChannelState, moment: number | null): { person: string; seconds: number } | null {
  if (!floor || moment === null || moment >= floor.until) return null;
  return { person: floor.person, seconds: Math.ceil((floor.until - Math.max(moment, floor.since)) / 1000) };
}

/** Returns the place in the queue, from 1; null if the person has not raised a hand. */
export function placeOf(state: ChannelState, person: string | undefined): number | null {
  const index = queueOf(state).findIndex((hand) => hand.person.id === person);
  return index < 0 ? null : index + 1;
}

/** Returns true for a person who moderates the room: a host or co-host. */
export const moderates = (person: { role?: string } | null | undefined): boolean => person?.role === 'host' || person?.role === 'co_host';

/** Returns true if this user has an open invitation to the stage. */
export const isInvited = ({ hands, you }: ChannelState): boolean => hands.some(({ person, invited }) => invited && person.id === you?.id);

function raised(hands: Hand[], hand: Hand): Hand[] {
  const known = hands.some(({ person }) => person.id === hand.person.id);
  return known ? hands.map((other) => (other.person.id === hand.person.id ? hand : other)) : [...hands, hand];
}

/**
 * Returns true if the room can be heard, or will be in a moment; null while this is unknown. `connected`:
 * true if the channel is open and would report a change.
 */
export function audible({ known, closed, room }: ChannelState, connected: boolean): boolean | null {
  if (!known || closed || !connected) return null;
  return AUDIBLE.has(room.status);
}

const AUDIBLE = new Set(['onair', 'degraded', 'starting']);

/**
 * Delays reports of who talks until the listener hears the voices: the sound is about a second behind the
 * room.
 */
export class TalkingClock {
  private waiting: Talking[] = [];
  private shown: Talking = { at: 0, people: [] };

  heard(talking: Talking): void {
    if (this.waiting.at(-1) !== talking) this.waiting.push(talking);
  }

  /**
   * Returns the ids of the people who talk in the sound of `moment` (milliseconds since the Unix epoch).
   * `null` means the latest moment. Forgets earlier moments.
   */
  at(moment: number | null): string[] {
    while (this.waiting[0] && (moment === null || this.waiting[0].at <= moment)) this.shown = this.waiting.shift()!;
    return this.shown.people;
  }
}
