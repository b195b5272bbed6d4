//! Conformance cases for every backend of connection locks and presence, which run unchanged on each.
//!
//! `presence_conformance!(start)` makes one test per case. Owns: the contract of `stentor::presence` in
//! executable form. Does not depend on the backend, and does not wait for real time.

mod locks;
mod members;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use stentor::domain::connection::{
    ConnectionId, Duplicate, FencingToken, GatewayIncarnation, Holder, LockKey,
};
use stentor::domain::ids::{ClientId, ModuleId, RoomId, UserId};
use stentor::domain::model::UserRole;
use stentor::domain::signalling::methods::ActivityStatus;
use stentor::presence::{
    Acquisition, ConnectionLock, EventStream, Presence, PresenceEntry, PresenceEvent, Source,
};
use tokio::time::timeout;

pub use self::locks::*;
pub use self::members::*;

/// Time limit far above the needs of any case, so that only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

/// A separate backend for each case, with the default lifetimes.
pub trait Subject {
    /// Returns the interfaces of one gateway: two gateways share state only through the backend.
    fn instance(&self) -> Instance;

    /// Advances the time by `time`.
    fn pass(&self, time: Duration);
}

#[derive(Clone)]
pub struct Instance {
    pub lock: Arc<dyn ConnectionLock>,
    pub presence: Arc<dyn Presence>,
}

#[macro_export]
macro_rules! presence_conformance {
    ($start:path) => {
        $crate::presence_conformance! {
            $start =>
            concurrent_acquires_grant_one_lock,
            locks_are_per_user_and_room,
            unrenewed_lock_expires,
            expired_lock_is_renewed_if_free,
            stale_fencing_token_releases_nothing,
            release_invalidates_fencing_token,
            dead_gateway_loses_its_locks,
            restarted_gateway_loses_its_old_locks,
            acquire_by_same_client_replaces,
            duplicate_policy_decides_replacement,
            repeated_acquire_replaces_nothing,
            fencing_token_rises_per_acquisition,
            replaced_holder_is_notified,
            concurrent_joins_admit_three,
            repeated_join_takes_no_second_place,
            unrefreshed_member_expires,
            update_of_absent_member_fails,
            old_fencing_tokens_write_nothing,
            released_fencing_token_cannot_join,
            subscribers_hear_every_real_change,
            forget_removes_user_without_lock,
            removed_room_has_no_members,
            any_user_id_can_hold_lock
        }
    };
    ($start:path => $($case:ident),+) => {
        $(#[actix::test]
        async fn $case() {
            $crate::presence::conformance::$case(&$start().await).await;
        })+
    };
}

pub fn lock_key(user: &str) -> LockKey {
    LockKey { room: room(), user: UserId::new(user).unwrap() }
}

pub fn room() -> RoomId {
    RoomId::new("studio").unwrap()
}

pub fn gateway(number: u64) -> GatewayIncarnation {
    GatewayIncarnation { node: ModuleId::new(&format!("gateway-{number}")).unwrap(), incarnation: 1 }
}

pub fn holder(gateway_number: u64, connection: &str) -> Holder {
    Holder { gateway: gateway(gateway_number), connection: ConnectionId(connection.into()), client: None }
}

pub fn with_client(holder: Holder, client: &str) -> Holder {
    Holder { client: Some(ClientId::new(client).unwrap()), ..holder }
}

pub fn member(user: &str, token: FencingToken) -> PresenceEntry {
    PresenceEntry {
        user_id: UserId::new(user).unwrap(),
        role: UserRole::Anchor,
        display_name: Some(format!("{user}, \"the\" voice ü")),
        status: ActivityStatus::OnAir,
        muted: false,
        source: Source::Whip,
        joining: false,
        consent: false,
        token,
    }
}

impl Instance {
    /// Acquires the lock under the policy `reject`; must succeed.
    pub async fn take(&self, key: &LockKey, holder: &Holder) -> FencingToken {
        match self.lock.acquire(key, holder, Duplicate::Reject).await.unwrap() {
            Acquisition::Acquired { token, .. } => token,
            Acquisition::Held { by } => panic!("{key:?} is held by {by:?}"),
        }
    }

    /// Returns the holder that prevents `holder` from acquiring the lock; there must be one.
    pub async fn refused(&self, key: &LockKey, holder: &Holder) -> Holder {
        match self.lock.acquire(key, holder, Duplicate::Reject).await.unwrap() {
            Acquisition::Held { by } => by,
            Acquisition::Acquired { .. } => panic!("{holder:?} got {key:?}"),
        }
    }

    pub async fn members(&self) -> Vec<PresenceEntry> {
        self.presence.list(&room()).await.unwrap()
    }
}

pub async fn next<T>(events: &mut EventStream<T>) -> PresenceEvent<T> {
    timeout(DEADLINE, events.next()).await.expect("an event").expect("the stream goes on")
}

/// Consumes the first event, `LookAgain`, and returns the stream, which misses no event from then on.
pub async fn attentive<T: std::fmt::Debug + PartialEq>(mut events: EventStream<T>) -> EventStream<T> {
    assert_eq!(next(&mut events).await, PresenceEvent::LookAgain);
    events
}
