//! The life of rooms: create, start, stop, delete, expire, and the end of a removal.
//!
//! A decision is first made from the directory, which saves a round trip to the store; since its
//! transaction compares revisions, a stale directory can only cost a second attempt. Only an accepted
//! request may rest on it: "already done" and every denial are confirmed by a linearizable read.
//!
//! After a write the caller waits, briefly, until this node's directory shows it: who starts a room and
//! then lists them finds it on air.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::distr::{Alphanumeric, SampleString};

use crate::domain::ids::{Epoch, InvalidName, Nonce, Pin, RoomId, UnixMs};
use crate::domain::keys;
use crate::domain::model::{LiveStatus, Meta};
use crate::domain::placement::Placement;
use crate::domain::room::{
    Admission, Cleanup, Expiry, RoomWrite, StartDenied, admit_create, admit_delete, admit_start, admit_stop,
    assignment, cleanup,
};
use crate::domain::view::RoomView;
use crate::store::{Store, StoreError, TxnOutcome};
use crate::telemetry::Metrics;
use crate::telemetry::events::{Event, RoomPlaced};

use super::in_flight::{Hold, InFlight};
use super::txn::{self, Read};
use super::{Directory, NewRoom, Page, READ_YOUR_WRITES, Removal, Room, RoomError, Scope, now};

/// A room changes a few times a second at most: who loses this often is facing a loop, not a neighbour.
const ATTEMPTS: usize = 8;
const MAX_ANCHORS: std::ops::RangeInclusive<u8> = 1..=5;
const DEFAULT_ANCHORS: u8 = 3;
/// Without letters and digits that are taken for each other when read aloud.
const PIN_ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

pub struct RoomService {
    pub(super) store: Arc<dyn Store>,
    pub(super) directory: Arc<Directory>,
    in_flight: InFlight,
    removing_grace: Duration,
    pub(super) metrics: Metrics,
}

impl RoomService {
    /// `removing_grace`: how long a stopped room's modules may take before they are passed over.
    pub fn new(
        store: Arc<dyn Store>,
        directory: Arc<Directory>,
        removing_grace: Duration,
        metrics: Metrics,
    ) -> Self {
        Self { store, directory, in_flight: InFlight::default(), removing_grace, metrics }
    }

    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Makes a room and, if asked to, puts it on air, in one transaction.
    pub async fn create(&self, new: NewRoom) -> Result<Room, RoomError> {
        let max_anchors = checked_anchors(new.max_anchors)?;
        if new.start {
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
        };
        let mut hold = self.in_flight.hold(id.clone());
        let decide = |read: &Read| {
            let meta = admit_create(&read.view, wanted.clone(), read.revision)?;
            Ok(Admission::Accepted(match new.start {
                true => assignment(meta, self.place(&mut hold)?, random_nonce(), now),
                false => RoomWrite::Put { meta: Some(meta), live: None },
            }))
        };
        self.change_from_store(&id, decide).await.and_then(|view| self.found(&id, view))
    }

    /// From this node's directory, so also while the store is away; a room it does not know yet is looked
    /// for in the store.
    pub async fn get(&self, id: &RoomId) -> Result<Room, RoomError> {
        if let Some(view) = self.directory.room(id) {
            let unreadable = view.unreadable_part().map(|part| keys::room(id, part));
            let absent = unreadable.map_or(RoomError::NotFound, |key| RoomError::Corrupt { key });
            return self.shown(id, view).ok_or(absent);
        }
        let read = txn::read(&*self.store, id).await?;
        self.found(id, read.view)
    }

    /// Rooms after `after` in the order of their ids, from this node's directory.
    pub fn list(&self, after: Option<&RoomId>, limit: usize) -> Page {
        self.directory.page(after, limit)
    }

    /// Puts the room on air; one that is already stays as it is.
    pub async fn start(&self, id: &RoomId) -> Result<Room, RoomError> {
        self.knows_the_modules()?;
        let mut hold = self.in_flight.hold(id.clone());
        let decide =
            |read: &Read| Ok(admit_start(&read.view, || self.place(&mut hold), random_nonce(), now())?);
        self.change(id, decide).await.and_then(|view| self.found(id, view))
    }

    /// Ends the live; the room stays.
    pub async fn stop(&self, id: &RoomId) -> Result<Room, RoomError> {
        let decide = |read: &Read| Ok(admit_stop(&read.view, now(), self.removing_grace)?);
        self.change(id, decide).await.and_then(|view| self.found(id, view))
    }

    /// Ends the room. `None`: it held nothing and is gone; else it is `removing`. One with an unreadable key
    /// goes at once, with all its keys: its modules then let go of what they have.
    pub async fn delete(&self, id: &RoomId) -> Result<Option<Room>, RoomError> {
        let decide = |read: &Read| {
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

    /// Ends what should have ended by itself, if the room is still as it was judged.
    pub async fn expire(&self, id: &RoomId, judged: &RoomView, expiry: Expiry) -> Result<bool, RoomError> {
        let admission = match expiry {
            Expiry::NeverStarted => admit_delete(judged, now(), self.removing_grace)?,
            Expiry::TooOld => admit_stop(judged, now(), self.removing_grace)?,
        };
        let Admission::Accepted(write) = admission else { return Ok(false) };
        Ok(self.commit(id, judged, &write).await?.is_some())
    }

    /// Takes a `removing` room to its end if its modules have let go of it, or had their time by `clock`
    /// (that of a [`Sighting`](crate::domain::ages::Sighting)). To be called at each change of the room and
    /// when a wait's `forced_at` has come.
    pub async fn finish_removal(&self, id: &RoomId, clock: UnixMs) -> Result<Removal, RoomError> {
        let Some(known) = self.directory.room(id) else { return Ok(Removal::Nothing) };
        let mut removal = match cleanup(&known, clock) {
            Cleanup::Nothing => return Ok(Removal::Nothing),
            Cleanup::Waiting(waiting) => return Ok(Removal::Waiting(waiting)),
            Cleanup::Remove(_) => Removal::Done,
        };
        let decide = |read: &Read| {
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

    /// Before the first list every module would look as if it were not there.
    fn knows_the_modules(&self) -> Result<(), RoomError> {
        match self.directory.is_listed() {
            true => Ok(()),
            false => Err(StoreError::Unavailable("this node has not listed it yet".into()).into()),
        }
    }

    fn place(&self, hold: &mut Hold<'_>) -> Result<Placement, StartDenied> {
        let mut rng = rand::rng();
        hold.place(&self.directory, [rng.random(), rng.random()])
    }

    /// One attempt from the directory, then from the store.
    pub(super) async fn change(
        &self,
        id: &RoomId,
        mut decide: impl FnMut(&Read) -> Result<Admission<RoomWrite>, RoomError>,
    ) -> Result<RoomView, RoomError> {
        if let Some(view) = self.directory.room(id) {
            let revision = self.directory.revision_seen(Scope::Rooms).unwrap_or(0);
            let read = Read { view: Arc::unwrap_or_clone(view), revision };
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
        mut decide: impl FnMut(&Read) -> Result<Admission<RoomWrite>, RoomError>,
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

    /// `None`: the room is no longer as it was read.
    async fn commit(
        &self,
        id: &RoomId,
        view: &RoomView,
        write: &RoomWrite,
    ) -> Result<Option<RoomView>, RoomError> {
        match self.store.txn(txn::txn(id, view, write)).await? {
            TxnOutcome::Conflict => Ok(None),
            TxnOutcome::Committed(revision) => {
                self.tell(id, write);
                // Late is no failure: the change is made, and the directory will show it.
                self.directory.seen(Scope::Rooms, revision, READ_YOUR_WRITES).await;
                Ok(Some(write.applied_to(view, revision)))
            }
        }
    }

    fn found(&self, id: &RoomId, view: RoomView) -> Result<Room, RoomError> {
        self.shown(id, Arc::new(view)).ok_or(RoomError::NotFound)
    }

    fn shown(&self, id: &RoomId, view: Arc<RoomView>) -> Option<Room> {
        Room::of(id.clone(), view, &self.directory.modules())
    }

    /// A room that goes on air is news for operators.
    fn tell(&self, room: &RoomId, write: &RoomWrite) {
        if let RoomWrite::Put { live: Some(live), .. } = write
            && live.status == LiveStatus::OnAir
        {
            let (janus, mixer) = (&live.janus_id, &live.mixer_id);
            RoomPlaced { room, epoch: live.epoch, janus, mixer, reason: "started" }.emit(&self.metrics);
        }
    }
}

fn checked_anchors(wanted: Option<u8>) -> Result<u8, InvalidName> {
    let anchors = wanted.unwrap_or(DEFAULT_ANCHORS);
    match MAX_ANCHORS.contains(&anchors) {
        true => Ok(anchors),
        false => Err(InvalidName { what: "maxAnchors", rule: "must be 1 to 5" }),
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

/// 128 bits, as hex.
fn random_nonce() -> Nonce {
    Nonce(hex::encode(rand::rng().random::<[u8; 16]>()))
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
