// Actions of hosts and co-hosts on a room. Owns: their methods. Does not check rights; the server does.

import { Emitter } from './emitter.js';
import type { Role } from './protocol.js';
import type { RoomEvents } from './types.js';

/**
 * Actions of hosts and co-hosts, which `StentorRoom` inherits. Each rejects with a `StentorError` if it is
 * refused.
 */
export abstract class HostActions extends Emitter<RoomEvents> {
  /** Sends a call to the server. Rejects while this user is not in the room. */
  protected abstract call(method: string, params: object): Promise<void>;

  /** As host or co-host: closes the microphone of another user. */
  async muteMember(userId: string): Promise<void> {
    await this.call('mute', { userId });
  }

  /**
   * As host or co-host: reverts {@link HostActions.muteMember}. A user who closed their own microphone is
   * only asked to open it.
   */
  async unmuteMember(userId: string): Promise<void> {
    await this.call('unmute', { userId });
  }

  /** As host: gives another user in the room a role. */
  async setRole(userId: string, role: Role | 'listener'): Promise<void> {
    await this.call('setRole', { userId, role });
  }

  /** As host: makes another user in the room a host, and this user a `co_host`. */
  async transferHost(userId: string): Promise<void> {
    await this.call('transferHost', { userId });
  }

  /** As host or co-host: closes the microphones of all others. They may open them again. */
  async muteAll(): Promise<void> {
    await this.call('muteAll', {});
  }

  /** As host or co-host: lets no new anchor join. Anchors already in the room stay and may return. */
  async lock(): Promise<void> {
    await this.call('lock', {});
  }

  /** As host or co-host: reverts {@link HostActions.lock}. */
  async unlock(): Promise<void> {
    await this.call('unlock', {});
  }

  /** As host or co-host, in the backstage: puts the room on air with everybody in it. */
  async goLive(): Promise<void> {
    await this.call('goLive', {});
  }

  /**
   * As host or co-host: bans another user from the room. They can neither speak nor listen until the ban is
   * lifted.
   */
  async banMember(userId: string): Promise<void> {
    await this.call('ban', { userId });
  }

  /** As host or co-host: lifts the ban of a user. */
  async unbanMember(userId: string): Promise<void> {
    await this.call('unban', { userId });
  }

  /**
   * As host or co-host: disconnects another user, who may come back with the same token after about ten
   * seconds.
   */
  async kickMember(userId: string): Promise<void> {
    await this.call('kick', { userId });
  }

  /**
   * Same as {@link HostActions.banMember}, under the earlier name of the call, which servers of every version
   * accept.
   */
  async removeMember(userId: string): Promise<void> {
    await this.call('remove', { userId });
  }
}
