//! Recordings of broadcasts: who records, when a recording can be played, and when it is removed. This module
//! is pure.
//!
//! ```text
//!  request in the room's keys ──▶ Record ──▶ Close ──▶ (nothing)      duty of each mixer of the room
//!                                               deletedAt ──▶ Erase
//! ```
//! A request belongs to one broadcast. Each mixer that publishes the broadcast writes its own take of the
//! recording; the takes are joined by the sequence numbers of their segments. Owns these rules. Does not
//! touch a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use super::handover::outgoing_mixer;
use super::ids::{InvalidName, ModuleId, Nonce, RoomId, UnixMs, UserId};
use super::profile::{CoverUrl, Description, Owner, RoomProfile, Tags, Title};
use super::recording_details::{RecordingDetails, RoomEvent};
use super::room::{Admission, RoomWrite};
use super::tracks::{self, Track, TrackFile};
use super::upload::{CopyKind, StoredCopy, StoredExtras};
use super::view::RoomView;

/// Id of a recording: `^[a-z0-9]{16}$`. It is safe in a URL path, a store key and a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordingId(std::sync::Arc<str>);

/// Selection of the broadcasts that are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingMode {
    /// No broadcast.
    Off,
    /// Broadcasts whose recording is requested through the room API.
    OnRequest,
    /// Every broadcast, until its recording is stopped through the room API.
    Always,
}

/// Value of the key `/rooms/{id}/recording`: request to record one broadcast. It has no effect on later ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordingRequest {
    pub id: RecordingId,
    /// Nonce of the broadcast.
    pub nonce: Nonce,
    /// Time from which the broadcast is recorded.
    pub since: UnixMs,
    /// Time from which nothing is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<UnixMs>,
}

/// Value of the key `/recordings/{id}`: a recording. Outlives its room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    pub room: RoomId,
    pub nonce: Nonce,
    pub room_created_at: UnixMs,
    pub started_at: UnixMs,
    /// Title of the room when the recording became ready. If the room no longer existed at that time: title
    /// of the room when the recording began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
    /// Anchors and chapters; empty until the event `recording_ready` is written.
    #[serde(default)]
    pub details: RecordingDetails,
    /// Copy in object storage; `None` until the copy is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<StoredCopy>,
    /// Further copies in object storage.
    #[serde(default)]
    pub extras: StoredExtras,
    /// Time that each user has spoken in the recording, in milliseconds. `None` for recordings made by
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoken: Option<BTreeMap<UserId, u64>>,
    /// Loudness and waveform; `None` until they have been measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Box<Analysis>>,
    /// Tracks of the anchors; empty until a node has made them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracks: Vec<Track>,
    /// Fields of the room, as they were when the recording became ready.
    #[serde(default)]
    pub profile: RecordedProfile,
    /// Time at which the removal was requested. The key is deleted once the last data of the recording is
    /// removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<UnixMs>,
    /// True until the event `recording_ready` is written. False for recordings made by earlier versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreported: bool,
    /// Takes, keyed by the mixer that wrote them.
    pub takes: BTreeMap<ModuleId, Take>,
}

/// Fields of the recorded room that a recording keeps, besides the title.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedProfile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover_url: Option<CoverUrl>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
}

/// Part of a recording that one mixer has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Take {
    /// Time at which the mixer closed the take; `None`: the take is open, or its mixer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<UnixMs>,
    #[serde(default)]
    pub segments: u64,
    #[serde(default)]
    pub duration_ms: u64,
    #[serde(default)]
    pub bytes: u64,
    /// Segments that were not written because the disk was full or slow, or failed.
    #[serde(default)]
    pub lost: u64,
    /// True if the mixer has removed its data because object storage has a copy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// The broadcast is being recorded.
    Recording,
    /// The recording has ended but cannot be played yet: the broadcast is still on air, or a mixer has not
    /// closed its take.
    Pending,
    /// The recording can be played.
    Ready,
}

/// Task of a mixer for one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    Record(RecordingRequest),
    /// Nothing more is to be recorded here: close the take.
    Close {
        stopped_at: Option<UnixMs>,
    },
    /// Remove the data.
    Erase,
    Nothing,
}

/// Change of a recording's key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a write exists only until its transaction is built")]
pub enum RecordingWrite {
    Put(Recording),
    Remove,
}

/// Reason why a recording cannot be started or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordingDenied {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is not on air")]
    NotOnAir,
    #[error("recording is switched off, by the setting recording.mode or the room's recordingMode")]
    SwitchedOff,
}

impl RecordingId {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let ok = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        match ok {
            true => Ok(Self(text.into())),
            false => Err(InvalidName { what: "recording id", rule: "must be 16 characters of a-z 0-9" }),
        }
    }

    /// Returns the id made of 64 random bits.
    pub fn random(bits: u64) -> Self {
        Self(format!("{bits:016x}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RecordingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RecordingId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<RecordingId> for String {
    fn from(id: RecordingId) -> Self {
        id.0.to_string()
    }
}

impl RecordingMode {
    /// Parses the value of the field `recordingMode` of a room.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        match text {
            "off" => Ok(Self::Off),
            "on_request" => Ok(Self::OnRequest),
            "always" => Ok(Self::Always),
            _ => Err(InvalidName { what: "recordingMode", rule: "must be off, on_request or always" }),
        }
    }

    /// Returns the mode of this room. `self`: the setting `recording.mode`, which the room's own mode
    /// replaces, unless it is `Off`.
    pub fn of_room(self, view: &RoomView) -> Self {
        let own = view.meta.as_ref().and_then(|meta| meta.profile.recording_mode);
        if self == Self::Off { self } else { own.unwrap_or(self) }
    }
}

/// Returns the request for the room's current broadcast, active or stopped; `None` if there is none.
pub fn of_broadcast(view: &RoomView) -> Option<&RecordingRequest> {
    let live = view.live.as_ref().filter(|_| view.is_on_air())?;
    view.recording.as_ref().map(|request| &request.value).filter(|request| request.nonce == live.nonce)
}

/// Returns the active request; `None` if the room is not being recorded.
pub fn in_force(view: &RoomView) -> Option<&RecordingRequest> {
    of_broadcast(view).filter(|request| request.stopped_at.is_none())
}

/// Decides a request to record the current broadcast from now on. `mode`: the setting `recording.mode`.
pub fn admit_start(
    view: &RoomView,
    mode: RecordingMode,
    id: RecordingId,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, RecordingDenied> {
    view.meta.as_ref().ok_or(RecordingDenied::NoSuchRoom)?;
    let live = view.live.as_ref().filter(|_| view.is_on_air()).ok_or(RecordingDenied::NotOnAir)?;
    if mode.of_room(view) == RecordingMode::Off {
        return Err(RecordingDenied::SwitchedOff);
    }
    if in_force(view).is_some() {
        return Ok(Admission::AlreadyDone);
    }
    let request = RecordingRequest { id, nonce: live.nonce.clone(), since: now, stopped_at: None };
    Ok(Admission::Accepted(RoomWrite::Recording(request)))
}

/// Decides a request to stop the recording.
pub fn admit_stop(view: &RoomView, now: UnixMs) -> Result<Admission<RoomWrite>, RecordingDenied> {
    view.meta.as_ref().ok_or(RecordingDenied::NoSuchRoom)?;
    Ok(match in_force(view) {
        None => Admission::AlreadyDone,
        Some(request) => {
            let stopped = RecordingRequest { stopped_at: Some(now), ..request.clone() };
            Admission::Accepted(RoomWrite::Recording(stopped))
        }
    })
}

/// Returns the request that records the current broadcast from its start. `mode`: the setting
/// `recording.mode`. `None` if the mode of the room is not `Always`, the room is not on air, or the broadcast
/// already has a request, even a stopped one.
pub fn automatic(view: &RoomView, mode: RecordingMode, id: RecordingId) -> Option<RecordingRequest> {
    let always = mode.of_room(view) == RecordingMode::Always;
    let live = view.live.as_ref().filter(|_| view.is_on_air() && always)?;
    let none = of_broadcast(view).is_none();
    none.then(|| RecordingRequest { id, nonce: live.nonce.clone(), since: live.created_at, stopped_at: None })
}

fn title_of(view: &RoomView) -> Option<Title> {
    view.meta.as_ref().and_then(|meta| meta.profile.title.clone())
}

fn profile_of(view: &RoomView) -> RecordedProfile {
    let Some(meta) = &view.meta else { return RecordedProfile::default() };
    let RoomProfile { owner, tags, description, cover_url, public, .. } = (*meta.profile).clone();
    RecordedProfile { owner, tags, description, cover_url, public }
}

/// Returns true if the room is on air and assigned to this mixer, or if this mixer is the outgoing mixer of a
/// handover.
pub fn is_mixed_by(view: &RoomView, me: &ModuleId) -> bool {
    let live = view.live.as_ref().filter(|_| view.is_on_air());
    live.is_some_and(|live| live.mixer_id == *me)
        || outgoing_mixer(view).is_some_and(|outgoing| outgoing.mixer_id == *me)
}

/// Returns the task of mixer `me`. `view`: the recorded room; `known`: the value of the recording's key.
pub fn duty(me: &ModuleId, id: &RecordingId, known: Option<&Recording>, view: &RoomView) -> Duty {
    let take = known.and_then(|recording| recording.takes.get(me));
    if known.is_some_and(|recording| recording.deleted_at.is_some()) {
        return if take.is_some() { Duty::Erase } else { Duty::Nothing };
    }
    let request = of_broadcast(view).filter(|request| request.id == *id && is_mixed_by(view, me));
    match request {
        Some(request) if request.stopped_at.is_none() => Duty::Record(request.clone()),
        request if take.is_some_and(|take| take.ended_at.is_none()) => {
            Duty::Close { stopped_at: request.and_then(|request| request.stopped_at) }
        }
        _ => Duty::Nothing,
    }
}

impl Recording {
    /// Creates a recording without takes. `view`: the recorded room.
    pub fn new(room: RoomId, view: &RoomView, request: &RecordingRequest) -> Self {
        let (nonce, started_at) = (request.nonce.clone(), request.since);
        Self {
            room,
            nonce,
            room_created_at: view.meta.as_ref().map_or(UnixMs(0), |meta| meta.created_at),
            started_at,
            title: title_of(view),
            profile: profile_of(view),
            spoken: Some(BTreeMap::new()),
            analysis: None,
            tracks: Vec::new(),
            details: RecordingDetails::default(),
            stored: None,
            extras: StoredExtras::default(),
            deleted_at: None,
            unreported: true,
            takes: BTreeMap::new(),
        }
    }

    /// Returns the recording with this take of a mixer.
    pub fn with_take(mut self, mixer: ModuleId, take: Take) -> Self {
        self.takes.insert(mixer, take);
        self
    }

    /// Returns the write to make after a mixer has removed its data.
    pub fn without_take(mut self, mixer: &ModuleId) -> RecordingWrite {
        self.takes.remove(mixer);
        if self.takes.is_empty() { RecordingWrite::Remove } else { RecordingWrite::Put(self) }
    }

    /// Returns the recording with a record of its copy in object storage.
    pub fn stored(self, stored: StoredCopy) -> Self {
        Self { stored: Some(stored), ..self }
    }

    /// Returns the recording with a record of another copy in object storage, of this size.
    pub fn with_extra(mut self, kind: CopyKind, bytes: u64) -> Self {
        match kind {
            CopyKind::M4a | CopyKind::Segments => {}
            CopyKind::Captions => self.extras.captions = true,
            CopyKind::Info { version } => self.extras.info_version = Some(version),
            CopyKind::Track(number) => self.extras.tracks.extend([(number, bytes)]),
        }
        self
    }

    /// Returns the numbers of all tracks that the recording has, or had when they were copied.
    pub fn track_numbers(&self) -> BTreeSet<u32> {
        let copied = self.extras.tracks.keys().copied();
        self.tracks.iter().map(|track| track.number).chain(copied).collect()
    }

    /// Returns the recording with these tracks of a node, instead of those that the node had before.
    pub fn with_tracks(self, node: &ModuleId, files: &[TrackFile]) -> Self {
        Self { tracks: tracks::replaced(self.tracks, node, files), ..self }
    }

    /// Returns the recording after `mixer` has removed its local data. The copy in object storage remains.
    pub fn without_local(mut self, mixer: &ModuleId) -> Self {
        self.takes.entry(mixer.clone()).and_modify(|take| take.dropped = true);
        self
    }

    /// Returns the write that follows the removal of a deleted recording's copies. It keeps the takes of
    /// mixers that still have data.
    pub fn without_copies(mut self) -> RecordingWrite {
        (self.stored, self.extras) = (None, StoredExtras::default());
        self.takes.retain(|_, take| !take.dropped);
        if self.takes.is_empty() { RecordingWrite::Remove } else { RecordingWrite::Put(self) }
    }

    /// Returns the recording with the removal requested at `now`.
    pub fn deleted(self, now: UnixMs) -> Self {
        Self { deleted_at: Some(now), ..self }
    }

    /// Returns the state. `view` is the recorded room; the takes of mixers that are not alive are ignored.
    pub fn state(
        &self,
        id: &RecordingId,
        view: &RoomView,
        is_alive: impl Fn(&ModuleId) -> bool,
    ) -> RecordingState {
        if in_force(view).is_some_and(|request| request.id == *id) {
            return RecordingState::Recording;
        }
        let on_air = view.is_on_air() && view.live.as_ref().is_some_and(|live| live.nonce == self.nonce);
        let open = self.takes.iter().any(|(mixer, take)| take.ended_at.is_none() && is_alive(mixer));
        if on_air || open { RecordingState::Pending } else { RecordingState::Ready }
    }

    /// Returns true if the event `recording_ready` is due for this recording. The parameters are those of
    /// [`state`](Self::state).
    pub fn is_to_be_reported(
        &self,
        id: &RecordingId,
        view: &RoomView,
        is_alive: impl Fn(&ModuleId) -> bool,
    ) -> bool {
        self.unreported
            && self.deleted_at.is_none()
            && !self.takes.is_empty()
            && self.state(id, view, is_alive) == RecordingState::Ready
    }

    /// Returns the recording, marked as reported by the event `recording_ready`. `view`: the recorded room;
    /// `events`: its events, in order.
    pub fn reported(self, view: &RoomView, events: &[RoomEvent]) -> Self {
        let details = RecordingDetails::of(events, self.started_at, self.end_of_ready(events));
        let same_room = view.meta.as_ref().is_some_and(|meta| meta.created_at == self.room_created_at);
        let (title, profile) = match same_room {
            true => (title_of(view), profile_of(view)),
            false => (self.title, self.profile),
        };
        Self { unreported: false, title, profile, details, ..self }
    }

    /// Returns the time at which the last take was closed; `None` if a take is open, or if there are none.
    pub fn ended_at(&self) -> Option<UnixMs> {
        let ends: Option<Vec<UnixMs>> = self.takes.values().map(|take| take.ended_at).collect();
        ends?.into_iter().max()
    }

    /// Returns the time at which a recording that is ready ended. A take that is still open belongs to a lost
    /// mixer and counts until the end of the broadcast.
    fn end_of_ready(&self, events: &[RoomEvent]) -> UnixMs {
        let open = self.takes.values().any(|take| take.ended_at.is_none());
        let over = events.iter().find(|event| event.time >= self.started_at && event.kind.ends_broadcast());
        let closed = self.takes.values().filter_map(|take| take.ended_at);
        let ends = closed.chain(over.filter(|_| open).map(|event| event.time));
        ends.max().unwrap_or(self.started_at)
    }

    /// Returns true if the recording ended longer than `retention` ago and is not deleted yet. `may_write`
    /// tests whether a mixer may still write its open take. The open take of any other mixer might never be
    /// closed. It counts as ended `longest` (the longest duration of a broadcast) after the start of the
    /// recording.
    pub fn has_expired(
        &self,
        (retention, longest): (Duration, Duration),
        may_write: impl Fn(&ModuleId) -> bool,
        now: UnixMs,
    ) -> bool {
        let latest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let latest = UnixMs(self.started_at.0.saturating_add(latest));
        let end = |(mixer, take): (&ModuleId, &Take)| match take.ended_at {
            None if may_write(mixer) => None,
            ended => Some(ended.unwrap_or(latest)),
        };
        let ends: Option<Vec<UnixMs>> = self.takes.iter().map(end).collect();
        let age = |ended: UnixMs| u128::from(now.0.saturating_sub(ended.0));
        let ended = ends.and_then(|ends| ends.into_iter().max());
        self.deleted_at.is_none() && ended.is_some_and(|ended| age(ended) > retention.as_millis())
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
