//! Role `hls`: rooms mixed on other nodes, each fetched once and cached for this node's listeners.
//!
//! ```text
//! RelaySupervisor
//! └─ RelayRoomActor*   one per room that has listeners here and is mixed elsewhere
//! ```
//! Requests of listeners never reach an actor: they read the [`EdgeCache`](crate::delivery::EdgeCache), wait
//! for it to change, and share one request per file that is not cached yet.

mod room;
pub mod supervisor;
