//! Rules of the room API: the allowed operations on a room, and their writes.
//!
//! ```text
//!            create            start                 both keys of the newest epoch
//!   (absent) ──────▶ created ────────▶ starting ───────────────────────────────▶ onair
//!      ▲              │  ▲ │               │  ▲                                   │  ▲
//!      │              │  │ └─▶ backstage ──┤  └─ degraded ◀── forwarding lost ────┘  │
//!      ├── delete ────┘  │   open  │  start│           └───── or moved ──────────────┘
//!      │   expire        │         ▼       ▼
//!      │                 │       stop, delete, expire
//!      │                 │                 │
//!      │                 └───────────── removing
//!      └───────────────────────────────────┘  once the janus and mixer keys are gone, or by force
//! ```
//!
//! A request is accepted, ignored as already done, or denied with a typed reason, before anything is written.
//! An accepted request results in a [`RoomWrite`]: one transaction that is committed only if the room is
//! still as it was read. So a request cannot restore anything that a concurrent write removed. The epoch
//! never decreases.
//!
//! In the backstage, anchors meet before the broadcast. A Janus instance and a mixer are assigned to the
//! room, but the mixer does not run FFmpeg. A start keeps both, so it cannot fail for lack of capacity.
//!
//! Owns these rules. Never writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::handover;
use super::ids::{Epoch, ModuleId, Nonce, UnixMs, UserId};
use super::keys::ModuleKind;
use super::model::{EndReason, JanusStatus, LiveMeta, LiveStatus, Meta, User};
use super::mute_all::MuteOrder;
use super::output::Outputs;
use super::placement::{NotPickable, Placement, RejectReason};
use super::profile::ProfileError;
use super::recording::RecordingRequest;
use super::reported_anchors::{PresentAnchor, ReportedAnchors};
use super::reported_hands::HandChange;
use super::schedule;
use super::sources::Sources;
use super::view::{RoomView, StoredValue};

mod lifetime;

pub use lifetime::{Expiry, ExpiryLimits, empty_timeout, expiry, max_duration, time_left};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RoomStatus {
    /// Exists, and is neither on air nor backstage.
    Created,
    /// Anchors may be in the room, and listeners hear nothing yet.
    Backstage,
    /// Assigned to a Janus instance and a mixer that are not both ready yet.
    Starting,
    /// Janus forwards the mix to a mixer that waits for it.
    OnAir,
    /// Was on air; forwarding has stopped, or the room is being moved.
    Degraded,
    /// Janus and mixer are releasing the room.
    Removing,
}

/// Result of a request that is not denied: a change to make, or nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission<T> {
    Accepted(T),
    AlreadyDone,
}

/// Changes of an accepted request, made in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomWrite {
    /// Puts the keys that are `Some` and leaves the others unchanged.
    Put { meta: Option<Meta>, live: Option<LiveMeta> },
    /// Ends the broadcast and keeps the room: deletes livemeta and, after a forced removal, the module keys
    /// that remain.
    ClearLive,
    /// Deletes every key of the room.
    ClearAll,
    /// Writes or deletes one user, and deletes another user's record if necessary. The rest of the room is
    /// unchanged. `by`: host or co-host who requested the change.
    User { id: UserId, user: Option<User>, forgotten: Option<UserId>, by: Option<UserId> },
    /// Writes the request that starts or stops a recording of the current broadcast. The rest of the room is
    /// unchanged.
    Recording(RecordingRequest),
    /// Writes the roles of users. The rest of the room is unchanged. `by`: host who requested the change.
    Roles { users: Vec<(UserId, User)>, by: Option<UserId> },
    /// Writes the order to mute everybody. The rest of the room is unchanged.
    MuteAll(MuteOrder),
    /// Writes meta after a change of the lock. `by`: host or co-host who requested the change.
    Lock { meta: Meta, by: Option<UserId> },
    /// Writes the anchors who are reported as present. The rest of the room is unchanged. `joined`: anchors
    /// who are newly reported. `hands`: newly reported changes of raised hands.
    Anchors { reported: ReportedAnchors, joined: Vec<PresentAnchor>, hands: Vec<HandChange> },
    /// Changes no key: reports that the host or co-host `by` has muted or unmuted an anchor.
    Muted { user: UserId, muted: bool, by: UserId },
    /// Writes the wanted outputs. The rest of the room is unchanged.
    Outputs(Outputs),
    /// Writes the URLs and files that are played in the room. The rest of the room is unchanged.
    Sources(Sources),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateDenied {
    #[error("a room with this id exists")]
    Exists,
    #[error("the room of this id is still being removed")]
    Removing,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartDenied {
    #[error("there is no such room")]
    NotFound,
    #[error("Janus and mixer are still releasing the room after its stop or deletion: try again in a moment")]
    Removing,
    #[error("the room is on air already")]
    OnAir,
    #[error("no janus takes a room{}", Reasons(considered))]
    NoPickableJanus { considered: Vec<(ModuleId, RejectReason)> },
    #[error("no mixer takes a room{}", Reasons(considered))]
    NoPickableMixer { considered: Vec<(ModuleId, RejectReason)> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such room")]
pub struct NoSuchRoom;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchDenied {
    #[error("there is no such room")]
    NotFound,
    #[error("the room is being removed")]
    Removing,
    #[error(transparent)]
    Invalid(ProfileError),
}

/// Next step for a `removing` room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a step is carried out at once and not stored")]
pub enum Cleanup {
    /// The room is not being removed.
    Nothing,
    Waiting(PendingRemoval),
    Remove(RoomWrite),
}

/// Module keys that still exist. At `forced_at`, they are deleted together with the other keys of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRemoval {
    /// Never empty.
    pub on: Vec<ModuleKind>,
    pub forced_at: Option<UnixMs>,
}

impl RoomStatus {
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Backstage, Self::Starting, Self::OnAir, Self::Degraded, Self::Removing];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Backstage => "backstage",
            Self::Starting => "starting",
            Self::OnAir => "onair",
            Self::Degraded => "degraded",
            Self::Removing => "removing",
        }
    }
}

impl StartDenied {
    pub fn not_pickable(kind: ModuleKind, refused: NotPickable) -> Self {
        let considered = refused.considered;
        match kind {
            ModuleKind::Janus => Self::NoPickableJanus { considered },
            ModuleKind::Mixer => Self::NoPickableMixer { considered },
        }
    }
}

/// Returns the status, or `None` if there is no such room.
pub fn status(view: &RoomView) -> Option<RoomStatus> {
    let Some(live) = &view.live else {
        let meta = view.meta.as_ref()?;
        return Some(if meta.deleted_at.is_some() { RoomStatus::Removing } else { RoomStatus::Created });
    };
    match live.status {
        LiveStatus::Removing => return Some(RoomStatus::Removing),
        LiveStatus::Backstage => return Some(RoomStatus::Backstage),
        LiveStatus::OnAir => {}
    }
    let janus = view.janus.as_ref().filter(|j| j.epoch == live.epoch).map(|j| j.status);
    let mixer = view.mixer.as_ref().filter(|m| m.epoch == live.epoch).map(|m| m.rtp);
    let target = view.janus.as_ref().and_then(|j| j.forwarder).map(|f| f.target);
    // A stop leaves no key behind, so a key of an older epoch means that the room was moved while on air or
    // backstage.
    let moved = view.janus.as_ref().is_some_and(|j| j.epoch < live.epoch)
        || view.mixer.as_ref().is_some_and(|m| m.epoch < live.epoch);
    Some(match (janus, mixer) {
        (Some(JanusStatus::Forwarding), Some(rtp)) if target == Some(rtp) => RoomStatus::OnAir,
        // Janus forwards to no mixer, or to a port where this mixer no longer waits.
        (Some(JanusStatus::Forwarding | JanusStatus::NotForwarding), _) => RoomStatus::Degraded,
        _ if moved => RoomStatus::Degraded,
        _ => RoomStatus::Starting,
    })
}

/// Decides a create request. `meta` is the wanted room. `revision` is the store's revision when `view` was
/// read, and the epochs start at this revision. Each start raises the revision at least as much as the epoch,
/// so the epochs of an earlier room with the same id are lower.
pub fn admit_create(view: &RoomView, meta: Meta, revision: i64) -> Result<Meta, CreateDenied> {
    match status(view) {
        None => Ok(Meta { last_epoch: Epoch(revision.unsigned_abs()), ..meta }),
        Some(RoomStatus::Removing) => Err(CreateDenied::Removing),
        Some(_) => Err(CreateDenied::Exists),
    }
}

/// Decides a start request. `place` is called only if the room needs a placement. A room in its backstage
/// keeps its Janus and its mixer.
pub fn admit_start(
    view: &RoomView,
    place: impl FnOnce() -> Result<Placement, StartDenied>,
    nonce: Nonce,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, StartDenied> {
    let meta = view.meta.as_ref().ok_or(StartDenied::NotFound)?;
    match (status(view), &view.live) {
        (Some(RoomStatus::Created), _) => {
            Ok(Admission::Accepted(assignment(landed(meta), place()?, nonce, now)))
        }
        (Some(RoomStatus::Backstage), Some(live)) => {
            let live = LiveMeta { status: LiveStatus::OnAir, created_at: now, ..live.value.clone() };
            let meta = started(meta.value.clone(), now);
            Ok(Admission::Accepted(RoomWrite::Put { meta: Some(meta), live: Some(live) }))
        }
        (Some(RoomStatus::Removing) | None, _) => Err(StartDenied::Removing),
        (Some(_), _) => Ok(Admission::AlreadyDone),
    }
}

/// Decides a request to open the backstage. `place` is called only if it can be opened.
pub fn admit_backstage(
    view: &RoomView,
    place: impl FnOnce() -> Result<Placement, StartDenied>,
    nonce: Nonce,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, StartDenied> {
    let meta = view.meta.as_ref().ok_or(StartDenied::NotFound)?;
    match status(view) {
        Some(RoomStatus::Created) => Ok(Admission::Accepted(backstage(landed(meta), place()?, nonce, now))),
        Some(RoomStatus::Backstage) => Ok(Admission::AlreadyDone),
        Some(RoomStatus::Removing) | None => Err(StartDenied::Removing),
        Some(_) => Err(StartDenied::OnAir),
    }
}

/// Returns the meta of a room that starts, with `last_epoch` raised if necessary. A create may be committed
/// long after it read the store's revision. Meanwhile the epochs of an earlier room with the same id may have
/// exceeded that revision. The revision at which the create was committed is above all of them.
fn landed(meta: &StoredValue<Meta>) -> Meta {
    let landed = Epoch(meta.mod_revision.unsigned_abs());
    Meta { last_epoch: meta.last_epoch.max(landed), ..meta.value.clone() }
}

/// Returns the write that puts the room on air under the next epoch.
pub fn assignment(meta: Meta, placement: Placement, nonce: Nonce, now: UnixMs) -> RoomWrite {
    assigned(started(meta, now), LiveStatus::OnAir, placement, nonce, now)
}

/// Returns the write that opens the backstage under the next epoch.
pub fn backstage(meta: Meta, placement: Placement, nonce: Nonce, now: UnixMs) -> RoomWrite {
    assigned(meta, LiveStatus::Backstage, placement, nonce, now)
}

/// Returns the meta of a room whose broadcast starts now. A start of any kind ends the schedule, so a
/// schedule starts its room at most once.
fn started(mut meta: Meta, now: UnixMs) -> Meta {
    meta.last_started_at = Some(now);
    meta.profile.starts_at = None;
    meta
}

fn assigned(
    mut meta: Meta,
    status: LiveStatus,
    placement: Placement,
    nonce: Nonce,
    now: UnixMs,
) -> RoomWrite {
    let epoch = meta.last_epoch.next();
    meta.last_epoch = epoch;
    let live = LiveMeta {
        status,
        mixer_id: placement.mixer_id,
        janus_id: placement.janus_id,
        nonce,
        created_at: now,
        discard_at: None,
        handover: None,
        epoch,
        trace: None,
        placement_reasons: Box::new(placement.reasons),
    };
    RoomWrite::Put { meta: Some(meta), live: Some(live) }
}

/// Returns the write that moves an open room to `placement` under the next epoch, or `None` if the room is
/// neither on air nor backstage. The nonce does not change, and therefore neither do the content keys and the
/// names of the media that listeners fetch. `in_good_order`: the outgoing mixer works, and continues until
/// its successor produces.
pub fn next_assignment(view: &RoomView, placement: Placement, in_good_order: bool) -> Option<RoomWrite> {
    let (meta, live) = (view.meta.as_ref()?, view.live.as_ref()?);
    let epoch = meta.last_epoch.max(live.epoch).next();
    let Placement { janus_id, mixer_id, reasons } = placement;
    let placement_reasons = Box::new(reasons);
    let handover = handover::begin(view).filter(|h| in_good_order && h.mixer_id != mixer_id).map(Box::new);
    view.is_open().then(|| RoomWrite::Put {
        meta: Some(Meta { last_epoch: epoch, ..meta.value.clone() }),
        live: Some(LiveMeta { janus_id, mixer_id, epoch, handover, placement_reasons, ..live.value.clone() }),
    })
}

/// Decides a stop request, which ends the broadcast or the backstage. `grace`: time in which the modules must
/// release the room. After this time, the removal is forced.
pub fn admit_stop(
    view: &RoomView,
    reason: EndReason,
    now: UnixMs,
    grace: Duration,
) -> Result<Admission<RoomWrite>, NoSuchRoom> {
    status(view).ok_or(NoSuchRoom)?;
    Ok(match &view.live {
        Some(live) if view.is_open() => {
            let meta = view.meta.as_ref().map(|m| Meta { last_end: Some(reason), ..m.value.clone() });
            Admission::Accepted(RoomWrite::Put { meta, live: Some(removing(live, now, grace)) })
        }
        _ => Admission::AlreadyDone,
    })
}

/// Decides a change of the profile by a JSON merge patch (RFC 7396). The room may be on air, but then its
/// start time cannot be set. `now` is wall-clock time.
pub fn admit_patch(
    view: &RoomView,
    patch: &serde_json::Map<String, serde_json::Value>,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, PatchDenied> {
    let meta = view.meta.as_ref().ok_or(PatchDenied::NotFound)?;
    if meta.deleted_at.is_some() {
        return Err(PatchDenied::Removing);
    }
    let profile = meta.profile.merged(patch).map_err(PatchDenied::Invalid)?;
    if profile == *meta.profile {
        return Ok(Admission::AlreadyDone);
    }
    if let Some(starts_at) = profile.starts_at.filter(|at| meta.profile.starts_at != Some(*at)) {
        if view.is_on_air() {
            return Err(PatchDenied::Invalid(schedule::ON_AIR));
        }
        starts_at.check(now).map_err(|invalid| PatchDenied::Invalid(ProfileError::Invalid(invalid)))?;
    }
    let meta = Some(Meta { profile: Box::new(profile), ..meta.value.clone() });
    Ok(Admission::Accepted(RoomWrite::Put { meta, live: None }))
}

/// Decides a delete request, which ends the room. A room without livemeta is deleted immediately.
pub fn admit_delete(
    view: &RoomView,
    now: UnixMs,
    grace: Duration,
) -> Result<Admission<RoomWrite>, NoSuchRoom> {
    status(view).ok_or(NoSuchRoom)?;
    let Some(live) = &view.live else { return Ok(Admission::Accepted(RoomWrite::ClearAll)) };
    // Livemeta without meta results only from a manual write to the store. Cleanup then removes all keys.
    let meta = view.meta.as_ref().filter(|m| m.deleted_at.is_none());
    let meta = meta.map(|m| Meta { deleted_at: Some(now), ..m.value.clone() });
    let live = view.is_open().then(|| removing(live, now, grace));
    Ok(match (meta, live) {
        (None, None) => Admission::AlreadyDone,
        (meta, live) => Admission::Accepted(RoomWrite::Put { meta, live }),
    })
}

/// Returns the reason that users are given when a room closes: the reason why its broadcast ended, or
/// `deleted`. `view` is `None` if the room is gone.
pub fn closed_reason(view: Option<&RoomView>) -> &'static str {
    match view.and_then(|view| view.meta.as_ref()).filter(|meta| meta.deleted_at.is_none()) {
        Some(meta) => meta.last_end.unwrap_or(EndReason::Other).as_str(),
        None => "deleted",
    }
}

/// Returns the next step to finish the removal of a room. The removal waits until the modules have released
/// the room, but not beyond `discardAt`. Module keys are never left behind: a forced end deletes them in the
/// same transaction.
pub fn cleanup(view: &RoomView, now: UnixMs) -> Cleanup {
    if status(view) != Some(RoomStatus::Removing) || view.unreadable_part().is_some() {
        return Cleanup::Nothing;
    }
    let forced_at = view.live.as_ref().and_then(|l| l.discard_at);
    let on = keys_left(view);
    if !on.is_empty() && forced_at.is_none_or(|at| now < at) {
        return Cleanup::Waiting(PendingRemoval { on, forced_at });
    }
    let stays = view.meta.as_ref().is_some_and(|m| m.deleted_at.is_none());
    Cleanup::Remove(if stays { RoomWrite::ClearLive } else { RoomWrite::ClearAll })
}

impl RoomWrite {
    /// Returns the room after this write was committed at `revision`.
    pub fn applied_to(&self, view: &RoomView, revision: i64) -> RoomView {
        match self {
            Self::ClearAll => RoomView::default(),
            Self::ClearLive => RoomView { live: None, janus: None, mixer: None, ..view.clone() },
            Self::Recording(request) => RoomView { recording: stored(revision, request), ..view.clone() },
            Self::Outputs(outputs) => RoomView { outputs: stored(revision, outputs), ..view.clone() },
            Self::Roles { users, .. } => {
                let mut view = view.clone();
                let known = Arc::make_mut(&mut view.users);
                for (id, user) in users {
                    known.insert(id.clone(), StoredValue { value: user.clone(), mod_revision: revision });
                }
                view
            }
            Self::MuteAll(order) => RoomView { mute: stored(revision, order), ..view.clone() },
            Self::Anchors { reported, .. } => {
                RoomView { anchors: stored(revision, reported), ..view.clone() }
            }
            Self::Lock { meta, .. } => RoomView { meta: stored(revision, meta), ..view.clone() },
            Self::Muted { .. } => view.clone(),
            Self::Sources(sources) => RoomView { sources: stored(revision, sources), ..view.clone() },
            Self::Put { meta, live } => RoomView {
                meta: meta.as_ref().map_or(view.meta.clone(), |meta| stored(revision, meta)),
                live: live.as_ref().map_or(view.live.clone(), |live| stored(revision, live)),
                ..view.clone()
            },
            Self::User { id, user, forgotten, .. } => {
                let mut view = view.clone();
                let users = Arc::make_mut(&mut view.users);
                forgotten.as_ref().map(|forgotten| users.remove(forgotten));
                match user.as_ref().and_then(|user| stored(revision, user)) {
                    Some(user) => users.insert(id.clone(), user),
                    None => users.remove(id),
                };
                view
            }
        }
    }
}

impl fmt::Display for PendingRemoval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.on.iter().map(|kind| kind.as_str()).collect();
        write!(f, "waits for the {} key to be deleted", keys.join(" and the "))
    }
}

/// Reasons for rejected modules, displayed as `: a is unhealthy, b is full: 2 of 2 rooms`. Empty if no module
/// was considered.
struct Reasons<'a>(&'a [(ModuleId, RejectReason)]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (id, why)) in self.0.iter().enumerate() {
            write!(f, "{}{id} is {why}", if n == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

fn removing(live: &LiveMeta, now: UnixMs, grace: Duration) -> LiveMeta {
    let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let discard_at = Some(UnixMs(now.0.saturating_add(grace)));
    LiveMeta { status: LiveStatus::Removing, discard_at, ..live.clone() }
}

fn keys_left(view: &RoomView) -> Vec<ModuleKind> {
    let janus = view.janus.is_some().then_some(ModuleKind::Janus);
    let mixer = view.mixer.is_some().then_some(ModuleKind::Mixer);
    janus.into_iter().chain(mixer).collect()
}

fn stored<T: Clone>(mod_revision: i64, value: &T) -> Option<StoredValue<T>> {
    Some(StoredValue { value: value.clone(), mod_revision })
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
