//! State machine of one media session: an anchor's session on the room's Janus, and the client that owns it.
//!
//! ```text
//!            join | claim            offer                    media up
//!  Opening ───────────────▶ Joined ─────────▶ Negotiated{down} ─────────▶ Negotiated{up}
//!     │ refused
//!     └──────▶ Ended ◀── left, removed, media over, room closed or moved, session lost, grace over (any)
//! ```
//! Two connections can be lost and restored in each of these states. The client's connection (`Client`) may
//! be lost for up to the grace time while media continues. When the connection to Janus (`Link`) is lost, the
//! session is claimed again.
//!
//! Invariant: a session whose client is away is not kept alive, so Janus ends it after the grace time unless
//! another gateway claims it. This machine must forget a session that another gateway may have claimed, and
//! not destroy it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, ModuleId, UserId};
use super::plan::{Plan, Retry};
use super::restart::Backoff;
use super::view::RoomView;

/// Identifiers of a session in its Janus. Anyone who knows them can claim the session, so they leave the
/// server only in sealed form and are never printed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionIds {
    pub session: u64,
    pub handle: u64,
    pub participant: u64,
}

/// Janus room that an open room uses under one assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JanusAssignment {
    pub janus: ModuleId,
    pub janus_room_id: u32,
    pub epoch: Epoch,
}

/// Reason why a room cannot be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinUnavailable {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is not on air")]
    NotOnAir,
    #[error("the room is being prepared")]
    Preparing,
}

/// Change of a room's assignment since the session joined it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignmentChange {
    Stays,
    Closed,
    Moved,
}

/// Reason for the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Left,
    /// Replaced by a newer session of the same user.
    Replaced,
    /// The user was banned, kicked or made a listener.
    Removed,
    RoomClosed,
    /// The room is on another Janus instance, or was created again on the same one.
    JanusMoved,
    /// The peer connection has ended, so Janus has removed the participant from the room.
    MediaOver,
    /// Janus no longer knows the session, or has no participant for it: Janus was restarted, or received no
    /// keep-alive in time.
    SessionLost,
    JanusUnreachable,
    /// The client did not come back within the grace time.
    GraceOver,
    /// The client and the connection to Janus are both lost. A resume token can still claim the session. This
    /// node must not claim it without a client: another gateway may serve the client by now.
    Abandoned,
    /// The room could not be joined; the client received the reason.
    Refused,
    /// This node stops; another node may claim the session.
    Draining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Opening,
    Joined,
    Negotiated { up: bool },
    Ended(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Here,
    Away { since: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Up,
    Lost { since: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Join the room, or claim the session that a resume token names.
    Open,
    /// Claim our own session: over a new connection to Janus, or from a gateway that claimed it meanwhile.
    Reclaim,
    KeepAlive,
    Destroy,
}

/// Events from Janus that change the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JanusEvent {
    Up,
    Down,
    Removed,
    RoomDestroyed,
    /// The session exists but has no participant in the room.
    NotInRoom,
    SessionOver,
}

/// Reason why a claim of our own session failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimFailure {
    SessionGone,
    Unavailable(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Janus's `session_timeout`: how long the client, or the connection to Janus, may be away.
    pub grace: Duration,
    pub keep_alive: Duration,
    pub backoff: Backoff,
}

/// Margin after the grace time. Janus checks for session timeouts every 2 s, and its decision takes
/// precedence over our clock.
const JANUS_LATE: Duration = Duration::from_secs(4);
/// Time to wait for the store to show whether a destroyed room was closed. After that time, the room counts
/// as moved.
const VERDICT_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct MediaSession {
    timing: Timing,
    place: JanusAssignment,
    state: State,
    client: Client,
    link: Link,
    retry: Retry,
    keep_due: Option<Duration>,
    /// Time at which Janus destroyed the room.
    room_destroyed_at: Option<Duration>,
    /// True while Janus has a session of ours.
    holds: bool,
}

impl JanusAssignment {
    /// Returns the current Janus room of a room, or the reason why the room cannot be joined.
    pub fn of(view: Option<&RoomView>) -> Result<Self, JoinUnavailable> {
        let view = view.filter(|v| v.meta.as_ref().is_some_and(|m| m.deleted_at.is_none()));
        let view = view.ok_or(JoinUnavailable::NoSuchRoom)?;
        let live = view.live.as_ref().filter(|_| view.is_open()).ok_or(JoinUnavailable::NotOnAir)?;
        let key =
            view.janus.as_ref().filter(|key| key.id == live.janus_id).ok_or(JoinUnavailable::Preparing)?;
        Ok(Self { janus: key.id.clone(), janus_room_id: key.janus_room_id, epoch: key.epoch })
    }

    /// Returns how the room's state changes the assignment. A move of the mixer does not change it, although
    /// the move raises the epoch.
    pub fn fate(&self, view: Option<&RoomView>) -> AssignmentChange {
        let Some((view, live)) = view.filter(|v| v.is_open()).and_then(|v| Some((v, v.live.as_ref()?)))
        else {
            return AssignmentChange::Closed;
        };
        let elsewhere = live.janus_id != self.janus;
        let recreated = |key: &super::model::JanusState| {
            key.id == self.janus && key.janus_room_id != self.janus_room_id && key.epoch >= self.epoch
        };
        if elsewhere || view.janus.as_ref().is_some_and(|key| recreated(key)) {
            AssignmentChange::Moved
        } else {
            AssignmentChange::Stays
        }
    }
}

impl End {
    /// Returns the shortest delay before the client connects and joins again. `None`: the client is not asked
    /// to reconnect.
    pub fn reconnect_after(self) -> Option<Duration> {
        match self {
            Self::JanusMoved | Self::MediaOver | Self::Draining => Some(Duration::from_millis(200)),
            Self::SessionLost => Some(Duration::from_millis(500)),
            Self::JanusUnreachable => Some(Duration::from_secs(2)),
            _ => None,
        }
    }

    /// Returns the stable name, for clients and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::RoomClosed => "room_closed",
            Self::JanusMoved => "janus_moved",
            Self::MediaOver => "media_over",
            Self::SessionLost => "session_lost",
            Self::JanusUnreachable => "janus_unreachable",
            Self::GraceOver => "grace_over",
            Self::Abandoned => "abandoned",
            Self::Refused => "refused",
            Self::Draining => "draining",
        }
    }

    fn destroys(self) -> bool {
        use End::*;
        matches!(self, Left | Replaced | Removed | MediaOver | RoomClosed | JanusMoved | SessionLost)
    }
}

impl MediaSession {
    pub fn new(place: JanusAssignment, timing: Timing) -> Self {
        Self {
            timing,
            place,
            state: State::Opening,
            client: Client::Here,
            link: Link::Up,
            retry: Retry::default(),
            keep_due: None,
            room_destroyed_at: None,
            holds: false,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn place(&self) -> &JanusAssignment {
        &self.place
    }

    /// Returns the name of the state, for operators. A lost connection takes precedence over the state of the
    /// media.
    pub fn name(&self) -> &'static str {
        match (self.state, self.link, self.client) {
            (State::Ended(end), ..) => end.as_str(),
            (State::Opening, ..) => "joining",
            (_, Link::Lost { .. }, _) => "reclaiming",
            (_, _, Client::Away { .. }) => "detached",
            (State::Joined, ..) => "joined",
            (State::Negotiated { up: false }, ..) => "negotiated",
            (State::Negotiated { up: true }, ..) => "up",
        }
    }

    /// Records that the session is in the room. `up`: media already flows, which is possible after a claim.
    pub fn opened(&mut self, up: bool, now: Duration) {
        self.holds = true;
        if self.state == State::Opening {
            self.state = if up { State::Negotiated { up } } else { State::Joined };
            self.keep_due = Some(now + self.timing.keep_alive);
        }
    }

    pub fn answered(&mut self) {
        if self.state == State::Joined {
            self.state = State::Negotiated { up: false };
        }
    }

    /// Returns true if calls of the client can be forwarded to Janus.
    pub fn takes_calls(&self) -> bool {
        let in_room = matches!(self.state, State::Joined | State::Negotiated { .. });
        in_room && self.link == Link::Up && self.room_destroyed_at.is_none()
    }

    /// Returns true if a client that comes back can continue with its media unchanged.
    pub fn is_resumable(&self) -> bool {
        self.state == State::Negotiated { up: true } && self.room_destroyed_at.is_none()
    }

    pub fn client_left(&mut self, now: Duration) {
        if self.client == Client::Here {
            self.client = Client::Away { since: now };
            // Send one more keep-alive, so that the grace time starts now and not at the previous keep-alive.
            self.keep_due = Some(now);
        }
    }

    /// Records that the client is back. The next plan claims the session again, because another gateway may
    /// have claimed it meanwhile. Janus sends the events of a session to the gateway that claimed it last.
    pub fn client_back(&mut self, now: Duration) {
        self.client = Client::Here;
        self.retry.succeeded();
        self.link_lost(now);
    }

    pub fn heard(&mut self, heard: JanusEvent, now: Duration) {
        match (heard, self.state) {
            (_, State::Ended(_)) => {}
            (JanusEvent::Up, State::Joined | State::Negotiated { .. }) => {
                self.state = State::Negotiated { up: true }
            }
            (JanusEvent::Up, State::Opening) => {}
            (JanusEvent::Down, _) => self.end(End::MediaOver),
            (JanusEvent::Removed, _) => self.end(End::Removed),
            (JanusEvent::RoomDestroyed, _) => self.room_destroyed_at = self.room_destroyed_at.or(Some(now)),
            (JanusEvent::NotInRoom, _) => self.end(End::SessionLost),
            (JanusEvent::SessionOver, _) => {
                self.holds = false;
                let away = matches!(self.client, Client::Away { .. });
                self.end(if away { End::GraceOver } else { End::SessionLost });
            }
        }
    }

    /// Records that events no longer arrive: the connection to Janus is over, another gateway receives them,
    /// or this node did not keep up.
    pub fn link_lost(&mut self, now: Duration) {
        if self.link == Link::Up {
            self.link = Link::Lost { since: now };
        }
    }

    pub fn reclaimed(&mut self, now: Duration) {
        self.link = Link::Up;
        self.retry.succeeded();
        self.keep_due = Some(now + self.timing.keep_alive);
    }

    pub fn reclaim_failed(&mut self, failure: ClaimFailure, now: Duration, random: f64) {
        match failure {
            ClaimFailure::SessionGone => {
                self.holds = false;
                self.end(End::SessionLost);
            }
            ClaimFailure::Unavailable(why) => self.retry.failed(why, now, &self.timing.backoff, random),
        }
    }

    pub fn kept_alive(&mut self, now: Duration) {
        let here = self.client == Client::Here;
        self.keep_due = here.then(|| now + self.timing.keep_alive);
    }

    /// Applies a change of the room or of this user in the store.
    pub fn observe(&mut self, view: Option<&RoomView>, user: &UserId) {
        if view.is_some_and(|view| view.is_off_stage(user)) {
            self.end(End::Removed);
        }
        match self.place.fate(view) {
            AssignmentChange::Stays => {}
            AssignmentChange::Closed => self.end(End::RoomClosed),
            AssignmentChange::Moved => self.end(End::JanusMoved),
        }
    }

    /// Ends the session. Only the first call sets the reason.
    pub fn end(&mut self, end: End) {
        if !matches!(self.state, State::Ended(_)) {
            self.state = State::Ended(end);
        }
    }

    pub fn destroyed(&mut self) {
        self.holds = false;
    }

    /// Applies timeouts.
    pub fn look(&mut self, now: Duration) {
        let over = |since: Duration, after: Duration| now >= since + after;
        if self.room_destroyed_at.is_some_and(|since| over(since, VERDICT_WAIT)) {
            self.end(End::JanusMoved);
        }
        match (self.link, self.client) {
            (Link::Lost { .. }, Client::Away { .. }) => self.end(End::Abandoned),
            (Link::Lost { since }, Client::Here) if over(since, self.timing.grace) => {
                self.end(End::JanusUnreachable);
            }
            _ => {}
        }
        if let Client::Away { since } = self.client
            && over(since, self.timing.grace + JANUS_LATE)
        {
            self.end(End::GraceOver);
        }
    }

    pub fn plan(&self, now: Duration) -> Plan<Effect> {
        match (self.state, self.link) {
            (State::Ended(end), Link::Up) if self.holds && end.destroys() => {
                Plan::act(Effect::Destroy, end.as_str())
            }
            (State::Ended(_), _) => Plan::Finished,
            (State::Opening, _) => Plan::act(Effect::Open, "the client asked to join"),
            (_, Link::Lost { .. }) => {
                let reclaim = Plan::act(Effect::Reclaim, "events no longer arrive: claims the session again");
                self.retry.pending(now).unwrap_or(reclaim)
            }
            (_, Link::Up) => match self.keep_due {
                Some(due) if due <= now => Plan::act(Effect::KeepAlive, "Janus ends silent sessions"),
                due => Plan::Wait { reason: self.waits_for().into(), until: self.next_look(due) },
            },
        }
    }

    pub fn attempt(&self) -> u32 {
        self.retry.attempt()
    }

    fn waits_for(&self) -> &'static str {
        match self.client {
            Client::Away { .. } => "waits for the client to come back",
            Client::Here => "serves the client",
        }
    }

    fn next_look(&self, due: Option<Duration>) -> Option<Duration> {
        due.into_iter().chain(self.deadline()).min()
    }

    /// Returns the earliest time at which a timeout can end the session; `None` if no timeout is running.
    /// Call [`look`](Self::look) at that time, even if an effect is in progress.
    pub fn deadline(&self) -> Option<Duration> {
        if matches!(self.state, State::Ended(_)) {
            return None;
        }
        let away = match self.client {
            Client::Away { since } => Some(since + self.timing.grace + JANUS_LATE),
            Client::Here => None,
        };
        let lost = match self.link {
            Link::Lost { since } => Some(since + self.timing.grace),
            Link::Up => None,
        };
        let verdict = self.room_destroyed_at.map(|since| since + VERDICT_WAIT);
        away.into_iter().chain(lost).chain(verdict).min()
    }
}

impl fmt::Debug for SessionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionIds(******)")
    }
}

#[cfg(test)]
#[path = "media_session_tests.rs"]
mod tests;
