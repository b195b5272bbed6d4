// Participation in a live space, without its display. The host speaks with a `StentorRoom`. Everybody else
// listens with `<stentor-player>` and comes to the stage when invited. All follow the room's channel: stage,
// hands, chat.

import { openMicrophone, RoomChannel, StentorRoom } from '/client/index.js';
import { StentorPlayerElement } from '/client/elements/index.js';

StentorPlayerElement.hls = () => import('/hls/hls.light.mjs');

export class Room {
  /** Channel of the room; null until the player has opened the room. */
  channel = null;
  /** True for the host of the space. */
  host;
  #wsUrl;
  #tokens;
  #name;
  #page;
  #listener = null;
  #hosting = null;
  /** Ids of the members who talk in the sound that this person hears, about a second behind the room. */
  #heard = [];

  /**
   * The first argument is the application server's answer; `renew` asks for a new one. `page` has callbacks:
   * `changed()`, `reacted(counts)`, `refused(problem)`, `left(problem)`, `askedToUnmute()`.
   */
  constructor({ host, url, wsUrl, token }, { renew, name, player, page }) {
    this.host = host;
    this.#wsUrl = wsUrl;
    this.#name = name;
    this.#page = page;
    this.#tokens = () => tokens(token, renew);
    if (host) return this.#follow(new RoomChannel({ url, token: this.#tokens() }));
    player.addEventListener('listenerchange', ({ detail }) => detail && this.#listen(detail));
    player.token = this.#tokens();
    player.url = url;
  }

  /** This person's visit to the stage, or null. */
  get visit() {
    return this.#hosting ?? this.#listener?.stage ?? null;
  }

  /** True from the request to speak until the others can hear this person. */
  get entering() {
    return this.#listener?.stageStatus.state === 'entering' || this.visit?.state === 'connecting';
  }

  get invited() {
    return this.#listener?.invited ?? false;
  }

  /** People on the stage: from the signalling if this person is on the stage, otherwise from the channel. */
  get speakers() {
    const { members, talking, you } = this.channel.state;
    if (this.visit?.state === 'connected') {
      return this.visit.members.map((member) => ({ ...member, id: member.userId, name: member.displayName }));
    }
    const now = this.#listener ? this.#heard : talking.people;
    return members.map((member) => ({
      ...member,
      talking: now.includes(member.id),
      me: member.id === you?.id,
    }));
  }

  /** Opens the microphone and goes to the stage. A listener needs an invitation. */
  async takeStage() {
    if (!this.host) return this.#listener.takeStage();
    const microphone = await openMicrophone();
    const voices = new Audio();
    // Kept for this tab: after a reload, the new connection replaces the old one at once.
    const clientId = (sessionStorage.clientId ??= Math.random().toString(36).slice(2));
    const visit = new StentorRoom({
      url: this.#wsUrl,
      token: this.#tokens(),
      displayName: this.#name,
      clientId,
    });
    visit.on('stream', (stream) => {
      voices.srcObject = stream;
      void voices.play();
    });
    visit.on('closed', (problem) => {
      for (const track of microphone.getTracks()) track.stop();
      this.#hosting = null;
      this.#page.left(problem);
      this.#page.changed();
    });
    this.#hosting = visit;
    this.#watch(visit);
    await visit.publish(microphone);
    await visit.join();
  }

  leaveStage() {
    this.visit?.leave();
  }

  /** Ends sound, channel and visit. */
  close() {
    this.leaveStage();
    this.channel?.close();
    this.#listener?.close();
  }

  #listen(listener) {
    this.#listener = listener;
    listener.on('stage', ({ state, problem }) => {
      if (state === 'entering' && listener.stage) this.#watch(listener.stage);
      if (problem) this.#page.left(problem);
      this.#page.changed();
    });
    listener.on('talking', (people) => {
      this.#heard = people;
      this.#page.changed();
    });
    listener.follow();
    this.#follow(listener.channel);
  }

  #follow(channel) {
    this.channel = channel;
    channel.on('state', () => this.#page.changed());
    channel.on('reactions', (counts) => this.#page.reacted(counts));
    channel.on('refused', (problem) => this.#page.refused(problem));
    channel.open();
  }

  #watch(visit) {
    for (const event of ['state', 'members', 'muted']) visit.on(event, () => this.#page.changed());
    visit.on('unmuteRequested', () => this.#page.askedToUnmute());
  }
}

/**
 * Returns a source of tokens for the client library: first this one, then a new one each time the server
 * refuses one.
 */
function tokens(first, renew) {
  let next = first;
  return async () => {
    const token = next ?? (await renew()).token;
    next = null;
    return token;
  };
}
