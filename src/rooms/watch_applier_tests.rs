//! Tests of the state that readers see while lists and events arrive.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::ids::UserId;
use crate::domain::keys::RoomPart;
use crate::domain::model::UserRole;
use crate::domain::placement::load_of;

const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/h","createdAt":1}"#;

#[test]
fn relist_removes_missing_entries() {
    let (directory, mut fold) = listed(&[("/rooms/ghost/meta", META), ("/rooms/kept/meta", META)], 5);
    fold.begin_init();
    assert_eq!(fold.put("/rooms/kept/meta", META.as_bytes(), 1), None);
    assert!(directory.room(&id("ghost")).is_some(), "half a list changes nothing");
    assert_eq!(fold.end_init(9), [StoreChange::Room(id("ghost"))], "what stayed the same wakes nobody");
    assert!(directory.room(&id("ghost")).is_none());
    assert_eq!(directory.revision_seen(Scope::Rooms), Some(9));
}

#[test]
fn interrupted_relist_changes_nothing() {
    let (directory, mut fold) = listed(&[("/rooms/one/meta", META)], 5);
    fold.begin_init();
    fold.put("/rooms/half/meta", META.as_bytes(), 6);
    fold.begin_init();
    fold.put("/rooms/one/meta", META.as_bytes(), 1);
    assert_eq!(fold.end_init(7), []);
    assert!(directory.room(&id("half")).is_none());
}

#[test]
fn unreadable_values_keep_the_last_one() {
    let (directory, mut fold) = listed(&[("/rooms/one/meta", META)], 5);
    let known = || directory.room(&id("one")).unwrap();
    let before = known();
    assert_eq!(fold.put("/rooms/one/meta", b"{", 6), Some(StoreChange::Room(id("one"))));
    assert_eq!((&known().meta, known().unreadable_part()), (&before.meta, Some(RoomPart::Meta)));
    fold.begin_init();
    fold.put("/rooms/one/meta", b"{", 6);
    fold.put("/rooms/new/livemeta", br#"{"status":"paused"}"#, 7);
    assert_eq!(fold.end_init(8), [StoreChange::Room(id("new"))], "a list forgets no earlier value");
    assert_eq!((&known().meta, known().unreadable_part()), (&before.meta, Some(RoomPart::Meta)));
    let new = directory.room(&id("new")).unwrap();
    assert_eq!((&new.live, new.unreadable_part()), (&None, Some(RoomPart::LiveMeta)));
    fold.put("/rooms/one/meta", META.as_bytes(), 9);
    assert_eq!(known().unreadable_part(), None);
    fold.put("/rooms/one/meta", b"{", 10);
    fold.delete("/rooms/one/meta");
    assert!(directory.room(&id("one")).is_none(), "a deleted key is absent");
}

#[test]
fn module_changes_affect_their_rooms() {
    let live = live_on(1, 1);
    let mixer = r#"{"id":"m2","ip":"127.0.0.1","port":10000,"hlsUrl":"http://m","epoch":1}"#;
    let (directory, _) = listed(
        &[
            ("/rooms/one/livemeta", &live),
            ("/rooms/two/livemeta", &live_on(3, 1)),
            ("/rooms/two/mixer", mixer),
        ],
        5,
    );
    let affected = |kind, module: &str| {
        let changed = StoreChange::Module(kind, ModuleId::new(module).unwrap());
        let rooms = directory.affected_by(&[changed, StoreChange::Room(id("new"))]);
        rooms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(affected(ModuleKind::Janus, "j1"), "new one");
    assert_eq!(affected(ModuleKind::Mixer, "m3"), "new two");
    assert_eq!(affected(ModuleKind::Mixer, "m2"), "new two", "the mixer before, by its key");
    assert_eq!(affected(ModuleKind::Mixer, "j1"), "new");
}

#[test]
fn users_with_unreadable_records_stay_out() {
    let (directory, mut fold) = listed(&[("/rooms/one/meta", META)], 5);
    let (ann, put) = (UserId::new("ann").unwrap(), |fold: &mut WatchApplier, json: &[u8]| {
        fold.put("/rooms/one/users/ann", json, 6);
    });
    let is_banned = || directory.room(&id("one")).unwrap().is_banned(&ann);
    put(&mut fold, br#"{"role":"producer","createdAt":1}"#);
    assert!(is_banned(), "the record may say so");
    put(&mut fold, br#"{"role":"host","createdAt":1}"#);
    put(&mut fold, br#"{"role":"producer","createdAt":1}"#);
    assert!(!is_banned(), "as was last known");
}

#[test]
fn heartbeats_outside_networks_are_refused() {
    let directory = Arc::new(Directory::default());
    let scope = Scope::Modules(ModuleKind::Mixer);
    let mut fold = WatchApplier::new(directory.clone(), scope).within(vec!["10.0.0.0/8".parse().unwrap()]);
    let heartbeat = |host: &str| {
        format!(
            r#"{{"status":"healthy","host":"{host}","url":"http://{host}:8080","capacity":5,"startedAt":1,
                "incarnation":"i","version":"1"}}"#
        )
    };
    let (m1, m2) = (ModuleId::new("m1").unwrap(), ModuleId::new("m2").unwrap());
    let view = |id: &ModuleId| directory.module(ModuleKind::Mixer, id).unwrap();
    fold.put("/mixers/m1/heartbeat", heartbeat("10.0.0.7").as_bytes(), 5);
    assert!(view(&m1).unreadable.is_empty() && fold.reported.is_empty());
    fold.put("/mixers/m1/heartbeat", heartbeat("169.254.169.254").as_bytes(), 6);
    fold.put("/mixers/m2/heartbeat", heartbeat("8.8.8.8").as_bytes(), 7);
    assert_eq!(view(&m1).heartbeat.as_ref().unwrap().host, "10.0.0.7", "the last good one stays");
    assert!(view(&m2).heartbeat.is_none() && view(&m2).is_present());
    assert_eq!(fold.reported.len(), 2);
    // A list is treated in the same way.
    fold.begin_init();
    fold.put("/mixers/m1/heartbeat", heartbeat("169.254.169.254").as_bytes(), 6);
    fold.end_init(8);
    assert_eq!(view(&m1).heartbeat.as_ref().unwrap().host, "10.0.0.7");
    fold.put("/mixers/m1/heartbeat", heartbeat("10.0.0.8").as_bytes(), 9);
    assert_eq!(view(&m1).heartbeat.as_ref().unwrap().host, "10.0.0.8");
    assert!(view(&m1).unreadable.is_empty() && fold.reported.is_empty());
}

#[test]
fn invalid_keys_are_reported_once() {
    let (_, mut fold) = listed(&[("/rooms/one/meta", META)], 5);
    fold.put("/rooms/one/meta", b"{", 6);
    assert_eq!(fold.put("/rooms/one/what", b"{}", 7), None);
    assert_eq!(fold.put("/rooms/../meta", META.as_bytes(), 7), None);
    assert_eq!(fold.reported.len(), 3);
    fold.put("/rooms/one/meta", b"[]", 8);
    assert_eq!(fold.reported.len(), 3, "reported once");
    fold.put("/rooms/one/meta", META.as_bytes(), 9);
    fold.delete("/rooms/one/what");
    fold.delete("/rooms/../meta");
    assert!(fold.reported.is_empty());
}

#[test]
fn user_keys_update_directory() {
    let (directory, mut fold) = listed(&[("/rooms/one/meta", META)], 5);
    let put = |fold: &mut WatchApplier, json: &str, at| fold.put("/rooms/one/users/ann", json.as_bytes(), at);
    let ann = UserId::new("ann").unwrap();
    put(&mut fold, r#"{"role":"host","createdAt":1}"#, 6);
    let before = directory.room(&id("one")).unwrap();
    assert_eq!((before.users[&ann].role, before.is_banned(&ann)), (UserRole::Host, false));
    put(&mut fold, r#"{"role":"host","createdAt":1,"removedAt":2}"#, 7);
    assert!(directory.room(&id("one")).unwrap().is_banned(&ann) && !before.is_banned(&ann));
    assert_eq!(fold.delete("/rooms/one/users/ann"), Some(StoreChange::Room(id("one"))));
    assert!(directory.room(&id("one")).unwrap().users.is_empty());
}

#[actix::test]
async fn seen_waits_for_revision_until_timeout() {
    let (directory, mut fold) = listed(&[], 5);
    assert!(directory.seen(Scope::Rooms, 5, Duration::ZERO).await);
    assert!(!directory.seen(Scope::Rooms, 6, Duration::from_millis(5)).await);
    let waiting = directory.seen(Scope::Rooms, 6, Duration::from_secs(10));
    let advance = async { fold.progress(6) };
    assert!(futures::join!(waiting, advance).0);
    assert!(!directory.is_listed(), "the modules are not listed yet");
}

#[test]
fn directory_snapshot_is_immutable() {
    let (directory, mut fold) = listed(&[("/rooms/one/meta", META)], 5);
    let before = directory.rooms();
    fold.delete("/rooms/one/meta");
    assert_eq!((before.len(), directory.rooms().len()), (1, 0));
}

#[test]
fn room_pages_continue_after_last() {
    let keys: Vec<String> = (100..107).map(|n| format!("/rooms/{n}/meta")).collect();
    let (directory, _) = listed(&keys.iter().map(|k| (k.as_str(), META)).collect::<Vec<_>>(), 5);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = directory.page(after.as_ref(), 3, &Default::default());
        found.extend(page.rooms.into_iter().map(|room| room.id.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, (100..107).map(|n| n.to_string()).collect::<Vec<_>>());
}

proptest! {
    /// After relists at any point, the directory shows the contents of the store. The load that was updated
    /// with each change equals the load counted from scratch.
    #[test]
    fn directory_equals_store_after_relists(steps in prop::collection::vec((0u8..4, 0u8..3, 0u8..5), 0..80)) {
        let (directory, mut fold) = listed(&[], 0);
        let mut truth: BTreeMap<String, (String, i64)> = BTreeMap::new();
        for (n, (room, module, what)) in steps.into_iter().enumerate() {
            let revision = n as i64 + 1;
            let (meta, live) = (format!("/rooms/room{room}/meta"), format!("/rooms/room{room}/livemeta"));
            let put = match what {
                0 => Some((meta, META.to_owned())),
                1 | 2 => Some((live.clone(), live_on(module, what))),
                _ => None,
            };
            match put {
                Some((key, value)) => {
                    fold.put(&key, value.as_bytes(), revision);
                    truth.insert(key, (value, revision));
                }
                None if what == 3 => {
                    fold.delete(&live);
                    truth.remove(&live);
                }
                None => relist(&mut fold, &truth, revision),
            }
        }
        let before = directory.rooms();
        relist(&mut fold, &truth, 1000);
        prop_assert_eq!(&before, &directory.rooms());
        for kind in ModuleKind::ALL {
            prop_assert_eq!(directory.load(kind), load_of(kind, before.iter()));
        }
    }
}

fn relist(fold: &mut WatchApplier, truth: &BTreeMap<String, (String, i64)>, revision: i64) {
    fold.begin_init();
    for (key, (value, at)) in truth {
        fold.put(key, value.as_bytes(), *at);
    }
    fold.end_init(revision);
}

fn live_on(module: u8, what: u8) -> String {
    let status = if what == 1 { "onair" } else { "removing" };
    format!(
        r#"{{
            "status":"{status}","mixerId":"m{module}","janusId":"j{module}","nonce":"n",
            "createdAt":1,"epoch":1
        }}"#
    )
}

fn listed(entries: &[(&str, &str)], revision: i64) -> (Arc<Directory>, WatchApplier) {
    let directory = Arc::new(Directory::default());
    let mut fold = WatchApplier::new(directory.clone(), Scope::Rooms);
    fold.begin_init();
    for (key, value) in entries {
        fold.put(key, value.as_bytes(), 1);
    }
    fold.end_init(revision);
    (directory, fold)
}

fn id(text: &str) -> RoomId {
    RoomId::new(text).unwrap()
}
