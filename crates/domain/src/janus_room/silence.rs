//! Repair of a room whose mixer receives nothing although Janus forwards, or only silence although somebody
//! speaks (`speech`). `mixer_room::port` defines the order of all steps. This module contains the steps on
//! the Janus side.
//!
//! AudioBridge paces the mixing thread of each room by the wall clock. If the clock is set back, the thread
//! sleeps until the old time is reached again. A new Janus room has a new thread.

use std::time::Duration;

use super::speech::{SpeechSearch, Talkers};
use super::{Build, Effect, FoundRoom, JanusRoom, destroy, must_have};
use crate::ids::{Epoch, ModuleId};
use crate::model::{ForwarderState, JanusStatus, MixerState};
use crate::plan::Plan;
use crate::view::{RoomView, Rooms, StoredValue};

/// Interval at which the forwarders are listed, to check that our forwarder was not stopped externally.
const RELIST_EVERY: Duration = Duration::from_secs(30);
/// Interval at which the forwarders are listed while nothing arrives at the mixer.
const RELIST_SILENT: Duration = Duration::from_secs(2);
/// Number of consecutive starvations (as defined in `mixer_room::port`) after which the Janus room is
/// destroyed and created again, once.
const REMAKE_AT: u32 = 3;
/// A managed Janus is restarted when every mixer that it feeds reports at least this number of consecutive
/// starvations.
const RESTART_AT: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Time at which the forwarders were last listed, or the room was created.
    pub listed_at: Duration,
    /// Number of consecutive starvations that the mixer reports.
    starved: u32,
    /// True if the room was created during the current silence.
    made_in_silence: bool,
    /// True if the starvations are silences although somebody spoke.
    unheard: bool,
    speech: SpeechSearch,
    /// Stream id of our newest forwarder, and the epoch from which its SRTP key is derived.
    started: Option<(u64, Epoch)>,
}

impl JanusRoom {
    /// Reads from the view whether audio arrives at the mixer. Must be called with the newest view before
    /// planning.
    pub fn look(&mut self, view: &RoomView) {
        let mixer = mixer_fed_by(view);
        self.upkeep.starved = mixer.map_or(0, |mixer| mixer.starved);
        self.upkeep.unheard = mixer.is_some_and(|mixer| mixer.unheard);
        self.upkeep.speech.look(mixer.filter(|mixer| mixer.silent).map(|mixer| mixer.mod_revision));
        if self.upkeep.starved == 0 {
            self.upkeep.made_in_silence = false;
        }
    }

    /// Takes the participants who can speak, and whether they talk.
    pub(super) fn talkers(&mut self, talkers: Talkers, now: Duration) {
        self.upkeep.speech.answered(talkers, self.upkeep.starved, now);
    }

    /// Returns true if somebody speaks although the mixer reports silence.
    pub(super) fn is_unheard(&self) -> bool {
        self.upkeep.speech.found()
    }

    pub(super) fn made(&mut self, now: Duration) {
        self.upkeep.listed_at = now;
        self.upkeep.made_in_silence = self.upkeep.starved > 0;
    }

    pub(super) fn started(&mut self, forwarder: ForwarderState, epoch: Epoch) {
        self.upkeep.started = Some((forwarder.stream_id, epoch));
    }

    /// Returns true if the forwarder encrypts with the SRTP key of this epoch: either we started it for this
    /// epoch, or our store key says so.
    pub(super) fn is_of_epoch(&self, forwarder: &ForwarderState, b: &Build<'_>) -> bool {
        let stored = b.key.as_ref().filter(|key| key.id == self.me && key.epoch == b.epoch);
        let stored = stored.and_then(|key| key.forwarder).is_some_and(|f| f.stream_id == forwarder.stream_id);
        stored || self.upkeep.started == Some((forwarder.stream_id, b.epoch))
    }

    /// Returns the plan for a room whose forwarding matches the store.
    pub(super) fn keep(&self, b: &Build<'_>, room: &FoundRoom) -> Plan<Effect> {
        let Upkeep { starved, made_in_silence, listed_at, unheard, .. } = self.upkeep;
        let unheard = unheard || self.is_unheard();
        if starved >= REMAKE_AT && !made_in_silence {
            let reason = match unheard {
                true => "somebody speaks but the mix is silent: recreates the Janus room",
                false => "nothing arrives at the mixer: recreates the Janus room",
            };
            return Plan::act(destroy(room), reason);
        }
        let (every, reason) = match starved {
            _ if unheard => (RELIST_SILENT, "forwarding, but the mix is silent although somebody speaks"),
            0 => (RELIST_EVERY, "forwarding"),
            _ => (RELIST_SILENT, "forwarding, but the mixer says that nothing arrives"),
        };
        let (janus_room_id, due, ask) = (room.janus_room_id, listed_at + every, self.upkeep.speech.due());
        if due <= b.now {
            let list = Effect::ListForwarders { janus_room_id };
            return Plan::act(list, "checks if the forwarder was stopped externally");
        }
        if ask.is_some_and(|ask| ask <= b.now) {
            return Plan::act(Effect::ListTalkers { janus_room_id }, "the mix is silent: looks for speakers");
        }
        Plan::Wait { reason: reason.into(), until: ask.into_iter().chain([due]).min() }
    }
}

/// Returns the mixer of the newest epoch if Janus reports that it forwards to that mixer's port.
fn mixer_fed_by(view: &RoomView) -> Option<&StoredValue<MixerState>> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    let mixer = view.mixer.as_ref().filter(|m| m.epoch == live.epoch && m.id == live.mixer_id)?;
    let janus = view.janus.as_ref().filter(|j| j.epoch == live.epoch && j.id == live.janus_id)?;
    let target = janus.forwarder.filter(|_| janus.status == JanusStatus::Forwarding)?.target;
    (target == mixer.rtp).then_some(mixer)
}

/// Returns true if this Janus forwards at least one room, and every mixer that it feeds still receives
/// nothing after the cheaper repairs.
pub fn all_silent(rooms: &Rooms, me: &ModuleId) -> bool {
    let mine = rooms.values().filter(|view| must_have(view, me).is_some());
    let mut fed = mine.filter_map(|view| mixer_fed_by(view)).peekable();
    fed.peek().is_some() && fed.all(|mixer| mixer.starved >= RESTART_AT)
}
