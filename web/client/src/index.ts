/**
 * Speaking and listening in the rooms of a Stentor server, from a browser.
 *
 * @packageDocumentation
 */
export { StentorListener } from './listener.js';
export type { ListenerEvents, ListenerOptions, ListenerStatus, StageState, StageStatus } from './listener.js';
export type { StageOptions } from './stage.js';
export type { PlaybackState, Transport } from './listening/player.js';
export type { PlaybackError } from './listening/failures.js';
export type { HlsClass, HlsLoader } from './listening/hls.js';
export { SeekBar } from './listening/seek-bar.js';
export type { SeekBarParts, SeekBarWords } from './listening/seek-bar.js';
export { StentorReplay } from './replay/replay.js';
export type { ReplayEvents, ReplayOptions, ReplayState } from './replay/replay.js';
export { captionAt } from './replay/captions.js';
export type { ReplayCaption } from './replay/captions.js';
export { chapterAt } from './replay/info.js';
export type { ReplayInfo, ReplayRange } from './replay/info.js';
export { REACTIONS, RoomChannel } from './channel/channel.js';
export type { ChannelEvents, ChannelOptions, Named } from './channel/channel.js';
export type { Caption } from './channel/captions.js';
export { floorAt, moderates, placeOf, queueOf } from './channel/state.js';
export type {
  BannedPerson, ChannelMember, ChannelState, Floor, Hand, Message, Person, RoomLine, Settings, Talking,
} from './channel/state.js';
export type { Token } from './tokens.js';
export { StentorRoom } from './room.js';
export type { Member, RoomEvents, RoomOptions, RoomState, RoomStatus, RoomStep } from './types.js';
export { StentorError } from './errors.js';
export type { Problem } from './errors.js';
export { listMicrophones, openMicrophone } from './microphone.js';
export type { Microphone, MicrophoneOptions } from './microphone.js';
export type { FlowStats, Quality, RoomStats } from './stats.js';
export type { Activity, Role, WireMember } from './protocol.js';
export { readClaims } from './claims.js';
export type { Claims } from './claims.js';
export type { Environment, Timers } from './environment.js';
export type { Emitter } from './emitter.js';
export type { HostActions } from './host-actions.js';
