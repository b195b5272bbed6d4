//! Handover of a room from a working mixer to another, and the mixer that listeners hear meanwhile. The
//! numbers are the media sequence numbers that the store reserves for a mixer.
//!
//! ```text
//!  old mixer   producing ─────────────────────────────▶ stops, returns its unused numbers
//!  new mixer   starts FFmpeg, fed by Janus too ─▶ ready ────────▶ takes the numbers, publishes
//! ```

use super::ids::ModuleId;
use super::model::Handover;
use super::view::RoomView;

/// Returns the outgoing mixer of a handover; `None` once its successor reports that it produces.
pub fn outgoing_mixer(view: &RoomView) -> Option<&Handover> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    let successor = view.mixer.as_ref().filter(|m| m.epoch == live.epoch && m.id == live.mixer_id);
    live.handover.as_deref().filter(|_| successor.is_none_or(|m| !m.ready))
}

/// Returns the mixer that listeners of a room on air hear.
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
