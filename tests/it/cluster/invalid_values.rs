//! Values that a stranger writes to the store: wrong types, sizes and versions, and forged addresses.

use std::time::Duration;

use stentor::etcd::EtcdStore;
use stentor::store::Store;

use crate::rooms::node_on_etcd;
use crate::support::abuse_table::withstood;
use crate::support::etcd::Etcd;
use crate::support::node::request;
use crate::support::until;

const ROOM: &str = "live";

#[actix::test]
async fn invalid_values_change_no_other_room() {
    let etcd = Etcd::start();
    let node = node_on_etcd(&etcd, &[]).await;
    node.room_on_air(ROOM).await;
    let store = EtcdStore::connect(&[etcd.endpoint()], Duration::from_secs(5)).await.unwrap();
    let forged = r#"{"status":"healthy","host":"169.254.169.254","url":"http://169.254.169.254:80",
        "capacity":1000,"startedAt":1,"incarnation":"i","version":"9"}"#;
    let huge = format!(r#"{{"pin":"{}","maxAnchors":3,"hlsPath":"","createdAt":1}}"#, "x".repeat(1 << 20));
    let values = [
        ("/rooms/bad-1/meta", "[]".to_owned()),
        ("/rooms/bad-2/meta", huge),
        ("/rooms/bad-3/livemeta", r#"{"status":"of a later version","epoch":"one"}"#.to_owned()),
        ("/rooms/bad-4/what", "{}".to_owned()),
        ("/rooms/bad-5/users/%00", "\u{0}".to_owned()),
        ("/rooms/bad-6/mixer", format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000))),
        ("/mixers/evil/heartbeat", forged.to_owned()),
        ("/januses/evil/heartbeat", forged.to_owned()),
    ];
    for (key, value) in &values {
        store.put(key, value.clone().into()).await.unwrap();
    }
    let metrics = format!("{}/metrics", node.ops);
    until("all of them are reported", async || {
        let text = request("GET", &metrics, &[], None).await.text();
        let invalid = text.lines().find_map(|line| line.strip_prefix("stentor_store_invalid_keys "));
        invalid.is_some_and(|count| count.trim() == values.len().to_string())
    })
    .await;
    // New rooms go to the module that is known, and the existing room continues.
    node.room_on_air("after").await;
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    assert_eq!(room["room"]["status"], "onair", "{room}");
    withstood(
        "store values of the wrong type, size or version, heartbeats with forged addresses",
        "reported by key, not used",
        "rooms play on, and new ones start",
    );
}
