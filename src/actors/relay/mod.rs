//! Role `hls`: rooms mixed on other nodes, each fetched once and cached for this node's listeners.
//!
//! ```text
//! RelaySupervisor
//! └─ RelayRoomActor*   one per room that has listeners here and is mixed elsewhere
//! ```
//! Requests of listeners never reach an actor. They read the [`EdgeCache`](crate::delivery::EdgeCache) and
//! wait for it to change. For a file that is not cached yet, they share one request.

mod room;
pub mod supervisor;
