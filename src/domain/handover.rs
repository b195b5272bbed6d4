//! A room on its way from a mixer that still works to another: who is heard meanwhile.
//!
//! ```text
//!  old mixer   producing ─────────────────────────────▶ stops, gives its unused numbers back
//!  new mixer   starts FFmpeg, fed by Janus too ─▶ ready ────────▶ takes the numbers, publishes
//! ```

use super::ids::ModuleId;
use super::model::Handover;
use super::view::RoomView;

/// The mixer that the room has not left yet: until its successor says that it produces.
pub fn leaving(view: &RoomView) -> Option<&Handover> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    let successor = view.mixer.as_ref().filter(|m| m.epoch == live.epoch && m.id == live.mixer_id);
    live.handover.as_deref().filter(|_| successor.is_none_or(|m| !m.ready))
}

/// The mixer that listeners of a room on air are to hear.
pub fn heard_from(view: &RoomView) -> Option<&ModuleId> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    Some(leaving(view).map_or(&live.mixer_id, |handover| &handover.mixer_id))
}

/// What a room that leaves its mixer in good order leaves behind: the mixer that is heard now.
pub fn begin(view: &RoomView) -> Option<Handover> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    let current =
        view.mixer.as_ref().filter(|m| m.epoch == live.epoch && m.id == live.mixer_id && !m.gave_up);
    leaving(view).cloned().or_else(|| {
        current.map(|m| Handover { mixer_id: m.id.clone(), hls_url: m.hls_url.clone(), epoch: m.epoch })
    })
}
