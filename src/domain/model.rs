//! The values in the store, as JSON. Who writes which is in `keys`.
//!
//! Unknown fields are ignored on read, so that a newer node can add one while an older still runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, MediaAddr, ModuleId, Nonce, Pin, RoomId, UnixMs};
use super::timeline::{Junction, MediaEnd, Timeline};

/// `/rooms/{id}/meta`: the room as its owner made it. Outlives every live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub pin: Pin,
    pub max_anchors: u8,
    pub hls_path: String,
    pub created_at: UnixMs,
    /// Set in the same transaction as livemeta `removing`; tells a delete from a stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<UnixMs>,
    /// Of the newest assignment this room ever had, so that the epoch rises across stop and start too.
    /// A new room begins with the store's revision, which no earlier room of the same name can have reached, and its
    /// first start with the revision under which it landed, should that be later than it was decided.
    #[serde(default)]
    pub last_epoch: Epoch,
    /// `None`: never started, so it is removed after a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_started_at: Option<UnixMs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveStatus {
    #[serde(rename = "onair")]
    OnAir,
    Removing,
}

/// `/rooms/{id}/livemeta`: that the room is to be on air, and on which Janus and mixer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveMeta {
    pub status: LiveStatus,
    pub mixer_id: ModuleId,
    pub janus_id: ModuleId,
    pub nonce: Nonce,
    pub created_at: UnixMs,
    /// When a `removing` room may be removed by force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard_at: Option<UnixMs>,
    pub epoch: Epoch,
    /// The mixer the room is leaving while it still works: it goes on until its successor produces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Box<Handover>>,
}

/// What the mixer that a room leaves has said in its key.
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

/// `/rooms/{id}/janus`: what the owning janus node has built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JanusState {
    pub id: ModuleId,
    pub janus_room_id: u32,
    pub status: JanusStatus,
    /// Of the forwarder, while there is one. A new one means a new RTP source, so a new FFmpeg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarder: Option<ForwarderState>,
    pub timestamp: UnixMs,
    pub epoch: Epoch,
    /// The process that wrote it, as its heartbeat names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwarderState {
    pub stream_id: u64,
    pub target: MediaAddr,
}

/// `/rooms/{id}/mixer`: where the owning mixer node waits for RTP. Written when FFmpeg is spawned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MixerState {
    pub id: ModuleId,
    #[serde(flatten)]
    pub rtp: MediaAddr,
    pub hls_url: String,
    pub epoch: Epoch,
    /// FFmpeg keeps crashing here, or no sound arrives: another mixer is to take the room. Taken back when it
    /// produces after all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gave_up: bool,
    /// It was handed the room, and its FFmpeg produces: the mixer before it may stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// How often in a row FFmpeg was given up because nothing arrived although Janus forwards, up to
    /// `mixer_room::GIVE_UP_AT`. 0 while there is sound.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub starved: u32,
    /// The process that wrote it, as its heartbeat names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// `/rooms/{id}/sequence`: numbers at and above these were never published by anyone but who reserved them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SequenceState {
    pub ceiling: u64,
    pub discontinuity: u64,
    /// Of the assignment they were reserved under, which tells a reservation from any other of the same numbers, also
    /// after the room was deleted and made anew. 0: these are numbers to go on from, and nobody's.
    #[serde(default)]
    pub epoch: Epoch,
    /// End of the media published below these numbers. Only in numbers that a mixer gave back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_end: Option<MediaEnd>,
}

impl SequenceState {
    /// Numbers to go on from.
    pub fn at(ceiling: u64, discontinuity: u64, media_end: Option<MediaEnd>) -> Self {
        Self { ceiling, discontinuity, epoch: Epoch::default(), media_end }
    }

    /// How media published from these numbers on join what was published before. `started`: when the broadcast
    /// started.
    pub fn junction(&self, started: UnixMs, wall: UnixMs) -> Junction {
        match self.media_end {
            // Reserved and not given back: a mixer was lost, and where its media ended with it.
            _ if self.epoch != Epoch::default() => Junction::Unknown,
            Some(MediaEnd { timeline, at }) if at >= started => {
                Junction::After { timeline, ago: Duration::from_millis(wall.0.saturating_sub(at.0)) }
            }
            // A player that missed the end of the broadcast before this one still finds continuous timestamps.
            Some(MediaEnd { timeline, .. }) => Junction::First(timeline),
            None if *self == Self::default() => Junction::First(Timeline::default()),
            // Numbers of a version that did not store it.
            None => Junction::Unknown,
        }
    }
}

/// What a person who speaks may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// An anchor who may also mute and remove others.
    Host,
    Anchor,
}

/// `/rooms/{id}/users/{userId}`: a person the room API gave a token to, or whom it removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub role: UserRole,
    pub created_at: UnixMs,
    /// Whoever is removed stays so for the life of the room, whatever token they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<UnixMs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Healthy,
    Unhealthy,
}

/// `/{januses|mixers}/{id}/heartbeat`, under a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    pub status: Health,
    pub host: String,
    pub url: String,
    /// Rooms this module takes at most; 0 takes none.
    pub capacity: u32,
    pub started_at: UnixMs,
    /// Fresh per process: tells a restarted module from one that was only cut off.
    pub incarnation: String,
    pub version: String,
    /// RTP addresses of a mixer's rooms. `None`: not a mixer, or one of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtp: Option<RtpRange>,
}

/// The UDP ports `first` to `last` of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpRange {
    pub ip: IpAddr,
    pub first: u16,
    pub last: u16,
}

/// `/mixers/{id}/listeners`, under the heartbeat's lease: how many listen to each room that anybody listens
/// to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListenerCounts(pub BTreeMap<RoomId, usize>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkLabel {
    Ready,
    Cordon,
    Draining,
    Drained,
    Unready,
}

impl MarkLabel {
    /// As it stands in the store and in the API.
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

/// `/{januses|mixers}/{id}/mark`: an operator's word on a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub label: MarkLabel,
    /// The store's number of the lease it falls away with, if it does: what replaces it does so too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<i64>,
}

/// `/leaders/rooms`, under the leader's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    pub id: ModuleId,
    /// Of the process: a restarted node may take over from itself at once.
    pub incarnation: String,
    /// The store's number of the lease the key is under.
    pub lease: i64,
    pub since: UnixMs,
}
