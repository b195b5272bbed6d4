//! Tests of the copy of the API keys and of their changes.

use super::*;
use crate::rooms::FakeStore;
use crate::rooms::fake_store::Fault;

#[actix::test]
async fn created_keys_are_known_at_once() {
    let (store, registry) = listed();
    let new = new(1);
    assert_eq!(registry.lookup(&new.id), KeyLookup::Absent);
    let made = registry.create(new.clone()).await.unwrap();
    assert_eq!(registry.lookup(&new.id), KeyLookup::Found(made.key.clone()));
    assert_eq!(registry.all(), [made]);
    assert!(matches!(registry.create(new.clone()).await, Err(ApiKeyError::Busy)), "the id is taken");
    let kept = store.get(&keys::api_key(&new.id)).await.unwrap().unwrap();
    assert_eq!(parse(&kept).unwrap().1.digest, new.digest);
}

#[actix::test]
async fn keys_change_by_compare_and_swap() {
    let (store, registry) = listed();
    let id = registry.create(new(1)).await.unwrap().id;
    let name = KeyName::new("renamed").unwrap();
    let quotas = serde_json::json!({ "rooms": 3 });
    let changed = registry.update(&id, Some(&name), quotas.as_object().unwrap()).await.unwrap();
    assert_eq!((&changed.key.name, changed.key.quotas.rooms), (&name, Some(3)));
    store.fail_next(Fault::Conflict);
    let revoked = registry.revoke(&id).await.unwrap();
    assert!(revoked.key.revoked_at.is_some() && revoked.key.name == name);
    let before = store.revision();
    assert_eq!(registry.revoke(&id).await.unwrap(), revoked, "the time stays");
    assert_eq!(store.revision(), before);
    assert!(matches!(registry.revoke(&new(2).id).await, Err(ApiKeyError::NotFound)));
    let wrong = serde_json::json!({ "rooms": -1 });
    let refused = registry.update(&id, None, wrong.as_object().unwrap()).await;
    assert!(matches!(refused, Err(ApiKeyError::InvalidQuota(_))));
}

#[actix::test]
async fn known_keys_survive_store_outages() {
    let (store, registry) = listed();
    let made = registry.create(new(1)).await.unwrap();
    store.set_down(true);
    assert_eq!(registry.lookup(&made.id), KeyLookup::Found(made.key.clone()));
    // A restarted watch lists first. Until the list is complete, the old copy is valid.
    registry.begin_list();
    assert_eq!(registry.lookup(&made.id), KeyLookup::Found(made.key.clone()));
    assert!(matches!(registry.revoke(&made.id).await, Err(ApiKeyError::Store(_))));
    assert!(matches!(registry.create(new(2)).await, Err(ApiKeyError::Store(_))));
    registry.end_list(1);
    assert_eq!(registry.lookup(&made.id), KeyLookup::Absent, "the list did not have it");
}

#[test]
fn keys_are_unknown_before_first_list() {
    let registry = ApiKeyRegistry::new(FakeStore::new());
    assert_eq!(registry.lookup(&new(1).id), KeyLookup::NotListed);
    registry.begin_list();
    assert_eq!(registry.lookup(&new(1).id), KeyLookup::NotListed);
    registry.end_list(1);
    assert_eq!(registry.lookup(&new(1).id), KeyLookup::Absent);
}

#[test]
fn old_and_unreadable_values_change_nothing() {
    let (_store, registry) = listed();
    let id = new(1).id;
    let put = |revision, value: &str| {
        let (key, value) = (keys::api_key(&id), value.to_owned().into());
        registry.put(&KeyValue { key, value, mod_revision: revision, lease: None })
    };
    let digest = "07".repeat(32);
    let value = |name: &str| format!(r#"{{"name":"{name}","digest":"{digest}","scopes":[],"createdAt":1}}"#);
    assert!(put(7, &value("new")) && put(6, &value("old")));
    assert_eq!(registry.all()[0].key.name.as_str(), "new");
    assert!(!put(8, "{"), "a value that cannot be read");
    assert_eq!(registry.lookup(&id), KeyLookup::Absent, "it is not accepted any more");
    assert!(put(9, &value("back")));
    registry.delete(&keys::api_key(&id));
    assert_eq!(registry.lookup(&id), KeyLookup::Absent);
}

fn listed() -> (Arc<FakeStore>, ApiKeyRegistry) {
    let store = FakeStore::new();
    let registry = ApiKeyRegistry::new(store.clone());
    registry.begin_list();
    registry.end_list(1);
    (store, registry)
}

fn new(n: u8) -> NewApiKey {
    NewApiKey {
        id: ApiKeyId::random([n; 12]),
        digest: KeyDigest([n; 32]),
        name: KeyName::new("app").unwrap(),
        scopes: [KeyScope::Rooms].into(),
        expires_at: None,
        quotas: Quotas::default(),
    }
}
