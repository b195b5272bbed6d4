//! The room lifecycle: create, start, stop, delete, expire, and the end of a removal.
//!
//! A decision is first made from the directory, which saves a round trip to the store. Because its
//! transaction compares revisions, a stale directory only costs a second attempt. Only the acceptance of a
//! request may rely on the directory alone: "already done" and every denial are confirmed by a linearizable
//! read.
//!
//! After a write the caller waits briefly until this node's directory shows the change. So a client that
//! starts a room and then lists the rooms finds it on air.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::distr::{Alphanumeric, SampleString};
use serde_json::{Map, Value};

use crate::domain::ids::{Epoch, InvalidName, Nonce, Pin, RoomId, UnixMs};
use crate::domain::keys;
use crate::domain::mix::MOST_ANCHORS;
use crate::domain::model::{EndReason, LiveStatus, Meta};
use crate::domain::placement::Placement;
use crate::domain::profile::RoomFilter;
use crate::domain::room::{
    Admission, Cleanup, Expiry, RoomStatus, RoomWrite, StartDenied, admit_backstage, admit_create,
    admit_delete, admit_patch, admit_start, admit_stop, assignment, backstage, cleanup, status,
};
use crate::domain::schedule::{self, ScheduleStep};
use crate::domain::view::RoomView;
use crate::store::{Store, StoreError, Txn, TxnOutcome};
use crate::telemetry::Metrics;
use crate::telemetry::events::{Event, RoomPlaced};
use crate::telemetry::trace::{self, Span};

use super::pending_starts::{PendingStart, PendingStarts};
use super::txn::{self, RoomRead};
use super::{
    ApiKeyRegistry, Directory, InitialState, Ledger, NewRoom, Page, READ_YOUR_WRITES, Removal, Room,
    RoomError, Scope, now, quotas,
};

/// Maximum number of attempts per change. A room changes at most a few times a second, so this many conflicts
/// in a row point to a writer in a loop.
pub(super) const ATTEMPTS: usize = 8;
const MAX_ANCHORS: std::ops::RangeInclusive<u8> = 1..=MOST_ANCHORS;
const DEFAULT_ANCHORS: u8 = 3;
const START_AND_SCHEDULE: InvalidName =
    InvalidName { what: "startsAt", rule: "cannot be combined with start: the room is on air at once" };
/// Characters of random pins, without letters and digits that are easily confused.
const PIN_ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// The room API. Shared by all its callers on a node.
pub struct RoomService {
    pub(super) store: Arc<dyn Store>,
    pub(super) directory: Arc<Directory>,
    in_flight: PendingStarts,
    removing_grace: Duration,
    pub(super) metrics: Metrics,
    pub(super) ledger: Arc<Ledger>,
    pub(super) api_keys: Arc<ApiKeyRegistry>,
    /// Lock that is held during a change that counts against a quota, so that such changes of one node do not
    /// conflict.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl RoomService {
    /// Creates the service. `removing_grace` is the time after which a stopped room is removed even if its
    /// modules have not released it.
    pub fn new(
        store: Arc<dyn Store>,
        directory: Arc<Directory>,
        removing_grace: Duration,
        metrics: Metrics,
    ) -> Self {
        let api_keys = Arc::new(ApiKeyRegistry::new(store.clone()));
        Self {
            store,
            directory,
            in_flight: PendingStarts::default(),
            removing_grace,
            metrics,
            ledger: Arc::default(),
            api_keys,
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Returns this node's copy of the API keys in the store.
    pub fn api_keys(&self) -> &Arc<ApiKeyRegistry> {
        &self.api_keys
    }

    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Creates a room and, if requested, puts it on air or opens its backstage, in one transaction.
    ///
    /// # Errors
    /// For example, [`RoomError::Quota`] if a quota of the key that creates the room is used up.
    pub async fn create(&self, new: NewRoom) -> Result<Room, RoomError> {
        let max_anchors = checked_anchors(new.max_anchors)?;
        if let Some(starts_at) = new.profile.starts_at {
            if new.opening == InitialState::OnAir {
                return Err(START_AND_SCHEDULE.into());
            }
            starts_at.check(now())?;
        }
        if new.opening != InitialState::Later {
            self.knows_the_modules()?;
        }
        let id = match &new.room_id {
            Some(id) => id.clone(),
            None => random_room_id(),
        };
        let now = now();
        let wanted = Meta {
            pin: new.pin.unwrap_or_else(random_pin),
            max_anchors,
            hls_path: format!("/hls/rooms/{id}/index.m3u8"),
            created_at: now,
            deleted_at: None,
            last_epoch: Epoch(0),
            last_started_at: None,
            last_end: None,
            api_key: new.key.clone(),
            profile: Box::new(new.profile),
        };
        let opens = new.opening != InitialState::Later;
        let limited =
            self.limited(new.key.as_ref(), |quotas| quotas.rooms.or(quotas.rooms_on_air.filter(|_| opens)))?;
        let mut hold = self.in_flight.hold(id.clone());
        let mut decide = |read: &RoomRead| {
            let meta = admit_create(&read.view, wanted.clone(), read.revision)?;
            Ok(Admission::Accepted(match new.opening {
                InitialState::OnAir => assignment(meta, self.place(&mut hold)?, random_nonce(), now),
                InitialState::Backstage => backstage(meta, self.place(&mut hold)?, random_nonce(), now),
                InitialState::Later => RoomWrite::Put { meta: Some(meta), live: None },
            }))
        };
        let view = match limited {
            None => self.change_from_store(&id, decide).await?,
            Some((key, quotas)) => {
                let within = |read: &RoomRead, usage| {
                    let admission = decide(read)?;
                    quotas.admit_room(usage, opens)?;
                    Ok(admission)
                };
                self.change_counted(&key, &id, within).await?
            }
        };
        self.found(&id, view)
    }

    /// Returns a room from this node's directory, even while the store is unavailable. A room that is not in
    /// the directory is read from the store.
    ///
    /// # Errors
    /// [`RoomError::NotFound`], [`RoomError::Corrupt`] if a key of the room cannot be read, or a store
    /// error.
    pub async fn get(&self, id: &RoomId) -> Result<Room, RoomError> {
        if let Some(view) = self.directory.room(id) {
            let unreadable = view.unreadable_part().map(|part| keys::room(id, part));
            let absent = unreadable.map_or(RoomError::NotFound, |key| RoomError::Corrupt { key });
            return self.shown(id, view).ok_or(absent);
        }
        let read = txn::read(&*self.store, id).await?;
        self.found(id, read.view)
    }

    /// Returns the first rooms after `after` that pass the filter, at most `limit` of them, ordered by id, as
    /// this node's directory shows them.
    pub fn list(&self, after: Option<&RoomId>, limit: usize, filter: &RoomFilter) -> Page {
        self.directory.page(after, limit, filter)
    }

    /// Changes the room's profile by a JSON merge patch (RFC 7396), on air or not.
    ///
    /// # Errors
    /// For example, [`RoomError::Profile`] if a field is unknown, invalid or cannot be changed.
    pub async fn patch(&self, id: &RoomId, patch: &Map<String, Value>) -> Result<Room, RoomError> {
        let decide = |read: &RoomRead| Ok(admit_patch(&read.view, patch, now())?);
        self.change(id, decide).await.and_then(|view| self.found(id, view))
    }

    /// Opens the backstage: anchors may join, and listeners hear nothing until the start.
    ///
    /// # Errors
    /// For example, [`RoomError::OnAir`], or [`RoomError::Quota`] as for [`start`](Self::start): a backstage
    /// counts like a broadcast.
    pub async fn backstage(&self, id: &RoomId) -> Result<Room, RoomError> {
        let admit = |read: &RoomRead, hold: &mut PendingStart<'_>| {
            Ok(admit_backstage(&read.view, || self.place(hold), random_nonce(), now())?)
        };
        self.open(id, admit).await.and_then(|view| self.found(id, view))
    }

    /// Puts the room on air. A room that is already on air is unchanged.
    ///
    /// # Errors
    /// For example, [`RoomError::Quota`] if the quota of the key that created the room is used up.
    pub async fn start(&self, id: &RoomId) -> Result<Room, RoomError> {
        let admit = |read: &RoomRead, hold: &mut PendingStart<'_>| {
            Ok(admit_start(&read.view, || self.place(hold), random_nonce(), now())?)
        };
        self.open(id, admit).await.and_then(|view| self.found(id, view))
    }

    /// Makes a change that may assign modules to the room. Such a change counts against the `roomsOnAir`
    /// quota of the key that created the room, unless the room is already on air or backstage.
    async fn open(
        &self,
        id: &RoomId,
        mut admit: impl FnMut(&RoomRead, &mut PendingStart<'_>) -> Result<Admission<RoomWrite>, RoomError>,
    ) -> Result<RoomView, RoomError> {
        self.knows_the_modules()?;
        let owner = self.owner(id).await?;
        let mut hold = self.in_flight.hold(id.clone());
        let mut decide = |read: &RoomRead| {
            quotas::check_owner(&read.view, owner.as_ref())?;
            admit(read, &mut hold)
        };
        match self.limited(owner.as_ref(), |quotas| quotas.rooms_on_air)? {
            None => self.change(id, decide).await,
            Some((key, quotas)) => {
                let within = |read: &RoomRead, usage| {
                    let admission = decide(read)?;
                    let opens =
                        matches!(admission, Admission::Accepted(RoomWrite::Put { live: Some(_), .. }));
                    if opens && read.view.live.is_none() {
                        quotas.admit_start(usage)?;
                    }
                    Ok(admission)
                };
                self.change_counted(&key, id, within).await
            }
        }
    }

    /// Puts a backstage on air. Unlike [`start`](Self::start), it does not start a room that has been
    /// stopped.
    ///
    /// # Errors
    /// [`RoomError::NotOnAir`] if the room has neither a backstage nor a broadcast, or a store error.
    pub async fn go_live(&self, id: &RoomId) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| match status(&read.view) {
            Some(RoomStatus::Created) => Err(RoomError::NotOnAir),
            _ => Ok(admit_start(&read.view, || Err(StartDenied::Removing), random_nonce(), now())?),
        };
        self.change(id, decide).await.map(|_| ())
    }

    /// Carries out a step of the schedule. `at`: wall-clock time at which the step was decided. Returns false
    /// if nothing was left to do.
    pub async fn scheduled(&self, id: &RoomId, step: ScheduleStep, at: UnixMs) -> Result<bool, RoomError> {
        let mut changes = false;
        let admit = |read: &RoomRead, hold: &mut PendingStart<'_>| {
            let still = schedule::due(&read.view, at) == Some(step);
            let admission = match step {
                _ if !still => Admission::AlreadyDone,
                ScheduleStep::Miss => schedule::admit_miss(&read.view, at),
                ScheduleStep::Start => admit_start(&read.view, || self.place(hold), random_nonce(), now())?,
            };
            changes = matches!(admission, Admission::Accepted(_));
            Ok(admission)
        };
        self.open(id, admit).await?;
        Ok(changes)
    }

    /// Ends the broadcast or the backstage; the room continues to exist.
    pub async fn stop(&self, id: &RoomId) -> Result<Room, RoomError> {
        let decide =
            |read: &RoomRead| Ok(admit_stop(&read.view, EndReason::Stopped, now(), self.removing_grace)?);
        self.change(id, decide).await.and_then(|view| self.found(id, view))
    }

    /// Deletes the room. Returns `None` if the room is already gone, because it had no resources; otherwise
    /// returns the `removing` room. A room with an unreadable key is deleted at once with all its keys; its
    /// modules then release its resources.
    pub async fn delete(&self, id: &RoomId) -> Result<Option<Room>, RoomError> {
        let decide = |read: &RoomRead| {
            let unreadable = read.view.unreadable_part().map(|part| keys::room(id, part));
            match unreadable {
                Some(key) => Err(RoomError::Corrupt { key }),
                None => Ok(admit_delete(&read.view, now(), self.removing_grace)?),
            }
        };
        match self.change(id, decide).await {
            Ok(view) => Ok(self.shown(id, Arc::new(view))),
            Err(RoomError::Corrupt { key }) => self.clear_unreadable(id, &key).await.map(|()| None),
            Err(other) => Err(other),
        }
    }

    /// Ends an expired room or broadcast. Returns false if there was nothing to do, or if the room has
    /// changed since `judged` was read.
    pub async fn expire(&self, id: &RoomId, judged: &RoomView, expiry: Expiry) -> Result<bool, RoomError> {
        let admission = match expiry {
            Expiry::NeverStarted => admit_delete(judged, now(), self.removing_grace)?,
            Expiry::TooOld => admit_stop(judged, EndReason::MaxDuration, now(), self.removing_grace)?,
            Expiry::Empty => admit_stop(judged, EndReason::Empty, now(), self.removing_grace)?,
        };
        let Admission::Accepted(write) = admission else { return Ok(false) };
        Ok(self.commit(id, judged, &write).await?.is_some())
    }

    /// Completes the removal of a `removing` room if its modules have released it, or if their grace period
    /// is over according to `clock` (the clock of [`Ages`](crate::domain::ages::Ages)). Must be called on
    /// each change of the room, and at the `forced_at` of [`Removal::Waiting`].
    pub async fn finish_removal(&self, id: &RoomId, clock: UnixMs) -> Result<Removal, RoomError> {
        let Some(known) = self.directory.room(id) else { return Ok(Removal::Nothing) };
        let mut removal = match cleanup(&known, clock) {
            Cleanup::Nothing => return Ok(Removal::Nothing),
            Cleanup::Waiting(waiting) => return Ok(Removal::Waiting(waiting)),
            Cleanup::Remove(_) => Removal::Done,
        };
        let decide = |read: &RoomRead| {
            let (now_at, admission) = match cleanup(&read.view, clock) {
                Cleanup::Nothing => (Removal::Nothing, Admission::AlreadyDone),
                Cleanup::Waiting(waiting) => (Removal::Waiting(waiting), Admission::AlreadyDone),
                Cleanup::Remove(write) => (Removal::Done, Admission::Accepted(write)),
            };
            removal = now_at;
            Ok(admission)
        };
        self.change(id, decide).await?;
        Ok(removal)
    }

    async fn clear_unreadable(&self, id: &RoomId, key: &str) -> Result<(), RoomError> {
        for _ in 0..ATTEMPTS {
            let txn = txn::clear_as_is(&*self.store, id).await?;
            if let TxnOutcome::Committed(revision) = self.store.txn(txn).await? {
                tracing::warn!(room = %id, key, "room with an unreadable key deleted on request");
                self.directory.seen(Scope::Rooms, revision, READ_YOUR_WRITES).await;
                return Ok(());
            }
        }
        Err(RoomError::Busy)
    }

    /// Checks that the store was listed at least once: before that, every module would seem to be absent.
    fn knows_the_modules(&self) -> Result<(), RoomError> {
        match self.directory.is_listed() {
            true => Ok(()),
            false => {
                Err(StoreError::Unavailable("this node has not finished its first list of the store".into())
                    .into())
            }
        }
    }

    fn place(&self, hold: &mut PendingStart<'_>) -> Result<Placement, StartDenied> {
        let mut rng = rand::rng();
        hold.place(&self.directory, [rng.random(), rng.random()])
    }

    /// Makes one attempt based on the directory, then further ones based on the store.
    ///
    /// # Errors
    /// The error of `decide`, a store error, or [`RoomError::Busy`] after [`ATTEMPTS`] conflicts.
    pub(super) async fn change(
        &self,
        id: &RoomId,
        mut decide: impl FnMut(&RoomRead) -> Result<Admission<RoomWrite>, RoomError>,
    ) -> Result<RoomView, RoomError> {
        if let Some(view) = self.directory.room(id) {
            let revision = self.directory.revision_seen(Scope::Rooms).unwrap_or(0);
            let read = RoomRead { view: Arc::unwrap_or_clone(view), revision };
            if let Ok(Admission::Accepted(write)) = decide(&read)
                && let Some(changed) = self.commit(id, &read.view, &write).await?
            {
                return Ok(changed);
            }
        }
        self.change_from_store(id, decide).await
    }

    async fn change_from_store(
        &self,
        id: &RoomId,
        mut decide: impl FnMut(&RoomRead) -> Result<Admission<RoomWrite>, RoomError>,
    ) -> Result<RoomView, RoomError> {
        for _ in 0..ATTEMPTS {
            let read = txn::read(&*self.store, id).await?;
            let Admission::Accepted(write) = decide(&read)? else { return Ok(read.view) };
            if let Some(changed) = self.commit(id, &read.view, &write).await? {
                return Ok(changed);
            }
        }
        Err(RoomError::Busy)
    }

    /// Commits a write. Returns `None` if the room has changed since it was read.
    pub(super) async fn commit(
        &self,
        id: &RoomId,
        view: &RoomView,
        write: &RoomWrite,
    ) -> Result<Option<RoomView>, RoomError> {
        let (traced, span) = (traced(write), Span::child_of(trace::current(), "store.write"));
        let write = traced.as_ref().unwrap_or(write);
        span.run(self.send(id, view, write, txn::txn(id, view, write))).await
    }

    /// Sends the transaction of a write. Returns `None` if the transaction fails with a conflict.
    pub(super) async fn send(
        &self,
        id: &RoomId,
        view: &RoomView,
        write: &RoomWrite,
        txn: Txn,
    ) -> Result<Option<RoomView>, RoomError> {
        match self.store.txn(txn).await? {
            TxnOutcome::Conflict => Ok(None),
            TxnOutcome::Committed(revision) => {
                self.tell(id, write);
                // A timeout is not a failure: the change is committed, and the directory will show it later.
                self.directory.seen(Scope::Rooms, revision, READ_YOUR_WRITES).await;
                Ok(Some(write.applied_to(view, revision)))
            }
        }
    }

    pub(super) fn found(&self, id: &RoomId, view: RoomView) -> Result<Room, RoomError> {
        self.shown(id, Arc::new(view)).ok_or(RoomError::NotFound)
    }

    fn shown(&self, id: &RoomId, view: Arc<RoomView>) -> Option<Room> {
        Room::of(id.clone(), view, &self.directory.modules())
    }

    /// Emits an operational event if the write puts the room on air.
    fn tell(&self, room: &RoomId, write: &RoomWrite) {
        if let RoomWrite::Put { live: Some(live), .. } = write
            && live.status == LiveStatus::OnAir
        {
            let (janus, mixer) = (&live.janus_id, &live.mixer_id);
            RoomPlaced { room, epoch: live.epoch, janus, mixer, reason: "started" }.emit(&self.metrics);
        }
    }
}

/// Adds the span of the current request to a write that puts a room on air; the actors of the room continue
/// the trace. Returns `None` for other writes, or if no trace is being recorded.
fn traced(write: &RoomWrite) -> Option<RoomWrite> {
    let trace = trace::current()?;
    let mut write = write.clone();
    match &mut write {
        RoomWrite::Put { live: Some(live), .. } if live.status == LiveStatus::OnAir => {
            live.trace = Some(trace);
            Some(write)
        }
        _ => None,
    }
}

fn checked_anchors(wanted: Option<u8>) -> Result<u8, InvalidName> {
    let anchors = wanted.unwrap_or(DEFAULT_ANCHORS);
    match MAX_ANCHORS.contains(&anchors) {
        true => Ok(anchors),
        false => Err(InvalidName { what: "maxAnchors", rule: "must be 1 to 20" }),
    }
}

fn random_room_id() -> RoomId {
    let text = Alphanumeric.sample_string(&mut rand::rng(), 10);
    // Cannot fail: 3 to 32 letters or digits are a room id.
    RoomId::new(&text).expect("ten letters or digits are a room id")
}

fn random_pin() -> Pin {
    let mut rng = rand::rng();
    let mut letter = || char::from(PIN_ALPHABET[rng.random_range(0..PIN_ALPHABET.len())]);
    let text: String = (0..6).map(|_| letter()).collect();
    // Cannot fail: PIN_ALPHABET holds letters and digits only.
    Pin::new(&text).expect("six letters or digits are a pin")
}

/// Returns 128 random bits as hex.
fn random_nonce() -> Nonce {
    Nonce(hex::encode(rand::rng().random::<[u8; 16]>()))
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
