//! Reports of anchors who join, leave and are muted, of raised hands, and of the largest number of listeners,
//! as events of the ledger. The rules are in `domain::reported_anchors` and `domain::reported_hands`.

use crate::domain::ids::{RoomId, UserId};
use crate::domain::reported_anchors::{RoomObservation, admit_report};
use crate::domain::room::{Admission, RoomWrite};
use crate::domain::view::RoomView;

use super::txn::RoomRead;
use super::{RoomError, RoomService, now};

impl RoomService {
    /// Reports the anchors who have joined or left, the hands that were raised or lowered, and the number of
    /// listeners if it is the largest so far. `judged` is the room as it was before `observed` was read. If
    /// the room has changed since then, writes nothing; the caller must read the room and its state again.
    ///
    /// # Errors
    /// A store error.
    pub async fn report_anchors(
        &self,
        id: &RoomId,
        judged: &RoomView,
        observed: RoomObservation<'_>,
    ) -> Result<(), RoomError> {
        match admit_report(judged, observed, now()) {
            Admission::AlreadyDone => Ok(()),
            Admission::Accepted(write) => self.commit(id, judged, &write).await.map(|_| ()),
        }
    }

    /// Reports that the host or co-host `by` has muted or unmuted an anchor. Does nothing if the room is not
    /// open any more.
    ///
    /// # Errors
    /// A store error.
    pub async fn report_muted(
        &self,
        id: &RoomId,
        user: &UserId,
        muted: bool,
        by: &UserId,
    ) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| match read.view.is_open() {
            true => {
                let (user, by) = (user.clone(), by.clone());
                Ok(Admission::Accepted(RoomWrite::Muted { user, muted, by }))
            }
            false => Ok(Admission::AlreadyDone),
        };
        self.change(id, decide).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::fake_store::{FakeStore, Fault};
    use super::*;
    use crate::domain::presence_entry::Source;
    use crate::domain::reported_anchors::PresentAnchor;
    use crate::domain::roles::RoomRole;
    use crate::rooms::{InitialState, NewRoom};
    use crate::store::Store;
    use crate::telemetry::Metrics;

    const KEY: &str = "/rooms/demo/anchors";

    #[actix::test]
    async fn reports_are_written_with_events() {
        let (store, rooms) = house().await;
        report(&rooms, &view(&rooms), &[anchor("ann"), anchor("bob")]).await;
        assert_eq!(events(&store).await, ["anchor_joined", "anchor_joined"]);
        let revision = store.revision();
        report(&rooms, &view(&rooms), &[anchor("ann"), anchor("bob")]).await;
        assert_eq!(store.revision(), revision, "nothing to write");
        report(&rooms, &view(&rooms), &[anchor("bob")]).await;
        assert_eq!(events(&store).await, ["anchor_joined", "anchor_joined", "anchor_left"]);
    }

    #[actix::test]
    async fn concurrent_reporters_write_once() {
        let (store, rooms) = house().await;
        let judged = view(&rooms);
        for _ in 0..2 {
            report(&rooms, &judged, &[anchor("ann")]).await;
        }
        assert_eq!(events(&store).await, ["anchor_joined"]);
        let judged = view(&rooms);
        store
            .fail_next(Fault::Before(Box::new(|store: &FakeStore| store.delete_now("/rooms/demo/livemeta"))));
        report(&rooms, &judged, &[]).await;
        assert_eq!(events(&store).await, ["anchor_joined"], "the broadcast has ended meanwhile");
    }

    #[actix::test]
    async fn mutes_of_anchors_are_reported() {
        let (store, rooms) = house().await;
        let (ann, host) = (UserId::new("ann").unwrap(), UserId::new("host").unwrap());
        for muted in [true, false] {
            rooms.report_muted(&room(), &ann, muted, &host).await.unwrap();
        }
        assert_eq!(events(&store).await, ["anchor_muted", "anchor_unmuted"]);
        rooms.stop(&room()).await.unwrap();
        rooms.report_muted(&room(), &ann, true, &host).await.unwrap();
        assert_eq!(events(&store).await.len(), 2, "the broadcast has ended");
    }

    async fn report(rooms: &RoomService, judged: &RoomView, anchors: &[PresentAnchor]) {
        let observed = RoomObservation { present: Some(anchors), ..RoomObservation::default() };
        rooms.report_anchors(&room(), judged, observed).await.unwrap();
    }

    async fn house() -> (Arc<FakeStore>, RoomService) {
        let store = FakeStore::new();
        store.add_module("one", 10);
        let never = Duration::from_secs(1 << 30);
        let metrics = Metrics::new(std::time::SystemTime::now());
        let rooms = RoomService::new(store.clone(), store.directory(), never, metrics);
        let new = NewRoom { room_id: Some(room()), opening: InitialState::OnAir, ..NewRoom::default() };
        rooms.create(new).await.unwrap();
        (store, rooms)
    }

    /// Returns the types of the events of anchors, sorted.
    async fn events(store: &FakeStore) -> Vec<String> {
        let listed = store.list("/events/").await.unwrap();
        let event = |value: &[u8]| serde_json::from_slice::<serde_json::Value>(value).unwrap();
        let kinds =
            listed.entries.iter().map(|entry| event(&entry.value)["type"].as_str().unwrap().to_owned());
        let mut kinds: Vec<_> = kinds.filter(|kind| kind.starts_with("anchor")).collect();
        kinds.sort();
        let reported = kinds.iter().any(|kind| kind == "anchor_joined");
        assert!(!reported || store.keys().iter().any(|key| key == KEY));
        kinds
    }

    fn view(rooms: &RoomService) -> Arc<RoomView> {
        rooms.directory().room(&room()).unwrap()
    }

    fn anchor(user: &str) -> PresentAnchor {
        let user = UserId::new(user).unwrap();
        PresentAnchor {
            user,
            role: RoomRole::Anchor,
            name: None,
            source: Source::Signalling,
            joining: false,
            consent: false,
        }
    }

    fn room() -> RoomId {
        RoomId::new("demo").unwrap()
    }
}
