//! Role `rooms`: decoded audio for speech recognisers, one feed per room that has recognisers on this node.
//! The room may be mixed on any node.
//!
//! ```text
//! CaptionSupervisor
//! └─ CaptionRoomActor*   one per room with recognisers: fetches the parts, decodes them with FFmpeg
//! ```
//! The parts are those of HLS listeners, so the mixer is not touched. A recogniser reads the shared feed of
//! the room ([`PcmFeed`](crate::delivery::PcmFeed)) and never sends a message to an actor.

mod decoding;
mod room;

use super::on_demand::OnDemandSupervisor;

/// Supervisor of the rooms of a node that have recognisers.
pub type CaptionSupervisor = OnDemandSupervisor<room::CaptionRoomActor>;
