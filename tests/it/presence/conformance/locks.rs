//! Conformance cases of the connection lock.

use std::time::Duration;

use futures::future::join_all;
use stentor::domain::connection::{
    ConnectionId, Duplicate, FencingToken, GatewayIncarnation, Holder, LockKey, ReleaseOutcome,
};
use stentor::domain::ids::RoomId;
use stentor::presence::{Acquisition, HeartbeatOutcome, LockReplaced, PresenceEvent, RenewOutcome};

use super::{Subject, attentive, gateway, holder, lock_key, next, with_client};

const SECOND: Duration = Duration::from_secs(1);

pub async fn concurrent_acquires_grant_one_lock(subject: &impl Subject) {
    let gateways = [subject.instance(), subject.instance()];
    let ask = |n: usize| {
        let instance = gateways[n % 2].clone();
        async move {
            let asking = holder(n as u64 % 2, &format!("c{n}"));
            let answer = instance.lock.acquire(&lock_key("ann"), &asking, Duplicate::Reject).await.unwrap();
            (asking, answer)
        }
    };
    let answers = join_all((0..50).map(ask)).await;
    let won: Vec<&Holder> = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Acquisition::Acquired { .. }))
        .map(|(asking, _)| asking)
        .collect();
    assert_eq!(won.len(), 1);
    for (_, answer) in &answers {
        assert!(!matches!(answer, Acquisition::Held { by } if by != won[0]));
    }
}

pub async fn locks_are_per_user_and_room(subject: &impl Subject) {
    let one = subject.instance();
    one.take(&lock_key("ann"), &holder(1, "a")).await;
    one.take(&lock_key("bob"), &holder(1, "b")).await;
    let elsewhere = LockKey { room: RoomId::new("elsewhere").unwrap(), ..lock_key("ann") };
    one.take(&elsewhere, &holder(1, "c")).await;
}

pub async fn unrenewed_lock_expires(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, held) = (lock_key("ann"), holder(1, "a"));
    let token = one.take(&ann, &held).await;
    for _ in 0..4 {
        subject.pass(20 * SECOND);
        assert_eq!(one.lock.renew(&ann, &held, token).await.unwrap(), RenewOutcome::StillOurs);
        assert_eq!(one.refused(&ann, &holder(2, "b")).await, held);
    }
    for sign in 0..16 {
        subject.pass(2 * SECOND);
        let known = if sign == 0 { HeartbeatOutcome::Reregistered } else { HeartbeatOutcome::Known };
        assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), known);
    }
    let later = one.take(&ann, &holder(2, "b")).await;
    assert!(later > token);
    assert_eq!(one.lock.renew(&ann, &held, token).await.unwrap(), RenewOutcome::Lost);
}

pub async fn expired_lock_is_renewed_if_free(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, held) = (lock_key("ann"), with_client(holder(1, "a"), "tab"));
    let token = one.take(&ann, &held).await;
    subject.pass(40 * SECOND);
    assert_eq!(one.lock.renew(&ann, &held, token).await.unwrap(), RenewOutcome::StillOurs);
    assert_eq!(one.refused(&ann, &holder(2, "b")).await, held);
}

pub async fn stale_fencing_token_releases_nothing(subject: &impl Subject) {
    let one = subject.instance();
    let ann = lock_key("ann");
    let old = one.take(&ann, &with_client(holder(1, "a"), "tab")).await;
    let new_holder = with_client(holder(1, "b"), "tab");
    let new = one.take(&ann, &new_holder).await;
    for stale in [old, FencingToken(1), FencingToken(new.0 + 1)] {
        assert_eq!(one.lock.release(&ann, stale).await.unwrap(), ReleaseOutcome::NotOurs);
    }
    assert_eq!(one.refused(&ann, &holder(2, "c")).await, new_holder);
    assert_eq!(one.lock.release(&ann, new).await.unwrap(), ReleaseOutcome::Freed);
    one.take(&ann, &holder(2, "c")).await;
}

pub async fn release_invalidates_fencing_token(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, held) = (lock_key("ann"), holder(1, "a"));
    let token = one.take(&ann, &held).await;
    assert_eq!(one.lock.release(&ann, token).await.unwrap(), ReleaseOutcome::Freed);
    assert_eq!(
        one.lock.renew(&ann, &held, token).await.unwrap(),
        RenewOutcome::Lost,
        "a renewal after the release"
    );
    assert_eq!(one.lock.release(&ann, token).await.unwrap(), ReleaseOutcome::NotOurs);
    assert!(one.take(&ann, &holder(2, "b")).await > token);
}

pub async fn dead_gateway_loses_its_locks(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let (ann, held) = (lock_key("ann"), holder(1, "a"));
    let token = one.take(&ann, &held).await;
    for _ in 0..3 {
        subject.pass(2 * SECOND);
        one.lock.gateway_alive(&gateway(1)).await.unwrap();
    }
    assert_eq!(two.refused(&ann, &holder(2, "b")).await, held);
    subject.pass(4 * SECOND);
    let answer = two.lock.acquire(&ann, &holder(2, "b"), Duplicate::Reject).await.unwrap();
    let Acquisition::Acquired { token: newer, replaced } = answer else { panic!("{answer:?}") };
    assert!(newer > token && replaced == Some(held.clone()));
    assert_eq!(
        one.lock.renew(&ann, &held, token).await.unwrap(),
        RenewOutcome::Lost,
        "a gateway that was only slow"
    );
}

pub async fn restarted_gateway_loses_its_old_locks(subject: &impl Subject) {
    let one = subject.instance();
    one.take(&lock_key("ann"), &holder(1, "a")).await;
    subject.pass(4 * SECOND);
    let again = GatewayIncarnation { incarnation: 2, ..gateway(1) };
    one.lock.gateway_alive(&again).await.unwrap();
    let reconnecting = Holder { gateway: again, connection: ConnectionId("b".into()), client: None };
    one.take(&lock_key("ann"), &reconnecting).await;
}

pub async fn acquire_by_same_client_replaces(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let ann = lock_key("ann");
    let first = with_client(holder(1, "a"), "tab");
    one.take(&ann, &first).await;
    assert_eq!(two.refused(&ann, &with_client(holder(2, "b"), "other")).await, first);
    let answer =
        two.lock.acquire(&ann, &with_client(holder(2, "b"), "tab"), Duplicate::Reject).await.unwrap();
    assert!(
        matches!(&answer, Acquisition::Acquired { replaced: Some(by), .. } if *by == first),
        "{answer:?}"
    );
}

pub async fn duplicate_policy_decides_replacement(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, first) = (lock_key("ann"), holder(1, "a"));
    one.take(&ann, &first).await;
    assert_eq!(one.refused(&ann, &holder(1, "b")).await, first);
    let answer = one.lock.acquire(&ann, &holder(1, "b"), Duplicate::Replace).await.unwrap();
    assert!(
        matches!(&answer, Acquisition::Acquired { replaced: Some(by), .. } if *by == first),
        "{answer:?}"
    );
}

pub async fn repeated_acquire_replaces_nothing(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, held) = (lock_key("ann"), holder(1, "a"));
    let token = one.take(&ann, &held).await;
    let answer = one.lock.acquire(&ann, &held, Duplicate::Replace).await.unwrap();
    let Acquisition::Acquired { token: again, replaced: None } = answer else { panic!("{answer:?}") };
    assert!(again > token);
}

pub async fn fencing_token_rises_per_acquisition(subject: &impl Subject) {
    let one = subject.instance();
    let ann = lock_key("ann");
    let mut last = FencingToken(0);
    for n in 0..20 {
        let asking = holder(1, &format!("c{n}"));
        let token = one.take(&ann, &asking).await;
        assert!(token > last, "{token:?} after {last:?}");
        last = token;
        if n % 2 == 0 {
            one.lock.release(&ann, token).await.unwrap();
        } else {
            subject.pass(31 * SECOND);
        }
    }
}

pub async fn replaced_holder_is_notified(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let mut told_one = attentive(one.lock.replacements(&gateway(1))).await;
    let mut told_two = attentive(two.lock.replacements(&gateway(2))).await;
    let ann = lock_key("ann");
    for (instance, asking) in [(&one, holder(1, "a")), (&two, holder(2, "b")), (&one, holder(1, "c"))] {
        instance.lock.acquire(&ann, &asking, Duplicate::Replace).await.unwrap();
    }
    let replaced = |id: &str| {
        PresenceEvent::Told(LockReplaced { key: lock_key("ann"), connection: ConnectionId(id.into()) })
    };
    assert_eq!(next(&mut told_one).await, replaced("a"));
    assert_eq!(next(&mut told_two).await, replaced("b"), "gateway 2 got an event of gateway 1");
}
