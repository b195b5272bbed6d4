//! Actors of the role `gateway`, and the interface between the WebSocket transport and the signalling
//! methods.
//!
//! ```text
//! src/ws  upgrade, frames ──▶ Acceptor ─▶ GatewaySupervisor ─▶ WsClient ──▶ Signalling, Session
//!         response body  ◀── OutboundQueue ◀────────────────────────────┴─────────── Outbound
//! ```
//! [`WsClient`](client::WsClient) depends on no WebSocket library: texts arrive as messages, and leave
//! through the [`outbound`] queue, which `src/ws` drains. The transport can therefore be replaced in
//! `src/ws`.
//!
//! Owns: connections. Never does: implement a method; that is the task of [`Signalling`].

pub mod acceptor;
pub mod client;
pub mod outbound;
pub mod supervisor;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::actors::context::Clock;
use crate::auth::Role;
use crate::config::WsConfig;
use crate::domain::connection::ConnectionId;
use crate::domain::connection_limits::Limits;
use crate::domain::grant::Grant;
use crate::domain::ids::{ClientId, RoomId, UserId};
use crate::domain::signalling::{CloseCode, Method, RpcError};
use crate::telemetry::Metrics;
pub use outbound::{EncodedNotification, Outbound};

/// Implementation of the signalling methods.
#[async_trait]
pub trait Signalling: Send + Sync + 'static {
    /// Admits a client with a valid token: acquires its connection lock and checks its room.
    ///
    /// Runs to its end even if the client leaves meanwhile; the session's [`closed`](Session::closed) is then
    /// called at once.
    ///
    /// # Errors
    /// The code with which the connection is closed.
    async fn connected(&self, peer: ConnectionInfo) -> Result<Arc<dyn Session>, CloseCode>;
}

/// One connection, from its admission until it is closed.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// Executes one call. Calls start in order of arrival and run concurrently. The future is dropped when
    /// the connection ends or the call takes longer than `ws.call_timeout`. Work that must be completed
    /// therefore runs outside it. A panic ends the connection (1011).
    async fn call(&self, method: Method) -> Result<Value, RpcError>;

    /// Handles the end of the connection. Called exactly once; notifications sent from here still precede the
    /// close frame. `left` is true if `leave` arrived and no `join` after it, even if that call was not
    /// carried out. Never blocks.
    fn closed(&self, code: CloseCode, left: bool);
}

/// Identity of the client of a connection, and the handle for sending to it.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    pub user: UserId,
    pub room: RoomId,
    /// `Host` or `Anchor`.
    pub role: Role,
    /// Grant of the token that admitted the connection.
    pub grant: Grant,
    pub connection: ConnectionId,
    /// Client id from the query of the upgrade request. Known before the lock is acquired, so that a client
    /// can replace its own earlier connection.
    pub client_id: Option<ClientId>,
    pub address: IpAddr,
    pub out: Outbound,
}

/// State shared by all clients of a node.
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
