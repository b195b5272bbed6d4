//! Actors of the role `gateway`: the connections, their client sessions, and the presence of their users.
//!
//! ```text
//! src/ws  upgrade, frames ──▶ Acceptor ─▶ GatewaySupervisor
//!              │                               ▼
//!              └──────────── texts ───────▶ WsClient ◀── lost lock, changed room ── PresenceSync
//!         response body ◀── OutboundQueue ◀────┤                                        │
//!                                 ▲            │ inputs ▲ results                       │
//!                                 │            ▼        │                               │
//!                                 │   ClientSession (crates/domain)                     │
//!                                 │            │ effects                                │
//!                                 │            ▼                                        │
//!                                 │   SessionEffects ──▶ ConnectionLock, Presence ◀─────┤
//!                                 │        │    └──────▶ RoomService                    │
//!                                 │        └───────────▶ MediaSessions (media)          │
//!                                 └──────────────── members of the room ────────────────┘
//! ```
//! One [`ClientSession`](crate::domain::client_session::ClientSession) per connection decides what the client
//! may do. It records the client's lock, media session and pending calls. [`WsClient`](client::WsClient) is
//! the only driver of the session: it passes texts, results and changes to the session, and runs the effects
//! through [`SessionEffects`]. No lock guards the state of a session.
//!
//! A WHIP client (`src/whip`) sends no frames: its HTTP requests call the session through [`direct`].
//!
//! `WsClient` depends on no WebSocket library: texts arrive as messages, and answers go to the [`outbound`]
//! queue, which `src/ws` empties. The transport can therefore be replaced in `src/ws`.
//!
//! Owns: connections. Does not decide what a method does.

pub mod acceptor;
pub mod client;
pub mod direct;
pub mod effects;
pub mod media;
pub mod outbound;
mod presence_sync;
mod session_manager;
pub mod supervisor;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::auth::Role;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::client_session::{ClientIdentity, Rules};
use crate::domain::connection::ConnectionId;
use crate::domain::connection_limits::SignallingLimits;
use crate::domain::grant::Grant;
use crate::domain::ids::{ClientId, RoomId, UserId};
use crate::domain::model::UserRole;
use crate::domain::presence_entry::Source;
use crate::telemetry::Metrics;
use effects::SessionEffects;
pub use outbound::{EncodedNotification, Outbound};
pub use presence_sync::PresenceSync;
pub use session_manager::SessionManager;

/// Maximum interval between two checks for clients that have become silent.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Factory of the [`SessionEffects`] of new connections.
pub trait Signalling: Send + Sync + 'static {
    fn effects(&self, peer: Arc<ConnectionInfo>) -> Box<dyn SessionEffects>;
}

/// Identity of the client of a connection, and the handle for sending to it.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    pub user: UserId,
    pub room: RoomId,
    /// Role that the token claims: `Host` or `Anchor`.
    pub role: Role,
    /// Grant of the token that admitted the connection.
    pub grant: Grant,
    pub connection: ConnectionId,
    /// Client id from the query of the upgrade request. Known before the lock is acquired, so that a client
    /// can replace its own earlier connection.
    pub client_id: Option<ClientId>,
    pub source: Source,
    pub address: IpAddr,
    pub out: Outbound,
}

impl ConnectionInfo {
    /// Returns the user of this connection in the form that the client session needs.
    fn identity(&self) -> ClientIdentity {
        ClientIdentity {
            room: self.room.clone(),
            user: self.user.clone(),
            claimed: if self.role == Role::Host { UserRole::Host } else { UserRole::Anchor },
            grant: self.grant,
            client_id: self.client_id.clone(),
            source: self.source,
        }
    }
}

/// State shared by all clients of a node.
pub struct GatewayParts {
    pub signalling: Arc<dyn Signalling>,
    pub limits: Arc<ArcSwap<SignallingLimits>>,
    rules: Rules,
    pub clock: Clock,
    pub metrics: Metrics,
}

impl GatewayParts {
    pub fn new(
        signalling: Arc<dyn Signalling>,
        config: &Config,
        limits: Arc<ArcSwap<SignallingLimits>>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let (ws, presence) = (&config.ws, &config.presence);
        let rules = Rules {
            call_timeout: ws.call_timeout,
            join_within: ws.join_within,
            renew_every: presence.lock_ttl / 3,
            silence: presence.timeout,
            admission: config.admission.url.is_some(),
            consent: config.recording.asks_consent(),
            check_every: (presence.gateway_ttl / 3).min(CHECK_EVERY),
        };
        Self { signalling, limits, rules, clock, metrics }
    }

    /// Returns the rules for a new connection.
    pub fn rules(&self) -> Arc<Rules> {
        let limits = self.limits.load();
        let (call_timeout, join_within) = (limits.call_timeout, limits.join_within);
        Arc::new(Rules { call_timeout, join_within, ..self.rules.clone() })
    }
}
