//! State that all client sessions of a gateway share: the backends, the connections of each room, and the
//! tasks that outlive a connection.
//!
//! Owns: the registration of the connections. Does not change a session.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::client;
use super::effects::{NodeEffects, SessionEffects};
use super::{ConnectionInfo, Outbound, Signalling};
use crate::actors::context::Context;
use crate::actors::gateway::media::MediaSessions;
use crate::actors::kernel::ActorRef;
use crate::auth::Secrets;
use crate::clock::random_unit;
use crate::domain::client_session::Surroundings;
use crate::domain::connection::{ConnectionId, FencingToken, GatewayIncarnation, JoinOutcome, LockKey};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::pin_attempts::{Guess, PinAttempts};
use crate::presence::{ConnectionLock, Presence, PresenceEntry, PresenceError};
use crate::rooms::RoomService;
use crate::rooms::dirty_set::DirtySlot;
use crate::webhooks::admission::Admission;

/// Maximum concurrent requests of one kind to presence.
pub(super) const AT_ONCE: usize = 32;

/// Connections of each room. A room without connections has no entry.
type Connections = HashMap<RoomId, HashMap<ConnectionId, Connection>>;

/// References to one connection.
struct Connection {
    actor: ActorRef<client::Msg>,
    out: Outbound,
    /// True if the members of the room were sent to this connection since the latest
    /// [`greet`](SessionsShared::greet).
    greeted: bool,
}

/// Client sessions of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct SessionManager(pub(super) Arc<SessionsShared>);

/// State shared by all sessions.
pub struct SessionsShared {
    pub(super) context: Context,
    pub(super) service: Arc<RoomService>,
    pub(super) secrets: Arc<Secrets>,
    /// `None`: no application decides who may join.
    pub(super) admission: Option<Admission>,
    pub(super) anchors: MediaSessions,
    pub(super) lock: Arc<dyn ConnectionLock>,
    pub(super) presence: Arc<dyn Presence>,
    /// This incarnation of this gateway.
    pub(super) gateway: GatewayIncarnation,
    pins: Mutex<PinAttempts>,
    connections: Mutex<Connections>,
    /// Wakes the actor that reads the members of a room again.
    pub(super) stale: DirtySlot,
    /// Limits the concurrent renewals of locks.
    pub(super) renewals: Semaphore,
    /// Requests to presence that outlive their connection: acquisitions of locks, and departures until
    /// presence has recorded them.
    pub(super) tasks: TaskTracker,
}

impl SessionManager {
    pub fn new(
        context: Context,
        service: Arc<RoomService>,
        secrets: Arc<Secrets>,
        admission: Option<Admission>,
        anchors: MediaSessions,
        lock: Arc<dyn ConnectionLock>,
        presence: Arc<dyn Presence>,
    ) -> Self {
        let gateway = GatewayIncarnation { node: context.me.clone(), incarnation: rand::random() };
        Self(Arc::new(SessionsShared {
            context,
            service,
            secrets,
            admission,
            anchors,
            lock,
            presence,
            gateway,
            pins: Mutex::default(),
            connections: Mutex::default(),
            stale: DirtySlot::default(),
            renewals: Semaphore::new(AT_ONCE),
            tasks: TaskTracker::new(),
        }))
    }
}

impl Signalling for SessionManager {
    fn effects(&self, peer: Arc<ConnectionInfo>) -> Box<dyn SessionEffects> {
        Box::new(NodeEffects::new(self.0.clone(), peer))
    }
}

impl SessionsShared {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        // No code that can panic runs under the lock.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection. Called before the connection acquires its lock: once it has the lock, another
    /// connection may replace it at any time and must be able to find it.
    pub(super) fn remember(&self, peer: &ConnectionInfo, actor: ActorRef<client::Msg>) {
        let connection = Connection { actor, out: peer.out.clone(), greeted: false };
        let mut connections = self.connections();
        connections.entry(peer.room.clone()).or_default().insert(peer.connection.clone(), connection);
    }

    pub(super) fn forget(&self, peer: &ConnectionInfo) {
        let mut connections = self.connections();
        if let Some(of_room) = connections.get_mut(&peer.room) {
            of_room.remove(&peer.connection);
            if of_room.is_empty() {
                connections.remove(&peer.room);
            }
        }
    }

    /// Sends the members of the room to this connection soon, even if they do not change.
    pub(super) fn greet(&self, peer: &ConnectionInfo) {
        if let Some(of_room) = self.connections().get_mut(&peer.room)
            && let Some(connection) = of_room.get_mut(&peer.connection)
        {
            connection.greeted = false;
        }
        self.stale.changed([peer.room.clone()]);
    }

    /// Returns the connections that must receive the members of the room: all connections if `changed`,
    /// otherwise only those that were not greeted yet. Marks all connections of the room as greeted.
    /// `changed`: the members differ from the list that was sent last.
    pub(super) fn recipients(&self, room: &RoomId, changed: bool) -> Vec<Outbound> {
        let mut connections = self.connections();
        let of_room = connections.get_mut(room).into_iter().flat_map(HashMap::values_mut);
        let due = of_room.filter_map(|connection| {
            let greeted = std::mem::replace(&mut connection.greeted, true);
            (changed || !greeted).then(|| connection.out.clone())
        });
        due.collect()
    }

    /// Sends a message to all connections of a room, or of all rooms.
    pub(super) fn tell(&self, room: Option<&RoomId>, slot: &'static str, message: impl Fn() -> client::Msg) {
        let connections = self.connections();
        let rooms = connections.iter().filter(|(of, _)| room.is_none_or(|room| *of == room));
        for connection in rooms.flat_map(|(_, of_room)| of_room.values()) {
            // Fails only if the actor has ended. Before it ended, the actor released its lock.
            let _ = connection.actor.tell_latest(slot, message());
        }
    }

    /// Notifies a connection that another connection has acquired its lock.
    pub(super) fn tell_replaced(&self, room: &RoomId, connection: &ConnectionId) {
        if let Some(connection) = self.connections().get(room).and_then(|of_room| of_room.get(connection)) {
            let _ = connection.actor.tell_latest("replaced", client::Msg::LockReplaced);
        }
    }

    pub(super) fn has_connections(&self, room: &RoomId) -> bool {
        self.connections().contains_key(room)
    }

    pub(super) fn rooms(&self) -> Vec<RoomId> {
        self.connections().keys().cloned().collect()
    }

    /// Returns the number of connections.
    pub(super) fn count(&self) -> usize {
        self.connections().values().map(HashMap::len).sum()
    }

    /// Returns true if the rooms of the store have been listed and this one is not among them.
    pub(super) fn is_gone(&self, room: &RoomId) -> bool {
        self.context.rooms_listed() && self.context.directory.room(room).is_none()
    }

    pub(super) fn surroundings(&self, room: &RoomId) -> Surroundings {
        let Context { clock, directory, .. } = &self.context;
        let listed = self.context.rooms_listed();
        let room = listed.then(|| directory.room(room).unwrap_or_default());
        Surroundings { now: clock.now(), wall: clock.wall(), room, random: random_unit() }
    }

    pub(super) fn guess(&self, user: &UserId, address: IpAddr, right: bool) -> Guess {
        let now = self.context.clock.now();
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.attempt(user, address, right, self.context.limits.signalling.load().pin_attempts, now)
    }

    /// Writes a presence entry. If the room is full, first deletes the entries of users who are no longer
    /// allowed to speak. Such entries remain if the user's gateway or client was unavailable when the user
    /// lost the right.
    pub(super) async fn join(
        &self,
        room: &RoomId,
        member: &PresenceEntry,
        max_anchors: usize,
    ) -> Result<JoinOutcome, PresenceError> {
        let joined = self.presence.join(room, member, max_anchors).await?;
        if joined == JoinOutcome::Full && self.forget_off_stage(room).await? {
            return self.presence.join(room, member, max_anchors).await;
        }
        Ok(joined)
    }

    /// Deletes the entries of users who are not allowed to speak. Returns true if there were such entries.
    async fn forget_off_stage(&self, room: &RoomId) -> Result<bool, PresenceError> {
        let Some(view) = self.context.directory.room(room) else { return Ok(false) };
        let members = self.presence.list(room).await?;
        let mut forgot = false;
        for member in members.into_iter().filter(|member| view.is_off_stage(&member.user_id)) {
            self.presence.forget(&LockKey { room: room.clone(), user: member.user_id }).await?;
            forgot = true;
        }
        Ok(forgot)
    }

    /// Reports a departure to presence in the background. Retries until presence has recorded it, or until
    /// the lock and the entry have expired anyway.
    pub(super) fn leave_presence(
        self: &Arc<Self>,
        key: LockKey,
        token: FencingToken,
        leave: bool,
        release: bool,
    ) {
        let shared = self.clone();
        // If there is no runtime, the process is ending. The departure need not be reported then: the lock
        // and the entry expire because they are not renewed.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let told = async move { shared.report_departure(key, token, leave, release).await };
            self.tasks.spawn_on(told, &runtime);
        }
    }

    async fn report_departure(&self, key: LockKey, token: FencingToken, leave: bool, release: bool) {
        let (config, start) = (&self.context.config.presence, self.context.clock.now());
        let mut attempt = 0;
        loop {
            let reported = async {
                if leave {
                    self.presence.leave(&key, token).await?;
                }
                if release {
                    self.lock.release(&key, token).await?;
                }
                Ok::<_, PresenceError>(())
            };
            let expired = start + config.lock_ttl.max(config.timeout);
            if reported.await.is_ok() || self.context.clock.now() > expired {
                return;
            }
            attempt += 1;
            // Sleep: the pause between two attempts.
            tokio::time::sleep(self.context.backoff().delay(attempt, random_unit())).await;
        }
    }
}
