//! Pure core of Stentor: the state machines and rules of rooms, placement, Janus rooms and mixer streams.
//!
//! Nothing here uses actix, tokio, a clock or a random number generator. Times and random numbers are
//! arguments, and effects are returned as data.
//!
//! A shell asks a machine for a [plan](plan::Plan), runs the effect in it, and reports the outcome:
//!
//! ```
//! use std::time::Duration;
//! use stentor_domain::ids::{Epoch, ModuleId, UnixMs};
//! use stentor_domain::janus_room::{Effect, JanusRoom, Outcome};
//! use stentor_domain::keys::{RoomKey, RoomPart};
//! use stentor_domain::plan::Plan;
//! use stentor_domain::restart::Backoff;
//! use stentor_domain::view::RoomView;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The store requires a room on `janus-1`.
//! let mut view = RoomView::default();
//! let meta = br#"{"pin": "abc123", "maxAnchors": 3, "hlsPath": "", "createdAt": 0}"#;
//! let live = br#"{"status": "onair", "mixerId": "mixer-1", "janusId": "janus-1", "nonce": "n",
//!                 "createdAt": 0, "epoch": 1}"#;
//! view.apply(RoomKey::Part(RoomPart::Meta), Some((meta, 1)))?;
//! view.apply(RoomKey::Part(RoomPart::LiveMeta), Some((live, 2)))?;
//!
//! let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
//! let mut machine = JanusRoom::new(ModuleId::new("janus-1")?, "incarnation".into(), backoff);
//! let now = Duration::ZERO;
//!
//! // Without a connection to Janus, the machine waits and states the reason.
//! assert_eq!(machine.plan(&view, now, UnixMs(0)), Plan::wait("waits for the link to the Janus Gateway"));
//!
//! // Janus is connected and has no room: the machine creates one.
//! machine.linked(Some(Vec::new()));
//! let Plan::Do { effect: Effect::Create { epoch, .. }, .. } = machine.plan(&view, now, UnixMs(0)) else {
//!     panic!("the room must be created");
//! };
//! machine.done(Outcome::Created { janus_room_id: 7, epoch }, now, 0.5);
//! assert_eq!((epoch, machine.state(&view)), (Epoch(1), "created"));
//! # Ok(())
//! # }
//! ```
//!
//! The feature `utoipa` adds OpenAPI schemas to the values that the REST API shows.

pub mod acme;
pub mod ages;
pub mod analysis;
pub mod api_key;
pub mod audit;
pub mod captions;
pub mod certificate;
pub mod civil_time;
pub mod client_address;
pub mod client_session;
pub mod clip;
pub mod compaction;
pub mod connection;
pub mod connection_limits;
pub mod descriptors;
pub mod event_type;
pub mod events;
pub mod failover;
pub mod feed;
pub mod firewall;
pub mod grant;
pub mod handover;
pub mod hls;
pub mod housekeeping;
pub mod http2_limits;
pub mod http_connection;
pub mod icy;
pub mod ids;
pub mod janus_effects;
pub mod janus_room;
pub mod json;
pub mod key_window;
pub mod keys;
pub mod kick;
pub mod leadership;
pub mod machine;
pub mod media_session;
pub mod mix;
pub mod mixer_effects;
pub mod mixer_room;
pub mod model;
pub mod mute_all;
pub mod outbound;
pub mod output;
pub mod participants;
pub mod pin_attempts;
pub mod placement;
pub mod plain_room;
pub mod plan;
pub mod ports;
pub mod presence_entry;
pub mod profile;
pub mod public_status;
pub mod quotas;
pub mod read_your_writes;
pub mod recorded_speech;
pub mod recording;
pub mod recording_details;
pub mod recording_journal;
pub mod recording_metadata;
pub mod registration;
pub mod relay_protocol;
pub mod relay_room;
pub mod reported_anchors;
pub mod reported_hands;
pub mod request_rates;
pub mod restart;
pub mod rewind;
pub mod roles;
pub mod room;
pub mod room_lock;
pub mod rpc;
pub mod schedule;
pub mod service_state;
pub mod signalling;
pub mod source_player;
pub mod sources;
pub mod srt_passphrase;
pub mod srtp;
pub mod stage;
pub mod text;
pub mod timeline;
pub mod trace_context;
pub mod tracks;
pub mod upload;
pub mod users;
pub mod view;
pub mod vouched;
pub mod webhooks;

#[cfg(test)]
mod simulation;
