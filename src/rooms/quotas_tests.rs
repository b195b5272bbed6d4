//! Tests of the quotas of rooms against a store with two nodes and concurrent writers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::domain::api_key::{KeyDigest, KeyName};
use crate::domain::ids::UnixMs;
use crate::domain::model::UserRole;
use crate::domain::schedule::{ScheduleStep, StartTime};
use crate::rooms::fake_store::Fault;
use crate::rooms::{FakeStore, InitialState, NewApiKey, NewRoom, StoreCopy};
use crate::telemetry::Metrics;

#[actix::test]
async fn nodes_cannot_share_last_place() {
    let (store, nodes) = cluster(2);
    let key = key(&nodes, Quotas { rooms: Some(5), ..Quotas::default() }).await;
    let creations = (0..20).map(|n| nodes[n % 2].create(new(&key, n, false)));
    let made = futures::future::join_all(creations).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 5);
    for refused in made.into_iter().filter_map(Result::err) {
        let RoomError::Quota(exceeded) = refused else { panic!("{refused}") };
        assert_eq!((exceeded.quota, exceeded.limit), ("rooms", 5));
    }
    assert_eq!(nodes[0].list(None, 100, &Default::default()).rooms.len(), 5);
    // A deleted room no longer counts.
    let first = nodes[0].list(None, 1, &Default::default()).rooms.remove(0).id;
    nodes[1].delete(&first).await.unwrap();
    nodes[0].create(new(&key, 98, false)).await.unwrap();
    assert!(matches!(nodes[1].create(new(&key, 99, false)).await, Err(RoomError::Quota(_))));
    // Rooms without a key are not counted.
    nodes[0].create(NewRoom::default()).await.unwrap();
    drop(store);
}

#[actix::test]
async fn conflicting_creation_takes_last_place() {
    let (store, nodes) = cluster(2);
    let key = key(&nodes, Quotas { rooms: Some(1), ..Quotas::default() }).await;
    let meta = format!(r#"{{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":1,"apiKey":"{key}"}}"#);
    let order = keys::quota_order(&key);
    store.fail_next(Fault::Before(Box::new(move |store: &FakeStore| {
        store.put_now("/rooms/rival/meta", &meta);
        store.put_now(&order, "{}");
    })));
    let refused = nodes[0].create(new(&key, 1, false)).await;
    assert!(matches!(refused, Err(RoomError::Quota(_))), "{refused:?}");
}

#[actix::test]
async fn node_that_lags_refuses() {
    let (store, nodes) = cluster(1);
    let key = key(&nodes, Quotas { rooms: Some(9), ..Quotas::default() }).await;
    nodes[0].create(new(&key, 1, false)).await.unwrap();
    store.cut_watch();
    store.put_now(&keys::quota_order(&key), "{}");
    let refused = nodes[0].create(new(&key, 2, false)).await;
    assert!(matches!(refused, Err(RoomError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    store.relist();
    nodes[0].create(new(&key, 2, false)).await.unwrap();
}

#[actix::test]
async fn air_quota_follows_the_creator() {
    let (_store, nodes) = cluster(2);
    let key = key(&nodes, Quotas { rooms_on_air: Some(2), ..Quotas::default() }).await;
    for n in 0..4 {
        nodes[0].create(new(&key, n, false)).await.unwrap();
    }
    let starts = (0..4).map(|n| {
        let node = nodes[n % 2].clone();
        async move { node.start(&id(n)).await }
    });
    let started = futures::future::join_all(starts).await;
    assert_eq!(started.iter().filter(|started| started.is_ok()).count(), 2);
    let on_air: Vec<_> = (0..4).filter(|n| started[*n].is_ok()).collect();
    nodes[1].start(&id(on_air[0])).await.expect("it is on air already");
    let refused = nodes[1].create(new(&key, 9, true)).await;
    assert!(matches!(refused, Err(RoomError::Quota(_))), "{refused:?}");
    // A stopped room counts against the quota until the modules have released it.
    nodes[0].stop(&id(on_air[0])).await.unwrap();
    assert!(matches!(nodes[0].create(new(&key, 9, true)).await, Err(RoomError::Quota(_))));
    nodes[0].finish_removal(&id(on_air[0]), crate::rooms::now()).await.unwrap();
    nodes[0].create(new(&key, 9, true)).await.unwrap();
    nodes[0]
        .create(NewRoom { opening: InitialState::OnAir, ..NewRoom::default() })
        .await
        .expect("no key, no quota");
}

/// A backstage counts against the quota. A scheduled start is refused once the quota is used up. A backstage
/// that is counted already may go on air.
#[actix::test]
async fn air_quota_counts_backstages() {
    let (_store, nodes) = cluster(1);
    let (node, key) = (&nodes[0], key(&nodes, Quotas { rooms_on_air: Some(1), ..Quotas::default() }).await);
    node.create(NewRoom { opening: InitialState::Backstage, ..new(&key, 1, false) }).await.unwrap();
    let profile = crate::domain::profile::RoomProfile {
        starts_at: Some(StartTime(UnixMs(crate::rooms::now().0 + 60_000))),
        ..Default::default()
    };
    let at = profile.starts_at.unwrap().0;
    node.create(NewRoom { profile, ..new(&key, 2, false) }).await.unwrap();
    assert!(matches!(node.backstage(&id(2)).await, Err(RoomError::Quota(_))));
    assert!(matches!(node.scheduled(&id(2), ScheduleStep::Start, at).await, Err(RoomError::Quota(_))));
    node.start(&id(1)).await.expect("it counts already");
    let missed = UnixMs(at.0 + 3_600_000);
    assert!(node.scheduled(&id(2), ScheduleStep::Miss, missed).await.expect("opens nothing"));
}

#[actix::test]
async fn user_quota_holds_across_nodes() {
    let (_store, nodes) = cluster(2);
    let key = key(&nodes, Quotas { users_per_room: Some(3), ..Quotas::default() }).await;
    nodes[0].create(new(&key, 1, false)).await.unwrap();
    let invitations = (0..8).map(|n| {
        let node = nodes[n % 2].clone();
        async move { node.create_user(&id(1), UserRole::Anchor, user(n)).await }
    });
    let invited = futures::future::join_all(invitations).await;
    assert_eq!(invited.iter().filter(|invited| invited.is_ok()).count(), 3);
    assert!(invited.iter().all(|invited| matches!(invited, Ok(_) | Err(RoomError::Quota(_)))));
    let known = (0..8).find(|n| invited[*n].is_ok()).unwrap();
    nodes[0].create_user(&id(1), UserRole::Host, user(known)).await.expect("known users may come again");
}

#[actix::test]
async fn quotas_need_the_list_of_keys() {
    let (store, nodes) = cluster(1);
    let key = key(&nodes, Quotas { rooms_on_air: Some(9), ..Quotas::default() }).await;
    nodes[0].create(new(&key, 1, false)).await.unwrap();
    let fresh = node(&store);
    let refused = fresh.start(&id(1)).await;
    assert!(matches!(refused, Err(RoomError::Store(StoreError::Unavailable(_)))), "{refused:?}");
}

fn cluster(nodes: usize) -> (Arc<FakeStore>, Vec<Arc<RoomService>>) {
    let store = FakeStore::new();
    store.add_module("one", 50);
    let nodes = (0..nodes).map(|_| node(&store)).collect();
    (store, nodes)
}

fn node(store: &Arc<FakeStore>) -> Arc<RoomService> {
    let metrics = Metrics::new(SystemTime::now());
    let grace = Duration::ZERO;
    Arc::new(RoomService::new(store.clone(), store.directory(), grace, metrics))
}

/// Creates an API key that all nodes know.
async fn key(nodes: &[Arc<RoomService>], quotas: Quotas) -> ApiKeyId {
    let id = ApiKeyId::random([1; 12]);
    let new = NewApiKey {
        id: id.clone(),
        digest: KeyDigest([1; 32]),
        name: KeyName::new("app").unwrap(),
        scopes: Default::default(),
        expires_at: None,
        quotas,
    };
    nodes[0].api_keys().create(new).await.unwrap();
    for node in nodes {
        node.api_keys().begin_list();
        node.api_keys().put(&node.store.get(&keys::api_key(&id)).await.unwrap().unwrap());
        node.api_keys().end_list(1);
    }
    id
}

fn new(key: &ApiKeyId, n: usize, start: bool) -> NewRoom {
    let opening = if start { InitialState::OnAir } else { InitialState::Later };
    NewRoom { room_id: Some(id(n)), key: Some(key.clone()), opening, ..NewRoom::default() }
}

fn id(n: usize) -> RoomId {
    RoomId::new(&format!("room{n}")).unwrap()
}

fn user(n: usize) -> Option<crate::domain::ids::UserId> {
    crate::domain::ids::UserId::new(&format!("user{n}")).ok()
}
