//! Public status of a room: the status from its keys, limited to keys whose writers are still alive.
//!
//! A key outlives the process that wrote it. A module's key counts only while the module has a healthy
//! heartbeat of the same process. Otherwise a room on air is `degraded`, whatever its keys say. A room on air
//! is also `degraded` while its mixer reports that no audio arrives, or its mix is silent although somebody
//! speaks, except during a handover. A node that
//! has lost the store keeps its last view of rooms and heartbeats, so it keeps reporting the last known
//! status.

use super::handover::outgoing_mixer;
use super::ids::ModuleId;
use super::keys::ModuleKind;
use super::model::{Health, JanusStatus};
use super::room::{RoomStatus, status};
use super::view::{Modules, RoomView, UNREADABLE};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicStatus {
    pub status: RoomStatus,
    /// Status that the Janus of the newest epoch reports; `None` if that Janus does not have the room or has
    /// no valid heartbeat.
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
    let silent =
        outgoing_mixer(view).is_none() && mixer.is_some_and(|mixer| mixer.starved > 0 || is_unheard(view));
    let status = match keys {
        RoomStatus::OnAir if janus.is_none() || mixer.is_none() || silent => RoomStatus::Degraded,
        keys => keys,
    };
    Some(PublicStatus { status, janus: janus.map(|janus| janus.status), listening: mixer.is_some() })
}

/// Returns the reasons why an open room does not work fully, or why a removal is not complete; `None` if
/// there are none.
pub fn missing(view: &RoomView, modules: &Modules) -> Option<String> {
    let PublicStatus { status, janus, listening } = shown(view, modules)?;
    if view.unreadable_part().is_some() {
        return Some(UNREADABLE.to_owned());
    }
    let live = view.live.as_ref()?;
    let (janus_id, mixer_id) = (&live.janus_id, &live.mixer_id);
    let reasons = match status {
        RoomStatus::Created | RoomStatus::OnAir => vec![],
        RoomStatus::Removing => {
            let janus =
                view.janus.as_ref().map(|janus| format!("Janus {} has not released the room", janus.id));
            let mixer =
                view.mixer.as_ref().map(|mixer| format!("mixer {} has not released the room", mixer.id));
            [janus, mixer].into_iter().flatten().collect()
        }
        RoomStatus::Backstage | RoomStatus::Starting | RoomStatus::Degraded => {
            let needs_mixer = status != RoomStatus::Backstage;
            let gave_up = view.mixer.as_ref().is_some_and(|mixer| mixer.gave_up && mixer.id == *mixer_id);
            let without_janus = janus.is_none().then(|| {
                let waits = format!("Janus {janus_id} has not created the room");
                absence(modules, ModuleKind::Janus, janus_id).unwrap_or(waits)
            });
            let without_mixer = (needs_mixer && !listening).then(|| {
                let waits = match gave_up {
                    true => format!("mixer {mixer_id} gave the room up"),
                    false => format!("mixer {mixer_id} does not wait for the audio"),
                };
                absence(modules, ModuleKind::Mixer, mixer_id).unwrap_or(waits)
            });
            let between = (needs_mixer && janus.is_some() && listening).then(|| match janus {
                Some(JanusStatus::Forwarding) if is_unheard(view) => {
                    format!("somebody speaks, but the mix at mixer {mixer_id} is silent")
                }
                Some(JanusStatus::Forwarding) if view.mixer.as_ref().is_some_and(|m| m.starved > 0) => {
                    format!("no audio arrives at mixer {mixer_id}")
                }
                _ => format!("Janus {janus_id} does not forward to mixer {mixer_id}"),
            });
            [without_janus, without_mixer, between].into_iter().flatten().collect()
        }
    };
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Returns true if the mix is silent although somebody speaks, or was so at the latest repair.
fn is_unheard(view: &RoomView) -> bool {
    let said = view.janus.as_ref().is_some_and(|janus| janus.unheard);
    view.mixer.as_ref().is_some_and(|mixer| mixer.unheard || (mixer.silent && said))
}

/// Returns the problem of a module without a healthy heartbeat; `None` if the heartbeat is healthy.
fn absence(modules: &Modules, kind: ModuleKind, id: &ModuleId) -> Option<String> {
    let name = match kind {
        ModuleKind::Janus => "Janus",
        ModuleKind::Mixer => "mixer",
    };
    let module = modules.get(&(kind, id.clone()));
    match module.and_then(|module| module.heartbeat.as_ref()).map(|heartbeat| heartbeat.status) {
        None => Some(format!("{name} {id} has no heartbeat")),
        Some(Health::Unhealthy) => Some(format!("{name} {id} does not work")),
        Some(Health::Healthy) => None,
    }
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
