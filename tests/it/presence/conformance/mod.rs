//! Conformance cases for every backend of connection locks and presence, which run unchanged on each.
//!
//! `presence_conformance!(start)` makes one test per case. Owns: the contract of `stentor::presence` in
//! executable form. Never does: know which backend it runs on, or wait for real time.

mod locks;
mod members;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use stentor::domain::connection::{ConnectionId, Duplicate, Fence, Gateway, Holder, Seat};
use stentor::domain::ids::{ClientId, ModuleId, RoomId, UserId};
use stentor::presence::{
    Acquisition, ConnectionLock, Member, MemberRole, MemberStatus, News, NewsStream, Presence,
};
use tokio::time::timeout;

pub use self::locks::*;
pub use self::members::*;

/// Time limit far above the needs of any case, so that only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

/// A separate backend for each case, with the default lifetimes.
pub trait Subject {
    /// Returns the interfaces of one gateway: two gateways know of each other only through the backend.
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
            of_fifty_connections_one_gets_the_seat,
            seats_are_apart,
            a_renewed_lock_stays_and_a_neglected_one_ends,
            a_lock_that_ran_out_is_taken_back_if_nobody_came,
            a_stale_fence_releases_nothing,
            a_release_ends_the_fence,
            a_dead_gateway_has_no_seats,
            a_gateway_that_was_started_again_has_none_of_its_old_seats,
            the_same_client_replaces_itself_at_once,
            the_policy_decides_about_strangers,
            asking_again_is_no_replacement,
            the_fence_rises_at_each_acquisition,
            whoever_lost_the_seat_is_told_on_its_gateway,
            of_twenty_joins_three_get_in,
            a_member_that_comes_again_needs_no_second_place,
            a_member_that_is_not_refreshed_is_gone,
            a_member_that_is_absent_must_join_again,
            old_fences_write_nothing,
            after_the_release_nothing_is_written,
            every_gateway_hears_of_every_change_and_of_nothing_else,
            a_removed_user_is_forgotten_whoever_had_the_seat,
            a_removed_room_is_empty,
            any_user_id_has_a_seat
        }
    };
    ($start:path => $($case:ident),+) => {
        $(#[actix::test]
        async fn $case() {
            $crate::presence::conformance::$case(&$start().await).await;
        })+
    };
}

pub fn seat(user: &str) -> Seat {
    Seat { room: room(), user: UserId::new(user).unwrap() }
}

pub fn room() -> RoomId {
    RoomId::new("studio").unwrap()
}

pub fn gateway(number: u64) -> Gateway {
    Gateway { node: ModuleId::new(&format!("gateway-{number}")).unwrap(), incarnation: 1 }
}

pub fn holder(gateway_number: u64, connection: &str) -> Holder {
    Holder { gateway: gateway(gateway_number), connection: ConnectionId(connection.into()), client: None }
}

pub fn with_client(holder: Holder, client: &str) -> Holder {
    Holder { client: Some(ClientId::new(client).unwrap()), ..holder }
}

pub fn member(user: &str, fence: Fence) -> Member {
    Member {
        user_id: UserId::new(user).unwrap(),
        role: MemberRole::Anchor,
        display_name: Some(format!("{user}, \"the\" voice ü")),
        status: MemberStatus::OnAir,
        muted: false,
        fence,
    }
}

impl Instance {
    /// Acquires the lock under the policy `reject`; must succeed.
    pub async fn take(&self, seat: &Seat, holder: &Holder) -> Fence {
        match self.lock.acquire(seat, holder, Duplicate::Reject).await.unwrap() {
            Acquisition::Acquired { fence, .. } => fence,
            Acquisition::Held { by } => panic!("{seat:?} is held by {by:?}"),
        }
    }

    /// Returns the holder that keeps `holder` from the lock; there must be one.
    pub async fn refused(&self, seat: &Seat, holder: &Holder) -> Holder {
        match self.lock.acquire(seat, holder, Duplicate::Reject).await.unwrap() {
            Acquisition::Held { by } => by,
            Acquisition::Acquired { .. } => panic!("{holder:?} got {seat:?}"),
        }
    }

    pub async fn members(&self) -> Vec<Member> {
        self.presence.list(&room()).await.unwrap()
    }
}

pub async fn next<T>(news: &mut NewsStream<T>) -> News<T> {
    timeout(DEADLINE, news.next()).await.expect("news come").expect("the stream goes on")
}

/// Returns the stream in a state in which it misses no further event.
pub async fn attentive<T: std::fmt::Debug + PartialEq>(mut news: NewsStream<T>) -> NewsStream<T> {
    assert_eq!(next(&mut news).await, News::LookAgain);
    news
}
