//! Conformance cases for keys under a lease.

use std::time::Duration;

use stentor_store::{LeaseId, Store, StoreError, Txn, WatchEvent};
use tokio::time::{Instant, timeout};

use super::{DEADLINE, Subject, committed, next, until_some};

pub async fn expired_lease_deletes_its_keys(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    let txn = Txn::new().put_leased(format!("{p}a"), "v", lease).put_leased(format!("{p}b"), "v", lease);
    let put = committed(&*store, txn.put(format!("{p}c"), "v")).await;
    let mut watch = store.watch(&p, put + 1).await.unwrap();
    let mut gone = Vec::new();
    let expiring = async {
        while gone.len() < 2 {
            gone.extend(next(&mut watch).await.unwrap().events);
        }
    };
    timeout(DEADLINE, expiring).await.expect("the lease does not expire");
    assert_eq!(gone, ["a", "b"].map(|name| WatchEvent::Delete { key: format!("{p}{name}") }));
    assert_eq!(store.list(&p).await.unwrap().entries.len(), 1);
    // etcd deletes the keys a moment before it removes the lease.
    until_some(async || lease_is_gone(&*store, lease).await.then_some(())).await;
}

pub async fn kept_alive_lease_stays(subject: &impl Subject) {
    let (store, key) = (subject.store(), format!("{}key", subject.prefix()));
    let lease = store.grant(Duration::from_secs(2)).await.unwrap();
    committed(&*store, Txn::new().put_leased(&key, "v", lease)).await;
    let end = Instant::now() + Duration::from_secs(5);
    let mut beat = tokio::time::interval(Duration::from_millis(500));
    while Instant::now() < end {
        beat.tick().await;
        store.keep_alive(lease).await.unwrap();
        assert!(store.get(&key).await.unwrap().is_some());
    }
}

pub async fn revoked_lease_deletes_its_keys(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let lease = store.grant(Duration::from_secs(600)).await.unwrap();
    committed(&*store, Txn::new().put_leased(format!("{p}a"), "v", lease).put(format!("{p}b"), "v")).await;
    store.revoke(lease).await.unwrap();
    let left = store.list(&p).await.unwrap().entries;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].key, format!("{p}b"));
    assert!(lease_is_gone(&*store, lease).await);
}

pub async fn unknown_lease_is_an_error(subject: &impl Subject) {
    let (store, key) = (subject.store(), format!("{}key", subject.prefix()));
    let unknown = LeaseId(0x5eed_cafe);
    assert!(lease_is_gone(&*store, unknown).await);
    assert!(matches!(store.revoke(unknown).await, Err(StoreError::LeaseNotFound)));
    let put = store.txn(Txn::new().put_leased(&key, "v", unknown)).await;
    assert!(matches!(put, Err(StoreError::LeaseNotFound)), "{put:?}");
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert!(matches!(store.grant(Duration::ZERO).await, Err(StoreError::Rejected(_))));
}

pub async fn rewritten_key_outlives_its_old_lease(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let (stays, moves, goes) = (format!("{p}stays"), format!("{p}moves"), format!("{p}goes"));
    let lease = store.grant(Duration::from_secs(600)).await.unwrap();
    let other = store.grant(Duration::from_secs(600)).await.unwrap();
    for key in [&stays, &moves, &goes] {
        committed(&*store, Txn::new().put_leased(key, "leased", lease)).await;
    }
    store.put(&stays, "free".into()).await.unwrap();
    committed(&*store, Txn::new().put_leased(&moves, "moved", other)).await;
    store.revoke(lease).await.unwrap();
    let left: Vec<_> = store.list(&p).await.unwrap().entries.into_iter().map(|kv| kv.key).collect();
    assert_eq!(left, [moves, stays]);
}

async fn lease_is_gone(store: &dyn Store, lease: LeaseId) -> bool {
    match store.keep_alive(lease).await {
        Ok(()) => false,
        Err(StoreError::LeaseNotFound) => true,
        Err(other) => panic!("{other}"),
    }
}
