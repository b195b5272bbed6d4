//! Role `hls`: plain streams, one per room that has `/live` listeners on this node. The room may be mixed on
//! any node.
//!
//! ```text
//! PlainSupervisor
//! └─ PlainRoomActor*   one per room with plain listeners: requests its parts, publishes their frames
//! ```
//! Requests of listeners never reach an actor: each listener reads the shared buffer of the room
//! ([`PlainStream`](crate::delivery::PlainStream)).

mod room;
pub mod supervisor;
