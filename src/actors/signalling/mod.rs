//! Implementation of the signalling methods: connection locks, presence, and the media session of each
//! connection.
//!
//! ```text
//! WsClient ──calls──▶ ClientSession ──▶ ConnectionLock, Presence ◀── PresenceSync
//!     ▲                     └─────▶ MediaSessions (MediaSessionActor)
//!     └── notifications ────┴────── SessionEvents
//! ```
//! A connection holds its lock from its admission on. A connection without the lock is closed, whatever its
//! client sends. `PresenceSync` closes connections that stay outside the room for too long, and those whose
//! token has expired.
//!
//! The way a connection ends decides what remains. After `leave`, or a close code after which the client may
//! not come back, the presence entry and the media session are removed at once. After a lost connection or a
//! plain close, only the lock is released. The presence entry and the media then remain until their timeouts,
//! and a `join` with the resume token finds them.
//!
//! Owns: the semantics of the methods. Never does: depend on WebSocket, Janus or Redis.

mod client_session;
mod methods;
mod moderation;
mod presence_sync;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use super::anchors::MediaSessions;
use super::context::Context;
use super::gateway::{ConnectionInfo, Session, Signalling};
use crate::domain::connection::{ConnectionId, GatewayIncarnation};
use crate::domain::ids::RoomId;
use crate::domain::pin_attempts::PinAttempts;
use crate::domain::signalling::CloseCode;
use crate::domain::view::RoomView;
use crate::presence::{ConnectionLock, Presence};
use crate::rooms::RoomService;
use client_session::{ClientSession, ConnectionSession, LockOutcome};
pub use presence_sync::PresenceSync;

/// Connections of each room. A room without connections has no entry.
type Sessions = HashMap<RoomId, HashMap<ConnectionId, Arc<ClientSession>>>;

/// State shared by all connections of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct SessionManager(Arc<SignallingShared>);

struct SignallingShared {
    context: Context,
    service: Arc<RoomService>,
    anchors: MediaSessions,
    lock: Arc<dyn ConnectionLock>,
    presence: Arc<dyn Presence>,
    /// This incarnation of this gateway.
    gateway: GatewayIncarnation,
    pins: Mutex<PinAttempts>,
    guests: Mutex<Sessions>,
    /// Rooms whose members must be read again, and the wake-up of the actor that reads them.
    stale: presence_sync::StaleRooms,
    /// Departures that are still being reported to the presence backend.
    goodbyes: TaskTracker,
}

impl SessionManager {
    pub fn new(
        context: Context,
        service: Arc<RoomService>,
        anchors: MediaSessions,
        lock: Arc<dyn ConnectionLock>,
        presence: Arc<dyn Presence>,
    ) -> Self {
        let gateway = GatewayIncarnation { node: context.me.clone(), incarnation: rand::random() };
        let pins = Mutex::new(PinAttempts::new(context.config.ws.pin_attempts));
        Self(Arc::new(SignallingShared {
            context,
            service,
            anchors,
            lock,
            presence,
            gateway,
            pins,
            guests: Mutex::default(),
            stale: presence_sync::StaleRooms::default(),
            goodbyes: TaskTracker::new(),
        }))
    }
}

impl SignallingShared {
    fn guests(&self) -> MutexGuard<'_, Sessions> {
        // No code that can panic runs under the lock.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, guest: &Arc<ClientSession>) {
        let (room, connection) = (guest.peer.room.clone(), guest.peer.connection.clone());
        self.guests().entry(room).or_default().insert(connection, guest.clone());
    }

    fn forget(&self, guest: &ClientSession) {
        let mut guests = self.guests();
        if let Some(of_room) = guests.get_mut(&guest.peer.room) {
            of_room.remove(&guest.peer.connection);
            if of_room.is_empty() {
                guests.remove(&guest.peer.room);
            }
        }
    }

    fn guests_of(&self, room: &RoomId) -> Vec<Arc<ClientSession>> {
        self.guests().get(room).map(|of_room| of_room.values().cloned().collect()).unwrap_or_default()
    }

    fn all_guests(&self) -> Vec<Arc<ClientSession>> {
        self.guests().values().flat_map(HashMap::values).cloned().collect()
    }

    fn has_guests(&self, room: &RoomId) -> bool {
        self.guests().contains_key(room)
    }

    fn rooms(&self) -> Vec<RoomId> {
        self.guests().keys().cloned().collect()
    }

    fn now(&self) -> Duration {
        self.context.clock.now()
    }

    /// Returns true if the store is listed and has no such room.
    fn is_gone(&self, room: &RoomId) -> bool {
        self.context.rooms_listed() && self.context.directory.room(room).is_none()
    }

    /// Returns true if the token is for a room that was deleted and whose id another room has now.
    fn is_of_earlier_room(&self, peer: &ConnectionInfo) -> bool {
        let view = self.context.directory.room(&peer.room);
        view.is_some_and(|view| view.meta.as_ref().is_some_and(|meta| !peer.grant.is_for(meta)))
    }

    /// Returns the room from the store.
    ///
    /// # Errors
    /// [`CloseCode::Unavailable`] if the store is not listed yet; otherwise those of
    /// [`Grant::admit`](crate::domain::grant::Grant::admit).
    fn room_of(&self, peer: &ConnectionInfo) -> Result<Arc<RoomView>, CloseCode> {
        if !self.context.rooms_listed() {
            return Err(CloseCode::Unavailable);
        }
        let view = self.context.directory.room(&peer.room).unwrap_or_default();
        peer.grant.admit(&peer.user, &view, self.context.clock.wall())?;
        Ok(view)
    }
}

#[async_trait]
impl Signalling for SessionManager {
    async fn connected(&self, peer: ConnectionInfo) -> Result<Arc<dyn Session>, CloseCode> {
        self.0.room_of(&peer).map_err(|code| match code {
            CloseCode::RoomGone if self.0.is_of_earlier_room(&peer) => CloseCode::TokenInvalid,
            other => other,
        })?;
        let guest = ClientSession::new(self.0.clone(), peer);
        // Registered before the lock is acquired, so that a connection that replaces this one immediately can
        // find it.
        self.0.remember(&guest);
        let refused = match guest.take_seat(guest.peer.client_id.clone()).await {
            Ok(LockOutcome::Ours(_)) => {
                self.0.stale.look(&guest.peer.room);
                return Ok(Arc::new(ConnectionSession(guest)));
            }
            Ok(LockOutcome::Taken) => CloseCode::AlreadyConnected,
            Err(_) => CloseCode::Unavailable,
        };
        self.0.forget(&guest);
        Err(refused)
    }
}
