//! Tests of the connection lock, of changes of the room, and of the end of a connection.

use super::*;

const BANNED: &str = r#"{"role":"anchor","createdAt":0,"removedAt":1}"#;
const LATER: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":9}"#;

#[test]
fn connection_acquires_lock_then_greets() {
    let mut rig = Rig::new(UserRole::Anchor);
    assert_eq!(rig.session.name(), "connecting");
    assert_eq!(rig.feed(Input::Opened), [Effect::Acquire { client: Some(client("tab")) }]);
    assert_eq!(rig.acquired(7), [Effect::Greet]);
    assert_eq!((rig.session.name(), rig.token(), rig.due()), ("open", 7, RENEW_EVERY));
}

#[test]
fn admission_refusals_close_new_connections() {
    for (view, wall, code) in [
        (None, 0, CloseCode::Unavailable),
        (Some(Arc::default()), 0, CloseCode::RoomGone),
        (Some(room(LATER, &[])), 0, CloseCode::TokenInvalid),
        (Some(room(OPEN, &[("anna", BANNED)])), 0, CloseCode::Removed),
        (Some(room(OPEN, &[])), 3_600_000, CloseCode::TokenInvalid),
    ] {
        let mut rig = Rig::new(UserRole::Anchor);
        (rig.at.room, rig.at.wall) = (view, UnixMs(wall));
        assert_eq!(rig.feed(Input::Opened), [Effect::Close(code)]);
        assert_eq!(rig.closed(code), []);
        assert!(rig.session.is_over(), "{code:?}");
    }
}

#[test]
fn refused_lock_closes_the_connection() {
    for (outcome, code) in
        [(Ok(LockOutcome::Taken), CloseCode::AlreadyConnected), (Err(Unavailable), CloseCode::Unavailable)]
    {
        let mut rig = Rig::new(UserRole::Anchor);
        rig.feed(Input::Opened);
        assert_eq!(rig.call(1, "join", json!({})), []);
        assert_eq!(rig.feed(Input::Acquired(outcome)), [Effect::Close(code)]);
        assert_eq!(rig.closed(code), [], "a call that waited is not answered");
        assert!(rig.session.is_over());
    }
}

#[test]
fn lock_that_arrives_late_is_released() {
    for (outcome, effects) in [
        (Ok(LockOutcome::Ours(FencingToken(5))), vec![left_presence(5, false, true)]),
        (Ok(LockOutcome::Taken), vec![]),
        (Err(Unavailable), vec![]),
    ] {
        let mut rig = Rig::new(UserRole::Anchor);
        rig.feed(Input::Opened);
        assert_eq!(rig.closed(CloseCode::Gone), []);
        assert!(!rig.session.is_over(), "the lock is still being acquired");
        assert_eq!(rig.feed(Input::Acquired(outcome)), effects);
        assert!(rig.session.is_over());
    }
}

#[test]
fn lock_renewals_do_not_overlap() {
    let mut rig = Rig::connected();
    let renew = || vec![Effect::Renew { client: Some(client("tab")), token: FencingToken(1) }];
    let renewed = |outcome| Input::Renewed { token: FencingToken(1), outcome };
    assert_eq!(rig.tick(9), []);
    assert_eq!(rig.tick(10), renew());
    assert_eq!(rig.tick(20), [], "a renewal is in progress");
    assert_eq!(rig.feed(renewed(Ok(RenewOutcome::StillOurs))), []);
    assert_eq!(rig.tick(20), renew());
    assert_eq!(rig.feed(renewed(Err(Unavailable))), []);
    assert_eq!(rig.due(), Duration::from_secs(21), "repeated soon");
    assert_eq!(rig.tick(21), renew());
    assert_eq!(rig.feed(Input::RenewNow), []);
    rig.feed(renewed(Ok(RenewOutcome::StillOurs)));
    assert_eq!(rig.due(), Duration::from_secs(21), "once more");
    assert_eq!(rig.tick(22), renew());
}

#[test]
fn lost_lock_closes_the_connection() {
    let lost = |token| Input::Renewed { token: FencingToken(token), outcome: Ok(RenewOutcome::Lost) };
    let mut rig = Rig::connected();
    assert_eq!(rig.feed(lost(9)), [], "another fencing token");
    assert_eq!(rig.feed(lost(1)), [Effect::Close(CloseCode::Replaced)]);
    assert_eq!(rig.feed(Input::LockReplaced), [], "closed once");
    let mut rig = Rig::connected();
    assert_eq!(rig.feed(Input::LockReplaced), [Effect::Close(CloseCode::Replaced)]);
    assert_eq!(rig.closed(CloseCode::Replaced), [left_presence(1, false, true)]);
}

#[test]
fn renewal_during_acquisition_closes_nothing() {
    let mut rig = Rig::connected();
    rig.tick(10);
    rig.call(1, "join", json!({ "clientId": "other" }));
    let lost = Input::Renewed { token: FencingToken(1), outcome: Ok(RenewOutcome::Lost) };
    assert_eq!(rig.feed(lost.clone()), []);
    assert!(matches!(rig.acquired(2)[..], [Effect::Enter { .. }]));
    assert_eq!(rig.feed(lost), []);
    assert_eq!(rig.token(), 2);
}

#[test]
fn connections_end_with_token_or_unjoined() {
    let mut rig = Rig::connected();
    rig.at.wall = UnixMs(3_595_000);
    assert_eq!(rig.due(), Duration::from_secs(5));
    rig.at.wall = UnixMs(3_600_000);
    assert_eq!(rig.tick(5), [Effect::Close(CloseCode::TokenInvalid)]);
    let mut rig = Rig::connected();
    assert_eq!(rig.tick(30), [Effect::Close(CloseCode::NotJoined)]);
    let mut rig = Rig::joined();
    assert!(!rig.tick(30).iter().any(|effect| matches!(effect, Effect::Close(_))));
    rig.call(1, "leave", json!({}));
    rig.at.now = Duration::from_secs(60);
    assert!(
        rig.feed(Input::Tick).contains(&Effect::Close(CloseCode::NotJoined)),
        "the time counts from the leave"
    );
}

#[test]
fn room_changes_reach_the_connection() {
    for (view, effects) in [
        (None, vec![]),
        (Some(room(LOCKED, &[])), vec![]),
        (Some(Arc::default()), vec![room_closed("deleted"), Effect::Close(CloseCode::RoomClosed)]),
        (Some(room(OPEN, &[("anna", BANNED)])), vec![Effect::Close(CloseCode::Removed)]),
    ] {
        for mut rig in [Rig::connected(), Rig::joined()] {
            rig.at.room = view.clone();
            assert_eq!(rig.feed(Input::RoomChanged), effects);
            if !effects.is_empty() {
                assert_eq!(rig.feed(Input::RoomChanged), [], "told once");
            }
        }
    }
}

#[test]
fn close_code_decides_what_remains() {
    let mut rig = Rig::joined();
    assert_eq!(rig.closed(CloseCode::Gone), [Effect::DropMedia, left_presence(1, false, true)]);
    assert!(rig.session.is_over() && rig.session.name() == "closing");
    assert_eq!(rig.closed(CloseCode::Gone), []);
    let mut rig = Rig::joined();
    assert_eq!(rig.closed(CloseCode::RoomClosed), [Effect::LeaveMedia, left_presence(1, true, true)]);
    let mut rig = Rig::joined();
    let left = Input::Closed { code: CloseCode::Normal, left: true };
    assert_eq!(rig.feed(left), [Effect::LeaveMedia, left_presence(1, true, true)]);
    let mut rig = Rig::joined();
    let reconnect = reconnect("draining", 300);
    assert_eq!(
        rig.closed(CloseCode::Draining),
        [reconnect, Effect::DropMedia, left_presence(1, false, true)]
    );
    assert_eq!(Rig::connected().closed(CloseCode::Draining), [left_presence(1, false, true)]);
}

#[test]
fn release_waits_for_write_in_progress() {
    for (code, leave) in [(CloseCode::Gone, false), (CloseCode::Removed, true)] {
        let mut rig = Rig::joined();
        rig.call(1, "keepalive", json!({ "status": "onair" }));
        assert_eq!(rig.closed(code).len(), 1, "the lock is not released yet");
        assert!(!rig.session.is_over());
        assert_eq!(rig.feed(updated(UpdateOutcome::Ok)), [left_presence(1, leave, true)]);
        assert!(rig.session.is_over());
        let mut rig = Rig::joined();
        rig.call(1, "keepalive", json!({ "status": "onair" }));
        rig.closed(code);
        assert_eq!(rig.session.abandon(), [left_presence(1, leave, true)], "the shell has failed");
        assert_eq!(rig.session.abandon(), []);
    }
}

#[test]
fn departure_in_doubt_is_repeated_at_close() {
    let mut rig = Rig::joined();
    assert_eq!(rig.call(1, "leave", json!({})), [Effect::LeaveMedia, done(1), left_presence(1, true, false)]);
    assert_eq!(rig.closed(CloseCode::Gone), [left_presence(1, true, true)]);
    let mut rig = Rig::joined();
    rig.media(MediaEvent::Muted(true));
    assert_eq!(rig.call(1, "leave", json!({})), [Effect::LeaveMedia, done(1)], "after the write in progress");
    rig.closed(CloseCode::Gone);
    assert_eq!(rig.feed(updated(UpdateOutcome::Ok)), [left_presence(1, true, true)]);
}

#[test]
fn media_that_arrives_late_is_given_up() {
    for (code, effect) in [(CloseCode::Gone, Effect::DropMedia), (CloseCode::Removed, Effect::LeaveMedia)] {
        for answer in [Ok(media(false)), Err(ErrorCode::MediaUnavailable.into())] {
            let mut rig = Rig::connected();
            rig.call(1, "join", json!({}));
            rig.feed(Input::Entered(Ok(JoinOutcome::Ok)));
            assert_eq!(rig.closed(code), [left_presence(1, code == CloseCode::Removed, true)]);
            assert!(!rig.session.is_over());
            let expected = answer.is_ok().then(|| effect.clone());
            assert_eq!(rig.feed(Input::MediaJoined(answer)), Vec::from_iter(expected));
            assert!(rig.session.is_over());
        }
    }
}

#[test]
fn close_during_join_stops_it() {
    let mut rig = Rig::connected();
    rig.call(1, "join", json!({}));
    assert_eq!(rig.closed(CloseCode::Removed), [], "the entry is being written");
    assert_eq!(rig.feed(Input::Entered(Ok(JoinOutcome::Ok))), [left_presence(1, true, true)]);
    assert!(rig.session.is_over());
    let mut rig = Rig::connected();
    rig.call(1, "join", json!({ "clientId": "other" }));
    assert_eq!(rig.closed(CloseCode::Removed), [], "the lock is being acquired");
    assert_eq!(rig.acquired(2), [left_presence(2, true, true)], "in place of the earlier fencing token");
    assert!(rig.session.is_over());
    let mut rig = Rig::connected();
    rig.call(1, "join", json!({ "clientId": "other" }));
    rig.closed(CloseCode::Gone);
    assert_eq!(rig.feed(Input::Acquired(Err(Unavailable))), [left_presence(1, false, true)]);
}
