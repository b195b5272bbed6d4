//! One anchor's part in a room: its session on the room's Janus, and the client that holds it.
//!
//! ```text
//!            join | claim            offer                    media up
//!  Opening ───────────────▶ Joined ─────────▶ Negotiated{down} ─────────▶ Negotiated{up}
//!     │ refused
//!     └──────▶ Ended ◀── left, removed, media over, room closed or moved, session lost, grace over (any state)
//! ```
//! Two things come and go beside that: the client's connection (`Client`), which may be away for the grace time
//! while the media flows on, and the connection to Janus (`Link`), after whose end the session is claimed again.
//!
//! Invariants: a session whose client is away is not kept alive, so Janus itself ends it after the grace unless
//! another gateway has taken it over; and then this one must not end it, so it only forgets it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, ModuleId, UserId};
use super::plan::{Plan, Retry};
use super::restart::Backoff;
use super::view::RoomView;

/// What names a session in its Janus. Whoever knows it may take it over: it leaves the server only sealed, and
/// is never printed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionIds {
    pub session: u64,
    pub handle: u64,
    pub participant: u64,
}

/// The Janus room of a live room, as of one assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub janus: ModuleId,
    pub janus_room_id: u32,
    pub epoch: Epoch,
}

/// Why a room cannot be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is not on air")]
    NotOnAir,
    #[error("the room is being prepared")]
    Preparing,
}

/// What became of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Stays,
    Closed,
    Moved,
}

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Left,
    /// By a newer session of the same user.
    Replaced,
    /// By a host.
    Removed,
    RoomClosed,
    /// The room is on another Janus, or was made anew on the same.
    JanusMoved,
    /// The peer connection is over, and Janus has put the participant out of the room with it.
    MediaOver,
    /// Janus does not know the session any more, or not in the room: it was restarted, or did not hear of us.
    SessionLost,
    JanusUnreachable,
    /// Nobody came back within the grace time.
    GraceOver,
    /// Client and connection to Janus are both away: the resume token finds the session again, and to claim it
    /// for nobody might take it from the gateway where the client is now.
    LetGo,
    /// The room could not be joined; who asked has been told why.
    Refused,
    /// This node stops; another may claim the session.
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
    /// Join, or claim what a resume token names.
    Open,
    /// Claim our own session: over a new connection to Janus, or from a gateway that had it meanwhile.
    Reclaim,
    KeepAlive,
    Destroy,
}

/// What Janus says, as far as it changes the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Up,
    Down,
    Removed,
    RoomDestroyed,
    /// The session lives, but has no part in the room.
    NotInRoom,
    SessionOver,
}

/// How a claim of our own session failed.
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

/// Janus looks for sessions that timed out every 2 s, and its word is better than our clock.
const JANUS_LATE: Duration = Duration::from_secs(4);
/// How long the store has to say whether a destroyed room is closed or moves.
const VERDICT_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Anchor {
    timing: Timing,
    place: Place,
    state: State,
    client: Client,
    link: Link,
    retry: Retry,
    keep_due: Option<Duration>,
    /// When Janus destroyed the room.
    homeless: Option<Duration>,
    /// There is a session of ours in Janus.
    holds: bool,
}

impl Place {
    /// Where a room is mixed now.
    pub fn of(view: Option<&RoomView>) -> Result<Self, Nowhere> {
        let view = view.filter(|v| v.meta.as_ref().is_some_and(|m| m.deleted_at.is_none()));
        let view = view.ok_or(Nowhere::NoSuchRoom)?;
        let live = view.live.as_ref().filter(|_| view.is_on_air()).ok_or(Nowhere::NotOnAir)?;
        let key = view.janus.as_ref().filter(|key| key.id == live.janus_id).ok_or(Nowhere::Preparing)?;
        Ok(Self { janus: key.id.clone(), janus_room_id: key.janus_room_id, epoch: key.epoch })
    }

    /// A move of the mixer leaves the place as it is, though it raises the epoch.
    pub fn fate(&self, view: Option<&RoomView>) -> Fate {
        let Some((view, live)) = view.filter(|v| v.is_on_air()).and_then(|v| Some((v, v.live.as_ref()?)))
        else {
            return Fate::Closed;
        };
        let elsewhere = live.janus_id != self.janus;
        let anew = |key: &super::model::JanusState| {
            key.id == self.janus && key.janus_room_id != self.janus_room_id && key.epoch >= self.epoch
        };
        if elsewhere || view.janus.as_ref().is_some_and(|key| anew(key)) { Fate::Moved } else { Fate::Stays }
    }
}

impl End {
    /// What the client is told to do: connect and join again, no earlier than this.
    pub fn reconnect_after(self) -> Option<Duration> {
        match self {
            Self::JanusMoved | Self::MediaOver | Self::Draining => Some(Duration::from_millis(200)),
            Self::SessionLost => Some(Duration::from_millis(500)),
            Self::JanusUnreachable => Some(Duration::from_secs(2)),
            _ => None,
        }
    }

    /// Stable name, for clients and metrics.
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
            Self::LetGo => "let_go",
            Self::Refused => "refused",
            Self::Draining => "draining",
        }
    }

    fn destroys(self) -> bool {
        use End::*;
        matches!(self, Left | Replaced | Removed | MediaOver | RoomClosed | JanusMoved | SessionLost)
    }
}

impl Anchor {
    pub fn new(place: Place, timing: Timing) -> Self {
        Self {
            timing,
            place,
            state: State::Opening,
            client: Client::Here,
            link: Link::Up,
            retry: Retry::default(),
            keep_due: None,
            homeless: None,
            holds: false,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Name of what an operator should see first.
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

    /// In the room; `up`: with media, as a claim may find it.
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

    /// Whether calls of the client have anybody to go to.
    pub fn takes_calls(&self) -> bool {
        let in_room = matches!(self.state, State::Joined | State::Negotiated { .. });
        in_room && self.link == Link::Up && self.homeless.is_none()
    }

    /// Whether a client that comes back finds its media as it was.
    pub fn is_resumable(&self) -> bool {
        self.state == State::Negotiated { up: true } && self.homeless.is_none()
    }

    pub fn client_left(&mut self, now: Duration) {
        if self.client == Client::Here {
            self.client = Client::Away { since: now };
            // Once more, so that the grace begins now and not at the last sign of life.
            self.keep_due = Some(now);
        }
    }

    /// Another gateway may have had the session meanwhile, and Janus sends its events to the last one that claimed it:
    /// so it is claimed again.
    pub fn client_back(&mut self, now: Duration) {
        self.client = Client::Here;
        self.retry.succeeded();
        self.link_lost(now);
    }

    pub fn heard(&mut self, heard: Heard, now: Duration) {
        match (heard, self.state) {
            (_, State::Ended(_)) => {}
            (Heard::Up, State::Joined | State::Negotiated { .. }) => {
                self.state = State::Negotiated { up: true }
            }
            (Heard::Up, State::Opening) => {}
            (Heard::Down, _) => self.end(End::MediaOver),
            (Heard::Removed, _) => self.end(End::Removed),
            (Heard::RoomDestroyed, _) => self.homeless = self.homeless.or(Some(now)),
            (Heard::NotInRoom, _) => self.end(End::SessionLost),
            (Heard::SessionOver, _) => {
                self.holds = false;
                let away = matches!(self.client, Client::Away { .. });
                self.end(if away { End::GraceOver } else { End::SessionLost });
            }
        }
    }

    /// The events have ceased, or go elsewhere: the connection to Janus is over, or we did not keep up.
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

    pub fn reclaim_failed(&mut self, failure: ClaimFailure, now: Duration, dice: f64) {
        match failure {
            ClaimFailure::SessionGone => {
                self.holds = false;
                self.end(End::SessionLost);
            }
            ClaimFailure::Unavailable(why) => self.retry.failed(why, now, &self.timing.backoff, dice),
        }
    }

    pub fn kept_alive(&mut self, now: Duration) {
        let here = self.client == Client::Here;
        self.keep_due = here.then(|| now + self.timing.keep_alive);
    }

    /// The store has news of the room, or of this user in it.
    pub fn saw(&mut self, view: Option<&RoomView>, user: &UserId) {
        if view.is_some_and(|view| view.is_removed(user)) {
            self.end(End::Removed);
        }
        match self.place.fate(view) {
            Fate::Stays => {}
            Fate::Closed => self.end(End::RoomClosed),
            Fate::Moved => self.end(End::JanusMoved),
        }
    }

    /// The first reason stands.
    pub fn end(&mut self, end: End) {
        if !matches!(self.state, State::Ended(_)) {
            self.state = State::Ended(end);
        }
    }

    pub fn destroyed(&mut self) {
        self.holds = false;
    }

    /// What follows from time alone.
    pub fn look(&mut self, now: Duration) {
        let over = |since: Duration, after: Duration| now >= since + after;
        if self.homeless.is_some_and(|since| over(since, VERDICT_WAIT)) {
            self.end(End::JanusMoved);
        }
        match (self.link, self.client) {
            (Link::Lost { .. }, Client::Away { .. }) => self.end(End::LetGo),
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
                let reclaim = Plan::act(Effect::Reclaim, "the events of Janus go elsewhere");
                self.retry.pending(now).unwrap_or(reclaim)
            }
            (_, Link::Up) => match self.keep_due {
                Some(due) if due <= now => Plan::act(Effect::KeepAlive, "Janus forgets who is silent"),
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

    /// Returns when [`look`](Self::look) next ends the session, whatever is in progress meanwhile.
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
        let verdict = self.homeless.map(|since| since + VERDICT_WAIT);
        away.into_iter().chain(lost).chain(verdict).min()
    }
}

impl fmt::Debug for SessionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionIds(******)")
    }
}

#[cfg(test)]
#[path = "anchor_tests.rs"]
mod tests;
