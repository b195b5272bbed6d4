//! Tests of the order of the calls, of their time limits, and of the media session's calls and events.

use super::*;
use crate::signalling::methods::{Offer, SdpType, SessionDescription, Trickle};

fn offer(id: u64) -> Effect {
    let sdp = SessionDescription { kind: SdpType::Offer, sdp: OFFER.into() };
    Effect::CallMedia(CallId(id), MediaCall::Offer(Offer { sdp }))
}

fn offer_params() -> Value {
    json!({ "sdp": { "type": "offer", "sdp": OFFER } })
}

fn keepalive(rig: &mut Rig, id: u64) -> Vec<Effect> {
    rig.call(id, "keepalive", json!({ "status": "onair" }))
}

fn update(status: ActivityStatus, muted: bool) -> Effect {
    Effect::Update(entry(1, status, muted))
}

#[test]
fn calls_run_concurrently_but_leave_alone() {
    let mut rig = Rig::joined();
    let end = Effect::CallMedia(CallId(2), MediaCall::Candidate(Trickle::Completed));
    assert_eq!(rig.call(1, "offer", offer_params()), [offer(1)]);
    assert_eq!(rig.call(2, "icecandidate", json!({ "candidate": null })), [end]);
    assert_eq!(rig.call(3, "leave", json!({})), []);
    assert_eq!(rig.call(4, "offer", offer_params()), [], "the call waits for the leave");
    assert_eq!(rig.finish(2), [done(2)]);
    let not_joined = refused(4, ErrorCode::NotJoined);
    assert_eq!(
        rig.finish(1),
        [done(1), Effect::LeaveMedia, done(3), not_joined, left_presence(1, true, false)]
    );
}

#[test]
fn calls_wait_for_running_join() {
    let mut rig = Rig::connected();
    rig.call(1, "join", json!({}));
    assert_eq!(rig.call(2, "offer", offer_params()), []);
    assert_eq!(rig.call(3, "join", json!({})), []);
    rig.feed(Input::Entered(Ok(JoinOutcome::Ok)));
    let effects = rig.feed(Input::MediaJoined(Ok(media(false))));
    let reply = Effect::Reply(CallId(1), joined(false));
    let shown = update(ActivityStatus::Idle, false);
    assert_eq!(effects, [Effect::FollowMedia(1), Effect::Greet, reply, offer(2), shown]);
    assert_eq!(rig.finish(2), [done(2), Effect::DropMedia]);
    let again = rig.feed(updated(UpdateOutcome::Ok));
    assert_eq!(again, [enter(&entry(1, ActivityStatus::Idle, false))], "after the write in progress");
}

#[test]
fn early_calls_wait_for_lock() {
    let mut rig = Rig::new(UserRole::Anchor);
    rig.feed(Input::Opened);
    assert_eq!(rig.call(1, "leave", json!({})), []);
    assert_eq!(rig.call(2, "offer", offer_params()), []);
    assert_eq!(rig.acquired(1), [Effect::Greet, done(1), refused(2, ErrorCode::NotJoined)]);
}

#[test]
fn call_that_times_out_is_answered_once() {
    let mut rig = Rig::joined();
    rig.call(1, "offer", offer_params());
    rig.at.now = Duration::from_secs(5);
    assert_eq!(rig.call(2, "leave", json!({})), []);
    assert!(rig.due() <= CALL_TIMEOUT);
    let effects = rig.tick(10);
    assert!(effects.contains(&refused(1, ErrorCode::Timeout)), "{effects:?}");
    assert!(effects.contains(&done(2)), "the next call starts: {effects:?}");
    assert_eq!(rig.finish(1), []);
    let mut rig = Rig::connected();
    rig.call(1, "join", json!({}));
    assert_eq!(rig.call(2, "leave", json!({})), []);
    let effects = rig.tick(10);
    let (first, second) = (refused(1, ErrorCode::Timeout), refused(2, ErrorCode::Timeout));
    assert!(effects.contains(&first) && effects.contains(&second), "{effects:?}");
    rig.feed(Input::Entered(Ok(JoinOutcome::Ok)));
    let effects = rig.feed(Input::MediaJoined(Ok(media(false))));
    let shown = update(ActivityStatus::Idle, false);
    let joined = [Effect::FollowMedia(1), Effect::Greet, shown];
    assert_eq!(effects, joined, "the join continues, and the leave never starts");
}

#[test]
fn media_calls_need_a_join() {
    let mut rig = Rig::connected();
    for (name, params) in [
        ("offer", offer_params()),
        ("icecandidate", json!({ "candidate": null })),
        ("mute", json!({})),
        ("keepalive", json!({ "status": "idle" })),
    ] {
        assert_eq!(rig.call(1, name, params), [refused(1, ErrorCode::NotJoined)], "{name}");
    }
    let mut rig = Rig::joined();
    let sdp = json!({ "sdp": { "type": "offer", "sdp": "v=0" } });
    let effects = rig.call(1, "offer", sdp);
    assert!(matches!(&effects[..], [Effect::Reply(CallId(1), Err(e))] if e.code == ErrorCode::MediaRefused));
    assert_eq!(rig.call(2, "mute", json!({})), [Effect::CallMedia(CallId(2), MediaCall::Mute(true))]);
    let own = json!({ "userId": "anna" });
    assert_eq!(rig.call(3, "unmute", own), [Effect::CallMedia(CallId(3), MediaCall::Mute(false))]);
    let failed = Input::Finished(CallId(3), Err(ErrorCode::MediaUnavailable.into()));
    assert_eq!(rig.feed(failed), [refused(3, ErrorCode::MediaUnavailable)]);
}

#[test]
fn keepalive_answers_follow_presence() {
    for (outcome, effects) in [
        (Ok(UpdateOutcome::Ok), vec![done(1)]),
        (
            Ok(UpdateOutcome::Fenced),
            vec![refused(1, ErrorCode::AlreadyConnected), Effect::Close(CloseCode::Replaced)],
        ),
        (Err(Unavailable), vec![refused_for(1, ErrorCode::Unavailable, AWAY)]),
        (Ok(UpdateOutcome::Absent), vec![enter_again(&entry(1, ActivityStatus::OnAir, false))]),
    ] {
        let mut rig = Rig::joined();
        assert_eq!(keepalive(&mut rig, 1), [update(ActivityStatus::OnAir, false)]);
        assert_eq!(rig.feed(Input::Updated(outcome)), effects);
    }
}

#[test]
fn absent_member_returns_or_leaves() {
    let full = refused_for(1, ErrorCode::RoomFull, FULL);
    for (outcome, effects) in [
        (Ok(JoinOutcome::Ok), vec![done(1)]),
        (Ok(JoinOutcome::Full), vec![Effect::LeaveMedia, full, left_presence(1, true, false)]),
        (
            Ok(JoinOutcome::Fenced),
            vec![refused(1, ErrorCode::AlreadyConnected), Effect::Close(CloseCode::Replaced)],
        ),
        (Err(Unavailable), vec![refused_for(1, ErrorCode::Unavailable, AWAY)]),
    ] {
        let mut rig = Rig::joined();
        keepalive(&mut rig, 1);
        rig.feed(updated(UpdateOutcome::Absent));
        assert_eq!(rig.feed(Input::Entered(outcome)), effects);
    }
}

#[test]
fn absent_member_of_closed_room_is_told() {
    let mut rig = Rig::joined();
    keepalive(&mut rig, 1);
    rig.at.room = Some(Arc::default());
    let close = Effect::Close(CloseCode::RoomClosed);
    let effects = [refused(1, ErrorCode::RoomOver), room_closed("deleted"), close];
    assert_eq!(rig.feed(updated(UpdateOutcome::Absent)), effects);
}

#[test]
fn presence_writes_are_ordered_and_merged() {
    let mut rig = Rig::joined();
    assert_eq!(keepalive(&mut rig, 1), [update(ActivityStatus::OnAir, false)]);
    assert_eq!(keepalive(&mut rig, 2), []);
    assert_eq!(rig.media(MediaEvent::Muted(true)), []);
    assert_eq!(rig.call(3, "status", json!({ "status": "idle" })), []);
    let effects = rig.feed(updated(UpdateOutcome::Ok));
    assert_eq!(effects, [done(1), update(ActivityStatus::Idle, true)], "the newest value, last");
    assert_eq!(rig.feed(updated(UpdateOutcome::Ok)), [done(2), done(3)]);
    keepalive(&mut rig, 4);
    keepalive(&mut rig, 5);
    let again = entry(1, ActivityStatus::OnAir, true);
    assert_eq!(rig.feed(updated(UpdateOutcome::Absent)), [enter_again(&again)]);
    assert_eq!(rig.feed(Input::Entered(Ok(JoinOutcome::Ok))), [done(4), Effect::Update(again)]);
    assert_eq!(rig.feed(updated(UpdateOutcome::Ok)), [done(5)]);
}

#[test]
fn silent_client_loses_its_session() {
    let mut rig = Rig::joined();
    for second in 1..30 {
        let effects = rig.tick(second);
        assert!(effects.iter().all(|effect| matches!(effect, Effect::Renew { .. })), "{effects:?}");
    }
    let effects = rig.tick(30);
    let lost = [Effect::LeaveMedia, reconnect("silent", 750), left_presence(1, true, false)];
    assert!(effects.ends_with(&lost), "{effects:?}");
    assert_eq!(keepalive(&mut rig, 1), [refused(1, ErrorCode::NotJoined)]);
}

#[test]
fn incoming_frame_keeps_the_session() {
    let mut rig = Rig::joined();
    (1..=25).for_each(|second| drop(rig.tick(second)));
    rig.call(1, "offer", offer_params());
    (26..=30)
        .for_each(|second| assert_eq!(rig.tick(second), [], "the end of the session waits for the call"));
    assert_eq!(keepalive(&mut rig, 2), []);
    let effects = rig.finish(1);
    assert_eq!(effects, [done(1), update(ActivityStatus::OnAir, false)], "the client was heard meanwhile");
}

#[test]
fn media_end_decides_what_follows() {
    let after = Some(Duration::from_millis(200));
    for (end, reconnect_after, effects) in [
        (End::JanusMoved, after, vec![reconnect("janus_moved", 200)]),
        (End::RoomClosed, None, vec![room_closed("other"), Effect::Close(CloseCode::RoomClosed)]),
        (End::Removed, None, vec![Effect::Close(CloseCode::Removed)]),
        (End::Replaced, None, vec![Effect::Close(CloseCode::Replaced)]),
        (End::GraceOver, None, vec![left_presence(1, true, false)]),
    ] {
        let mut rig = Rig::joined();
        let all: Vec<_> = [Effect::DropMedia].into_iter().chain(effects).collect();
        assert_eq!(rig.media(MediaEvent::Ended { end, reconnect_after }), all, "{end:?}");
        assert_eq!(rig.media(MediaEvent::Lost), [], "the stream of events ends as well");
    }
    let mut rig = Rig::joined();
    assert_eq!(rig.media(MediaEvent::Lost), [Effect::DropMedia, reconnect("session_lost", 750)]);
}

#[test]
fn events_of_earlier_media_are_ignored() {
    let mut rig = Rig::joined();
    let talking = Notification::Talking { user_id: user("bert"), talking: true };
    assert_eq!(rig.media(MediaEvent::Notify(talking.clone())), [Effect::Notify(talking.clone())]);
    rig.call(1, "leave", json!({}));
    for event in [MediaEvent::Notify(talking), MediaEvent::Muted(true), MediaEvent::Lost] {
        assert_eq!(rig.media(event), []);
    }
}

#[test]
fn end_of_media_ends_pending_keepalives() {
    let mut rig = Rig::joined();
    keepalive(&mut rig, 1);
    keepalive(&mut rig, 2);
    let ended = MediaEvent::Ended { end: End::GraceOver, reconnect_after: None };
    assert_eq!(rig.media(ended), [Effect::DropMedia, refused(2, ErrorCode::NotJoined)]);
    assert_eq!(
        rig.feed(updated(UpdateOutcome::Absent)),
        [refused(1, ErrorCode::NotJoined), left_presence(1, true, false)]
    );
}
