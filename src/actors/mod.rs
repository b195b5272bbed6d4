//! Actors that feed the state machines of `domain` and run their effects, and the supervision tree of the
//! actors.
//!
//! ```text
//! NodeActor
//! ├─ StoreWatch*         one per prefix: applies the store's changes to the directory
//! ├─ ApiKeyWatch         follows the API keys
//! ├─ CertificateActor    certificate through ACME, if configured
//! ├─ Registration        shared store only: registers this process under the node's id
//! ├─ JanusSupervisor ─ HeartbeatActor, JanusProcess, JanusConnection ─ JanusRoomActor*
//! │ └─ SourceSupervisor ─ SourceActor*
//! ├─ MixerSupervisor ─ HeartbeatActor, MixerRoomActor*
//! ├─ RecordingSupervisor ─ UploaderActor, DescriberActor, AnalyzerActor, TranscoderActor, TracksActor,
//! │                         RecorderActor*
//! ├─ RewindSupervisor ─ RewindActor*
//! ├─ RelaySupervisor ─ RelayRoomActor*
//! ├─ PlainSupervisor ─ PlainRoomActor*
//! ├─ OpusSupervisor ─ OpusRoomActor*
//! ├─ OutputSupervisor ─ OutputActor*
//! ├─ CaptionSupervisor ─ CaptionRoomActor*
//! ├─ StageFeed            role `hls`: feeds the listener channels
//! ├─ RoomSupervisor ─ RoomActor*, LedgerWatch, Elector
//! │ └─ Elector ─ Housekeeper, FailoverActor, SchedulerActor, Reporter, WebhookSupervisor ─ WebhookActor*
//! ├─ MediaSupervisor ─ MediaSessionActor*
//! ├─ PresenceSync
//! └─ GatewaySupervisor ─ WsClient*
//! ```

pub use stentor_actor_kernel as kernel;

pub mod acme;
pub mod captions;
pub mod context;
pub mod copy_watch;
pub mod gateway;
pub mod heartbeat;
pub mod janus;
pub mod leader;
pub mod mixer;
pub mod node;
pub mod on_demand;
pub mod outputs;
pub mod plain;
pub mod recording;
pub mod registration;
pub mod relay;
pub mod rewind;
pub mod room_children;
pub mod rooms;
pub mod sources;
pub mod stage;
pub mod store_watch;
