/**
 * Speaking and listening in the rooms of a Stentor server, from a browser.
 *
 * @packageDocumentation
 */
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
