//! Roles `hls` and `mixer`: plain streams, one per room that has readers on this node: `/live` listeners, or
//! outputs. The room may be mixed on any node.
//!
//! ```text
//! PlainSupervisor
//! └─ PlainRoomActor*   one per room with readers: requests its parts, publishes their frames
//! OpusSupervisor
//! └─ OpusRoomActor*    one per room with Opus listeners: reads the plain stream, encodes it with FFmpeg
//! ```
//! Requests of listeners never reach an actor: each reader reads the shared buffer of the room
//! ([`PlainStream`](crate::delivery::PlainStream)).

mod encoding;
mod opus;
mod room;

use std::sync::Arc;

use super::on_demand::OnDemandSupervisor;
use crate::delivery::PlainStreams;

/// Supervisor of the plain streams of a node.
pub type PlainSupervisor = OnDemandSupervisor<room::PlainRoomActor>;

/// Supervisor of the Opus streams of a node.
pub type OpusSupervisor = OnDemandSupervisor<opus::OpusRoomActor>;

/// Dependencies of the Opus streams.
#[derive(Clone)]
pub struct OpusParts {
    /// Plain streams that are encoded.
    pub aac: Arc<PlainStreams>,
    pub opus: Arc<PlainStreams>,
}
