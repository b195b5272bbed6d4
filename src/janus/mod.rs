//! Janus: an AudioBridge client over one WebSocket, and Janus as our own child process.
//!
//! Owns: the requests to Janus and the interpretation of its replies. Does not decide when a room is
//! created, or reconnect; the calling actor does both. Does not depend on FFmpeg.
//!
//! | file | is |
//! |---|---|
//! | `link` | one WebSocket: transactions, liveness, routing of events |
//! | `frames` | WebSocket frames to whole messages, bounded |
//! | `client` | session and plugin handles on a link |
//! | `audiobridge` | the trait the actors use, and its implementation |
//! | `anchor`, `anchor_event` | a participant that uses WebRTC, in a session of its own |
//! | `rtp` | a participant that sends plain RTP |
//! | `wire` | JSON of requests and replies |
//! | `description` | the ownership tag in a room's description |
//! | `managed`, `managed_config` | `janus` as a child process, and its configuration folder |

mod anchor;
mod anchor_event;
mod audiobridge;
mod client;
mod description;
mod error;
mod frames;
mod link;
mod managed;
mod managed_config;
mod rtp;
mod wire;

pub use anchor::{AnchorJoin, JoinedRoom, ParticipantSession};
pub use anchor_event::{AnchorEvent, AnchorEvents, Candidate};
pub use audiobridge::{
    AudioBridge, FORWARD_PAYLOAD_TYPE, ForwarderInfo, JanusInfo, NewRoom, ParticipantInfo, PluginInfo,
    RoomInfo,
};
pub use client::JanusClient;
pub use description::OwnershipTag;
pub use error::{CoreError, JanusError, PluginError};
pub use link::{ConnectOptions, DownReason, HandleEvent, LinkEvent};
pub use managed::{ManagedError, ManagedJanus};
pub use managed_config::{ManagedOptions, OPEN, SESSION_TIMEOUT, TRACKS};
pub use rtp::{RtpJoin, RtpParticipant};
pub use wire::Quality;

/// Secret text that is shared with Janus. Never printed.
#[derive(Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(******)")
    }
}
