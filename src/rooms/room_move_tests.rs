//! Tests of failover against a store with concurrent writers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::fake_store::{FakeStore, Fault};
use super::*;
use crate::domain::failover::{Cause, Eviction};
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::keys::{self, ModuleKind};
use crate::domain::placement::Placement;
use crate::domain::view::RoomView;
use crate::rooms::{InitialState, NewRoom};
use crate::telemetry::Metrics;

const HEARTBEAT: &str = "/mixers/one/heartbeat";

#[actix::test]
async fn move_raises_epoch_and_keeps_nonce() {
    let house = House::new().await;
    let before = house.room();
    let epoch = house.rooms.move_room(&house.guard, &house.order()).await.unwrap().unwrap();
    let after = house.room();
    let (old, new) = (before.live.as_ref().unwrap(), after.live.as_ref().unwrap());
    assert_eq!(new.epoch, epoch);
    assert!(new.epoch > old.epoch && after.meta.as_ref().unwrap().last_epoch == epoch);
    assert_eq!((&new.nonce, &new.janus_id, new.created_at), (&old.nonce, &old.janus_id, old.created_at));
    assert_eq!(new.mixer_id.as_str(), "two");
    let metrics = house.rooms.metrics.render();
    assert!(metrics.contains("stentor_room_moves_total{cause=\"vanished\"} 1"), "{metrics}");
}

#[actix::test]
async fn move_skips_module_that_returned() {
    let house = House::new().await;
    house.store.fail_next(Fault::Before(Box::new(|store| store.add_module("one", 9))));
    assert_eq!(house.rooms.move_room(&house.guard, &house.order()).await.unwrap(), None);
    assert_eq!(house.room().live.as_ref().unwrap().mixer_id.as_str(), "one");
}

#[actix::test]
async fn former_leader_moves_nothing() {
    let house = House::new().await;
    house.store.put_now(&house.guard.key, "{}");
    assert_eq!(house.rooms.move_room(&house.guard, &house.order()).await.unwrap(), None);
}

#[actix::test]
async fn move_skips_stopped_or_moved_room() {
    let house = House::new().await;
    let order = house.order();
    assert!(house.rooms.move_room(&house.guard, &order).await.unwrap().is_some());
    let moved = house.room();
    assert_eq!(house.rooms.move_room(&house.guard, &order).await.unwrap(), None, "judged from another epoch");
    assert_eq!(house.room(), moved);
    let order = house.order();
    house.rooms.stop(&order.room).await.unwrap();
    assert_eq!(house.rooms.move_room(&house.guard, &order).await.unwrap(), None);
}

struct House {
    store: Arc<FakeStore>,
    rooms: RoomService,
    guard: LeaderGuard,
}

impl House {
    /// Creates the room `demo` on `one`, whose mixer is gone. `two` is alive, and this node is the leader.
    async fn new() -> Self {
        let store = FakeStore::new();
        store.add_module("one", 9);
        let never = Duration::from_secs(1 << 30);
        let metrics = Metrics::new(SystemTime::now());
        let rooms = RoomService::new(store.clone(), store.directory(), never, metrics);
        let demo =
            NewRoom { room_id: RoomId::new("demo").ok(), opening: InitialState::OnAir, ..NewRoom::default() };
        rooms.create(demo).await.unwrap();
        store.add_module("two", 9);
        store.delete_now(HEARTBEAT);
        store.put_now(keys::LEADER, "{}");
        let guard = LeaderGuard { key: keys::LEADER.into(), revision: store.revision() };
        Self { store, rooms, guard }
    }

    fn room(&self) -> Arc<RoomView> {
        self.rooms.directory().room(&RoomId::new("demo").unwrap()).unwrap()
    }

    fn order(&self) -> RoomMove {
        let module = |name| ModuleId::new(name).unwrap();
        let live = self.room().live.clone().unwrap();
        RoomMove {
            room: RoomId::new("demo").unwrap(),
            live_revision: live.mod_revision,
            to: Placement {
                janus_id: live.janus_id.clone(),
                mixer_id: module("two"),
                reasons: Default::default(),
            },
            leaves: vec![Eviction { kind: ModuleKind::Mixer, from: module("one"), cause: Cause::Vanished }],
        }
    }
}
