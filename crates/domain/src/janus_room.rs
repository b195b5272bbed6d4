//! State machine of one room on one Janus instance: compares the wanted state with the observed state and
//! plans the next step.
//!
//! ```text
//!            inspect                create                 start_forwarder
//!  Unknown ───────────▶ Absent ───────────────▶ Created ───────────────────▶ Forwarding
//!     ▲                   ▲                        │  (waits for the mixer's     │
//!     │ timeout,          │ destroy                │   port at this epoch)       │ mixer moved: start new
//!     │ link lost         └────────────────────────┴──────── not wanted ◀───────┘ forwarder, stop the old
//! ```
//!
//! Invariants:
//! - A write of our key is conditional on the livemeta from which it was decided, so a superseded owner
//!   cannot overwrite its successor.
//! - After an effect with an unknown outcome, the rooms in Janus are looked up before the next attempt.
//! - While Janus may still carry out an unanswered create, the create is repeated only with the same number,
//!   and the room's key is not deleted. Therefore no second room is left behind.
//! - A Janus room that has our ownership tag and is not wanted is destroyed, whichever process created it.
//!
//! Exception to the last invariant: a room whose secret is not ours (`hls.secret` was changed) cannot be
//! destroyed. The machine skips it and names it in the plan's reason, until the next connection to Janus.
//!
//! `silence` contains the repair of a room that is forwarded but not heard. `tracks` contains the recording
//! of each participant.

use std::collections::BTreeSet;
use std::time::Duration;

use super::handover::outgoing_mixer;
use super::ids::{Epoch, MediaAddr, ModuleId, Nonce, Pin, UnixMs};
pub use super::janus_effects::{Effect, FoundRoom, Outcome};
use super::kick::ModerationTracker;
use super::model::{ForwarderState, JanusState, JanusStatus, LiveStatus};
use super::plan::{Failure, Plan, Retry, WriteOutcome};
use super::read_your_writes::ReadYourWrites;
use super::restart::Backoff;
use super::view::{RoomView, StoredValue, UNREADABLE};

mod canary;
mod silence;
mod speech;
mod tracks;
mod unsettled;

pub use canary::{canary, concerns, must_have};
use silence::Upkeep;
pub use silence::all_silent;
use tracks::TrackSwitch;
use unsettled::UnsettledCreate;

/// Message about a Janus room, appended to its number. It contains the remedy.
pub const LOCKED: &str = "on this Janus has our ownership tag but another secret (hls.secret was changed): \
                          destroy it with the earlier secret, or restart that Janus";

/// Longest time after which Janus may still carry out a request that it has not answered.
const LANDS_WITHIN: Duration = Duration::from_secs(30);

/// State that the store requires of this Janus.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WantedState {
    Nothing,
    Room {
        epoch: Epoch,
        nonce: Nonce,
        pin: Pin,
        target: Option<MediaAddr>,
        live_revision: i64,
        handing_over: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum KnownRooms {
    Unknown,
    Known(Vec<FoundRoom>),
}

#[derive(Debug)]
pub struct JanusRoom {
    me: ModuleId,
    incarnation: String,
    backoff: Backoff,
    observed: KnownRooms,
    unsettled: Option<UnsettledCreate>,
    /// Ids of the Janus rooms that refuse our secret.
    locked: BTreeSet<u32>,
    moderation: ModerationTracker,
    upkeep: Upkeep,
    tracks: TrackSwitch,
    key: ReadYourWrites<JanusState>,
    as_of: i64,
    linked: bool,
    /// Reason not to forward to the address in the room's mixer key.
    refusal: Option<String>,
    retry: Retry,
}

impl JanusRoom {
    /// Creates the machine. `incarnation` is the one in this module's heartbeat.
    pub fn new(me: ModuleId, incarnation: String, backoff: Backoff) -> Self {
        Self {
            me,
            incarnation,
            backoff,
            observed: KnownRooms::Unknown,
            unsettled: None,
            locked: BTreeSet::new(),
            moderation: ModerationTracker::default(),
            upkeep: Upkeep::default(),
            tracks: TrackSwitch::default(),
            key: ReadYourWrites::default(),
            as_of: 0,
            linked: false,
            refusal: None,
            retry: Retry::default(),
        }
    }

    /// Sets the reason not to forward to the mixer's address, if the mixer's heartbeat does not announce that
    /// address ([`rtp_refusal`](super::vouched::rtp_refusal)). `Some` blocks new forwarders; an existing
    /// forwarder stays.
    pub fn vouched(&mut self, refusal: Option<String>) {
        self.refusal = refusal;
    }

    /// Records that the view contains the store up to revision `as_of`.
    pub fn observe_revision(&mut self, as_of: i64) {
        self.as_of = self.as_of.max(as_of);
        self.key.seen(self.as_of);
        self.retry.state_changed();
    }

    /// Records that Janus is connected and which of our rooms it has (`None`: not listed yet).
    pub fn linked(&mut self, found: Option<Vec<FoundRoom>>) {
        self.linked = true;
        if found.is_some() {
            // The connection is new, so requests over the old connection have been carried out or are lost.
            self.unsettled = None;
            self.locked.clear();
            self.moderation.reset();
            self.tracks.reset();
        }
        self.observed = found.map_or(KnownRooms::Unknown, KnownRooms::Known);
        self.retry.succeeded();
    }

    /// Records that the link to Janus is gone. The state of its rooms is unknown from now on.
    pub fn unlinked(&mut self) {
        self.linked = false;
        self.observed = KnownRooms::Unknown;
    }

    pub fn attempt(&self) -> u32 {
        self.retry.attempt()
    }

    pub fn retry_due(&self) -> Option<Duration> {
        self.retry.due()
    }

    /// Returns the name of the state, for operators.
    pub fn state(&self, view: &RoomView) -> &'static str {
        let wanted = self.wanted(view) != WantedState::Nothing;
        match &self.observed {
            _ if !self.linked => "unlinked",
            KnownRooms::Unknown => "unknown",
            KnownRooms::Known(_) if !wanted => "removing",
            KnownRooms::Known(rooms) if rooms.is_empty() => "absent",
            KnownRooms::Known(rooms) => {
                let feeding = |r: &FoundRoom| r.forwarders.as_ref().is_some_and(|f| !f.is_empty());
                if rooms.iter().any(feeding) { "forwarding" } else { "created" }
            }
        }
    }

    pub fn plan(&self, view: &RoomView, now: Duration, wall: UnixMs) -> Plan<Effect> {
        if let Some(wait) = self.retry.pending(now) {
            return wait;
        }
        if !self.linked {
            return Plan::wait("waits for the link to the Janus Gateway");
        }
        let KnownRooms::Known(rooms) = &self.observed else {
            return Plan::act(Effect::Inspect, "looks up which Janus rooms belong to this room");
        };
        let rooms: Vec<&FoundRoom> =
            rooms.iter().filter(|r| !self.locked.contains(&r.janus_room_id)).collect();
        let key = self.key.current(view.janus.as_ref());
        let plan = match self.wanted(view) {
            WantedState::Nothing => self.dismantle(&rooms, key, now),
            WantedState::Room { epoch, nonce, pin, target, live_revision, handing_over } => {
                let (rooms, handing) = (&rooms[..], handing_over);
                let build =
                    Build { epoch, nonce, pin, target, live_revision, handing, rooms, key, now, wall };
                let ours = self.choose(rooms, &build.key, epoch).map(|room| room.janus_room_id);
                match (self.build(build), ours) {
                    (Plan::Wait { reason, until }, Some(ours)) => {
                        let plan = self.moderation.or_wait(reason, until, view, ours, now);
                        self.tracks.or(plan, view, ours, now)
                    }
                    (plan, _) => plan,
                }
            }
        };
        match &plan {
            Plan::Do { effect, .. } if effect.takes_away() && view.unreadable_part().is_some() => {
                Plan::wait(UNREADABLE)
            }
            _ => self.naming_locked(plan),
        }
    }

    /// Returns the plan with the locked rooms added to its reason. This node cannot manage them, so it does
    /// not retry, but operators must see them.
    fn naming_locked(&self, plan: Plan<Effect>) -> Plan<Effect> {
        if self.locked.is_empty() {
            return plan;
        }
        let numbers: Vec<_> = self.locked.iter().map(u32::to_string).collect();
        let locked = format!("Janus room {} {LOCKED}", numbers.join(", "));
        match plan {
            Plan::Finished => Plan::wait(locked),
            Plan::Wait { reason, until } => {
                Plan::Wait { reason: format!("{reason}; {locked}").into(), until }
            }
            act => act,
        }
    }

    fn wanted(&self, view: &RoomView) -> WantedState {
        let (Some(meta), Some(live)) = (&view.meta, &view.live) else {
            return WantedState::Nothing;
        };
        if live.status == LiveStatus::Removing || live.janus_id != self.me {
            return WantedState::Nothing;
        }
        let mixer = view.mixer.as_ref().filter(|m| m.epoch == live.epoch && m.id == live.mixer_id);
        WantedState::Room {
            epoch: live.epoch,
            nonce: live.nonce.clone(),
            pin: meta.pin.clone(),
            target: mixer.map(|m| m.rtp),
            live_revision: live.mod_revision,
            handing_over: outgoing_mixer(view).is_some(),
        }
    }

    /// Plans the next step of the removal: the forwarders are stopped, then the rooms destroyed, then the key
    /// deleted. A missing key therefore proves that nothing else is left.
    fn dismantle(
        &self,
        rooms: &[&FoundRoom],
        key: Option<StoredValue<JanusState>>,
        now: Duration,
    ) -> Plan<Effect> {
        if let Some(room) = rooms.first() {
            let janus_room_id = room.janus_room_id;
            return match room.forwarders.as_ref().and_then(|f| f.first()) {
                Some(f) => Plan::act(
                    Effect::StopForwarder { janus_room_id, stream_id: f.stream_id },
                    "the room is no longer wanted here",
                ),
                None => Plan::act(Effect::Destroy { janus_room_id }, "the room is no longer wanted here"),
            };
        }
        if let Some(unsettled) = self.unsettled {
            return unsettled.wait(now);
        }
        match key.filter(|k| k.id == self.me) {
            Some(key) => Plan::act(
                Effect::DeleteKey { key_revision: key.mod_revision },
                "the room has no resources on this Janus",
            ),
            None => Plan::Finished,
        }
    }

    fn build(&self, b: Build<'_>) -> Plan<Effect> {
        let Some(room) = self.choose(b.rooms, &b.key, b.epoch) else {
            return match b.rooms.first() {
                Some(stale) => Plan::act(destroy(stale), "left over from an earlier broadcast"),
                None => {
                    let again = self.unsettled.map(|u| u.janus_room_id);
                    let create = Effect::Create { epoch: b.epoch, pin: b.pin, again };
                    Plan::act(create, "the room is assigned to this Janus")
                }
            };
        };
        if let Some(stale) = b.rooms.iter().find(|r| r.janus_room_id != room.janus_room_id) {
            return Plan::act(destroy(stale), "a duplicate of the Janus room");
        }
        let janus_room_id = room.janus_room_id;
        let Some(forwarders) = &room.forwarders else {
            return Plan::act(
                Effect::ListForwarders { janus_room_id },
                "looks up the forwarders before adding one",
            );
        };
        let keyed = |f: &&ForwarderState| Some(f.target) == b.target && self.is_of_epoch(f, &b);
        let fed = forwarders.iter().find(keyed);
        if let (Some(target), None, None) = (b.target, fed, &self.refusal) {
            let start = Effect::StartForwarder { janus_room_id, target, epoch: b.epoch, nonce: b.nonce };
            return Plan::act(start, "the mixer waits for RTP at this port");
        }
        if let Some(write) = self.key_write(&b, janus_room_id, fed.copied(), forwarders) {
            return Plan::act(write, "writes the Janus key");
        }
        let Some(fed) = fed else {
            return match &self.refusal {
                Some(refusal) => Plan::wait(format!("does not forward: {refusal}")),
                None => Plan::wait("waits for the mixer's port at this epoch"),
            };
        };
        match forwarders.iter().find(|f| f.stream_id != fed.stream_id) {
            Some(_) if b.handing => {
                Plan::wait("forwarding, also to the outgoing mixer until its successor produces")
            }
            Some(old) => Plan::act(
                Effect::StopForwarder { janus_room_id, stream_id: old.stream_id },
                "feeds a mixer that no longer has the room",
            ),
            None => self.keep(&b, room),
        }
    }

    /// Chooses the Janus room to use. The Janus room that our store key names is kept across epochs, because
    /// the anchors are in it. Otherwise a Janus room that was created for this epoch is used.
    fn choose<'a>(
        &self,
        rooms: &[&'a FoundRoom],
        key: &Option<StoredValue<JanusState>>,
        epoch: Epoch,
    ) -> Option<&'a FoundRoom> {
        let ours = key.as_ref().filter(|k| k.id == self.me).map(|k| k.janus_room_id);
        let rooms = || rooms.iter().copied();
        rooms().find(|r| Some(r.janus_room_id) == ours).or_else(|| rooms().find(|r| r.created_at == epoch))
    }

    /// Returns the write that brings our key up to date; `None` if the key is current.
    fn key_write(
        &self,
        b: &Build<'_>,
        janus_room_id: u32,
        fed: Option<ForwarderState>,
        forwarders: &[ForwarderState],
    ) -> Option<Effect> {
        let status = match fed {
            Some(_) => JanusStatus::Forwarding,
            None if forwarders.is_empty() => JanusStatus::RoomCreated,
            None => JanusStatus::NotForwarding,
        };
        let state = JanusState {
            id: self.me.clone(),
            janus_room_id,
            status,
            forwarder: fed,
            timestamp: b.wall,
            epoch: b.epoch,
            unheard: self.is_unheard(),
            incarnation: Some(self.incarnation.clone()),
        };
        let current = b.key.as_ref();
        let same = current.is_some_and(|k| JanusState { timestamp: b.wall, ..k.value.clone() } == state);
        (!same).then(|| Effect::WriteKey {
            state,
            live_revision: b.live_revision,
            key_revision: current.map_or(0, |k| k.mod_revision),
        })
    }

    /// Applies the outcome of the planned effect.
    pub fn done(&mut self, outcome: Outcome, now: Duration, random: f64) {
        match outcome {
            Outcome::Failed(failure) => return self.failed(failure, now, random),
            Outcome::Key { value, outcome } => return self.key_done(value, outcome, now, random),
            // An inspection changes nothing in Janus, so it does not reset the failure count.
            Outcome::Inspected(found) => return self.inspected(found, now),
            Outcome::Unanswered { janus_room_id, why } => {
                self.unsettled = Some(UnsettledCreate { janus_room_id, until: now + LANDS_WITHIN });
                return self.failed(Failure::Unknown(why), now, random);
            }
            // This outcome is final for this connection: a retry cannot succeed, so the outcome does not
            // count as a failure.
            Outcome::Locked { janus_room_id } => drop(self.locked.insert(janus_room_id)),
            Outcome::Created { janus_room_id, epoch } => {
                // If this create used the number of an unanswered create, Janus may still carry out the
                // unanswered one. Otherwise, a room that is not ours has that number, so Janus refuses the
                // unanswered create.
                self.unsettled = self.unsettled.filter(|u| u.janus_room_id == janus_room_id);
                let made = FoundRoom { janus_room_id, created_at: epoch, forwarders: Some(Vec::new()) };
                self.made(now);
                self.tracks.created(janus_room_id);
                self.change(|rooms| rooms.push(made));
            }
            Outcome::Gone { janus_room_id } => {
                self.change(|rooms| rooms.retain(|r| r.janus_room_id != janus_room_id));
            }
            Outcome::Forwarders { janus_room_id, forwarders } => {
                self.upkeep.listed_at = now;
                return self.change_room(janus_room_id, |room| room.forwarders = Some(forwarders));
            }
            Outcome::Talkers(talkers) => return self.talkers(talkers, now),
            Outcome::Expelled { janus_room_id, users } => {
                return self.moderation.expelled(janus_room_id, users, now + LANDS_WITHIN);
            }
            Outcome::MutedAll { key_revision } => return self.moderation.muted(key_revision),
            Outcome::NotModerated(why) => return self.moderation.failed(why, now, &self.backoff, random),
            Outcome::TracksSwitched { janus_room_id, recording } => {
                return self.tracks.switched(janus_room_id, recording, now);
            }
            Outcome::TrackDiskChecked => return self.tracks.checked(now),
            Outcome::NoTracks { why, full } => return self.tracks.failed(why, full, now, random),
            Outcome::Started { janus_room_id, forwarder, epoch } => {
                self.started(forwarder, epoch);
                self.change_room(janus_room_id, |room| {
                    room.forwarders.get_or_insert_default().push(forwarder);
                });
            }
            Outcome::Stopped { janus_room_id, stream_id } => self.change_room(janus_room_id, |room| {
                room.forwarders.get_or_insert_default().retain(|f| f.stream_id != stream_id);
            }),
        }
        self.retry.succeeded();
    }

    fn inspected(&mut self, found: Vec<FoundRoom>, now: Duration) {
        // A room in the list does not settle an unanswered create. Two creates may have used the number of
        // that room, and the second one may still be carried out.
        self.unsettled = self.unsettled.filter(|u| now < u.until);
        self.observed = KnownRooms::Known(found);
    }

    fn failed(&mut self, failure: Failure, now: Duration, random: f64) {
        if let Failure::Unknown(_) = failure {
            self.observed = KnownRooms::Unknown;
        }
        self.retry.failed(failure.to_string(), now, &self.backoff, random);
    }

    fn key_done(&mut self, value: Option<JanusState>, outcome: WriteOutcome, now: Duration, random: f64) {
        match outcome {
            WriteOutcome::Written { revision } => {
                self.key.wrote(revision, value);
                self.key.seen(self.as_of);
                self.retry.succeeded();
            }
            WriteOutcome::Superseded => {
                self.retry.failed("the store changed under the write", now, &self.backoff, random);
            }
            // The next write compares the key by revision again, so a retry is safe.
            WriteOutcome::Failed(failure) => {
                self.retry.failed(failure.to_string(), now, &self.backoff, random);
            }
        }
    }

    fn change(&mut self, f: impl FnOnce(&mut Vec<FoundRoom>)) {
        // The link may have been lost while the effect ran. In that case, the outcome does not show the
        // current state.
        if let KnownRooms::Known(rooms) = &mut self.observed {
            f(rooms);
        }
    }

    fn change_room(&mut self, janus_room_id: u32, f: impl FnOnce(&mut FoundRoom)) {
        self.change(|rooms| {
            if let Some(room) = rooms.iter_mut().find(|r| r.janus_room_id == janus_room_id) {
                f(room);
            }
        });
    }
}

struct Build<'a> {
    epoch: Epoch,
    nonce: Nonce,
    pin: Pin,
    target: Option<MediaAddr>,
    live_revision: i64,
    /// True while the room is being handed over to another mixer.
    handing: bool,
    rooms: &'a [&'a FoundRoom],
    key: Option<StoredValue<JanusState>>,
    now: Duration,
    wall: UnixMs,
}

fn destroy(room: &FoundRoom) -> Effect {
    Effect::Destroy { janus_room_id: room.janus_room_id }
}

#[cfg(test)]
#[path = "janus_room_tests.rs"]
mod tests;
