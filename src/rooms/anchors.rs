//! Reports of anchors who join and leave, and of the largest number of listeners, as events of the ledger.
//! The rules are in `domain::reported_anchors`.

use crate::domain::ids::RoomId;
use crate::domain::reported_anchors::{PresentAnchor, admit_report};
use crate::domain::room::Admission;
use crate::domain::view::RoomView;

use super::{RoomError, RoomService, now};

impl RoomService {
    /// Reports the anchors who have joined or left, given the anchors who are present now. Also reports this
    /// number of listeners if it is the largest so far. `judged` is the room as it was before presence was
    /// read. If the room has changed since then, writes nothing; the caller must read the room and presence
    /// again.
    ///
    /// # Errors
    /// A store error.
    pub async fn report_anchors(
        &self,
        id: &RoomId,
        judged: &RoomView,
        present: Option<&[PresentAnchor]>,
        listeners: u64,
    ) -> Result<(), RoomError> {
        match admit_report(judged, present, listeners, now()) {
            Admission::AlreadyDone => Ok(()),
            Admission::Accepted(write) => self.commit(id, judged, &write).await.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::fake_store::{FakeStore, Fault};
    use super::*;
    use crate::domain::ids::UserId;
    use crate::domain::presence_entry::Source;
    use crate::domain::roles::RoomRole;
    use crate::rooms::{InitialState, NewRoom};
    use crate::store::Store;
    use crate::telemetry::Metrics;

    const KEY: &str = "/rooms/demo/anchors";

    #[actix::test]
    async fn reports_are_written_with_events() {
        let (store, rooms) = house().await;
        rooms.report_anchors(&room(), &view(&rooms), Some(&[anchor("ann"), anchor("bob")]), 0).await.unwrap();
        assert_eq!(events(&store).await, ["anchor_joined", "anchor_joined"]);
        let revision = store.revision();
        rooms.report_anchors(&room(), &view(&rooms), Some(&[anchor("ann"), anchor("bob")]), 0).await.unwrap();
        assert_eq!(store.revision(), revision, "nothing to write");
        rooms.report_anchors(&room(), &view(&rooms), Some(&[anchor("bob")]), 0).await.unwrap();
        assert_eq!(events(&store).await, ["anchor_joined", "anchor_joined", "anchor_left"]);
    }

    #[actix::test]
    async fn concurrent_reporters_write_once() {
        let (store, rooms) = house().await;
        let judged = view(&rooms);
        for _ in 0..2 {
            rooms.report_anchors(&room(), &judged, Some(&[anchor("ann")]), 0).await.unwrap();
        }
        assert_eq!(events(&store).await, ["anchor_joined"]);
        let judged = view(&rooms);
        store
            .fail_next(Fault::Before(Box::new(|store: &FakeStore| store.delete_now("/rooms/demo/livemeta"))));
        rooms.report_anchors(&room(), &judged, Some(&[]), 0).await.unwrap();
        assert_eq!(events(&store).await, ["anchor_joined"], "the broadcast has ended meanwhile");
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
        assert!(kinds.is_empty() || store.keys().iter().any(|key| key == KEY));
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
