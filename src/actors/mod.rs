//! Actors: the shells that feed `domain` machines and run their effects, and the supervision they live under.
//!
//! ```text
//! NodeSupervisor
//! ├─ StoreWatch*         one per prefix: the store's changes into the directory
//! ├─ Registration        with a shared store: this process has the node's id
//! ├─ JanusSupervisor ─ Heartbeat, JanusProcess, JanusGateway ─ JanusRoom*
//! ├─ MixerSupervisor ─ Heartbeat, FfmpegProcess*
//! ├─ RelaySupervisor ─ RelayRoom*
//! ├─ RoomSupervisor ─ Room*, Elector ─ Housekeeper, Reassigner
//! └─ GatewaySupervisor ─ WsClient*, JanusSession*
//! ```

pub mod anchors;
pub mod context;
pub mod gateway;
pub mod heartbeat;
pub mod janus;
pub mod kernel;
pub mod mixer;
pub mod news;
pub mod node;
pub mod registration;
pub mod relay;
pub mod room_children;
pub mod rooms;
pub mod signalling;
pub mod store_watch;
