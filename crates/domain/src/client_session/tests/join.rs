//! Tests of the steps of a `join`.

use super::*;
use crate::pin_attempts::Guess;

/// Returns the session of an anchor who joins a locked room with these parameters. The session waits for the
/// member list.
fn at_locked_door(params: Value) -> Rig {
    let mut rig = Rig::connected();
    rig.at.room = Some(room(LOCKED, &[]));
    assert_eq!(rig.call(1, "join", params), [Effect::ListMembers(Waiter::Join)]);
    rig
}

fn listed(rig: &mut Rig, members: &[PresenceEntry]) -> Vec<Effect> {
    rig.feed(Input::Listed(Waiter::Join, Ok(members.to_vec())))
}

#[test]
fn join_enters_room_then_media() {
    let rig = Rig::joined();
    assert_eq!((rig.session.name(), rig.due()), ("open", CHECK_EVERY));
    assert!(rig.session.joined().is_some());
}

#[test]
fn join_compares_pin_if_sent() {
    for (pin, right) in [("abc123", true), ("xyz789", false), ("no pin at all", false)] {
        let mut rig = Rig::connected();
        assert_eq!(rig.call(1, "join", json!({ "pin": pin })), [Effect::CheckPin { right }]);
        let retry_after = Duration::from_secs(7);
        let (guess, reply) = match right {
            true => (Guess::TooMany { retry_after }, refused_for(1, ErrorCode::TooManyPins, retry_after)),
            false => (Guess::Wrong, refused(1, ErrorCode::WrongPin)),
        };
        assert_eq!(rig.feed(Input::PinChecked(guess)), [reply]);
        rig.call(2, "join", json!({ "pin": pin }));
        assert_eq!(
            rig.feed(Input::PinChecked(Guess::Right)),
            [enter(&entry(1, ActivityStatus::Idle, false))]
        );
    }
}

#[test]
fn join_needs_a_room_on_air() {
    let mut stopped = RoomView::default();
    stopped.apply(parse_room("/rooms/talk/meta").unwrap().1, Some((OPEN.as_bytes(), 1))).unwrap();
    let mut preparing = room(OPEN, &[]).as_ref().clone();
    preparing.janus = None;
    for (view, wait) in [(stopped, AWAY), (preparing, Duration::from_millis(200))] {
        let mut rig = Rig::connected();
        rig.at.room = Some(Arc::new(view));
        assert_eq!(rig.call(1, "join", json!({})), [refused_for(1, ErrorCode::NotOnAir, wait)]);
    }
    let mut rig = Rig::connected();
    rig.at.room = None;
    assert_eq!(rig.call(1, "join", json!({})), [refused_for(1, ErrorCode::Unavailable, AWAY)]);
    rig.at.room = Some(Arc::default());
    let close = Effect::Close(CloseCode::RoomClosed);
    assert_eq!(
        rig.call(2, "join", json!({})),
        [refused(2, ErrorCode::RoomOver), room_closed("deleted"), close]
    );
}

#[test]
fn join_as_another_client_acquires_again() {
    let mut rig = Rig::connected();
    let other = || json!({ "clientId": "other" });
    let acquire = || [Effect::Acquire { client: Some(client("other")) }];
    assert_eq!(
        rig.call(1, "join", json!({ "clientId": "tab" })),
        [enter(&entry(1, ActivityStatus::Idle, false))]
    );
    rig.feed(Input::Entered(Err(Unavailable)));
    assert_eq!(rig.call(2, "join", other()), acquire());
    let failed = rig.feed(Input::Acquired(Err(Unavailable)));
    assert_eq!(failed, [refused_for(2, ErrorCode::Unavailable, AWAY)]);
    assert_eq!(rig.token(), 1, "the lock is kept");
    assert_eq!(rig.call(3, "join", other()), acquire());
    assert_eq!(rig.acquired(2), [enter(&entry(2, ActivityStatus::Idle, false))]);
    rig.feed(Input::Entered(Err(Unavailable)));
    assert_eq!(rig.call(4, "join", other()), [enter(&entry(2, ActivityStatus::Idle, false))]);
    rig.feed(Input::Entered(Err(Unavailable)));
    rig.call(5, "join", json!({ "clientId": "third" }));
    let effects = [refused(5, ErrorCode::AlreadyConnected), Effect::Close(CloseCode::AlreadyConnected)];
    assert_eq!(rig.feed(Input::Acquired(Ok(LockOutcome::Taken))), effects);
}

#[test]
fn failed_rejoin_keeps_the_entry() {
    let mut rig = Rig::joined();
    rig.call(1, "join", json!({ "clientId": "other", "jtoken": "sealed" }));
    assert_eq!(rig.acquired(2), [Effect::ListMembers(Waiter::Join)]);
    let failed = rig.feed(Input::Listed(Waiter::Join, Err(Unavailable)));
    assert_eq!(failed, [refused_for(1, ErrorCode::Unavailable, AWAY)]);
    let effects = rig.call(2, "keepalive", json!({ "status": "idle" }));
    assert_eq!(effects, [Effect::Update(entry(2, ActivityStatus::Idle, false))], "under the newer token");
}

#[test]
fn join_after_leave_acquires_again() {
    let mut rig = Rig::joined();
    rig.call(1, "leave", json!({}));
    assert_eq!(rig.call(2, "join", json!({})), [Effect::Acquire { client: Some(client("tab")) }]);
    assert_eq!(rig.acquired(2), [enter(&entry(2, ActivityStatus::Idle, false))]);
}

/// A removal that is carried out late must not remove the entry of the new join.
#[test]
fn delayed_removal_keeps_older_token() {
    let mut rig = Rig::joined();
    rig.media(MediaEvent::Muted(true));
    rig.call(1, "leave", json!({}));
    rig.call(2, "join", json!({}));
    assert_eq!(rig.acquired(2), [], "the write in progress comes first");
    let departed = rig.feed(updated(UpdateOutcome::Ok));
    assert_eq!(departed, [left_presence(1, true, false), enter(&entry(2, ActivityStatus::Idle, false))]);
}

#[test]
fn refused_entries_end_the_join() {
    let full = refused_for(1, ErrorCode::RoomFull, FULL);
    let away = refused_for(1, ErrorCode::Unavailable, AWAY);
    let replaced = [refused(1, ErrorCode::AlreadyConnected), Effect::Close(CloseCode::Replaced)];
    for (outcome, effects) in [
        (Ok(JoinOutcome::Full), vec![full]),
        (Ok(JoinOutcome::Fenced), replaced.to_vec()),
        (Err(Unavailable), vec![away]),
    ] {
        let mut rig = Rig::connected();
        rig.call(1, "join", json!({}));
        assert_eq!(rig.feed(Input::Entered(outcome)), effects);
        assert!(rig.session.joined().is_none());
    }
}

#[test]
fn failed_media_removes_the_entry() {
    let mut rig = Rig::connected();
    rig.call(1, "join", json!({}));
    rig.feed(Input::Entered(Ok(JoinOutcome::Ok)));
    let failed = Input::MediaJoined(Err(ErrorCode::MediaUnavailable.into()));
    assert_eq!(rig.feed(failed), [refused(1, ErrorCode::MediaUnavailable), left_presence(1, true, false)]);
    let again = rig.call(2, "join", json!({}));
    assert_eq!(
        again,
        [Effect::Acquire { client: Some(client("tab")) }],
        "the removal of the entry may be late"
    );
}

#[test]
fn locked_rooms_admit_members_and_hosts() {
    let mut rig = at_locked_door(json!({}));
    assert_eq!(listed(&mut rig, &[]), [refused_for(1, ErrorCode::RoomLocked, FULL)]);
    let mut rig = at_locked_door(json!({}));
    let own = entry(1, ActivityStatus::OnAir, true);
    assert_eq!(listed(&mut rig, &[own]), [enter(&entry(1, ActivityStatus::Idle, false))]);
    let mut rig = Rig::connected_as(UserRole::Host);
    rig.at.room = Some(room(LOCKED, &[]));
    rig.call(1, "join", json!({}));
    assert!(matches!(listed(&mut rig, &[])[..], [Effect::Enter { .. }]));
    let mut rig = at_locked_door(json!({}));
    let failed = rig.feed(Input::Listed(Waiter::Join, Err(Unavailable)));
    assert_eq!(failed, [refused_for(1, ErrorCode::Unavailable, AWAY)]);
}

#[test]
fn locked_rooms_admit_resumed_sessions_only() {
    for resumed in [true, false] {
        let mut rig = at_locked_door(json!({ "jtoken": "sealed" }));
        assert_eq!(listed(&mut rig, &[]), [enter(&entry(1, ActivityStatus::Idle, false))]);
        rig.feed(Input::Entered(Ok(JoinOutcome::Ok)));
        let effects = rig.feed(Input::MediaJoined(Ok(media(resumed))));
        let locked = refused_for(1, ErrorCode::RoomLocked, FULL);
        let expected = match resumed {
            true => [Effect::FollowMedia(1), Effect::Update(entry(1, ActivityStatus::OnAir, false))].to_vec(),
            false => [Effect::LeaveMedia, locked, left_presence(1, true, false)].to_vec(),
        };
        assert_eq!(effects, expected);
    }
}

#[test]
fn resuming_join_keeps_shown_state() {
    for (resume, status) in [(true, ActivityStatus::OnAir), (false, ActivityStatus::Idle)] {
        let mut rig = Rig::connected();
        let members = rig.call(1, "join", json!({ "jtoken": "sealed" }));
        assert_eq!(members, [Effect::ListMembers(Waiter::Join)]);
        let name = Some("Anna".to_owned());
        let before = PresenceEntry { display_name: name, ..entry(0, ActivityStatus::OnAir, true) };
        let kept = PresenceEntry { token: FencingToken(1), ..before.clone() };
        assert_eq!(listed(&mut rig, &[before]), [enter_again(&kept)]);
        let token = ResumeToken::issued("sealed".into());
        let entered = rig.feed(Input::Entered(Ok(JoinOutcome::Ok)));
        assert_eq!(entered, [Effect::JoinMedia { resume_token: Some(token) }]);
        let shown = PresenceEntry { status, muted: true, ..kept };
        let effects = rig.feed(Input::MediaJoined(Ok(JoinedMedia { muted: true, ..media(resume) })));
        assert_eq!(effects, [Effect::FollowMedia(1), Effect::Update(shown)]);
        let reply = Effect::Reply(CallId(1), joined(resume));
        assert_eq!(rig.feed(Input::Updated(Err(Unavailable))), [Effect::Greet, reply]);
    }
}

#[test]
fn second_join_drops_earlier_media() {
    let mut rig = Rig::joined();
    let named = PresenceEntry { display_name: Some("Anna".into()), ..entry(1, ActivityStatus::Idle, false) };
    let effects = rig.call(1, "join", json!({ "displayName": "Anna" }));
    assert_eq!(effects, [Effect::DropMedia, enter(&named)]);
    let lost = Input::Media { join: 1, event: MediaEvent::Lost };
    assert_eq!(rig.feed(lost), []);
    rig.feed(Input::Entered(Ok(JoinOutcome::Ok)));
    let effects = rig.feed(Input::MediaJoined(Ok(media(false))));
    let reply = Effect::Reply(CallId(1), joined(false));
    assert_eq!(effects, [Effect::FollowMedia(2), Effect::Greet, reply, Effect::Update(named)]);
}
