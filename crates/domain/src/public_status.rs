//! Public status of a room: the status from its keys, limited to keys whose writers are still alive.
//!
//! A key outlives the process that wrote it. A module's key counts only while the module has a healthy
//! heartbeat of the same process. Otherwise a room on air is `degraded`, whatever its keys say. It is also
//! `degraded` while its mixer reports that no audio arrives, except during a handover. A node that has lost
//! the store keeps its last view of rooms and heartbeats, so it keeps reporting the last known status.

use super::handover::outgoing_mixer;
use super::ids::ModuleId;
use super::keys::ModuleKind;
use super::model::{Health, JanusStatus};
use super::room::{RoomStatus, status};
use super::view::{Modules, RoomView};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicStatus {
    pub status: RoomStatus,
    /// Status that the Janus of the newest epoch reports; `None` if it does not have the room or has no valid
    /// heartbeat.
    pub janus: Option<JanusStatus>,
    /// True if the mixer of the newest epoch is alive and waits for the room's audio.
    pub listening: bool,
}

/// Returns the public status, or `None` if there is no such room.
pub fn shown(view: &RoomView, modules: &Modules) -> Option<PublicStatus> {
    let keys = status(view)?;
    let epoch = view.live.as_ref().map(|live| live.epoch);
    let janus = view.janus.as_ref().filter(|janus| {
        Some(janus.epoch) == epoch && is_there(modules, ModuleKind::Janus, &janus.id, &janus.incarnation)
    });
    let mixer = view.mixer.as_ref().filter(|mixer| {
        let there = is_there(modules, ModuleKind::Mixer, &mixer.id, &mixer.incarnation);
        Some(mixer.epoch) == epoch && !mixer.gave_up && there
    });
    // During a handover, listeners hear the outgoing mixer.
    let silent = outgoing_mixer(view).is_none() && mixer.is_some_and(|mixer| mixer.starved > 0);
    let status = match keys {
        RoomStatus::OnAir if janus.is_none() || mixer.is_none() || silent => RoomStatus::Degraded,
        keys => keys,
    };
    Some(PublicStatus { status, janus: janus.map(|janus| janus.status), listening: mixer.is_some() })
}

/// Returns true if the module has a healthy heartbeat of the process that wrote the key. A key without an
/// incarnation was written by an older version; any healthy heartbeat of the module is accepted for it.
fn is_there(modules: &Modules, kind: ModuleKind, id: &ModuleId, writer: &Option<String>) -> bool {
    let module = modules.get(&(kind, id.clone()));
    module.and_then(|module| module.heartbeat.as_ref()).is_some_and(|heartbeat| {
        let same = writer.as_ref().is_none_or(|writer| *writer == heartbeat.incarnation);
        same && heartbeat.status == Health::Healthy
    })
}

#[cfg(test)]
#[path = "public_status_tests.rs"]
mod tests;
