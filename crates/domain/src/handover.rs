//! Handover of a room from a working mixer to another, and the mixer that listeners hear meanwhile. In the
//! diagram, *numbers* are the media sequence numbers that the store reserves for a mixer.
//!
//! ```text
//!  old mixer   producing ─────────────────────────────▶ stops, returns its unused numbers
//!  new mixer   starts FFmpeg, fed by Janus too ─▶ ready ────────▶ takes the numbers, publishes
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use super::ids::{Epoch, ModuleId, RoomId};
use super::model::Handover;
use super::view::{RoomView, Rooms};

/// Longest time for which a room on a draining mixer waits for the mixer's key before the room moves without
/// a handover.
const KEY_WITHIN: Duration = Duration::from_secs(5);

/// Rooms whose mixer key has an earlier epoch than the room, each with the room's epoch and the monotonic
/// time at which the difference was first seen. After a change of the Janus instance, the key stays stale
/// until the mixer has written it again. No handover can [`begin`] before that.
#[derive(Debug, Default)]
pub struct StaleKeys(BTreeMap<RoomId, (Epoch, Duration)>);

impl StaleKeys {
    /// Updates the list from the newest views.
    pub fn look(&mut self, rooms: &Rooms, now: Duration) {
        let stale = rooms.iter().filter_map(|(room, view)| {
            let live = view.live.as_ref().filter(|_| view.is_on_air() && outgoing_mixer(view).is_none())?;
            let key = view.mixer.as_ref().filter(|m| m.id == live.mixer_id && m.epoch < live.epoch);
            let seen = self.0.get(room).filter(|(epoch, _)| *epoch == live.epoch);
            key.map(|_| (room.clone(), seen.copied().unwrap_or((live.epoch, now))))
        });
        self.0 = stale.collect();
    }

    /// Returns true if the room should stay on its draining mixer for now.
    pub fn must_wait(&self, room: &RoomId, now: Duration) -> bool {
        self.0.get(room).is_some_and(|(_, since)| now < *since + KEY_WITHIN)
    }
}

/// Returns the outgoing mixer of a handover; `None` once its successor reports that it produces.
pub fn outgoing_mixer(view: &RoomView) -> Option<&Handover> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    let successor = view.mixer.as_ref().filter(|m| m.epoch == live.epoch && m.id == live.mixer_id);
    live.handover.as_deref().filter(|_| successor.is_none_or(|m| !m.ready))
}

/// Returns the mixer that listeners of a room on air hear; `None` if the room is not on air.
pub fn serving_mixer(view: &RoomView) -> Option<&ModuleId> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    Some(outgoing_mixer(view).map_or(&live.mixer_id, |handover| &handover.mixer_id))
}

/// Returns the record to store in livemeta when a handover begins: the mixer that listeners hear now. `None`
/// if that mixer has given the room up or has not written its key.
pub fn begin(view: &RoomView) -> Option<Handover> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    let current =
        view.mixer.as_ref().filter(|m| m.epoch == live.epoch && m.id == live.mixer_id && !m.gave_up);
    outgoing_mixer(view).cloned().or_else(|| {
        current.map(|m| Handover { mixer_id: m.id.clone(), hls_url: m.hls_url.clone(), epoch: m.epoch })
    })
}
