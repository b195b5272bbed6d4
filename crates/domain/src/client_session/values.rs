//! Values that a client session takes and returns: its user, rules, surroundings, inputs and effects.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::{FencingToken, JoinOutcome, RenewOutcome, UpdateOutcome};
use crate::grant::Grant;
use crate::ids::{ClientId, RoomId, UnixMs, UserId};
use crate::media_session::End;
use crate::model::UserRole;
use crate::pin_attempts::Guess;
use crate::presence_entry::{PresenceEntry, Source};
use crate::roles::{RoleOrder, RoomRole};
use crate::signalling::methods::{Offer, ResumeToken, SessionDescription, Trickle};
use crate::signalling::{CloseCode, DisplayName, Method, Notification, RpcError};
use crate::users::BanOrder;
use crate::view::RoomView;

/// User of a connection, as given by the token and the upgrade request.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    pub room: RoomId,
    pub user: UserId,
    /// Role that the token claims.
    pub claimed: UserRole,
    pub grant: Grant,
    /// Client id from the upgrade request.
    pub client_id: Option<ClientId>,
    pub source: Source,
}

/// Rules for all sessions of a gateway: time limits, and what a join requires.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Maximum duration of a call (`ws.call_timeout`).
    pub call_timeout: Duration,
    /// Maximum time outside the room (`ws.join_within`).
    pub join_within: Duration,
    /// Interval between two renewals of the lock.
    pub renew_every: Duration,
    /// Maximum time without activity of a client in the room (`presence.timeout`).
    pub silence: Duration,
    /// True if the application decides who may join (`admission.url`).
    pub admission: bool,
    /// True if an anchor can join only after agreeing to be recorded (`recording.consent`).
    pub consent: bool,
    /// Interval between two checks for a silent client, and delay before a failed renewal of the lock is
    /// repeated.
    pub check_every: Duration,
}

/// Times, room and random number at one input.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Monotonic time.
    pub now: Duration,
    pub wall: UnixMs,
    /// Room in the store, empty if there is no such room; `None` until the store has been listed.
    pub room: Option<Arc<RoomView>>,
    /// Random unit, for jitter.
    pub random: f64,
}

/// Number of a call on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Task that waits for an answer from presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    /// The `join` in progress, even if its call has timed out.
    Join,
    Call(CallId),
}

/// Error: the presence backend did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// Outcome of acquiring the connection lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOutcome {
    Ours(FencingToken),
    Taken,
}

/// Media session that was joined or resumed.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedMedia {
    pub resume_token: ResumeToken,
    /// True if the previous session and its media were resumed.
    pub resume: bool,
    pub muted: bool,
}

/// Event of the media session.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// Event that only concerns the client.
    Notify(Notification),
    Muted(bool),
    /// True: Janus receives packets from the client. False: Janus has received none for a second.
    Receiving(bool),
    /// Last event. If `reconnect_after` is set, the client should join again after this time.
    Ended {
        end: End,
        reconnect_after: Option<Duration>,
    },
    /// The session failed, or another connection took it over.
    Lost,
}

/// Input of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The connection is open; always the first input.
    Opened,
    Call(CallId, Method),
    /// Result of [`Effect::CallMedia`], [`Effect::MuteUser`] or [`Effect::ChangeRoom`].
    Finished(CallId, Result<Answer, RpcError>),
    Acquired(Result<LockOutcome, Unavailable>),
    Renewed {
        token: FencingToken,
        outcome: Result<RenewOutcome, Unavailable>,
    },
    /// Another connection has acquired the lock.
    LockReplaced,
    /// The backend may have lost the lock.
    RenewNow,
    /// The room may have changed in the store.
    RoomChanged,
    /// The time of [`due`](super::ClientSession::due) has come.
    Tick,
    PinChecked(Guess),
    /// Result of [`Effect::AskAdmission`].
    AdmissionAnswered(Result<(), RpcError>),
    Listed(Waiter, Result<Vec<PresenceEntry>, Unavailable>),
    /// Result of [`Effect::Enter`].
    Entered(Result<JoinOutcome, Unavailable>),
    /// Result of [`Effect::Update`].
    Updated(Result<UpdateOutcome, Unavailable>),
    MediaJoined(Result<JoinedMedia, RpcError>),
    /// `join`: number of the media session, from [`Effect::FollowMedia`].
    Media {
        join: u64,
        event: MediaEvent,
    },
    /// The connection is closed. `left`: true if `leave` arrived, and no `join` after it.
    Closed {
        code: CloseCode,
        left: bool,
    },
}

/// Action for the shell. Effects are started in order; their results come back as inputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Acquires the connection lock for this client. Must run to completion, even if the shell panics.
    Acquire {
        client: Option<ClientId>,
    },
    Renew {
        client: Option<ClientId>,
        token: FencingToken,
    },
    /// Reports to presence that the user leaves the room, that the lock is free, or both. Has no result. The
    /// shell repeats the report until presence has recorded it, even after the connection has ended.
    LeavePresence {
        token: FencingToken,
        leave: bool,
        release: bool,
    },
    /// Lists the presence entries of the room.
    ListMembers(Waiter),
    /// Adds the presence entry. If the room is full, the shell first removes the entries of users who may not
    /// speak.
    Enter {
        entry: PresenceEntry,
        max_anchors: usize,
    },
    Update(PresenceEntry),
    /// Counts a pin that the user entered, and compares the number of wrong pins with the limit. `right`:
    /// true if this pin is correct.
    CheckPin {
        right: bool,
    },
    /// Asks the application whether the user may join. If the application names a role, the shell gives the
    /// user this role.
    AskAdmission {
        role: RoomRole,
        display_name: Option<DisplayName>,
    },
    JoinMedia {
        resume_token: Option<ResumeToken>,
    },
    /// Keeps the joined media session and reports its events under this number.
    FollowMedia(u64),
    /// Releases the media session, which then waits for its client to resume it.
    DropMedia,
    /// Ends the media session.
    LeaveMedia,
    CallMedia(CallId, MediaCall),
    /// Mutes or unmutes another user in Janus.
    MuteUser {
        call: CallId,
        user: UserId,
        muted: bool,
    },
    ChangeRoom(CallId, RoomOrder),
    Reply(CallId, Result<Answer, RpcError>),
    Notify(Notification),
    /// Sends the members of the room to this client, even if they did not change.
    Greet,
    /// Closes the connection. The shell then returns [`Input::Closed`].
    Close(CloseCode),
}

/// Call by the client to its own media session.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaCall {
    Offer(Offer),
    Candidate(Trickle),
    Mute(bool),
}

/// Change of the room in the store.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomOrder {
    ChangeRole(RoleOrder),
    Ban(BanOrder),
    Kick(BanOrder),
    Unban(UserId),
    MuteAll,
    SetLocked(bool),
    GoLive,
}

/// Result of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Done,
    Joined {
        resume_token: ResumeToken,
        resume: bool,
        /// Gain that restores the level of one participant, in dB.
        mix_gain_db: f64,
    },
    Sdp(SessionDescription),
}

impl Input {
    /// Returns the name of the variant, for metrics and transitions.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Call(..) => "call",
            Self::Finished(..) => "finished",
            Self::Acquired(_) => "acquired",
            Self::Renewed { .. } => "renewed",
            Self::LockReplaced => "lock_replaced",
            Self::RenewNow => "renew_now",
            Self::RoomChanged => "room_changed",
            Self::Tick => "tick",
            Self::PinChecked(_) => "pin_checked",
            Self::AdmissionAnswered(_) => "admission_answered",
            Self::Listed(..) => "listed",
            Self::Entered(_) => "entered",
            Self::Updated(_) => "updated",
            Self::MediaJoined(_) => "media_joined",
            Self::Media { .. } => "media",
            Self::Closed { .. } => "closed",
        }
    }
}
