//! Conformance cases of the presence entries.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use stentor::domain::connection::{ConnectionId, Fence, Joined, Written};
use stentor::domain::ids::RoomId;
use stentor::presence::{Changed, Member, MemberStatus, News, Replaced};

use super::{Subject, attentive, gateway, holder, member, next, room, seat, with_client};

const SECOND: Duration = Duration::from_secs(1);

pub async fn of_twenty_joins_three_get_in(subject: &impl Subject) {
    let gateways = [subject.instance(), subject.instance()];
    let join = |n: usize| {
        let instance = gateways[n % 2].clone();
        async move {
            let user = format!("user-{n}");
            let fence = instance.take(&seat(&user), &holder(n as u64 % 2, &user)).await;
            instance.presence.join(&room(), &member(&user, fence), 3).await.unwrap()
        }
    };
    let answers = join_all((0..20).map(join)).await;
    assert_eq!(answers.iter().filter(|joined| **joined == Joined::Ok).count(), 3);
    assert_eq!(answers.iter().filter(|joined| **joined == Joined::Full).count(), 17);
    assert_eq!(gateways[0].members().await.len(), 3);
}

pub async fn a_member_that_comes_again_needs_no_second_place(subject: &impl Subject) {
    let one = subject.instance();
    let ann = seat("ann");
    let old = one.take(&ann, &with_client(holder(1, "a"), "tab")).await;
    assert_eq!(one.presence.join(&room(), &member("ann", old), 1).await.unwrap(), Joined::Ok);
    assert_eq!(one.presence.join(&room(), &member("ann", old), 1).await.unwrap(), Joined::Ok);
    let new = one.take(&ann, &with_client(holder(1, "b"), "tab")).await;
    assert_eq!(one.presence.join(&room(), &member("ann", new), 1).await.unwrap(), Joined::Ok);
    assert_eq!(one.members().await, [member("ann", new)]);
    assert_eq!(one.presence.leave(&ann, new).await.unwrap(), Written::Ok);
    assert_eq!(one.presence.leave(&ann, new).await.unwrap(), Written::Absent);
    assert_eq!(one.presence.join(&room(), &member("bob", new), 1).await.unwrap(), Joined::Ok);
}

pub async fn a_member_that_is_not_refreshed_is_gone(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, bob) = (member("ann", Fence(5)), member("bob", Fence(6)));
    for joining in [&ann, &bob] {
        assert_eq!(one.presence.join(&room(), joining, 2).await.unwrap(), Joined::Ok);
    }
    subject.pass(20 * SECOND);
    assert_eq!(one.presence.update(&room(), &bob).await.unwrap(), Written::Ok);
    let mut changes = attentive(one.presence.subscribe()).await;
    subject.pass(20 * SECOND);
    assert_eq!(one.members().await, [bob]);
    assert_eq!(next(&mut changes).await, News::Told(Changed { room: room() }));
    assert_eq!(one.presence.join(&room(), &member("cat", Fence(7)), 2).await.unwrap(), Joined::Ok);
}

pub async fn a_member_that_is_absent_must_join_again(subject: &impl Subject) {
    let one = subject.instance();
    let ann = member("ann", Fence(5));
    assert_eq!(one.presence.update(&room(), &ann).await.unwrap(), Written::Absent);
    one.presence.join(&room(), &ann, 3).await.unwrap();
    subject.pass(31 * SECOND);
    assert_eq!(one.presence.update(&room(), &ann).await.unwrap(), Written::Absent);
    assert_eq!(one.members().await, []);
}

pub async fn old_fences_write_nothing(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let ann = seat("ann");
    let old = one.take(&ann, &with_client(holder(1, "a"), "tab")).await;
    let before = member("ann", old);
    assert_eq!(one.presence.join(&room(), &before, 3).await.unwrap(), Joined::Ok);
    let new = two.take(&ann, &with_client(holder(2, "b"), "tab")).await;
    assert_eq!(one.presence.update(&room(), &before).await.unwrap(), Written::Fenced);
    assert_eq!(one.presence.leave(&ann, old).await.unwrap(), Written::Fenced);
    assert_eq!(one.presence.join(&room(), &before, 3).await.unwrap(), Joined::Fenced);
    assert_eq!(one.members().await, [before], "the entry waits for its new owner");
    assert_eq!(two.presence.leave(&ann, new).await.unwrap(), Written::Ok);
}

pub async fn after_the_release_nothing_is_written(subject: &impl Subject) {
    let one = subject.instance();
    let ann = seat("ann");
    let fence = one.take(&ann, &holder(1, "a")).await;
    one.lock.release(&ann, fence).await.unwrap();
    assert_eq!(one.presence.join(&room(), &member("ann", fence), 3).await.unwrap(), Joined::Fenced);
    assert_eq!(one.members().await, []);
}

pub async fn every_gateway_hears_of_every_change_and_of_nothing_else(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let mut heard = [attentive(one.presence.subscribe()).await, attentive(two.presence.subscribe()).await];
    let ann = member("ann", Fence(5));
    let idle = Member { status: MemberStatus::Idle, muted: true, ..ann.clone() };
    one.presence.join(&room(), &ann, 3).await.unwrap();
    for _ in 0..5 {
        one.presence.update(&room(), &ann).await.unwrap();
    }
    two.presence.update(&room(), &idle).await.unwrap();
    assert_eq!(one.members().await, [idle]);
    one.presence.leave(&seat("ann"), Fence(5)).await.unwrap();
    let last = RoomId::new("last-one").unwrap();
    one.presence.join(&last, &ann, 3).await.unwrap();
    for news in &mut heard {
        let mut rooms = Vec::new();
        while rooms.last() != Some(&last) {
            let News::Told(Changed { room }) = next(news).await else { panic!("nothing was missed") };
            rooms.push(room);
        }
        assert_eq!(rooms, [room(), room(), room(), last.clone()]);
    }
}

pub async fn a_removed_user_is_forgotten_whoever_had_the_seat(subject: &impl Subject) {
    let one = subject.instance();
    let ann = seat("ann");
    let fence = one.take(&ann, &holder(1, "a")).await;
    one.presence.join(&room(), &member("ann", fence), 1).await.unwrap();
    one.lock.release(&ann, fence).await.unwrap();
    assert_eq!(one.presence.join(&room(), &member("bob", Fence(6)), 1).await.unwrap(), Joined::Full);
    let mut changes = attentive(one.presence.subscribe()).await;
    one.presence.forget(&ann).await.unwrap();
    assert_eq!(next(&mut changes).await, News::Told(Changed { room: room() }));
    assert_eq!(one.members().await, []);
    one.presence.forget(&ann).await.unwrap();
    assert_eq!(one.presence.join(&room(), &member("bob", Fence(6)), 1).await.unwrap(), Joined::Ok);
    assert_eq!(next(&mut changes).await, News::Told(Changed { room: room() }), "nothing was told in between");
}

pub async fn a_removed_room_is_empty(subject: &impl Subject) {
    let one = subject.instance();
    let other = RoomId::new("other").unwrap();
    for joining in [member("bob", Fence(5)), member("ann", Fence(6))] {
        one.presence.join(&room(), &joining, 3).await.unwrap();
        one.presence.join(&other, &joining, 3).await.unwrap();
    }
    let mut changes = attentive(one.presence.subscribe()).await;
    one.presence.remove_room(&room()).await.unwrap();
    assert_eq!(next(&mut changes).await, News::Told(Changed { room: room() }));
    assert_eq!(one.members().await, []);
    let left = one.presence.list(&other).await.unwrap();
    assert_eq!(left, [member("ann", Fence(6)), member("bob", Fence(5))]);
    one.presence.remove_room(&room()).await.unwrap();
    drop(one);
    assert_eq!(futures::poll!(changes.next()), std::task::Poll::Pending, "an empty room does not change");
}

pub async fn any_user_id_has_a_seat(subject: &impl Subject) {
    let one = subject.instance();
    let mut told = attentive(one.lock.replacements(&gateway(1))).await;
    for id in ["auth0|1", "did:example:1", "a/b c%20", "ünal@example.org", "\"quoted\"\\"] {
        one.take(&seat(id), &with_client(holder(1, id), "tab")).await;
        let fence = one.take(&seat(id), &with_client(holder(2, "b"), "tab")).await;
        let replaced = Replaced { seat: seat(id), connection: ConnectionId(id.into()) };
        assert_eq!(next(&mut told).await, News::Told(replaced));
        assert_eq!(one.presence.join(&room(), &member(id, fence), 3).await.unwrap(), Joined::Ok);
        assert_eq!(one.members().await, [member(id, fence)]);
        assert_eq!(one.presence.leave(&seat(id), fence).await.unwrap(), Written::Ok);
        assert_eq!(one.members().await, []);
    }
}
