//! Time from `POST start` until Janus forwards, compared with the unavoidable calls made directly (the
//! baseline).
//!
//! The baseline runs sequentially, on the same etcd (or an embedded store on the same disk) and the same
//! Janus: three writes (livemeta, the mixer's key, Janus's key), the room, the forwarder. It does not spawn
//! FFmpeg. Baseline rounds and starts alternate, so that both run under the same conditions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use stentor::domain::ids::MediaAddr;
use stentor::etcd::EtcdStore;
use stentor::janus::AudioBridge;
use stentor::store::embedded::EmbeddedStore;
use stentor::store::{Store, Txn, WatchEvent, WatchStream};

use super::house::{Backend, Gateway, House, new_room, room_secret, srtp_key};
use super::table::{Row, Times};

const STARTS: u32 = 50;
/// Port that the bare forwarders send to; nothing listens there.
const NOWHERE: u16 = 9;

pub async fn measure() -> Vec<Row> {
    vec![of(Backend::Etcd, "p50 ≤ 12 ms, p99 ≤ 30 ms").await, of(Backend::Embedded, "").await]
}

async fn of(backend: Backend, goal: &str) -> Row {
    let house = House::open(backend, &[]).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store: Arc<dyn Store> = match &house.etcd {
        Some(etcd) => EtcdStore::connect(&[etcd.endpoint()], Duration::from_secs(5)).await.expect("etcd"),
        None => EmbeddedStore::open(&dir.path().join("store")).expect("a store"),
    };
    let (mut floor, mut starts) = (Times::default(), Times::default());
    for n in 0..STARTS {
        floor.add(bare(&*store, &house.gateway, n).await);
        starts.add(start(&house, &*store, &format!("start-{n}")).await);
    }
    let what =
        format!("POST start -> Janus forwarding, {} (floor: 3 writes, create, rtp_forward)", backend.name());
    Row::new(what, floor.to_string(), starts.to_string(), goal)
}

async fn bare(store: &dyn Store, gateway: &Gateway, n: u32) -> Duration {
    let number = 100_000 + n;
    let target = MediaAddr { ip: [127, 0, 0, 1].into(), port: NOWHERE };
    let begin = Instant::now();
    for key in ["livemeta", "mixer", "janus"] {
        let key = format!("/bench/{n}/{key}");
        let put = Txn::new().when_absent(key.clone()).put(key, vec![b'x'; 200]);
        store.txn(put).await.expect("a write");
    }
    gateway.client.create_room(&new_room(number)).await.expect("a room");
    gateway.client.start_forwarder(number, &room_secret(), target, &srtp_key()).await.expect("a forwarder");
    let took = begin.elapsed();
    gateway.destroy(number).await;
    took
}

async fn start(house: &House, store: &dyn Store, room: &str) -> Duration {
    house.create(room).await;
    // The bench cannot watch the node's embedded store, because only the node may open it.
    let watch = match house.etcd {
        Some(_) => Some(watch(store, room).await),
        None => None,
    };
    let begin = Instant::now();
    house.start(room).await;
    match watch {
        Some(watch) => until_written(watch).await,
        None => until_shown(house, room).await,
    }
    let took = begin.elapsed();
    house.remove(room).await;
    took
}

async fn watch(store: &dyn Store, room: &str) -> WatchStream {
    let key = format!("/rooms/{room}/janus");
    let revision = store.list(&key).await.expect("a list").revision;
    store.watch(&key, revision + 1).await.expect("a watch")
}

async fn until_written(mut watch: WatchStream) {
    let forwarding = |event: &WatchEvent| match event {
        WatchEvent::Put(kv) => String::from_utf8_lossy(&kv.value).contains(r#""status":"forwarding""#),
        WatchEvent::Delete { .. } => false,
    };
    while let Some(Ok(batch)) = watch.next().await {
        if batch.events.iter().any(forwarding) {
            return;
        }
    }
    panic!("the watch ended");
}

/// Waits until the API shows that Janus forwards. Polls without a pause, so the result is late by one request
/// at most.
async fn until_shown(house: &House, room: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while house.room(room).await["room"]["janus"]["status"] != "forwarding" {
        assert!(Instant::now() < deadline, "{room} is not forwarded");
        tokio::task::yield_now().await;
    }
}
