//! A copy maintained by the watch protocol stays correct through cuts, unwatched deletions, and relists.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use stentor::domain::restart::Backoff;
use stentor::etcd::EtcdStore;
use stentor::store::embedded::EmbeddedStore;
use stentor::store::reflector::{ReflectorEvent, reflect};
use stentor::store::{Revision, Store};
use tokio::time::timeout;

use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::tcp_proxy::TcpProxy;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(20), max: Duration::from_millis(200) };
const RELIST_NEVER: Duration = Duration::from_secs(3600);
const DEADLINE: Duration = Duration::from_secs(40);

#[actix::test]
async fn reflector_copy_is_correct_after_cut() {
    let etcd = Etcd::start();
    let proxy = TcpProxy::start(etcd.address()).await;
    let direct = connect(&etcd.endpoint()).await;
    for name in ["ghost", "kept", "changed"] {
        direct.put(&format!("/copy/{name}"), "old".into()).await.unwrap();
    }
    let behind_proxy = connect(&format!("http://{}", proxy.address())).await;
    let mut copy = Copy::of(behind_proxy, RELIST_NEVER);
    copy.until(|copy| copy.keys.len() == 3).await;

    proxy.cut();
    copy.until(|copy| copy.losses > 0).await;
    direct.delete("/copy/ghost").await.unwrap();
    direct.put("/copy/changed", "new".into()).await.unwrap();
    let last = direct.put("/copy/born", "new".into()).await.unwrap();
    // The missed events can no longer be watched, only listed.
    let mut client = etcd_client::Client::connect([etcd.endpoint()], None).await.unwrap();
    client.compact(last, None).await.unwrap();
    proxy.heal();
    let since = Instant::now();
    copy.until(|copy| copy.revision >= last).await;
    recovered("etcd compacted, watch cut: listed again", "nothing", since.elapsed(), Duration::from_secs(1));
    assert_eq!(copy.keys, truth(&*direct).await);

    let last = direct.put("/copy/after", "new".into()).await.unwrap();
    copy.until(|copy| copy.revision >= last).await;
    assert_eq!(copy.keys, truth(&*direct).await);
}

#[actix::test]
async fn reflector_detects_frozen_etcd() {
    let etcd = Etcd::start();
    let store = connect(&etcd.endpoint()).await;
    store.put("/copy/a", "1".into()).await.unwrap();
    let mut copy = Copy::of(store.clone(), RELIST_NEVER);
    copy.until(|copy| copy.keys.len() == 1).await;
    etcd.freeze();
    copy.until(|copy| copy.losses > 0).await;
    assert_eq!(copy.keys.len(), 1, "a known key was dropped");
    etcd.thaw();
    let last = super::conformance::until_some(async || store.put("/copy/b", "2".into()).await.ok()).await;
    copy.until(|copy| copy.revision >= last).await;
    assert_eq!(copy.keys.len(), 2);
}

#[actix::test]
async fn relist_under_load_keeps_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("store.redb")).unwrap();
    for n in 0..50 {
        store.put(&format!("/copy/stays/{n}"), "0".into()).await.unwrap();
    }
    let mut copy = Copy::of(store.clone(), Duration::from_millis(10));
    copy.until(|copy| copy.keys.len() == 50).await;
    let mut last = 0;
    for round in 0..200 {
        let key = format!("/copy/stays/{}", round % 50);
        last = store.put(&key, round.to_string().into()).await.unwrap();
        copy.until(|copy| copy.revision >= last).await;
        assert_eq!(copy.keys.len(), 50);
    }
    copy.until(|copy| copy.listings > 5).await;
    assert_eq!((copy.revision, copy.losses), (last, 0));
    assert_eq!(copy.deleted, BTreeSet::new());
    assert_eq!(copy.keys, truth(&*store).await);
}

async fn connect(endpoint: &str) -> Arc<EtcdStore> {
    EtcdStore::connect(&[endpoint.to_owned()], Duration::from_secs(2)).await.unwrap()
}

type Keys = BTreeMap<String, (Bytes, Revision)>;

async fn truth(store: &dyn Store) -> Keys {
    let entries = store.list("/copy/").await.unwrap().entries;
    entries.into_iter().map(|kv| (kv.key, (kv.value, kv.mod_revision))).collect()
}

/// A consumer that follows the watch protocol.
struct Copy {
    reflected: Pin<Box<dyn Stream<Item = ReflectorEvent>>>,
    keys: Keys,
    /// Revision up to which all changes are in `keys`.
    revision: Revision,
    unnamed: Option<BTreeSet<String>>,
    deleted: BTreeSet<String>,
    losses: usize,
    listings: usize,
}

impl Copy {
    fn of(store: Arc<dyn Store>, relist_every: Duration) -> Self {
        Self {
            reflected: Box::pin(reflect(store, "/copy/".into(), BACKOFF, relist_every)),
            keys: Keys::new(),
            revision: 0,
            unnamed: None,
            deleted: BTreeSet::new(),
            losses: 0,
            listings: 0,
        }
    }

    async fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        let reading = async {
            while !holds(self) {
                let next = self.reflected.next().await;
                self.take(next.expect("a reflection never ends"));
            }
        };
        timeout(DEADLINE, reading).await.expect("the state is not reached");
    }

    fn take(&mut self, reflected: ReflectorEvent) {
        match reflected {
            ReflectorEvent::InitStart => self.unnamed = Some(self.keys.keys().cloned().collect()),
            ReflectorEvent::InitApply(kv) => {
                self.unnamed.as_mut().expect("between start and done").remove(&kv.key);
                self.keys.insert(kv.key, (kv.value, kv.mod_revision));
            }
            ReflectorEvent::InitDone { revision } => {
                self.unnamed.take().expect("after a start").into_iter().for_each(|key| self.delete(key));
                self.listings += 1;
                self.advance(revision);
            }
            ReflectorEvent::Apply(kv) => {
                self.keys.insert(kv.key, (kv.value, kv.mod_revision));
            }
            ReflectorEvent::Delete { key } => self.delete(key),
            ReflectorEvent::Progress { revision } => self.advance(revision),
            ReflectorEvent::Lost(_) => self.losses += 1,
        }
    }

    fn delete(&mut self, key: String) {
        self.keys.remove(&key);
        self.deleted.insert(key);
    }

    fn advance(&mut self, revision: Revision) {
        assert!(revision >= self.revision, "from {} back to {revision}", self.revision);
        self.revision = revision;
    }
}
