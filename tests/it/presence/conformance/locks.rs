//! Conformance cases of the connection lock.

use std::time::Duration;

use futures::future::join_all;
use stentor::domain::connection::{ConnectionId, Duplicate, Fence, Gateway, Holder, Released, Seat};
use stentor::domain::ids::RoomId;
use stentor::presence::{Acquisition, News, Renewed, Replaced, SignOfLife};

use super::{Subject, attentive, gateway, holder, next, seat, with_client};

const SECOND: Duration = Duration::from_secs(1);

pub async fn of_fifty_connections_one_gets_the_seat(subject: &impl Subject) {
    let gateways = [subject.instance(), subject.instance()];
    let ask = |n: usize| {
        let instance = gateways[n % 2].clone();
        async move {
            let asking = holder(n as u64 % 2, &format!("c{n}"));
            let answer = instance.lock.acquire(&seat("ann"), &asking, Duplicate::Reject).await.unwrap();
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

pub async fn seats_are_apart(subject: &impl Subject) {
    let one = subject.instance();
    one.take(&seat("ann"), &holder(1, "a")).await;
    one.take(&seat("bob"), &holder(1, "b")).await;
    let elsewhere = Seat { room: RoomId::new("elsewhere").unwrap(), ..seat("ann") };
    one.take(&elsewhere, &holder(1, "c")).await;
}

pub async fn a_renewed_lock_stays_and_a_neglected_one_ends(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, held) = (seat("ann"), holder(1, "a"));
    let fence = one.take(&ann, &held).await;
    for _ in 0..4 {
        subject.pass(20 * SECOND);
        assert_eq!(one.lock.renew(&ann, &held, fence).await.unwrap(), Renewed::StillOurs);
        assert_eq!(one.refused(&ann, &holder(2, "b")).await, held);
    }
    for sign in 0..16 {
        subject.pass(2 * SECOND);
        let known = if sign == 0 { SignOfLife::Anew } else { SignOfLife::Known };
        assert_eq!(one.lock.gateway_alive(&gateway(1)).await.unwrap(), known);
    }
    let later = one.take(&ann, &holder(2, "b")).await;
    assert!(later > fence);
    assert_eq!(one.lock.renew(&ann, &held, fence).await.unwrap(), Renewed::Lost);
}

pub async fn a_lock_that_ran_out_is_taken_back_if_nobody_came(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, held) = (seat("ann"), with_client(holder(1, "a"), "tab"));
    let fence = one.take(&ann, &held).await;
    subject.pass(40 * SECOND);
    assert_eq!(one.lock.renew(&ann, &held, fence).await.unwrap(), Renewed::StillOurs);
    assert_eq!(one.refused(&ann, &holder(2, "b")).await, held);
}

pub async fn a_stale_fence_releases_nothing(subject: &impl Subject) {
    let one = subject.instance();
    let ann = seat("ann");
    let old = one.take(&ann, &with_client(holder(1, "a"), "tab")).await;
    let new_holder = with_client(holder(1, "b"), "tab");
    let new = one.take(&ann, &new_holder).await;
    for stale in [old, Fence(1), Fence(new.0 + 1)] {
        assert_eq!(one.lock.release(&ann, stale).await.unwrap(), Released::NotOurs);
    }
    assert_eq!(one.refused(&ann, &holder(2, "c")).await, new_holder);
    assert_eq!(one.lock.release(&ann, new).await.unwrap(), Released::Freed);
    one.take(&ann, &holder(2, "c")).await;
}

pub async fn a_release_ends_the_fence(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, held) = (seat("ann"), holder(1, "a"));
    let fence = one.take(&ann, &held).await;
    assert_eq!(one.lock.release(&ann, fence).await.unwrap(), Released::Freed);
    assert_eq!(one.lock.renew(&ann, &held, fence).await.unwrap(), Renewed::Lost, "a renewal on its way");
    assert_eq!(one.lock.release(&ann, fence).await.unwrap(), Released::NotOurs);
    assert!(one.take(&ann, &holder(2, "b")).await > fence);
}

pub async fn a_dead_gateway_has_no_seats(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let (ann, held) = (seat("ann"), holder(1, "a"));
    let fence = one.take(&ann, &held).await;
    for _ in 0..3 {
        subject.pass(2 * SECOND);
        one.lock.gateway_alive(&gateway(1)).await.unwrap();
    }
    assert_eq!(two.refused(&ann, &holder(2, "b")).await, held);
    subject.pass(4 * SECOND);
    let answer = two.lock.acquire(&ann, &holder(2, "b"), Duplicate::Reject).await.unwrap();
    let Acquisition::Acquired { fence: newer, replaced } = answer else { panic!("{answer:?}") };
    assert!(newer > fence && replaced == Some(held.clone()));
    assert_eq!(one.lock.renew(&ann, &held, fence).await.unwrap(), Renewed::Lost, "it was only slow");
}

pub async fn a_gateway_that_was_started_again_has_none_of_its_old_seats(subject: &impl Subject) {
    let one = subject.instance();
    one.take(&seat("ann"), &holder(1, "a")).await;
    subject.pass(4 * SECOND);
    let again = Gateway { incarnation: 2, ..gateway(1) };
    one.lock.gateway_alive(&again).await.unwrap();
    let reconnecting = Holder { gateway: again, connection: ConnectionId("b".into()), client: None };
    one.take(&seat("ann"), &reconnecting).await;
}

pub async fn the_same_client_replaces_itself_at_once(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let ann = seat("ann");
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

pub async fn the_policy_decides_about_strangers(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, first) = (seat("ann"), holder(1, "a"));
    one.take(&ann, &first).await;
    assert_eq!(one.refused(&ann, &holder(1, "b")).await, first);
    let answer = one.lock.acquire(&ann, &holder(1, "b"), Duplicate::Replace).await.unwrap();
    assert!(
        matches!(&answer, Acquisition::Acquired { replaced: Some(by), .. } if *by == first),
        "{answer:?}"
    );
}

pub async fn asking_again_is_no_replacement(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, held) = (seat("ann"), holder(1, "a"));
    let fence = one.take(&ann, &held).await;
    let answer = one.lock.acquire(&ann, &held, Duplicate::Replace).await.unwrap();
    let Acquisition::Acquired { fence: again, replaced: None } = answer else { panic!("{answer:?}") };
    assert!(again > fence);
}

pub async fn the_fence_rises_at_each_acquisition(subject: &impl Subject) {
    let one = subject.instance();
    let ann = seat("ann");
    let mut last = Fence(0);
    for n in 0..20 {
        let asking = holder(1, &format!("c{n}"));
        let fence = one.take(&ann, &asking).await;
        assert!(fence > last, "{fence:?} after {last:?}");
        last = fence;
        if n % 2 == 0 {
            one.lock.release(&ann, fence).await.unwrap();
        } else {
            subject.pass(31 * SECOND);
        }
    }
}

pub async fn whoever_lost_the_seat_is_told_on_its_gateway(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let mut told_one = attentive(one.lock.replacements(&gateway(1))).await;
    let mut told_two = attentive(two.lock.replacements(&gateway(2))).await;
    let ann = seat("ann");
    for (instance, asking) in [(&one, holder(1, "a")), (&two, holder(2, "b")), (&one, holder(1, "c"))] {
        instance.lock.acquire(&ann, &asking, Duplicate::Replace).await.unwrap();
    }
    let replaced = |id: &str| News::Told(Replaced { seat: seat("ann"), connection: ConnectionId(id.into()) });
    assert_eq!(next(&mut told_one).await, replaced("a"));
    assert_eq!(next(&mut told_two).await, replaced("b"), "and nothing of gateway 1");
}
