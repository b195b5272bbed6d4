//! Tests of a room's users against a store with concurrent writers.

use std::time::Duration;

use super::super::fake_store::{FakeStore, Fault};
use super::*;
use crate::domain::ids::UnixMs;
use crate::domain::users::UserDenied;
use crate::rooms::{NewRoom, Removal};
use crate::telemetry::Metrics;

#[actix::test]
async fn user_is_invited_and_banned() {
    let (store, rooms) = house().await;
    let invited = rooms.create_user(&room(), UserRole::Host, None).await.unwrap();
    assert_eq!((invited.user.role, invited.id.as_str().len()), (UserRole::Host, 16));
    let before = store.revision();
    let again = rooms.create_user(&room(), UserRole::Host, Some(invited.id.clone())).await.unwrap();
    assert_eq!((again.user, store.revision()), (invited.user.clone(), before), "nothing to write");
    rooms.ban_user(&room(), &ban(invited.id.as_str())).await.unwrap();
    rooms.ban_user(&room(), &ban(invited.id.as_str())).await.unwrap();
    assert!(rooms.directory().room(&room()).unwrap().is_banned(&invited.id));
    assert_eq!(refused(&rooms, invited.id.as_str()).await, UserDenied::Banned);
    assert_eq!(rooms.users(&room()).await.unwrap().len(), 1);
    for _ in 0..2 {
        rooms.unban_user(&room(), &invited.id, None).await.unwrap();
    }
    let back = rooms.create_user(&room(), UserRole::Host, Some(invited.id)).await.unwrap();
    assert_eq!(back.user, invited.user, "as before the ban");
    rooms.ban_user(&room(), &ban("gina")).await.unwrap();
    rooms.unban_user(&room(), &id("gina"), Some(&back.id)).await.unwrap();
    assert!(!rooms.users(&room()).await.unwrap().contains_key(&id("gina")));
    let kinds: Vec<_> = store.keys().into_iter().filter(|key| key.starts_with("/events/")).collect();
    assert_eq!(kinds.len(), 6, "created, invited, and two bans with their ends: {kinds:?}");
}

#[actix::test]
async fn ban_wins_over_concurrent_invitation() {
    let (store, rooms) = house().await;
    let removal = |store: &FakeStore| store.put_now(ANN, r#"{"role":"anchor","createdAt":1,"removedAt":2}"#);
    store.fail_next(Fault::Before(Box::new(removal)));
    assert_eq!(refused(&rooms, "ann").await, UserDenied::Banned);
}

#[actix::test]
async fn stale_watch_still_refuses_banned_user() {
    let (store, rooms) = house().await;
    rooms.create_user(&room(), UserRole::Anchor, Some(id("ann"))).await.unwrap();
    store.cut_watch();
    store.put_now(ANN, r#"{"role":"anchor","createdAt":1,"removedAt":2}"#);
    assert_eq!(refused(&rooms, "ann").await, UserDenied::Banned);
}

#[actix::test]
async fn deleted_room_keeps_no_users() {
    let (store, rooms) = house().await;
    rooms.create_user(&room(), UserRole::Anchor, Some(id("ann"))).await.unwrap();
    rooms.ban_user(&room(), &ban("bob")).await.unwrap();
    store.fail_next(Fault::Before(Box::new(|store: &FakeStore| {
        ["meta", "users/ann", "users/bob"].iter().for_each(|k| store.delete_now(&format!("/rooms/demo/{k}")));
    })));
    let late = rooms.create_user(&room(), UserRole::Anchor, Some(id("cat"))).await;
    assert!(matches!(late, Err(RoomError::NotFound)), "{late:?}");
    assert!(store.keys().iter().all(|key| !key.starts_with("/rooms/")), "{:?}", store.keys());
}

#[actix::test]
async fn users_survive_stop_not_delete() {
    let (store, rooms) = house().await;
    store.add_module("one", 10);
    rooms.start(&room()).await.unwrap();
    rooms.ban_user(&room(), &ban("ann")).await.unwrap();
    rooms.stop(&room()).await.unwrap();
    assert_eq!(rooms.finish_removal(&room(), UnixMs(0)).await.unwrap(), Removal::Done);
    assert_eq!(refused(&rooms, "ann").await, UserDenied::Banned);
    rooms.delete(&room()).await.unwrap();
    assert!(store.keys().iter().all(|key| !key.starts_with("/rooms/")), "{:?}", store.keys());
    let next = NewRoom { room_id: Some(room()), ..NewRoom::default() };
    rooms.create(next).await.unwrap();
    assert!(rooms.create_user(&room(), UserRole::Anchor, Some(id("ann"))).await.is_ok(), "another room");
}

#[actix::test]
async fn removing_room_refuses_invitations() {
    let (store, rooms) = house().await;
    store.add_module("one", 10);
    rooms.start(&room()).await.unwrap();
    store.put_now("/rooms/demo/sequence", r#"{"ceiling":1024,"discontinuity":0}"#);
    rooms.delete(&room()).await.unwrap();
    let late = rooms.create_user(&room(), UserRole::Anchor, None).await;
    assert!(matches!(late, Err(RoomError::Removing)), "{late:?}");
    let late = rooms.ban_user(&room(), &ban("ann")).await;
    assert!(matches!(late, Err(RoomError::Removing)), "{late:?}");
}

const ANN: &str = "/rooms/demo/users/ann";

async fn house() -> (Arc<FakeStore>, RoomService) {
    let store = FakeStore::new();
    let never = Duration::from_secs(1 << 30);
    let metrics = Metrics::new(std::time::SystemTime::now());
    let rooms = RoomService::new(store.clone(), store.directory(), never, metrics);
    rooms.create(NewRoom { room_id: Some(room()), ..NewRoom::default() }).await.unwrap();
    (store, rooms)
}

async fn refused(rooms: &RoomService, user: &str) -> UserDenied {
    match rooms.create_user(&room(), UserRole::Anchor, Some(id(user))).await {
        Err(RoomError::User(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

fn room() -> RoomId {
    RoomId::new("demo").unwrap()
}

fn ban(user: &str) -> BanOrder {
    BanOrder { user: id(user), name: None, by: None }
}

fn id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}
