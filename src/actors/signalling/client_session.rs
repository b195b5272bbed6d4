//! State of one connection: its connection lock, its presence entry, its media session.
//!
//! Every write to presence carries the fencing token of the lock, so a connection that lost the lock changes
//! nothing. Owns: the resources that this connection holds, and their release exactly once. Never does:
//! decide who gets a lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{RwLock, mpsc};

use super::SignallingShared;
use crate::actors::anchors::{MediaSessionHandle, SessionEvent};
use crate::actors::context::random_unit;
use crate::actors::gateway::{ConnectionInfo, Session};
use crate::domain::connection::{FencingToken, Holder, JoinOutcome, LockKey, UpdateOutcome};
use crate::domain::connection_limits::{self, IdleTimer};
use crate::domain::ids::{ClientId, RoomId, UserId};
use crate::domain::media_session::End;
use crate::domain::room::closed_reason;
use crate::domain::signalling::notifications::Notification;
use crate::domain::signalling::{CloseCode, Method, RpcError, methods};
use crate::presence::{Acquisition, PresenceEntry, PresenceError};

/// Base delay for reconnecting after a session that ended without an event, or because its client was silent.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// Reconnect reason of a session that ended because its client was silent.
const SILENT: &str = "silent";

/// State of one connection.
pub struct ClientSession {
    pub(super) shared: Arc<SignallingShared>,
    pub peer: ConnectionInfo,
    state: Mutex<State>,
    /// Held exclusively by `join` and `leave`, and shared by other calls, so that calls start in order of
    /// arrival.
    pub(super) turn: Arc<RwLock<()>>,
    /// Our presence entry as it should be. Locked during each write, so that the newest value is written
    /// last.
    member: tokio::sync::Mutex<Option<PresenceEntry>>,
}

#[derive(Default)]
struct State {
    hold: Option<HeldLock>,
    session: Option<ActiveMedia>,
    joins: u64,
    /// True if the room's members were sent to this connection since its newest `join`.
    greeted: bool,
    said_goodbye: bool,
    /// Time since which there is no media session, on the monotonic clock; `None` while there is one.
    outside_since: Option<Duration>,
    /// Idle timer of the session's client.
    silence: IdleTimer,
    /// True while the lock is being acquired: this acquisition may itself have invalidated an earlier fencing
    /// token.
    asking: bool,
    over: Option<Disconnect>,
}

/// End of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnect {
    /// The client may come back: its session waits for some time.
    Cut,
    Farewell,
}

/// Acquired connection lock.
struct HeldLock {
    holder: Holder,
    fence: FencingToken,
    renew_at: Duration,
    /// The next `join` must acquire a new fencing token: a departure under this one may still be in progress.
    spent: bool,
}

/// Media session of one `join`.
struct ActiveMedia {
    line: Arc<MediaSessionHandle>,
    join: u64,
}

/// Outcome of acquiring the connection lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOutcome {
    Ours(FencingToken),
    Taken,
}

/// Client session as the [`Session`] of its connection.
pub struct ConnectionSession(pub Arc<ClientSession>);

#[async_trait]
impl Session for ConnectionSession {
    async fn call(&self, method: Method) -> Result<Value, RpcError> {
        self.0.call(method).await
    }

    fn closed(&self, code: CloseCode, left: bool) {
        self.0.closed(code, left);
    }
}

impl ClientSession {
    pub(super) fn new(shared: Arc<SignallingShared>, peer: ConnectionInfo) -> Arc<Self> {
        let state = State { outside_since: Some(shared.now()), ..State::default() };
        let member = tokio::sync::Mutex::default();
        Arc::new(Self { shared, peer, state: Mutex::new(state), turn: Arc::default(), member })
    }

    pub fn seat(&self) -> LockKey {
        LockKey { room: self.peer.room.clone(), user: self.peer.user.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquires the lock as this client.
    pub async fn take_seat(&self, client: Option<ClientId>) -> Result<LockOutcome, PresenceError> {
        let (gateway, connection) = (self.shared.gateway.clone(), self.peer.connection.clone());
        let holder = Holder { gateway, connection, client };
        let policy = self.shared.context.config.ws.duplicate;
        self.state().asking = true;
        let acquired = self.shared.lock.acquire(&self.seat(), &holder, policy).await;
        let mut state = self.state();
        state.asking = false;
        match acquired? {
            Acquisition::Held { .. } => Ok(LockOutcome::Taken),
            Acquisition::Acquired { fence, .. } => {
                let renew_at = self.shared.now() + self.shared.renew_every();
                if state.over.is_some() {
                    self.goodbye(fence, false, true);
                } else {
                    state.hold = Some(HeldLock { holder, fence, renew_at, spent: false });
                }
                Ok(LockOutcome::Ours(fence))
            }
        }
    }

    /// Returns the fencing token if the lock is ours and, if `client` is set, was acquired by that client.
    pub fn fence_of(&self, client: Option<&ClientId>) -> Option<FencingToken> {
        let state = self.state();
        let same =
            |hold: &&HeldLock| !hold.spent && (client.is_none() || hold.holder.client.as_ref() == client);
        state.hold.as_ref().filter(same).map(|hold| hold.fence)
    }

    /// Returns the lock to renew, if it is due.
    pub fn renewal(&self, now: Duration) -> Option<(Holder, FencingToken)> {
        let mut state = self.state();
        let hold = state.hold.as_mut().filter(|hold| hold.renew_at <= now)?;
        hold.renew_at = now + self.shared.renew_every();
        Some((hold.holder.clone(), hold.fence))
    }

    /// Handles the loss of the lock under this fencing token by closing the connection. Does nothing if we
    /// hold a newer token, or while the lock is being acquired: the acquiring call gets its own outcome.
    pub fn lost_seat(&self, fence: FencingToken) {
        let state = self.state();
        let held = state.hold.as_ref().is_some_and(|hold| hold.fence == fence);
        if held && !state.asking {
            drop(state);
            self.close(CloseCode::Replaced);
        }
    }

    /// Makes the renewal of the lock due now.
    pub fn renew_now(&self) {
        if let Some(hold) = &mut self.state().hold {
            hold.renew_at = Duration::ZERO;
        }
    }

    pub fn line(&self) -> Option<Arc<MediaSessionHandle>> {
        self.state().session.as_ref().map(|held| held.line.clone())
    }

    /// Takes the media session out of this connection. When the returned handle is dropped, the session waits
    /// for its client, unless `leave` was called.
    pub fn take_line(&self) -> Option<Arc<MediaSessionHandle>> {
        let now = self.shared.now();
        let mut state = self.state();
        let held = state.session.take()?;
        state.outside_since = Some(now);
        Some(held.line)
    }

    /// Returns the close code if the connection must end now, by the rules of [`connection_limits::overdue`].
    pub fn overdue(&self) -> Option<CloseCode> {
        let context = &self.shared.context;
        let outside = self.state().outside_since.map(|since| self.shared.now().saturating_sub(since));
        connection_limits::overdue(
            &self.peer.grant,
            context.clock.wall(),
            outside,
            context.config.ws.join_within,
        )
    }

    /// Leaves the media session, and so the Janus room. Returns true if there was one.
    pub fn leave_session(&self) -> bool {
        let line = self.take_line();
        line.as_ref().inspect(|line| line.leave()).is_some()
    }

    /// Records a sign of life of the client, which keeps its session.
    pub fn heard(&self) {
        let now = self.shared.now();
        self.state().silence.broken(now);
    }

    /// Returns true if there is a session whose client was silent for too long. `every` is the interval
    /// between calls.
    pub fn is_silent(&self, every: Duration, now: Duration) -> bool {
        let limit = self.shared.context.config.presence.timeout;
        let mut state = self.state();
        state.silence.lasts(limit, every, now) && state.session.is_some()
    }

    /// Ends the session of a silent client. Presence has forgotten the client, so its place in the room is
    /// free for others.
    pub async fn give_up(&self) {
        let _turn = self.turn.write().await;
        // The client may have joined again meanwhile.
        let now = self.shared.now();
        if self.is_silent(Duration::ZERO, now) && self.leave_session() {
            self.ask_to_reconnect(SILENT, RECONNECT_AFTER.mul_f64(1.0 + random_unit()));
            self.leave_presence().await;
        }
    }

    /// Stores the media session and forwards its events.
    ///
    /// # Errors
    /// [`Disconnect`] if the connection is over. The handle is then dropped.
    pub fn hold_line(
        self: &Arc<Self>,
        line: MediaSessionHandle,
        events: mpsc::Receiver<SessionEvent>,
    ) -> Result<(), Disconnect> {
        let mut state = self.state();
        if let Some(parting) = state.over {
            if parting == Disconnect::Farewell {
                line.leave();
            }
            return Err(parting);
        }
        state.silence.broken(self.shared.now());
        state.joins += 1;
        state.greeted = false;
        let join = state.joins;
        state.session = Some(ActiveMedia { line: Arc::new(line), join });
        state.outside_since = None;
        drop(state);
        tokio::spawn(self.clone().relay(join, events));
        Ok(())
    }

    /// Returns true if the members must be sent even if they did not change; true once per `join`.
    pub fn wants_greeting(&self) -> bool {
        !std::mem::replace(&mut self.state().greeted, true)
    }

    /// Writes our presence entry to the room, and keeps it if it was accepted.
    pub async fn enter(
        &self,
        member: PresenceEntry,
        max_anchors: usize,
    ) -> Result<JoinOutcome, PresenceError> {
        let mut held = self.member.lock().await;
        let joined = self.shared.join(&self.peer.room, &member, max_anchors).await?;
        if joined == JoinOutcome::Ok {
            *held = Some(member);
        }
        Ok(joined)
    }

    /// Returns our presence entry, written by this or another connection.
    pub async fn shown(&self) -> Result<Option<PresenceEntry>, PresenceError> {
        let members = self.shared.presence.list(&self.peer.room).await?;
        Ok(members.into_iter().find(|member| member.user_id == self.peer.user))
    }

    /// Changes our presence entry. The next change, such as a keepalive, makes up for a failed write. Returns
    /// [`UpdateOutcome::Absent`] also if we are not in the room.
    pub async fn update(
        &self,
        change: impl FnOnce(&mut PresenceEntry),
    ) -> Result<UpdateOutcome, PresenceError> {
        let mut held = self.member.lock().await;
        let Some(member) = held.as_mut() else { return Ok(UpdateOutcome::Absent) };
        change(member);
        self.shared.presence.update(&self.peer.room, member).await
    }

    /// Writes our presence entry to the room again. Returns `None` if we should not be in the room.
    pub async fn enter_again(&self, max_anchors: usize) -> Result<Option<JoinOutcome>, PresenceError> {
        let held = self.member.lock().await;
        let Some(member) = held.as_ref() else { return Ok(None) };
        self.shared.join(&self.peer.room, member, max_anchors).await.map(Some)
    }

    /// Removes our presence entry, possibly later: presence may be unavailable.
    pub async fn leave_presence(&self) {
        let Some(member) = self.member.lock().await.take() else { return };
        if let Some(hold) = &mut self.state().hold {
            hold.spent = true;
        }
        self.goodbye(member.fence, true, false);
    }

    /// Forwards the media session's events to the client.
    async fn relay(self: Arc<Self>, join: u64, mut events: mpsc::Receiver<SessionEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                SessionEvent::Up => {}
                SessionEvent::Talking { user, talking } => {
                    // Participants have user ids as names, except those that another client of a shared Janus
                    // has added.
                    if let Ok(user_id) = UserId::new(&user) {
                        self.notify(&Notification::Talking { user_id, talking });
                    }
                }
                SessionEvent::Muted { muted } => {
                    // A separate task: presence may be slow, and the other events must not wait.
                    let me = self.clone();
                    tokio::spawn(async move { me.update(|member| member.muted = muted).await });
                }
                SessionEvent::SlowLink { uplink, lost } => {
                    self.notify(&Notification::SlowLink { uplink, lost });
                }
                SessionEvent::Candidate(candidate) => {
                    let candidate = candidate.map(from_janus);
                    self.notify(&Notification::IceCandidate { candidate });
                }
                SessionEvent::Ended { end, reconnect_after } => {
                    return self.session_ended(join, end, reconnect_after).await;
                }
            }
        }
        // Another connection has taken the session, or it failed.
        if self.forget_session(join) {
            self.ask_to_reconnect("session_lost", RECONNECT_AFTER.mul_f64(1.0 + random_unit()));
        }
    }

    fn forget_session(&self, join: u64) -> bool {
        let now = self.shared.now();
        let mut state = self.state();
        let ours = state.session.as_ref().is_some_and(|held| held.join == join);
        if ours {
            state.session = None;
            state.outside_since = Some(now);
        }
        ours
    }

    async fn session_ended(&self, join: u64, end: End, reconnect_after: Option<Duration>) {
        if !self.forget_session(join) {
            return;
        }
        match (end, reconnect_after) {
            (_, Some(after)) => self.ask_to_reconnect(end.as_str(), after),
            (End::RoomClosed, None) => self.room_closed(),
            (End::Removed, None) => self.close(CloseCode::Removed),
            (End::Replaced, None) => self.close(CloseCode::Replaced),
            _ => self.leave_presence().await,
        }
    }

    fn ask_to_reconnect(&self, reason: &str, after: Duration) {
        let retry_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.notify(&Notification::Reconnect { reason: reason.to_owned(), retry_after_ms });
    }

    pub fn notify(&self, notification: &Notification) {
        self.peer.out.notify(notification);
    }

    pub fn close(&self, code: CloseCode) {
        self.peer.out.close(code);
    }

    /// Tells the client that the room is closed, at most once, and closes the connection.
    pub fn room_closed(&self) {
        if !std::mem::replace(&mut self.state().said_goodbye, true) {
            let view = self.shared.context.directory.room(&self.peer.room);
            let reason = closed_reason(view.as_deref().filter(|view| self.peer.grant.is_for_room(view)));
            self.notify(&Notification::RoomClosed { room_id: self.peer.room.clone(), reason });
            self.close(CloseCode::RoomClosed);
        }
    }

    /// Releases everything this connection holds. If the session is kept because the node drains, asks the
    /// client to reconnect.
    fn closed(&self, code: CloseCode, left: bool) {
        self.shared.forget(self);
        let parting = if code.keeps_session(left) { Disconnect::Cut } else { Disconnect::Farewell };
        let (hold, session) = {
            let mut state = self.state();
            state.over = Some(parting);
            (state.hold.take(), state.session.take())
        };
        match (&session, parting) {
            (Some(held), Disconnect::Farewell) => held.line.leave(),
            (Some(_), Disconnect::Cut) if code == CloseCode::Draining => self.ask_to_come_elsewhere(),
            _ => {}
        }
        if let Some(hold) = hold {
            self.goodbye(hold.fence, parting == Disconnect::Farewell, true);
        }
    }

    fn ask_to_come_elsewhere(&self) {
        let after = End::Draining.reconnect_after().unwrap_or(RECONNECT_AFTER);
        self.ask_to_reconnect(End::Draining.as_str(), after.mul_f64(1.0 + random_unit()));
    }

    /// Reports a departure to presence in the background. Retries until presence has recorded it, or until
    /// the lock and the entry have expired anyway.
    pub(super) fn goodbye(&self, fence: FencingToken, leave: bool, release: bool) {
        let (shared, seat) = (self.shared.clone(), self.seat());
        // Without a runtime the process is ending, and locks and entries that are not renewed expire.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let told = async move { shared.say_goodbye(seat, fence, leave, release).await };
            self.shared.goodbyes.spawn_on(told, &runtime);
        }
    }
}

impl SignallingShared {
    /// Writes a presence entry. Users who were banned while their gateway was dead or their client away take
    /// no place in a full room.
    async fn join(
        &self,
        room: &RoomId,
        member: &PresenceEntry,
        max_anchors: usize,
    ) -> Result<JoinOutcome, PresenceError> {
        let joined = self.presence.join(room, member, max_anchors).await?;
        if joined == JoinOutcome::Full && self.forget_banned(room).await? {
            return self.presence.join(room, member, max_anchors).await;
        }
        Ok(joined)
    }

    /// Deletes the entries of banned users. Returns true if there were any.
    async fn forget_banned(&self, room: &RoomId) -> Result<bool, PresenceError> {
        let Some(view) = self.context.directory.room(room) else { return Ok(false) };
        let members = self.presence.list(room).await?;
        let mut forgot = false;
        for member in members.into_iter().filter(|member| view.is_banned(&member.user_id)) {
            self.presence.forget(&LockKey { room: room.clone(), user: member.user_id }).await?;
            forgot = true;
        }
        Ok(forgot)
    }

    /// Returns the interval between two renewals of a lock.
    pub(super) fn renew_every(&self) -> Duration {
        self.context.config.presence.lock_ttl / 3
    }

    async fn say_goodbye(&self, seat: LockKey, fence: FencingToken, leave: bool, release: bool) {
        let (config, start) = (&self.context.config.presence, self.now());
        let mut attempt = 0;
        loop {
            let said = async {
                if leave {
                    self.presence.leave(&seat, fence).await?;
                }
                if release {
                    self.lock.release(&seat, fence).await?;
                }
                Ok::<_, PresenceError>(())
            };
            if said.await.is_ok() || self.now() > start + config.lock_ttl.max(config.timeout) {
                return;
            }
            attempt += 1;
            // Sleep: the pause between two attempts.
            tokio::time::sleep(self.context.backoff().delay(attempt, random_unit())).await;
        }
    }
}

fn from_janus(candidate: crate::janus::Candidate) -> methods::Candidate {
    methods::Candidate {
        candidate: candidate.candidate,
        sdp_mid: candidate.sdp_mid,
        sdp_m_line_index: candidate.sdp_m_line_index,
        username_fragment: None,
    }
}
