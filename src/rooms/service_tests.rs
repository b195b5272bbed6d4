//! Tests of the room service against a store with concurrent writers.

use super::super::FakeStore;
use super::super::fake_store::Fault;
use super::*;
use crate::domain::ids::{ModuleId, UnixMs};
use crate::domain::keys::ModuleKind;
use crate::domain::model::MarkLabel;
use crate::domain::placement::RejectReason;
use crate::domain::room::RoomStatus;

const NEVER: Duration = Duration::from_secs(1 << 30);

#[actix::test]
async fn deleted_room_leaves_no_store_key() {
    let (store, rooms) = house(&[("one", 10)]);
    let room = rooms.create(NewRoom { room_id: Some(id("demo")), ..NewRoom::default() }).await.unwrap();
    assert_eq!(room.status, RoomStatus::Created);
    assert_eq!(rooms.start(&id("demo")).await.unwrap().status, RoomStatus::Starting);
    store.put_now("/rooms/demo/sequence", r#"{"ceiling":1024,"discontinuity":0}"#);
    let deleted = rooms.delete(&id("demo")).await.unwrap().unwrap();
    assert_eq!(deleted.status, RoomStatus::Removing);
    assert_eq!(rooms.finish_removal(&id("demo"), now()).await.unwrap(), Removal::Done);
    assert_eq!(rooms_keys(&store), Vec::<String>::new());
    assert!(matches!(rooms.get(&id("demo")).await, Err(RoomError::NotFound)));
}

#[actix::test]
async fn writes_are_listed_immediately() {
    let (_store, rooms) = house(&[("one", 10)]);
    let room = rooms.create(NewRoom { opening: InitialState::OnAir, ..NewRoom::default() }).await.unwrap();
    let listed = rooms.list(None, 10, &RoomFilter::default()).rooms;
    assert_eq!(listed, [room]);
    assert_eq!(listed[0].meta.max_anchors, 3);
}

#[actix::test]
async fn concurrent_starts_pick_once() {
    let (store, rooms) = house(&[("one", 10), ("two", 10)]);
    create(&rooms, "demo").await;
    let before = store.revision();
    let starts: Vec<_> = (0..20).map(|_| async { rooms.start(&id("demo")).await.unwrap() }).collect();
    let started = futures::future::join_all(starts).await;
    assert!(started.iter().all(|room| room.view.live == started[0].view.live));
    assert_eq!(store.revision(), before + 1, "one of them wrote");
}

#[actix::test]
async fn concurrent_starts_respect_capacity() {
    let (_store, rooms) = house(&[("one", 3), ("two", 4)]);
    let names: Vec<String> = (0..10).map(|n| format!("room{n}")).collect();
    for name in &names {
        create(&rooms, name).await;
    }
    let starts = names.iter().map(|name| async { rooms.start(&id(name)).await });
    let started = futures::future::join_all(starts).await;
    assert_eq!(started.iter().filter(|s| s.is_ok()).count(), 7);
    assert!(started.iter().all(|s| matches!(s, Ok(_) | Err(RoomError::NoCapacity(_)))));
    assert!(rooms.modules().iter().all(|m| matches!(m.refuses, Some(RejectReason::Full { .. }))));
}

#[actix::test]
async fn start_without_capacity_writes_nothing() {
    let (store, rooms) = house(&[]);
    create(&rooms, "demo").await;
    let before = store.revision();
    assert!(matches!(
        rooms.start(&id("demo")).await,
        Err(RoomError::NoCapacity(StartDenied::NoPickableJanus { .. }))
    ));
    let new = NewRoom { room_id: Some(id("other")), opening: InitialState::OnAir, ..NewRoom::default() };
    assert!(matches!(rooms.create(new).await, Err(RoomError::NoCapacity(_))));
    assert_eq!(store.revision(), before);
}

#[actix::test]
async fn cordon_labels_are_honoured_and_cleared() {
    let (store, rooms) = house(&[("one", 10)]);
    let one = ModuleId::new("one").unwrap();
    let minute = Some(Duration::from_secs(60));
    rooms.set_mark(ModuleKind::Mixer, &one, MarkLabel::Draining, minute).await.unwrap();
    let Err(RoomError::NoCapacity(StartDenied::NoPickableMixer { considered })) =
        rooms.create(NewRoom { opening: InitialState::OnAir, ..NewRoom::default() }).await
    else {
        panic!("a draining mixer took a room")
    };
    assert_eq!(considered, [(one.clone(), RejectReason::Marked(MarkLabel::Draining))]);
    store.let_leases_expire();
    rooms.create(NewRoom { opening: InitialState::OnAir, ..NewRoom::default() }).await.unwrap();
    rooms.set_mark(ModuleKind::Janus, &one, MarkLabel::Cordon, None).await.unwrap();
    assert_eq!(rooms.stats().januses.pickable, 0);
    rooms.clear_mark(ModuleKind::Janus, &one).await.unwrap();
    rooms.clear_mark(ModuleKind::Janus, &one).await.unwrap();
    assert_eq!(rooms.stats().januses.pickable, 1);
    let nobody = ModuleId::new("nobody").unwrap();
    assert!(matches!(
        rooms.set_mark(ModuleKind::Janus, &nobody, MarkLabel::Ready, None).await,
        Err(RoomError::ModuleNotFound)
    ));
    assert!(matches!(rooms.clear_mark(ModuleKind::Janus, &nobody).await, Err(RoomError::ModuleNotFound)));
}

#[actix::test]
async fn stop_never_resurrects_deleted_room() {
    let (store, rooms) = house(&[("one", 10)]);
    start(&rooms, "demo").await;
    store.fail_next(Fault::Before(Box::new(|store| {
        store.delete_now("/rooms/demo/meta");
        store.delete_now("/rooms/demo/livemeta");
    })));
    assert!(matches!(rooms.stop(&id("demo")).await, Err(RoomError::NotFound)));
    assert_eq!(rooms_keys(&store), Vec::<String>::new());
}

#[actix::test]
async fn start_never_resurrects_deleted_room() {
    let (store, rooms) = house(&[("one", 10)]);
    create(&rooms, "demo").await;
    store.fail_next(Fault::Before(Box::new(|store| store.delete_now("/rooms/demo/meta"))));
    assert!(matches!(rooms.start(&id("demo")).await, Err(RoomError::NotFound)));
    assert_eq!(rooms_keys(&store), Vec::<String>::new());
}

#[actix::test]
async fn removal_spares_restarted_room() {
    let (store, rooms) = house(&[("one", 10)]);
    start(&rooms, "demo").await;
    rooms.stop(&id("demo")).await.unwrap();
    let stale = store.directory().room(&id("demo")).unwrap();
    store.cut_watch();
    store.delete_now("/rooms/demo/livemeta");
    let live = serde_json::to_string(&crate::domain::model::LiveMeta {
        status: crate::domain::model::LiveStatus::OnAir,
        ..stale.live.as_ref().unwrap().value.clone()
    });
    store.put_now("/rooms/demo/livemeta", &live.unwrap());
    assert_eq!(rooms.finish_removal(&id("demo"), now()).await.unwrap(), Removal::Nothing);
    assert!(rooms_keys(&store).contains(&"/rooms/demo/livemeta".to_owned()));
}

#[actix::test]
async fn concurrent_stop_and_delete_delete() {
    for delete_first in [true, false] {
        let (store, rooms) = house(&[("one", 10)]);
        start(&rooms, "demo").await;
        let demo = id("demo");
        let (stopped, deleted) = if delete_first {
            let (d, s) = futures::join!(rooms.delete(&demo), rooms.stop(&demo));
            (s, d)
        } else {
            futures::join!(rooms.stop(&demo), rooms.delete(&demo))
        };
        assert_eq!(stopped.unwrap().status, RoomStatus::Removing);
        assert_eq!(deleted.unwrap().unwrap().status, RoomStatus::Removing);
        assert_eq!(rooms.finish_removal(&demo, now()).await.unwrap(), Removal::Done);
        assert_eq!(rooms_keys(&store), Vec::<String>::new());
    }
}

#[actix::test]
async fn removal_waits_for_named_modules() {
    let (store, rooms) = house(&[("one", 10)]);
    start(&rooms, "demo").await;
    store.put_now("/rooms/demo/mixer", MIXER);
    rooms.stop(&id("demo")).await.unwrap();
    let Removal::Waiting(waiting) = rooms.finish_removal(&id("demo"), now()).await.unwrap() else {
        panic!("did not wait")
    };
    assert_eq!(waiting.on, [ModuleKind::Mixer]);
    assert!(matches!(rooms.start(&id("demo")).await, Err(RoomError::Removing)));
    store.delete_now("/rooms/demo/mixer");
    assert_eq!(rooms.finish_removal(&id("demo"), now()).await.unwrap(), Removal::Done);
    assert_eq!(rooms.get(&id("demo")).await.unwrap().status, RoomStatus::Created);
}

#[actix::test]
async fn overdue_removal_clears_module_keys() {
    let (store, rooms) = house_with(&[("one", 10)], Duration::ZERO);
    start(&rooms, "demo").await;
    store.put_now("/rooms/demo/mixer", MIXER);
    rooms.stop(&id("demo")).await.unwrap();
    assert_eq!(rooms.finish_removal(&id("demo"), now()).await.unwrap(), Removal::Done);
    assert_eq!(rooms_keys(&store), ["/rooms/demo/meta"]);
}

#[actix::test]
async fn epoch_rises_across_restarts_and_recreation() {
    let (_store, rooms) = house(&[("one", 10)]);
    let demo = id("demo");
    let mut epochs = Vec::new();
    for _ in 0..3 {
        create(&rooms, "demo").await;
        for _ in 0..3 {
            let room = rooms.start(&demo).await.unwrap();
            epochs.push(room.view.live.as_ref().unwrap().epoch);
            rooms.stop(&demo).await.unwrap();
            assert_eq!(rooms.finish_removal(&demo, now()).await.unwrap(), Removal::Done);
        }
        assert_eq!(rooms.delete(&demo).await.unwrap(), None, "held nothing, so it is gone at once");
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[actix::test]
async fn stale_directory_only_costs_retry() {
    let (store, rooms) = house(&[("one", 10)]);
    start(&rooms, "demo").await;
    store.cut_watch();
    store.delete_now("/rooms/demo/livemeta");
    let demo = id("demo");
    let catch_up = async {
        while !rooms_keys(&store).contains(&"/rooms/demo/livemeta".to_owned()) {
            tokio::task::yield_now().await;
        }
        store.relist();
    };
    let (room, ()) = futures::join!(rooms.start(&demo), catch_up);
    assert_eq!(room.unwrap().status, RoomStatus::Starting);
}

#[actix::test]
async fn conflicts_are_retried_boundedly() {
    let (store, rooms) = house(&[("one", 10)]);
    create(&rooms, "demo").await;
    (0..3).for_each(|_| store.fail_next(Fault::Conflict));
    assert_eq!(rooms.start(&id("demo")).await.unwrap().status, RoomStatus::Starting);
    (0..=ATTEMPTS).for_each(|_| store.fail_next(Fault::Conflict));
    assert!(matches!(rooms.stop(&id("demo")).await, Err(RoomError::Busy)));
}

#[actix::test]
async fn store_outage_is_reported_as_unavailable() {
    let (store, rooms) = house(&[("one", 10)]);
    create(&rooms, "demo").await;
    store.fail_next(Fault::Unavailable);
    assert!(matches!(rooms.start(&id("demo")).await, Err(RoomError::Store(StoreError::Unavailable(_)))));
    store.fail_next(Fault::AnswerLost);
    assert!(rooms.start(&id("demo")).await.is_err());
    let room = rooms.start(&id("demo")).await.unwrap();
    assert_eq!(room.status, RoomStatus::Starting, "a start whose answer was lost can be repeated");
    store.set_down(true);
    assert_eq!(rooms.get(&id("demo")).await.unwrap().id, id("demo"), "what is known is still told");
    assert!(rooms.create(NewRoom::default()).await.is_err());
}

#[actix::test]
async fn start_needs_first_listing() {
    let (store, _) = house(&[("one", 10)]);
    let rooms = RoomService::new(store, Arc::default(), NEVER, metrics());
    assert!(matches!(rooms.start(&id("demo")).await, Err(RoomError::Store(_))));
}

#[actix::test]
async fn expired_rooms_are_ended() {
    let (store, rooms) = house(&[("one", 10)]);
    create(&rooms, "idle").await;
    start(&rooms, "live").await;
    let [idle, live] = ["idle", "live"].map(|room| store.directory().room(&id(room)).unwrap());
    assert!(rooms.expire(&id("idle"), &idle, Expiry::NeverStarted).await.unwrap());
    assert!(rooms.expire(&id("live"), &live, Expiry::TooOld).await.unwrap());
    assert!(!rooms.expire(&id("live"), &live, Expiry::TooOld).await.unwrap(), "it is on its way");
    assert_eq!(rooms_keys(&store), ["/rooms/live/livemeta", "/rooms/live/meta"]);
    assert_eq!(rooms.get(&id("live")).await.unwrap().meta.last_end, Some(EndReason::MaxDuration));
}

#[actix::test]
async fn unreadable_rooms_can_be_deleted() {
    for (part, value) in
        [("meta", "{"), ("livemeta", r#"{"status":"paused"}"#), ("janus", "[]"), ("users/ann", "5")]
    {
        for in_sight in [true, false] {
            let (store, rooms) = house(&[("one", 10)]);
            start(&rooms, "demo").await;
            if !in_sight {
                store.cut_watch();
            }
            store.put_now(&format!("/rooms/demo/{part}"), value);
            let stopped = rooms.stop(&id("demo")).await;
            assert!(
                part.contains("ann") || part == "janus" || matches!(stopped, Err(RoomError::Corrupt { .. }))
            );
            while rooms.delete(&id("demo")).await.is_ok_and(|room| room.is_some()) {
                store.relist();
                rooms.finish_removal(&id("demo"), UnixMs(u64::MAX)).await.unwrap();
            }
            assert_eq!(rooms_keys(&store), Vec::<String>::new(), "{part} {in_sight}");
        }
    }
}

#[actix::test]
async fn clearing_absent_label_does_not_wait() {
    let (store, rooms) = house(&[("one", 10)]);
    let before = store.revision();
    let one = ModuleId::new("one").unwrap();
    rooms.clear_mark(ModuleKind::Mixer, &one).await.unwrap();
    assert_eq!(store.revision(), before, "a delete would have raised it");
    rooms.set_mark(ModuleKind::Mixer, &one, MarkLabel::Cordon, None).await.unwrap();
    rooms.clear_mark(ModuleKind::Mixer, &one).await.unwrap();
    assert!(rooms.modules().iter().all(|module| module.refuses.is_none()));
}

#[actix::test]
async fn create_refuses_duplicates_and_bad_limits() {
    let (store, rooms) = house(&[]);
    create(&rooms, "demo").await;
    let new =
        |anchors| NewRoom { room_id: Some(id("demo")), max_anchors: Some(anchors), ..NewRoom::default() };
    assert!(matches!(rooms.create(new(5)).await, Err(RoomError::Exists)));
    for anchors in [0, 21] {
        assert!(matches!(rooms.create(new(anchors)).await, Err(RoomError::InvalidInput(_))));
    }
    store.put_now("/rooms/demo/meta", r#"{"pin": 123456}"#);
    let corrupt = rooms.create(new(1)).await.unwrap_err();
    assert!(matches!(corrupt, RoomError::Corrupt { .. }));
    assert!(!format!("{corrupt:?} {corrupt}").contains("123456"), "a pin in an error is a pin in a log");
}

#[actix::test]
async fn backstage_goes_live_without_a_placement() {
    let (_, rooms) = house(&[("one", 5)]);
    let new = NewRoom { room_id: Some(id("demo")), opening: InitialState::Backstage, ..NewRoom::default() };
    let opened = rooms.create(new).await.unwrap();
    assert_eq!(opened.status, RoomStatus::Backstage);
    assert!(matches!(rooms.go_live(&id("other")).await, Err(RoomError::NotFound)));
    rooms.go_live(&id("demo")).await.unwrap();
    rooms.go_live(&id("demo")).await.unwrap();
    let live = rooms.get(&id("demo")).await.unwrap();
    assert_eq!(
        (live.status, live.view.live.as_ref().unwrap().epoch),
        (RoomStatus::Starting, opened.view.live.as_ref().unwrap().epoch)
    );
    create(&rooms, "idle").await;
    assert!(matches!(rooms.go_live(&id("idle")).await, Err(RoomError::NotOnAir)), "starts nothing");
    assert!(matches!(rooms.backstage(&id("demo")).await, Err(RoomError::OnAir)));
}

#[actix::test]
async fn scheduled_steps_are_confirmed_by_the_store() {
    let (_, rooms) = house(&[("one", 5)]);
    let at = crate::domain::schedule::StartTime(UnixMs(now().0 + 60_000));
    let profile = crate::domain::profile::RoomProfile { starts_at: Some(at), ..Default::default() };
    rooms.create(NewRoom { room_id: Some(id("demo")), profile, ..NewRoom::default() }).await.unwrap();
    let step = async |at: u64| rooms.scheduled(&id("demo"), ScheduleStep::Start, UnixMs(at)).await.unwrap();
    assert!(!step(at.0.0 - 1).await, "not yet");
    assert!(step(at.0.0).await);
    assert!(!step(at.0.0).await, "once");
    rooms.stop(&id("demo")).await.unwrap();
    assert!(!step(at.0.0 + 1).await);
}

const MIXER: &str = r#"{"id":"one","ip":"127.0.0.1","port":10000,"hlsUrl":"http://m","epoch":1}"#;

fn house(modules: &[(&str, u32)]) -> (Arc<FakeStore>, RoomService) {
    house_with(modules, Duration::from_secs(60))
}

/// Creates a store and a room service. Each of `modules` is a Janus instance and a mixer of that capacity.
fn house_with(modules: &[(&str, u32)], grace: Duration) -> (Arc<FakeStore>, RoomService) {
    let store = FakeStore::new();
    for (name, capacity) in modules {
        store.add_module(name, *capacity);
    }
    let rooms = RoomService::new(store.clone(), store.directory(), grace, metrics());
    (store, rooms)
}

async fn create(rooms: &RoomService, name: &str) {
    rooms.create(NewRoom { room_id: Some(id(name)), ..NewRoom::default() }).await.unwrap();
}

async fn start(rooms: &RoomService, name: &str) {
    rooms
        .create(NewRoom { room_id: Some(id(name)), opening: InitialState::OnAir, ..NewRoom::default() })
        .await
        .unwrap();
}

fn rooms_keys(store: &FakeStore) -> Vec<String> {
    store.keys().into_iter().filter(|key| key.starts_with("/rooms/")).collect()
}

fn id(text: &str) -> RoomId {
    RoomId::new(text).unwrap()
}

fn metrics() -> Metrics {
    Metrics::new(std::time::SystemTime::now())
}
