//! Conformance cases of the presence entries.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use stentor::domain::connection::{ConnectionId, FencingToken, JoinOutcome, UpdateOutcome};
use stentor::domain::ids::RoomId;
use stentor::domain::signalling::methods::ActivityStatus;
use stentor::presence::{LockReplaced, MembersChanged, PresenceEntry, PresenceEvent};

use super::{Subject, attentive, gateway, holder, lock_key, member, next, room, with_client};

const SECOND: Duration = Duration::from_secs(1);

pub async fn concurrent_joins_admit_three(subject: &impl Subject) {
    let gateways = [subject.instance(), subject.instance()];
    let join = |n: usize| {
        let instance = gateways[n % 2].clone();
        async move {
            let user = format!("user-{n}");
            let token = instance.take(&lock_key(&user), &holder(n as u64 % 2, &user)).await;
            instance.presence.join(&room(), &member(&user, token), 3).await.unwrap()
        }
    };
    let answers = join_all((0..20).map(join)).await;
    assert_eq!(answers.iter().filter(|joined| **joined == JoinOutcome::Ok).count(), 3);
    assert_eq!(answers.iter().filter(|joined| **joined == JoinOutcome::Full).count(), 17);
    assert_eq!(gateways[0].members().await.len(), 3);
}

pub async fn repeated_join_takes_no_second_place(subject: &impl Subject) {
    let one = subject.instance();
    let ann = lock_key("ann");
    let old = one.take(&ann, &with_client(holder(1, "a"), "tab")).await;
    assert_eq!(one.presence.join(&room(), &member("ann", old), 1).await.unwrap(), JoinOutcome::Ok);
    assert_eq!(one.presence.join(&room(), &member("ann", old), 1).await.unwrap(), JoinOutcome::Ok);
    let new = one.take(&ann, &with_client(holder(1, "b"), "tab")).await;
    assert_eq!(one.presence.join(&room(), &member("ann", new), 1).await.unwrap(), JoinOutcome::Ok);
    assert_eq!(one.members().await, [member("ann", new)]);
    assert_eq!(one.presence.leave(&ann, new).await.unwrap(), UpdateOutcome::Ok);
    assert_eq!(one.presence.leave(&ann, new).await.unwrap(), UpdateOutcome::Absent);
    assert_eq!(one.presence.join(&room(), &member("bob", new), 1).await.unwrap(), JoinOutcome::Ok);
}

pub async fn unrefreshed_member_expires(subject: &impl Subject) {
    let one = subject.instance();
    let (ann, bob) = (member("ann", FencingToken(5)), member("bob", FencingToken(6)));
    for joining in [&ann, &bob] {
        assert_eq!(one.presence.join(&room(), joining, 2).await.unwrap(), JoinOutcome::Ok);
    }
    subject.pass(20 * SECOND);
    assert_eq!(one.presence.update(&room(), &bob).await.unwrap(), UpdateOutcome::Ok);
    let mut changes = attentive(one.presence.subscribe()).await;
    subject.pass(20 * SECOND);
    assert_eq!(one.members().await, [bob]);
    assert_eq!(next(&mut changes).await, PresenceEvent::Told(MembersChanged { room: room() }));
    assert_eq!(
        one.presence.join(&room(), &member("cat", FencingToken(7)), 2).await.unwrap(),
        JoinOutcome::Ok
    );
}

pub async fn update_of_absent_member_fails(subject: &impl Subject) {
    let one = subject.instance();
    let ann = member("ann", FencingToken(5));
    assert_eq!(one.presence.update(&room(), &ann).await.unwrap(), UpdateOutcome::Absent);
    one.presence.join(&room(), &ann, 3).await.unwrap();
    subject.pass(31 * SECOND);
    assert_eq!(one.presence.update(&room(), &ann).await.unwrap(), UpdateOutcome::Absent);
    assert_eq!(one.members().await, []);
}

pub async fn old_fencing_tokens_write_nothing(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let ann = lock_key("ann");
    let old = one.take(&ann, &with_client(holder(1, "a"), "tab")).await;
    let before = member("ann", old);
    assert_eq!(one.presence.join(&room(), &before, 3).await.unwrap(), JoinOutcome::Ok);
    let new = two.take(&ann, &with_client(holder(2, "b"), "tab")).await;
    assert_eq!(one.presence.update(&room(), &before).await.unwrap(), UpdateOutcome::Fenced);
    assert_eq!(one.presence.leave(&ann, old).await.unwrap(), UpdateOutcome::Fenced);
    assert_eq!(one.presence.join(&room(), &before, 3).await.unwrap(), JoinOutcome::Fenced);
    assert_eq!(one.members().await, [before], "the entry waits for its new owner");
    assert_eq!(two.presence.leave(&ann, new).await.unwrap(), UpdateOutcome::Ok);
}

pub async fn released_fencing_token_cannot_join(subject: &impl Subject) {
    let one = subject.instance();
    let ann = lock_key("ann");
    let token = one.take(&ann, &holder(1, "a")).await;
    one.lock.release(&ann, token).await.unwrap();
    assert_eq!(one.presence.join(&room(), &member("ann", token), 3).await.unwrap(), JoinOutcome::Fenced);
    assert_eq!(one.members().await, []);
}

pub async fn subscribers_hear_every_real_change(subject: &impl Subject) {
    let (one, two) = (subject.instance(), subject.instance());
    let mut heard = [attentive(one.presence.subscribe()).await, attentive(two.presence.subscribe()).await];
    let ann = member("ann", FencingToken(5));
    let idle = PresenceEntry { status: ActivityStatus::Idle, muted: true, ..ann.clone() };
    one.presence.join(&room(), &ann, 3).await.unwrap();
    for _ in 0..5 {
        one.presence.update(&room(), &ann).await.unwrap();
    }
    two.presence.update(&room(), &idle).await.unwrap();
    assert_eq!(one.members().await, [idle]);
    one.presence.leave(&lock_key("ann"), FencingToken(5)).await.unwrap();
    let last = RoomId::new("last-one").unwrap();
    one.presence.join(&last, &ann, 3).await.unwrap();
    for events in &mut heard {
        let mut rooms = Vec::new();
        while rooms.last() != Some(&last) {
            let PresenceEvent::Told(MembersChanged { room }) = next(events).await else {
                panic!("nothing was missed")
            };
            rooms.push(room);
        }
        assert_eq!(rooms, [room(), room(), room(), last.clone()]);
    }
}

pub async fn forget_removes_user_without_lock(subject: &impl Subject) {
    let one = subject.instance();
    let ann = lock_key("ann");
    let token = one.take(&ann, &holder(1, "a")).await;
    one.presence.join(&room(), &member("ann", token), 1).await.unwrap();
    one.lock.release(&ann, token).await.unwrap();
    assert_eq!(
        one.presence.join(&room(), &member("bob", FencingToken(6)), 1).await.unwrap(),
        JoinOutcome::Full
    );
    let mut changes = attentive(one.presence.subscribe()).await;
    one.presence.forget(&ann).await.unwrap();
    assert_eq!(next(&mut changes).await, PresenceEvent::Told(MembersChanged { room: room() }));
    assert_eq!(one.members().await, []);
    one.presence.forget(&ann).await.unwrap();
    assert_eq!(
        one.presence.join(&room(), &member("bob", FencingToken(6)), 1).await.unwrap(),
        JoinOutcome::Ok
    );
    assert_eq!(
        next(&mut changes).await,
        PresenceEvent::Told(MembersChanged { room: room() }),
        "nothing was told in between"
    );
}

pub async fn removed_room_has_no_members(subject: &impl Subject) {
    let one = subject.instance();
    let other = RoomId::new("other").unwrap();
    for joining in [member("bob", FencingToken(5)), member("ann", FencingToken(6))] {
        one.presence.join(&room(), &joining, 3).await.unwrap();
        one.presence.join(&other, &joining, 3).await.unwrap();
    }
    let mut changes = attentive(one.presence.subscribe()).await;
    one.presence.remove_room(&room()).await.unwrap();
    assert_eq!(next(&mut changes).await, PresenceEvent::Told(MembersChanged { room: room() }));
    assert_eq!(one.members().await, []);
    let left = one.presence.list(&other).await.unwrap();
    assert_eq!(left, [member("ann", FencingToken(6)), member("bob", FencingToken(5))]);
    one.presence.remove_room(&room()).await.unwrap();
    drop(one);
    assert_eq!(futures::poll!(changes.next()), std::task::Poll::Pending, "an empty room does not change");
}

pub async fn any_user_id_can_hold_lock(subject: &impl Subject) {
    let one = subject.instance();
    let mut told = attentive(one.lock.replacements(&gateway(1))).await;
    for id in ["auth0|1", "did:example:1", "a/b c%20", "ünal@example.org", "\"quoted\"\\"] {
        one.take(&lock_key(id), &with_client(holder(1, id), "tab")).await;
        let token = one.take(&lock_key(id), &with_client(holder(2, "b"), "tab")).await;
        let replaced = LockReplaced { key: lock_key(id), connection: ConnectionId(id.into()) };
        assert_eq!(next(&mut told).await, PresenceEvent::Told(replaced));
        assert_eq!(one.presence.join(&room(), &member(id, token), 3).await.unwrap(), JoinOutcome::Ok);
        assert_eq!(one.members().await, [member(id, token)]);
        assert_eq!(one.presence.leave(&lock_key(id), token).await.unwrap(), UpdateOutcome::Ok);
        assert_eq!(one.members().await, []);
    }
}
