//! State machine of one client: its connection lock, its presence entry, its media session and its calls.
//!
//! ```text
//!             lock acquired                 media session joined
//!   Locking ────────────────▶ Connected(lock) ─────────────────▶ Joined(lock, media)
//!      │                        │    ▲                               │    │
//!      │ refused                │    └─ leave, silence, media over ──┘    │
//!      │                        ▼                                         │
//!      └────────────────▶ Closing(disconnect) ◀───────────────────────────┘
//!                               any close: room gone, ban, token expired, lock lost, connection ended
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `mod` | the states: lock, room, close |
//! | `calls` | order and time limits of the calls, and the methods other than `join` |
//! | `join` | the steps of a `join` |
//! | `media` | events of the media session, and silent clients |
//! | `presence` | the writes of the presence entry, one at a time |
//! | `values` | rules, surroundings, inputs and effects |
//!
//! A connection acquires its lock when it opens, and holds the lock until the connection ends. Every write to
//! presence contains the fencing token of the lock, so a connection that lost the lock changes nothing.
//!
//! The presence entry and the media session are removed after `leave`, and after a close code that does not
//! let the client come back. After a lost connection or a plain close, only the lock is released. The entry
//! and the media session then remain until their timeouts, and a `join` with the resume token resumes them.
//! The session ends when the results of its last effects have arrived.
//!
//! A WHIP client (RFC 9725) has a connection without a WebSocket. It joins once and sends no `keepalive`: it
//! counts as active while Janus receives its media. Its connection closes when its media session is over.
//!
//! Calls start in order of arrival and run concurrently, but `join` and `leave` run alone. A `join` continues
//! after its call has timed out.
//!
//! Owns these rules. Does not send, wait, or decide who gets a lock.

mod calls;
mod join;
mod media;
mod presence;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;
use std::time::Duration;

use super::connection::{FencingToken, RenewOutcome};
use super::connection_limits;
use super::ids::ClientId;
use super::media_session::End;
use super::presence_entry::Source;
use super::roles::{self, Action, RoomRole};
use super::room::closed_reason;
use super::signalling::{CloseCode, ErrorCode, Notification, RpcError};
use super::view::RoomView;
use calls::Calls;
pub use join::not_on_air;
use media::Media;
use presence::EntryWriter;
pub use values::{
    Answer, CallId, ClientIdentity, Effect, Input, JoinedMedia, LockOutcome, MediaCall, MediaEvent,
    RoomOrder, Rules, Surroundings, Unavailable, Waiter,
};

/// Base delay before a client reconnects, after its media session was lost or was ended because the client
/// was silent.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// Retry delay if a dependency is unavailable.
const AWAY: Duration = Duration::from_secs(1);
/// Retry delay if a room is full or locked.
const FULL: Duration = Duration::from_secs(5);

/// Session of one connection.
#[derive(Debug)]
pub struct ClientSession {
    identity: ClientIdentity,
    rules: Arc<Rules>,
    state: State,
    /// Time from which this connection has had no media session. Only used while there is none.
    outside_since: Duration,
    acquiring: bool,
    renewing: bool,
    joining_media: bool,
    presence: EntryWriter,
    calls: Calls,
    /// Number of the newest media session.
    joins: u64,
    /// True if [`Effect::Close`] was returned.
    ending: bool,
    effects: Vec<Effect>,
}

#[derive(Debug)]
enum State {
    /// The lock is being acquired for the first time.
    Locking,
    Connected(HeldLock),
    Joined(HeldLock, Media),
    Closing(CloseProgress),
}

/// Acquired connection lock.
#[derive(Debug)]
struct HeldLock {
    client: Option<ClientId>,
    token: FencingToken,
    renew_at: Duration,
    /// The next `join` must acquire a new fencing token, because the removal of the presence entry under the
    /// current token may still be in progress.
    spent: bool,
}

/// End of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disconnect {
    /// The client may come back: its media session and presence entry remain for some time.
    Cut,
    Farewell,
}

#[derive(Debug)]
struct CloseProgress {
    disconnect: Disconnect,
    /// The presence entry is removed as well.
    leave: bool,
    /// Lock to release when the effects in progress have ended.
    release: Option<FencingToken>,
}

/// Reason why a call is refused.
#[derive(Debug)]
enum Refusal {
    Error(RpcError),
    /// The room or the token is no longer valid.
    Admission(CloseCode),
    /// A newer connection has taken the lock.
    Replaced,
    /// An older connection keeps the lock.
    Taken,
}

impl ClientSession {
    pub fn new(identity: ClientIdentity, rules: Arc<Rules>, now: Duration) -> Self {
        Self {
            identity,
            rules,
            state: State::Locking,
            outside_since: now,
            acquiring: false,
            renewing: false,
            joining_media: false,
            presence: EntryWriter::default(),
            calls: Calls::default(),
            joins: 0,
            ending: false,
            effects: Vec::new(),
        }
    }

    /// Takes an input. Returns the effects to run, in order.
    pub fn handle(&mut self, input: Input, at: &Surroundings) -> Vec<Effect> {
        match input {
            Input::Opened => self.opened(at),
            Input::Call(id, method) => self.call(id, method, at),
            Input::Finished(id, outcome) => self.finish(id, outcome),
            Input::Acquired(outcome) => self.acquired(outcome, at),
            Input::Renewed { token, outcome } => self.renewed(token, outcome, at),
            Input::LockReplaced => self.close(CloseCode::Replaced),
            Input::RenewNow => {
                self.lock_mut().into_iter().for_each(|lock| lock.renew_at = at.now);
                self.renew(at);
            }
            Input::RoomChanged => self.room_changed(at),
            Input::Tick => self.tick(at),
            Input::PinChecked(guess) => self.pin_checked(guess, at),
            Input::AdmissionAnswered(outcome) => self.admission_answered(outcome, at),
            Input::Listed(waiter, members) => self.listed(waiter, members, at),
            Input::Entered(outcome) => self.entered(outcome, at),
            Input::Updated(outcome) => self.updated(outcome, at),
            Input::MediaJoined(outcome) => self.media_joined(outcome, at),
            Input::Media { join, event } => self.media_event(join, event, at),
            Input::Closed { code, left } => self.closed(code, left, at),
        }
        self.start_calls(at);
        self.close_without_media();
        if matches!(self.state, State::Closing(_)) {
            self.release(self.acquiring || self.presence.is_writing());
        } else {
            self.effects.extend(std::iter::from_fn(|| self.presence.next()));
        }
        std::mem::take(&mut self.effects)
    }

    /// Releases the connection lock even if an effect in progress needs it, and returns the final effects.
    /// Must be called when the shell stops, because no further results arrive after that. The connection must
    /// already be closed.
    pub fn abandon(&mut self) -> Vec<Effect> {
        self.release(false);
        std::mem::take(&mut self.effects)
    }

    /// Returns true if the connection is closed and the session no longer needs the result of an effect.
    pub fn is_over(&self) -> bool {
        let released = matches!(&self.state, State::Closing(closing) if closing.release.is_none());
        released && !self.acquiring && !self.joining_media && !self.presence.is_writing()
    }

    /// Returns the name of the state.
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Locking => "connecting",
            State::Connected(_) | State::Joined(..) => "open",
            State::Closing(_) => "closing",
        }
    }

    /// Returns the monotonic time of the next [`Input::Tick`]; `None` once the session is closing.
    pub fn due(&self, at: &Surroundings) -> Option<Duration> {
        if matches!(self.state, State::Closing(_)) {
            return None;
        }
        let left = self.identity.grant.expires_at.0.saturating_sub(at.wall.0);
        let expiry = at.now.saturating_add(Duration::from_millis(left));
        let place = match &self.state {
            State::Joined(_, media) => media.check_at,
            _ => self.outside_since.saturating_add(self.rules.join_within),
        };
        let renewal = self.lock().filter(|_| !self.renewing).map(|lock| lock.renew_at);
        [expiry, place].into_iter().chain(renewal).chain(self.calls.deadline()).min()
    }

    fn opened(&mut self, at: &Surroundings) {
        match self.admitted(at) {
            Ok(_) => self.acquire(self.identity.client_id.clone()),
            Err(CloseCode::RoomGone) if self.is_of_earlier_room(at) => self.close(CloseCode::TokenInvalid),
            Err(code) => self.close(code),
        }
    }

    /// Returns the room, if this user may be in it.
    fn admitted(&self, at: &Surroundings) -> Result<Arc<RoomView>, CloseCode> {
        let room = at.room.as_ref().ok_or(CloseCode::Unavailable)?;
        self.identity.grant.admit(&self.identity.user, room, at.wall)?;
        Ok(room.clone())
    }

    /// Returns true if the token is for a deleted room whose id now belongs to another room.
    fn is_of_earlier_room(&self, at: &Surroundings) -> bool {
        let meta = at.room.as_ref().and_then(|room| room.meta.as_ref());
        meta.is_some_and(|meta| !self.identity.grant.is_for(meta))
    }

    /// Returns the effective role of this user.
    fn role(&self, room: &RoomView) -> RoomRole {
        roles::in_force(&room.users, &self.identity.user, self.identity.claimed)
    }

    /// Returns the room, if this user may perform the action in it.
    fn must(&self, action: Action, at: &Surroundings) -> Result<Arc<RoomView>, Refusal> {
        let room = self.admitted(at)?;
        if self.role(&room).may(action) { Ok(room) } else { Err(ErrorCode::Forbidden.into()) }
    }

    fn acquire(&mut self, client: Option<ClientId>) {
        self.acquiring = true;
        self.effects.push(Effect::Acquire { client });
    }

    fn acquired(&mut self, outcome: Result<LockOutcome, Unavailable>, at: &Surroundings) {
        self.acquiring = false;
        match (&mut self.state, outcome) {
            (State::Closing(closing), Ok(LockOutcome::Ours(token))) => closing.release = Some(token),
            (State::Closing(_), _) => {}
            (State::Locking, Ok(LockOutcome::Ours(token))) => {
                let client = self.identity.client_id.clone();
                self.state = State::Connected(self.new_lock(client, token, at));
                self.effects.push(Effect::Greet);
            }
            (State::Locking, Ok(LockOutcome::Taken)) => self.close(CloseCode::AlreadyConnected),
            (State::Locking, Err(Unavailable)) => self.close(CloseCode::Unavailable),
            (State::Connected(_) | State::Joined(..), outcome) => self.join_acquired(outcome, at),
        }
    }

    fn new_lock(&self, client: Option<ClientId>, token: FencingToken, at: &Surroundings) -> HeldLock {
        HeldLock { client, token, renew_at: at.now + self.rules.renew_every, spent: false }
    }

    fn lock(&self) -> Option<&HeldLock> {
        match &self.state {
            State::Connected(lock) | State::Joined(lock, _) => Some(lock),
            State::Locking | State::Closing(_) => None,
        }
    }

    fn lock_mut(&mut self) -> Option<&mut HeldLock> {
        match &mut self.state {
            State::Connected(lock) | State::Joined(lock, _) => Some(lock),
            State::Locking | State::Closing(_) => None,
        }
    }

    /// Renews the lock if the renewal is due.
    fn renew(&mut self, at: &Surroundings) {
        if self.renewing {
            return;
        }
        let next = at.now + self.rules.renew_every;
        let Some(lock) = self.lock_mut().filter(|lock| lock.renew_at <= at.now) else { return };
        lock.renew_at = next;
        let renew = Effect::Renew { client: lock.client.clone(), token: lock.token };
        self.renewing = true;
        self.effects.push(renew);
    }

    fn renewed(
        &mut self,
        token: FencingToken,
        outcome: Result<RenewOutcome, Unavailable>,
        at: &Surroundings,
    ) {
        self.renewing = false;
        let (acquiring, repeat_at) = (self.acquiring, at.now + self.rules.check_every);
        let Some(lock) = self.lock_mut().filter(|lock| lock.token == token) else { return };
        match outcome {
            // An acquisition in progress may have replaced this fencing token. Then the outcome of the
            // acquisition decides.
            Ok(RenewOutcome::Lost) if !acquiring => self.close(CloseCode::Replaced),
            Ok(RenewOutcome::StillOurs | RenewOutcome::Lost) => {}
            Err(Unavailable) => lock.renew_at = lock.renew_at.min(repeat_at),
        }
    }

    fn room_changed(&mut self, at: &Surroundings) {
        match self.admitted(at) {
            Ok(_) | Err(CloseCode::Unavailable) => {}
            Err(CloseCode::RoomGone) => self.room_closed(at),
            Err(code) => self.close(code),
        }
    }

    fn tick(&mut self, at: &Surroundings) {
        self.expire_calls(at.now);
        let outside = match &self.state {
            State::Closing(_) => return,
            State::Joined(..) => None,
            State::Locking | State::Connected(_) => Some(at.now.saturating_sub(self.outside_since)),
        };
        let overdue =
            connection_limits::overdue(&self.identity.grant, at.wall, outside, self.rules.join_within);
        if let Some(code) = overdue {
            return self.close(code);
        }
        self.renew(at);
        self.check_silence(at);
    }

    /// Tells the client that the room is closed, and closes the connection.
    fn room_closed(&mut self, at: &Surroundings) {
        if self.ending || matches!(self.state, State::Closing(_)) {
            return;
        }
        let room = at.room.as_deref().filter(|room| self.identity.grant.is_for_room(room));
        let (room_id, reason) = (self.identity.room.clone(), closed_reason(room));
        self.effects.push(Effect::Notify(Notification::RoomClosed { room_id, reason }));
        self.close(CloseCode::RoomClosed);
    }

    fn close(&mut self, code: CloseCode) {
        if !matches!(self.state, State::Closing(_)) && !std::mem::replace(&mut self.ending, true) {
            self.effects.push(Effect::Close(code));
        }
    }

    /// Ends the calls and the media session of a closed connection, and prepares the release of its lock. If
    /// the media session is kept because the node is draining, asks the client to reconnect.
    fn closed(&mut self, code: CloseCode, left: bool, at: &Surroundings) {
        if matches!(self.state, State::Closing(_)) {
            return;
        }
        // A WHIP client has no resume token, so it cannot come back to its session.
        let left = left || self.identity.source == Source::Whip;
        let disconnect = if code.keeps_session(left) { Disconnect::Cut } else { Disconnect::Farewell };
        match (self.joined().is_some(), disconnect) {
            (true, Disconnect::Farewell) => self.effects.push(Effect::LeaveMedia),
            (true, Disconnect::Cut) => {
                if code == CloseCode::Draining {
                    let after = End::Draining.reconnect_after().unwrap_or(RECONNECT_AFTER);
                    self.ask_to_reconnect(End::Draining.as_str(), after, at);
                }
                self.effects.push(Effect::DropMedia);
            }
            (false, _) => {}
        }
        self.calls = Calls::default();
        // These waiters are not needed, because their calls, or the `join`, end with the connection.
        let _ = self.presence.discard();
        let farewell = disconnect == Disconnect::Farewell;
        let leave = self.presence.is_leaving() || self.lock().is_some_and(|lock| farewell || lock.spent);
        let release = self.lock().map(|lock| lock.token);
        self.state = State::Closing(CloseProgress { disconnect, leave, release });
    }

    /// Releases the lock of a closed connection, unless an effect in progress still needs it.
    fn release(&mut self, needed: bool) {
        let State::Closing(CloseProgress { leave, release, .. }) = &mut self.state else { return };
        if let Some(token) = release.take_if(|_| !needed) {
            self.effects.push(Effect::LeavePresence { token, leave: *leave, release: true });
        }
    }
}

impl From<CloseCode> for Refusal {
    fn from(code: CloseCode) -> Self {
        Self::Admission(code)
    }
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        Self::Error(error)
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code.into())
    }
}

impl From<Unavailable> for Refusal {
    fn from(_: Unavailable) -> Self {
        Self::Error(away())
    }
}

fn away() -> RpcError {
    RpcError::from(ErrorCode::Unavailable).retry_after(AWAY)
}
