//! The room API as store transactions, and this node's cluster cache of rooms and modules.
//!
//! Every change is a compare-and-swap over the keys that were read. A concurrent write leads to a new read
//! and a new decision, never to an overwrite. The rules themselves are in `domain::room` and
//! `domain::placement`.
//!
//! Owns: ids, pins and nonces (random), the transactions, the [`Directory`]. Does not speak HTTP, or talk
//! to Janus or FFmpeg.

mod anchors;
mod api_keys;
mod audit;
pub mod captions;
mod directory;
pub mod dirty_set;
#[cfg(test)]
mod fake_store;
mod ledger;
mod moderation;
mod modules;
pub mod nodes;
mod orphans;
mod outputs;
mod pending_starts;
mod quotas;
pub mod recordings;
mod room_move;
mod service;
#[cfg(test)]
mod simulation;
mod sources;
mod store_copy;
pub(crate) mod txn;
mod users;
mod watch_applier;
pub mod writes;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::api_key::ApiKeyId;
use crate::domain::ids::{InvalidName, Pin, RoomId, UnixMs};
use crate::domain::model::{JanusStatus, Meta};
use crate::domain::mute_all::MuteDenied;
use crate::domain::output::OutputDenied;
use crate::domain::profile::{ProfileError, RoomProfile};
use crate::domain::public_status::{PublicStatus, shown};
use crate::domain::quotas::QuotaExceeded;
use crate::domain::recording::RecordingDenied;
use crate::domain::roles::RoleDenied;
use crate::domain::room::{CreateDenied, NoSuchRoom, PatchDenied, PendingRemoval, RoomStatus, StartDenied};
use crate::domain::sources::SourceDenied;
use crate::domain::users::UserDenied;
use crate::domain::view::{Modules, RoomView};
use crate::store::StoreError;

pub use api_keys::{ApiKeyError, ApiKeyRegistry, KnownApiKey, NewApiKey};
pub use audit::{AuditLog, OpenEntry};
pub use directory::{Directory, Scope};
pub use ledger::{EventFilter, EventPage, Ledger, LedgerEvent, LedgerState};
pub use modules::{ModuleInfo, ModuleStats, Stats};
pub use outputs::report as report_output;
pub use room_move::LeaderGuard;
pub use service::RoomService;
pub use store_copy::StoreCopy;
pub use users::{InvitedUser, random_user_id};
pub use watch_applier::{StoreChange, WatchApplier};

#[cfg(test)]
pub use fake_store::{FakeStore, Fault};

/// Maximum time that a caller waits for this node's directory to show its write.
const READ_YOUR_WRITES: Duration = Duration::from_secs(1);

/// State of a new room after its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InitialState {
    /// Off air: the room is started later.
    #[default]
    Later,
    Backstage,
    OnAir,
}

/// Parameters of a new room. Defaults for `None`: a random id, a random pin, at most three anchors.
#[derive(Debug, Clone, Default)]
pub struct NewRoom {
    pub room_id: Option<RoomId>,
    pub pin: Option<Pin>,
    pub max_anchors: Option<u8>,
    pub profile: RoomProfile,
    /// API key that creates the room; `None` if the caller's key is not in the store and so has no quotas.
    pub key: Option<ApiKeyId>,
    /// State that the room gets in the transaction that creates it. If this state needs modules and none can
    /// take the room, no room is created.
    pub opening: InitialState,
}

/// Room as of its last known change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub id: RoomId,
    pub status: RoomStatus,
    /// Status from the room's Janus instance; `None` while the instance does not have the room, or has no
    /// healthy heartbeat.
    pub janus: Option<JanusStatus>,
    /// True if the room's mixer has taken the room, has not given it up, and has a healthy heartbeat.
    pub listening: bool,
    pub meta: Meta,
    pub view: Arc<RoomView>,
}

/// Rooms, ordered by id.
#[derive(Debug, Clone)]
pub struct Page {
    pub rooms: Vec<Room>,
    /// Value of `after` for the next page; `None` on the last page.
    pub next: Option<RoomId>,
}

/// Progress of a room's removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// The room is not being removed, or its removal was already complete.
    Nothing,
    Waiting(PendingRemoval),
    /// This call has completed the removal.
    Done,
}

/// Reason why a request of the room API has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RoomError {
    #[error("a room with this id exists")]
    Exists,
    #[error("there is no such room")]
    NotFound,
    #[error("Janus and mixer are still releasing the room after its stop or deletion: try again in a moment")]
    Removing,
    /// No Janus instance or no mixer can take the room. Nothing was written.
    #[error(transparent)]
    NoCapacity(StartDenied),
    #[error(transparent)]
    User(UserDenied),
    #[error(transparent)]
    Role(RoleDenied),
    #[error("the room is not on air")]
    NotOnAir,
    #[error("the room is on air already")]
    OnAir,
    #[error(transparent)]
    Recording(RecordingDenied),
    #[error(transparent)]
    Output(OutputDenied),
    #[error(transparent)]
    Profile(ProfileError),
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    #[error(transparent)]
    Source(SourceDenied),
    #[error("there is no such module")]
    ModuleNotFound,
    #[error("the room kept changing during the request; try again")]
    Busy,
    #[error(transparent)]
    InvalidInput(#[from] InvalidName),
    #[error("cannot parse the value of {key}: restore it, or delete the room")]
    Corrupt { key: String },
    /// After `Unavailable` a change may or may not have been applied.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the wall-clock time. Use it only for values that other nodes or users read, never for timers.
pub fn now() -> UnixMs {
    // A clock set before 1970 reads as 1970; either time would be wrong.
    UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

impl Room {
    /// Creates the room of a view. Returns `None` if the view has no room, or only the remains of a removed
    /// one.
    pub fn of(id: RoomId, view: Arc<RoomView>, modules: &Modules) -> Option<Self> {
        let PublicStatus { status, janus, listening } = shown(&view, modules)?;
        let meta = view.meta.as_ref()?.value.clone();
        Some(Self { id, status, janus, listening, meta, view })
    }
}

impl From<CreateDenied> for RoomError {
    fn from(denied: CreateDenied) -> Self {
        match denied {
            CreateDenied::Exists => Self::Exists,
            CreateDenied::Removing => Self::Removing,
        }
    }
}

impl From<StartDenied> for RoomError {
    fn from(denied: StartDenied) -> Self {
        match denied {
            StartDenied::NotFound => Self::NotFound,
            StartDenied::Removing => Self::Removing,
            StartDenied::OnAir => Self::OnAir,
            StartDenied::NoPickableJanus { .. } | StartDenied::NoPickableMixer { .. } => {
                Self::NoCapacity(denied)
            }
        }
    }
}

impl From<UserDenied> for RoomError {
    fn from(denied: UserDenied) -> Self {
        match denied {
            UserDenied::NoSuchRoom => Self::NotFound,
            UserDenied::RoomRemoving => Self::Removing,
            UserDenied::Banned | UserDenied::TooMany => Self::User(denied),
        }
    }
}

impl From<RoleDenied> for RoomError {
    fn from(denied: RoleDenied) -> Self {
        match denied {
            RoleDenied::NoSuchRoom => Self::NotFound,
            RoleDenied::RoomRemoving => Self::Removing,
            RoleDenied::Banned => Self::User(UserDenied::Banned),
            RoleDenied::TooMany => Self::User(UserDenied::TooMany),
            RoleDenied::Forbidden => Self::Role(denied),
        }
    }
}

impl From<MuteDenied> for RoomError {
    fn from(denied: MuteDenied) -> Self {
        match denied {
            MuteDenied::NoSuchRoom => Self::NotFound,
            MuteDenied::NotOnAir => Self::NotOnAir,
        }
    }
}

impl From<PatchDenied> for RoomError {
    fn from(denied: PatchDenied) -> Self {
        match denied {
            PatchDenied::NotFound => Self::NotFound,
            PatchDenied::Removing => Self::Removing,
            PatchDenied::Invalid(error) => Self::Profile(error),
        }
    }
}

impl From<NoSuchRoom> for RoomError {
    fn from(NoSuchRoom: NoSuchRoom) -> Self {
        Self::NotFound
    }
}
