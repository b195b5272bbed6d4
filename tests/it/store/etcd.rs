//! The etcd store against a real etcd: the conformance cases, and network faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stentor::domain::compaction::Compaction;
use stentor::etcd::EtcdStore;
use stentor::store::{Revision, Store, StoreError, WatchStream};
use tokio::time::Instant;

use super::conformance::{Subject, events_until, next, until_some};
use crate::support::PATIENCE;
use crate::support::etcd::Etcd;
use crate::support::tcp_proxy::TcpProxy;

crate::store_conformance!(below_a_prefix_of_its_own, on_an_etcd_of_its_own);

/// Request timeout that is enough on a busy machine and keeps the tests of timeouts short.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Time by which a wait may exceed its limit on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

struct OnEtcd {
    store: Arc<EtcdStore>,
    prefix: String,
    etcd: Arc<Etcd>,
}

async fn below_a_prefix_of_its_own() -> OnEtcd {
    static CASES: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("/case/{}/", CASES.fetch_add(1, Ordering::Relaxed));
    on_etcd(Etcd::shared(), prefix).await
}

async fn on_an_etcd_of_its_own() -> OnEtcd {
    on_etcd(Arc::new(Etcd::start()), "/case/".into()).await
}

async fn on_etcd(etcd: Arc<Etcd>, prefix: String) -> OnEtcd {
    OnEtcd { store: connect(&etcd.endpoint()).await, prefix, etcd }
}

#[async_trait(?Send)]
impl Subject for OnEtcd {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn prefix(&self) -> String {
        self.prefix.clone()
    }

    async fn forget(&self, revision: Revision) {
        let mut client = etcd_client::Client::connect([self.etcd.endpoint()], None).await.unwrap();
        client.compact(revision, None).await.unwrap();
    }
}

#[actix::test]
async fn cut_watch_ends_with_error() {
    let etcd = Etcd::start();
    let proxy = TcpProxy::start(etcd.address()).await;
    let (store, mut watch) = watched(&proxy).await;
    proxy.cut();
    let error = first_error(&mut watch, SLACK).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    unavailable_in_time(&store).await;
    proxy.heal();
    works_again(&store).await;
}

#[actix::test]
async fn silent_etcd_watch_is_detected() {
    let etcd = Etcd::start();
    let proxy = TcpProxy::start(etcd.address()).await;
    let (store, mut watch) = watched(&proxy).await;
    proxy.freeze();
    let error = first_error(&mut watch, Duration::from_secs(10) + SLACK).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    unavailable_in_time(&store).await;
    proxy.heal();
    works_again(&store).await;
}

#[actix::test]
async fn restarted_etcd_is_found_again() {
    let mut etcd = Etcd::start();
    let store = connect(&etcd.endpoint()).await;
    let put = store.put("/kept", "v".into()).await.unwrap();
    let mut watch = store.watch("/", put + 1).await.unwrap();
    etcd.stop();
    let error = first_error(&mut watch, SLACK).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    unavailable_in_time(&store).await;
    etcd.run();
    works_again(&store).await;
    assert_eq!(store.get("/kept").await.unwrap().unwrap().mod_revision, put);
}

#[actix::test]
async fn frozen_etcd_is_unavailable() {
    let etcd = Etcd::start();
    let store = connect(&etcd.endpoint()).await;
    store.put("/key", "v".into()).await.unwrap();
    etcd.freeze();
    unavailable_in_time(&store).await;
    etcd.thaw();
    works_again(&store).await;
}

#[actix::test]
async fn etcd_may_be_down_at_start() {
    let mut etcd = Etcd::start();
    etcd.stop();
    let store = connect(&etcd.endpoint()).await;
    unavailable_in_time(&store).await;
    let text = store.get("/key").await.unwrap_err().to_string();
    assert!(text.contains(&etcd.endpoint()) && text.contains("refused"), "names where and why: {text}");
    etcd.run();
    works_again(&store).await;
}

#[actix::test]
async fn dead_etcd_endpoint_fails_no_request() {
    let etcd = Etcd::shared();
    let [dead] = crate::support::free_ports();
    let endpoints = [format!("http://127.0.0.1:{dead}"), etcd.endpoint()];
    let store = EtcdStore::connect(&endpoints, REQUEST_TIMEOUT).await.unwrap();
    for n in 0..20 {
        store.put(&format!("/several/{n}"), "v".into()).await.unwrap();
        assert!(store.get(&format!("/several/{n}")).await.unwrap().is_some());
    }
}

#[actix::test]
async fn a_malformed_endpoint_is_refused_at_once() {
    let refused = EtcdStore::connect(&["http://not a host".into()], REQUEST_TIMEOUT).await.err();
    assert!(matches!(refused, Some(StoreError::Rejected(text)) if text.contains("not a host")));
}

/// Writes two days of listener counts of one busy mixer, compacted as the leader does it. Without compaction
/// the database would be full before the end of the first day.
#[actix::test]
async fn days_of_writes_stay_within_bounds() {
    const QUOTA: i64 = 16 << 20;
    const STEP: Duration = Duration::from_secs(300);
    const STEPS: u32 = 2 * 24 * 12;
    /// Number of writes per step: one every five seconds.
    const WRITES: usize = 60;
    let counts = format!("{{{}}}", vec!["\"a-room-of-many\":123456"; 50].join(","));
    assert!(counts.len() * WRITES * STEPS as usize > 2 * QUOTA as usize);
    let etcd = Etcd::start_with(&["--quota-backend-bytes", &QUOTA.to_string()]);
    // The timeout is long, because the speed of the disk is not tested here.
    let store = EtcdStore::connect(&[etcd.endpoint()], PATIENCE).await.unwrap();
    let mut client = etcd_client::Client::connect([etcd.endpoint()], None).await.unwrap();
    let (mut compaction, mut most) = (Compaction::default(), 0);
    for step in 0..STEPS {
        let puts = (0..WRITES).map(|_| store.put("/mixers/m/listeners", counts.clone().into()));
        let put = futures::future::join_all(puts).await;
        let newest = put.into_iter().map(|put| put.expect("there is space")).max().unwrap();
        if let Some(revision) = compaction.due(newest, STEP * step) {
            store.compact(revision).await.unwrap();
        }
        if step % 48 == 47 {
            most = most.max(client.status().await.unwrap().raft_used_db_size());
        }
    }
    assert!(most < QUOTA / 8, "{most} bytes in use");
    assert!(store.get("/mixers/m/listeners").await.unwrap().is_some_and(|kept| kept.value == counts));
}

#[actix::test]
async fn compaction_can_be_repeated() {
    let etcd = Etcd::start();
    let store = connect(&etcd.endpoint()).await;
    let first = store.put("/key", "1".into()).await.unwrap();
    let last = store.put("/key", "2".into()).await.unwrap();
    store.compact(last).await.unwrap();
    store.compact(last).await.unwrap();
    store.compact(first).await.unwrap();
    let behind = first_error(&mut store.watch("/key", first).await.unwrap(), SLACK).await;
    assert!(matches!(behind, StoreError::Compacted { .. }), "{behind:?}");
    let mut watch = store.watch("/key", last).await.unwrap();
    assert_eq!(events_until(&mut watch, last).await.len(), 1);
}

async fn connect(endpoint: &str) -> Arc<EtcdStore> {
    EtcdStore::connect(&[endpoint.to_owned()], REQUEST_TIMEOUT).await.unwrap()
}

/// Returns a store behind the proxy and a watch on it that has delivered an event.
async fn watched(proxy: &TcpProxy) -> (Arc<EtcdStore>, WatchStream) {
    let store = connect(&format!("http://{}", proxy.address())).await;
    let put = store.put("/key", "v".into()).await.unwrap();
    let mut watch = store.watch("/", put).await.unwrap();
    assert_eq!(events_until(&mut watch, put).await.len(), 1);
    (store, watch)
}

async fn first_error(watch: &mut WatchStream, within: Duration) -> StoreError {
    let reading = async {
        loop {
            if let Err(error) = next(watch).await {
                return error;
            }
        }
    };
    tokio::time::timeout(within, reading).await.expect("the watch noticed nothing")
}

async fn unavailable_in_time(store: &EtcdStore) {
    let start = Instant::now();
    let error = store.list("/").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(start.elapsed() < REQUEST_TIMEOUT + SLACK, "it took {:?}", start.elapsed());
}

async fn works_again(store: &EtcdStore) {
    let put = until_some(async || store.put("/again", "v".into()).await.ok()).await;
    let mut watch = until_some(async || store.watch("/", put).await.ok()).await;
    assert_eq!(events_until(&mut watch, put).await.len(), 1);
}
