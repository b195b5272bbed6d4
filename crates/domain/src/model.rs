//! Values in the store, as JSON. `keys` defines the names of their keys.
//!
//! Unknown fields are ignored on read, so that a newer node can add a field while older nodes still run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api_key::ApiKeyId;
use super::ids::{Epoch, MediaAddr, ModuleId, Nonce, Pin, RoomId, UnixMs};
use super::placement::PlacementReasons;
use super::profile::RoomProfile;
use super::roles::RoomRole;
use super::signalling::DisplayName;
use super::timeline::{Junction, MediaEnd, Timeline};
use super::trace_context::{self, TraceContext};

/// Value of the key `/rooms/{id}/meta`: the room as created through the API. Outlives every broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub pin: Pin,
    pub max_anchors: u8,
    pub hls_path: String,
    pub created_at: UnixMs,
    /// Time of the delete request. Set in the same transaction in which livemeta gets the status `removing`.
    /// Distinguishes a delete from a stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<UnixMs>,
    /// Epoch of the newest assignment of this room, kept so that epochs rise across stop and start. A new
    /// room begins with the store's revision, which no earlier room with the same id can have reached. The
    /// first start of the room raises this epoch to the revision at which the create was committed, if that
    /// revision is higher.
    #[serde(default)]
    pub last_epoch: Epoch,
    /// Time of the last start of a broadcast. `None`: the room was never started. Such a room is deleted
    /// after a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_started_at: Option<UnixMs>,
    /// Reason why the latest broadcast or backstage ended. `None`: none has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<EndReason>,
    /// API key that created the room. The room counts against the quotas of this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyId>,
    /// Fields that the application can change.
    #[serde(default, skip_serializing_if = "is_default")]
    pub profile: Box<RoomProfile>,
}

/// Reason why a broadcast or backstage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// A request stopped the room.
    Stopped,
    /// The broadcast reached the room's `maxDuration` or `rooms.max_age`, or the backstage reached
    /// `rooms.max_age`.
    MaxDuration,
    /// No anchor was in the room for the room's `emptyTimeout`.
    Empty,
    /// Any other reason.
    #[serde(other)]
    Other,
}

impl EndReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::MaxDuration => "max_duration",
            Self::Empty => "empty",
            Self::Other => "other",
        }
    }
}

/// Time after a start for which actors add spans to its trace.
const LONGEST_TRACED_START: Duration = Duration::from_secs(60);

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveStatus {
    /// Anchors may be in the room; the mixer does not run FFmpeg, and listeners hear nothing. Nodes of
    /// versions that do not know this value cannot read the key, so none of them puts the room on air by
    /// mistake.
    Backstage,
    #[serde(rename = "onair")]
    OnAir,
    Removing,
}

/// Value of the key `/rooms/{id}/livemeta`: desired state of a room on air or backstage, and its Janus and
/// mixer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveMeta {
    pub status: LiveStatus,
    pub mixer_id: ModuleId,
    pub janus_id: ModuleId,
    pub nonce: Nonce,
    pub created_at: UnixMs,
    /// Time from which the removal of a `removing` room may be forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard_at: Option<UnixMs>,
    pub epoch: Epoch,
    /// Mixer that the room is leaving although the mixer still works. It publishes until its successor
    /// produces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Box<Handover>>,
    /// Span of the request that started the broadcast, if its trace is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "trace_context::lenient")]
    pub trace: Option<TraceContext>,
    /// Reasons of the latest choice of each module.
    #[serde(default, skip_serializing_if = "is_empty", deserialize_with = "PlacementReasons::lenient")]
    pub placement_reasons: Box<PlacementReasons>,
}

fn is_empty(reasons: &PlacementReasons) -> bool {
    reasons.is_empty()
}

impl LiveMeta {
    /// Returns the span of the request that started the broadcast; `None` later than
    /// `LONGEST_TRACED_START` after the start, because later repairs are not part of its trace.
    pub fn start_span(&self, now: UnixMs) -> Option<TraceContext> {
        let age = Duration::from_millis(now.0.saturating_sub(self.created_at.0));
        self.trace.filter(|_| age < LONGEST_TRACED_START)
    }
}

/// Values from the key of the mixer that a room is leaving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    pub mixer_id: ModuleId,
    pub hls_url: String,
    pub epoch: Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JanusStatus {
    RoomCreated,
    Forwarding,
    NotForwarding,
}

/// Value of the key `/rooms/{id}/janus`: state of the room in Janus, written by the node to whose Janus the
/// room is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JanusState {
    pub id: ModuleId,
    pub janus_room_id: u32,
    pub status: JanusStatus,
    /// Current forwarder, if there is one. A new forwarder is a new RTP source and needs a new FFmpeg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarder: Option<ForwarderState>,
    pub timestamp: UnixMs,
    pub epoch: Epoch,
    /// True if somebody speaks in the Janus room although the mixer reports silence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unheard: bool,
    /// Incarnation of the writing process, as in its heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwarderState {
    pub stream_id: u64,
    pub target: MediaAddr,
}

/// Value of the key `/rooms/{id}/mixer`: address where the owning mixer node receives RTP. Written as soon as
/// the port is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MixerState {
    pub id: ModuleId,
    #[serde(flatten)]
    pub rtp: MediaAddr,
    pub hls_url: String,
    pub epoch: Epoch,
    /// True if FFmpeg keeps crashing here or no audio arrives: another mixer should take the room. Reset when
    /// FFmpeg works again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gave_up: bool,
    /// True if FFmpeg produces after a handover to this mixer: the outgoing mixer may stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// Number of consecutive FFmpeg processes that ended because no audio arrived although Janus forwards, or
    /// only silence although somebody spoke; at most `mixer_room::GIVE_UP_AT`. 0 while there is audio.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub starved: u32,
    /// True while FFmpeg has produced only silence for more than three seconds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// True if `starved` counts processes that produced only silence although somebody spoke.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unheard: bool,
    /// Incarnation of the writing process, as in its heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Value of the key `/rooms/{id}/sequence`: the first numbers that are not reserved. These and higher numbers
/// have not been published, except possibly by the mixer that wrote this value, during a store outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SequenceState {
    pub ceiling: u64,
    pub discontinuity: u64,
    /// Epoch of the assignment that reserved the numbers. Distinguishes a reservation from another one of the
    /// same numbers, even after the room was deleted and recreated. 0: not reserved. The next mixer then
    /// continues from these numbers.
    #[serde(default)]
    pub epoch: Epoch,
    /// End of the media published with the numbers below these. Set only if a mixer gave the numbers back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_end: Option<MediaEnd>,
}

impl SequenceState {
    /// Creates unreserved numbers to continue from.
    pub fn at(ceiling: u64, discontinuity: u64, media_end: Option<MediaEnd>) -> Self {
        Self { ceiling, discontinuity, epoch: Epoch::default(), media_end }
    }

    /// Returns how media that begins at these numbers joins the earlier media. `started` is the start time of
    /// the broadcast.
    pub fn junction(&self, started: UnixMs, wall: UnixMs) -> Junction {
        match self.media_end {
            // The numbers were reserved and not given back, so the mixer was lost and the end of its media is
            // unknown.
            _ if self.epoch != Epoch::default() => Junction::Unknown,
            Some(MediaEnd { timeline, at }) if at >= started => {
                Junction::After { timeline, ago: Duration::from_millis(wall.0.saturating_sub(at.0)) }
            }
            // The timeline continues across broadcasts, for players that missed the end of the previous one.
            Some(MediaEnd { timeline, .. }) => Junction::First(timeline),
            None if *self == Self::default() => Junction::First(Timeline::default()),
            // The numbers were written by a version that did not store the end of the media.
            None => Junction::Unknown,
        }
    }
}

/// Permissions of an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Anchor who may also moderate the room, ban others and assign roles.
    Host,
    Anchor,
}

/// Value of the key `/rooms/{id}/users/{userId}`: a user who was invited to the room, banned from it, or
/// given a role in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub role: UserRole,
    pub created_at: UnixMs,
    /// Time of the ban. A banned user stays out, whatever token they have, until the ban is lifted or the
    /// room is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<UnixMs>,
    /// True if the user was kicked: the leader lifts the ban after [`KICK`](super::users::KICK).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kicked: bool,
    /// Name under which the user was known when banned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banned_name: Option<DisplayName>,
    /// True if the user was never invited: the record exists only for the ban or the role.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uninvited: bool,
    /// Role given in the room, in place of the one that the user's tokens claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<RoomRole>,
}

impl User {
    /// Returns the record of a user who is invited now.
    pub fn invited(role: UserRole, now: UnixMs) -> Self {
        Self {
            role,
            created_at: now,
            removed_at: None,
            kicked: false,
            banned_name: None,
            uninvited: false,
            assigned: None,
        }
    }

    /// Returns true if the user may not speak, whatever token the user has.
    pub fn is_off_stage(&self) -> bool {
        self.is_banned() || self.assigned == Some(RoomRole::Listener)
    }

    /// Returns true if the user is banned or kicked. None of the user's tokens is then valid for the room.
    pub fn is_banned(&self) -> bool {
        self.removed_at.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Healthy,
    Unhealthy,
}

/// Value of the key `/{januses|mixers}/{id}/heartbeat`, which is bound to a lease: state of a running module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    pub status: Health,
    pub host: String,
    pub url: String,
    /// Maximum number of rooms of this module; 0: the module takes no rooms.
    pub capacity: u32,
    pub started_at: UnixMs,
    /// Random value, new on each process start. Distinguishes a restarted module from one that was only
    /// disconnected.
    pub incarnation: String,
    pub version: String,
    /// RTP addresses of a mixer's rooms. `None`: not a mixer, or a mixer of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtp: Option<RtpRange>,
    /// Load of the module's machine. `None`: not measured yet, or a heartbeat of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_load: Option<MachineLoad>,
    /// Fingerprint of the node's `hls.secret`. `None`: a heartbeat of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_fingerprint: Option<String>,
}

/// Average processor usage of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MachineLoad {
    /// Share of all processors in use, percent.
    pub busy_percent: u8,
    /// Share of all processors used by the Janus and FFmpeg processes of the node, percent.
    pub media_percent: u8,
}

/// UDP ports `first` to `last` of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpRange {
    pub ip: IpAddr,
    pub first: u16,
    pub last: u16,
}

/// Value of the key `/mixers/{id}/listeners`, which is bound to the heartbeat's lease: number of listeners of
/// each room that has any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListenerCounts(pub BTreeMap<RoomId, usize>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MarkLabel {
    Ready,
    Cordon,
    Draining,
    Drained,
    Unready,
}

impl MarkLabel {
    /// Returns the label as written in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cordon => "cordon",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Unready => "unready",
        }
    }
}

/// Value of the key `/{januses|mixers}/{id}/mark`: cordon label of a module. An operator sets it; the leader
/// only replaces `draining` by `drained`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub label: MarkLabel,
    /// Id of the lease that removes the label, if it was set with a `ttl`. The label `drained` keeps the
    /// lease of the label `draining` that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<i64>,
}

/// Value of the key `/leaders/rooms`, which is bound to the leader's lease: the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    pub id: ModuleId,
    /// Incarnation of the process. A restarted node may take over from its own previous incarnation
    /// immediately.
    pub incarnation: String,
    /// Id of the lease that the key is attached to.
    pub lease: i64,
    pub since: UnixMs,
}
