//! What is said of a room to people: what its keys say, as far as those who wrote them stand behind it.
//!
//! A key outlives the process that wrote it. What a module wrote counts while its heartbeat is there, healthy
//! and of the same process; else the room is not on air, whatever the keys say. Nor is it while its mixer says that
//! nothing arrives. A node that lost the store
//! keeps its last view of rooms and heartbeats alike, so it goes on saying what it knew last.

use super::handover::leaving;
use super::ids::ModuleId;
use super::keys::ModuleKind;
use super::model::{Health, JanusStatus};
use super::room::{RoomStatus, status};
use super::view::{Modules, RoomView};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub status: RoomStatus,
    /// What the Janus of the newest epoch says; `None` while it does not have the room, or is not there.
    pub janus: Option<JanusStatus>,
    /// The mixer of the newest epoch is there and waits for the room's sound.
    pub listening: bool,
}

/// `None` when there is no such room.
pub fn shown(view: &RoomView, modules: &Modules) -> Option<Shown> {
    let keys = status(view)?;
    let epoch = view.live.as_ref().map(|live| live.epoch);
    let janus = view.janus.as_ref().filter(|janus| {
        Some(janus.epoch) == epoch && is_there(modules, ModuleKind::Janus, &janus.id, &janus.incarnation)
    });
    let mixer = view.mixer.as_ref().filter(|mixer| {
        let there = is_there(modules, ModuleKind::Mixer, &mixer.id, &mixer.incarnation);
        Some(mixer.epoch) == epoch && !mixer.gave_up && there
    });
    // While a room is handed over, listeners hear the mixer that it leaves.
    let silent = leaving(view).is_none() && mixer.is_some_and(|mixer| mixer.starved > 0);
    let status = match keys {
        RoomStatus::OnAir if janus.is_none() || mixer.is_none() || silent => RoomStatus::Degraded,
        keys => keys,
    };
    Some(Shown { status, janus: janus.map(|janus| janus.status), listening: mixer.is_some() })
}

/// A key without an incarnation is an older version's: then any heartbeat of the module will do.
fn is_there(modules: &Modules, kind: ModuleKind, id: &ModuleId, writer: &Option<String>) -> bool {
    let module = modules.get(&(kind, id.clone()));
    module.and_then(|module| module.heartbeat.as_ref()).is_some_and(|heartbeat| {
        let same = writer.as_ref().is_none_or(|writer| *writer == heartbeat.incarnation);
        same && heartbeat.status == Health::Healthy
    })
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
