//! Recordings of the installation: this node's copy of their keys, and the changes of these keys.
//!
//! A `RecordingSupervisor` actor keeps the copy up to date. Every change compares the revision that was read.
//! Owns: the copy. Does not write media, and does not decide which node records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;

use crate::domain::events;
use crate::domain::ids::{ModuleId, Nonce, RoomId, UnixMs, UserId};
use crate::domain::keys::{self, ModuleKind, RoomPart};
use crate::domain::recording::{
    Recording, RecordingDenied, RecordingId, RecordingMode, RecordingState, RecordingWrite, admit_start,
    admit_stop, automatic,
};
use crate::domain::room::RoomWrite;
use crate::domain::upload::{self, StorageJob};
use crate::domain::view::{RoomView, StoredValue};
use crate::store::{KeyValue, Revision, Store, Txn, TxnOutcome};

use super::captions::Languages;
use super::ledger::Ledger;
use super::txn::{self, RoomRead};
use super::{Directory, READ_YOUR_WRITES, Room, RoomError, RoomService, now};

/// Maximum number of attempts per change; each of the few writers of a recording writes once or twice.
pub(super) const ATTEMPTS: usize = 8;

/// A recording with its id, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRecording {
    pub id: RecordingId,
    pub recording: Arc<StoredValue<Recording>>,
}

/// Copy of all recordings.
pub struct Recordings {
    pub(super) store: Arc<dyn Store>,
    pub(super) directory: Arc<Directory>,
    known: RwLock<RecordingCopies>,
    /// Revision that the copy has reached; `None` before the first complete list.
    seen: watch::Sender<Option<Revision>>,
    pub(super) languages: Languages,
}

#[derive(Default)]
struct RecordingCopies {
    recordings: BTreeMap<RecordingId, Arc<StoredValue<Recording>>>,
    /// List in progress.
    listing: Option<BTreeMap<RecordingId, Arc<StoredValue<Recording>>>>,
    /// Keys that were reported as unreadable.
    reported: BTreeSet<String>,
}

impl Recordings {
    pub fn new(store: Arc<dyn Store>, directory: Arc<Directory>) -> Self {
        let (known, seen) = (RwLock::default(), watch::Sender::new(None));
        Self { store, directory, known, seen, languages: Languages::default() }
    }

    /// Returns a recording, even if it is being removed.
    pub fn get(&self, id: &RecordingId) -> Option<Arc<StoredValue<Recording>>> {
        self.read().recordings.get(id).cloned()
    }

    /// Returns a recording with its details, if they are written. The event `recording_ready` and the details
    /// are written together, and a reader of the event may be ahead of this node's copy. Therefore this
    /// method reads the store while the copy has no details.
    ///
    /// # Errors
    /// A store error, or an unreadable value.
    pub async fn with_details(&self, known: KnownRecording) -> Result<KnownRecording, RoomError> {
        if !known.recording.unreported {
            return Ok(known);
        }
        let key = keys::recording(&known.id);
        let Some(kv) = self.store.get(&key).await? else { return Ok(known) };
        let value = parse(&kv).ok_or(RoomError::Corrupt { key })?;
        let recording = Arc::new(StoredValue { value, mod_revision: kv.mod_revision });
        Ok(KnownRecording { recording, ..known })
    }

    /// Returns all recordings, including those that are being removed.
    pub fn all(&self) -> Vec<KnownRecording> {
        let known = self.read();
        let all = known.recordings.iter();
        all.map(|(id, recording)| KnownRecording { id: id.clone(), recording: recording.clone() }).collect()
    }

    /// Returns the recordings of a room or of all rooms, the newest first. Leaves out those that are being
    /// removed.
    pub fn of_room(&self, room: Option<&RoomId>) -> Vec<KnownRecording> {
        let mut found = self.all();
        found.retain(|known| {
            let recording = &known.recording;
            recording.deleted_at.is_none() && room.is_none_or(|room| recording.room == *room)
        });
        found.sort_by_key(|known| std::cmp::Reverse((known.recording.started_at, known.id.clone())));
        found
    }

    /// Returns the recordings of one broadcast that are not being removed.
    pub(super) fn of_broadcast(&self, room: &RoomId, nonce: &Nonce) -> Vec<KnownRecording> {
        let known = self.read();
        let found = known.recordings.iter().filter(|(_, recording)| {
            recording.room == *room && recording.nonce == *nonce && recording.deleted_at.is_none()
        });
        found.map(|(id, recording)| KnownRecording { id: id.clone(), recording: recording.clone() }).collect()
    }

    /// Returns true once all recordings were listed. Before that, a recording that is absent from this copy
    /// may still exist.
    pub fn is_listed(&self) -> bool {
        self.seen.borrow().is_some()
    }

    /// Returns true once recordings, rooms and mixers were listed. Before that, a recorded room could seem to
    /// be off the air.
    pub fn is_complete(&self) -> bool {
        self.is_listed() && self.directory.is_listed()
    }

    /// Returns the state of a recording, from this node's view of its room and mixers.
    pub fn state(&self, id: &RecordingId, recording: &Recording) -> RecordingState {
        let (view, is_alive) = self.surroundings(recording);
        recording.state(id, &view, is_alive)
    }

    /// Returns true if a mixer with a take of this recording is alive.
    pub fn has_mixer(&self, recording: &Recording) -> bool {
        let (_, is_alive) = self.surroundings(recording);
        recording.takes.keys().any(is_alive)
    }

    /// Returns true if `retention` has passed since the end of this recording. `longest`: longest duration of
    /// a broadcast.
    pub fn has_expired(&self, known: &KnownRecording, retention: Duration, longest: Duration) -> bool {
        let KnownRecording { id, recording } = known;
        let (view, is_alive) = self.surroundings(recording);
        let is_ready = recording.state(id, &view, &is_alive) == RecordingState::Ready;
        // While the broadcast is on air, a mixer may return and continue its take.
        let may_write = |mixer: &ModuleId| !is_ready || is_alive(mixer);
        recording.has_expired((retention, longest), may_write, now())
    }

    /// Returns the next job of mixer `me` for the copies of this recording in object storage.
    pub fn storage_job(
        &self,
        known: &KnownRecording,
        me: &ModuleId,
        keep_local: Option<Duration>,
        now: UnixMs,
    ) -> Option<StorageJob> {
        let KnownRecording { id, recording } = known;
        let (view, is_alive) = self.surroundings(recording);
        let state = recording.state(id, &view, &is_alive);
        upload::storage_job(recording, state, me, is_alive, keep_local, now)
    }

    /// Returns the recorded room, and a function that tests whether a mixer is alive.
    fn surroundings(&self, recording: &Recording) -> (Arc<RoomView>, impl Fn(&ModuleId) -> bool) {
        let view = self.directory.room(&recording.room).unwrap_or_default();
        let is_alive = |mixer: &ModuleId| {
            self.directory.module(ModuleKind::Mixer, mixer).is_some_and(|module| module.is_present())
        };
        (view, is_alive)
    }

    /// Marks a recording as deleted; its mixers then remove their data. Returns false if there is no such
    /// recording.
    ///
    /// # Errors
    /// A store error, or [`RoomError::Busy`].
    pub async fn delete(&self, id: &RecordingId) -> Result<bool, RoomError> {
        let mut found = false;
        self.change(id, |known| {
            let known = known.filter(|recording| recording.deleted_at.is_none());
            found = known.is_some();
            Some(RecordingWrite::Put(known?.clone().deleted(now())))
        })
        .await?;
        Ok(found)
    }

    /// Applies the write that `decide` returns for the recording's current value; `None` changes nothing.
    ///
    /// # Errors
    /// A store error, an unreadable value, or [`RoomError::Busy`].
    pub async fn change(
        &self,
        id: &RecordingId,
        decide: impl FnMut(Option<&Recording>) -> Option<RecordingWrite>,
    ) -> Result<(), RoomError> {
        if let Some(revision) = change(&*self.store, id, decide).await? {
            self.caught_up(revision).await;
        }
        Ok(())
    }

    /// Returns the recordings that can be played but whose event `recording_ready` is not written yet.
    /// Returns none until [`is_complete`](Self::is_complete) returns true.
    pub fn to_be_reported(&self) -> Vec<KnownRecording> {
        if !self.is_complete() {
            return Vec::new();
        }
        let mut due: Vec<_> = {
            let known = self.read();
            let unreported = known.recordings.iter().filter(|(_, recording)| recording.unreported);
            let of = |(id, recording): (&RecordingId, &Arc<StoredValue<Recording>>)| KnownRecording {
                id: id.clone(),
                recording: recording.clone(),
            };
            unreported.map(of).collect()
        };
        due.retain(|KnownRecording { id, recording }| {
            let (view, is_alive) = self.surroundings(recording);
            recording.is_to_be_reported(id, &view, is_alive)
        });
        due
    }

    /// Writes the event `recording_ready` of a recording, and the recording's details, at most once. Writes
    /// nothing if the recording or the state of its room has changed since `known` was read, or if the ledger
    /// is not loaded yet. In these cases the event is still due.
    ///
    /// # Errors
    /// A store error.
    pub async fn report_ready(&self, known: &KnownRecording, ledger: &Ledger) -> Result<(), RoomError> {
        let KnownRecording { id, recording } = known;
        let (key, live) = (keys::recording(id), keys::room(&recording.room, RoomPart::LiveMeta));
        let (view, is_alive) = self.surroundings(recording);
        if !recording.is_to_be_reported(id, &view, is_alive) || ledger.state().borrow().revision.is_none() {
            return Ok(());
        }
        let reported = recording.value.clone().reported(&view, &ledger.of_room(&recording.room));
        let on_air = view.live.as_ref().map_or(0, |live| live.mod_revision);
        let txn = Txn::new().when(&key, recording.mod_revision).when(live, on_air);
        let txn = txn.put(&key, txn::json(&reported));
        let event = events::recording_ready(id, recording);
        let txn = txn::with_events(txn, &recording.room, vec![event]);
        if let TxnOutcome::Committed(revision) = self.store.txn(txn).await? {
            self.caught_up(revision).await;
        }
        Ok(())
    }

    /// Returns a receiver that changes with every change of the copy.
    pub fn changes(&self) -> watch::Receiver<Option<Revision>> {
        self.seen.subscribe()
    }

    /// Waits until the copy shows a change, for a limited time. A timeout is not a failure: the change is
    /// committed, and the copy will show it later.
    async fn caught_up(&self, revision: Revision) {
        let mut seen = self.seen.subscribe();
        let caught_up = seen.wait_for(|seen| seen.is_some_and(|at| at >= revision));
        let _ = tokio::time::timeout(READ_YOUR_WRITES, caught_up).await;
    }

    /// Begins a list. Drops the entries of an unfinished list.
    pub fn begin_list(&self) {
        self.write().listing = Some(BTreeMap::new());
    }

    /// Applies a put. Returns the recording's id; `None` if the key or the value cannot be read.
    pub fn put(&self, kv: &KeyValue) -> Option<RecordingId> {
        let mut known = self.write();
        let read = keys::parse_recording(&kv.key).zip(parse(kv));
        let Some((id, value)) = read else {
            if known.reported.insert(kv.key.clone()) {
                tracing::warn!(key = kv.key, "recording key not parsed; ignored");
            }
            return None;
        };
        known.reported.remove(&kv.key);
        let recording = Arc::new(StoredValue { value, mod_revision: kv.mod_revision });
        match &mut known.listing {
            Some(listing) => listing.insert(id.clone(), recording),
            None => known.recordings.insert(id.clone(), recording),
        };
        Some(id)
    }

    /// Applies a delete. Returns the id of the recording.
    pub fn remove(&self, key: &str) -> Option<RecordingId> {
        let id = keys::parse_recording(key)?;
        self.write().recordings.remove(&id);
        Some(id)
    }

    /// Applies the complete list, as of `revision`.
    pub fn end_list(&self, revision: Revision) {
        let mut known = self.write();
        if let Some(listing) = known.listing.take() {
            known.recordings = listing;
        }
        drop(known);
        self.seen.send_replace(Some(revision));
    }

    /// Records that every change up to `revision` has been applied.
    pub fn progress(&self, revision: Revision) {
        self.seen.send_if_modified(|seen| {
            let newer = seen.is_some_and(|at| at < revision);
            if newer {
                *seen = Some(revision);
            }
            newer
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, RecordingCopies> {
        // Each change is complete in itself, so a poisoned lock protects a complete map.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, RecordingCopies> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to the time that a user has spoken in a recording. Changes nothing if the recording does not exist,
/// or is being removed. After an error, the time may or may not have been added.
///
/// # Errors
/// A store error, an unreadable value, or [`RoomError::Busy`].
pub async fn add_speech(
    store: &dyn Store,
    id: &RecordingId,
    user: &UserId,
    ms: u64,
) -> Result<(), RoomError> {
    let decide = |known: Option<&Recording>| {
        let known = known.filter(|recording| recording.deleted_at.is_none())?;
        Some(RecordingWrite::Put(known.clone().with_speech(user, ms)))
    };
    change(store, id, decide).await.map(drop)
}

/// Applies the write that `decide` returns for the recording's current value, and returns its revision.
async fn change(
    store: &dyn Store,
    id: &RecordingId,
    mut decide: impl FnMut(Option<&Recording>) -> Option<RecordingWrite>,
) -> Result<Option<Revision>, RoomError> {
    let key = keys::recording(id);
    for _ in 0..ATTEMPTS {
        let read = store.get(&key).await?;
        let known = match &read {
            Some(kv) => Some(parse(kv).ok_or_else(|| RoomError::Corrupt { key: key.clone() })?),
            None => None,
        };
        let Some(write) = decide(known.as_ref()) else { return Ok(None) };
        let txn = Txn::new().when(&key, read.map_or(0, |kv| kv.mod_revision));
        let txn = match &write {
            // Captions are deleted at once. The recording's key stays until all its mixers have removed
            // their data, and a mixer may never be available again.
            RecordingWrite::Put(recording) if recording.deleted_at.is_some() => {
                txn.put(&key, txn::json(recording)).delete_prefix(keys::captions(id))
            }
            RecordingWrite::Put(recording) => txn.put(&key, txn::json(recording)),
            RecordingWrite::Remove => txn.delete(&key).delete_prefix(keys::captions(id)),
        };
        if let TxnOutcome::Committed(revision) = store.txn(txn).await? {
            return Ok(Some(revision));
        }
    }
    Err(RoomError::Busy)
}

impl RoomService {
    /// Starts to record the room's current broadcast. Changes nothing if it is already being recorded.
    ///
    /// # Errors
    /// [`RoomError::Recording`] if the room is not on air or recording is off, or a store error.
    pub async fn start_recording(&self, id: &RoomId, mode: RecordingMode) -> Result<Room, RoomError> {
        let recording = random_id();
        let decide = |read: &RoomRead| Ok(admit_start(&read.view, mode, recording.clone(), now())?);
        self.change(id, decide).await.and_then(|view| self.found(id, view))
    }

    /// Ends the recording of the room's current broadcast. Changes nothing if it is not being recorded.
    ///
    /// # Errors
    /// [`RoomError::NotFound`], or a store error.
    pub async fn stop_recording(&self, id: &RoomId) -> Result<Room, RoomError> {
        let decide = |read: &RoomRead| Ok(admit_stop(&read.view, now())?);
        self.change(id, decide).await.and_then(|view| self.found(id, view))
    }
}

/// Returns the transaction that requests the recording of the current broadcast from its start. `None` if the
/// mode of the room does not request a recording, the room is not on air, or the broadcast already has a
/// request, even a stopped one.
pub fn automatic_request(room: &RoomId, view: &RoomView, mode: RecordingMode) -> Option<Txn> {
    let request = automatic(view, mode, random_id())?;
    Some(txn::txn(room, view, &RoomWrite::Recording(request)))
}

impl From<RecordingDenied> for RoomError {
    fn from(denied: RecordingDenied) -> Self {
        match denied {
            RecordingDenied::NoSuchRoom => Self::NotFound,
            RecordingDenied::NotOnAir | RecordingDenied::SwitchedOff => Self::Recording(denied),
        }
    }
}

fn random_id() -> RecordingId {
    RecordingId::random(rand::rng().random())
}

pub(super) fn parse(kv: &KeyValue) -> Option<Recording> {
    serde_json::from_slice(&kv.value).ok()
}
