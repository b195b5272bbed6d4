//! Pure core: the state machines and rules of rooms, placement, Janus rooms and mixer streams.
//!
//! Nothing here uses actix, tokio, a clock or a random generator. Times and random numbers are arguments, and
//! effects are returned as data. Imports no other module of this crate.

pub mod ages;
pub mod certificate;
pub mod civil_time;
pub mod client_address;
pub mod compaction;
pub mod connection;
pub mod connection_limits;
pub mod descriptors;
pub mod events;
pub mod failover;
pub mod grant;
pub mod handover;
pub mod hls;
pub mod housekeeping;
pub mod http_connection;
pub mod icy;
pub mod ids;
pub mod janus_effects;
pub mod janus_room;
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
pub mod participants;
pub mod pin_attempts;
pub mod placement;
pub mod plain_room;
pub mod plan;
pub mod ports;
pub mod profile;
pub mod public_status;
pub mod read_your_writes;
pub mod recording;
pub mod recording_journal;
pub mod registration;
pub mod relay_protocol;
pub mod relay_room;
pub mod request_rates;
pub mod restart;
pub mod roles;
pub mod room;
pub mod room_lock;
pub mod rpc;
pub mod service_state;
pub mod signalling;
pub mod srtp;
pub mod stage;
pub mod text;
pub mod timeline;
pub mod users;
pub mod view;
pub mod vouched;
pub mod webhooks;

#[cfg(test)]
mod simulation;
