//! Actors of the role `gateway`, and the seam between the transport and what the methods mean.
//!
//! ```text
//! src/ws  upgrade, frames ──▶ Door ─▶ GatewaySupervisor ─▶ WsClient ──▶ Signalling, Session
//!         response body  ◀── Line ◀────────────────────────────┴─────────── Outbound
//! ```
//! [`WsClient`](client::WsClient) knows no WebSocket library: texts come in as messages, and go out through
//! the [`line`] that `src/ws` empties. So the transport can be swapped there.
//!
//! Owns: connections. Never does: decide what a method does; that is behind [`Signalling`].

pub mod client;
pub mod door;
pub mod line;
pub mod supervisor;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::actors::context::Clock;
use crate::auth::Role;
use crate::config::WsConfig;
use crate::domain::conduct::Limits;
use crate::domain::connection::ConnectionId;
use crate::domain::grant::Grant;
use crate::domain::ids::{ClientId, RoomId, UserId};
use crate::domain::signalling::{CloseCode, Method, RpcError};
use crate::telemetry::Metrics;
pub use line::{Encoded, Outbound};

/// What stands behind the signalling methods.
#[async_trait]
pub trait Signalling: Send + Sync + 'static {
    /// A client with a good token is here: takes its lock, knows its room. An error closes the connection.
    ///
    /// Runs to its end also when the client leaves meanwhile; the session is then told so at once.
    async fn connected(&self, peer: Peer) -> Result<Arc<dyn Session>, CloseCode>;
}

/// One connection, from when it was let in until it is closed.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// One call. Calls begin in the order in which they came and run beside each other. The future is dropped
    /// when the connection ends or the call takes longer than `ws.call_timeout`: what must be finished must
    /// not live in it. A panic ends the connection (1011).
    async fn call(&self, method: Method) -> Result<Value, RpcError>;

    /// The connection ends; told exactly once, and what is notified now still goes out before the close frame. `left`:
    /// `leave` came and no `join` after it, whether or not that call was carried out. Never blocks.
    fn closed(&self, code: CloseCode, left: bool);
}

/// Who is on the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub user: UserId,
    pub room: RoomId,
    /// `Host` or `Anchor`.
    pub role: Role,
    /// Of the token that let the connection in.
    pub grant: Grant,
    pub connection: ConnectionId,
    /// From the query of the upgrade: known before the lock is taken, so that a client replaces itself.
    pub client_id: Option<ClientId>,
    pub address: IpAddr,
    pub out: Outbound,
}

/// What all clients of a node share.
pub struct GatewayParts {
    pub signalling: Arc<dyn Signalling>,
    pub limits: Limits,
    pub call_timeout: Duration,
    pub clock: Clock,
    pub metrics: Metrics,
}

impl GatewayParts {
    pub fn new(signalling: Arc<dyn Signalling>, ws: &WsConfig, clock: Clock, metrics: Metrics) -> Self {
        let limits = Limits {
            dead_after: ws.dead_after,
            ping: ws.ping,
            rate: ws.rate,
            burst: ws.burst,
            calls: ws.calls,
            sdp: ws.sdp_limit,
            candidates: ws.candidate_limit,
        };
        Self { signalling, limits, call_timeout: ws.call_timeout, clock, metrics }
    }
}
