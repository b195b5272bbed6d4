//! Roles `hls` and `mixer`: plain streams, one per room that has readers on this node: `/live` listeners, or
//! outputs. The room may be mixed on any node.
//!
//! ```text
//! OnDemandSupervisor
//! └─ PlainRoomActor*   one per room with readers: requests its parts, publishes their frames
//! ```
//! Requests of listeners never reach an actor: each reader reads the shared buffer of the room
//! ([`PlainStream`](crate::delivery::PlainStream)).

mod room;

pub use room::PlainRoomActor;
