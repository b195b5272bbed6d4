//! Roles `hls` and `mixer`: plain streams, one per room that has readers on this node: `/live` listeners, or
//! outputs. The room may be mixed on any node.
//!
//! ```text
//! PlainSupervisor
//! └─ PlainRoomActor*   one per room with readers: requests its parts, publishes their frames
//! ```
//! Requests of listeners never reach an actor: each reader reads the shared buffer of the room
//! ([`PlainStream`](crate::delivery::PlainStream)).

mod room;

use super::on_demand::OnDemandSupervisor;

/// Supervisor of the plain streams of a node.
pub type PlainSupervisor = OnDemandSupervisor<room::PlainRoomActor>;
