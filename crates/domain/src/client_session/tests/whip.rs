//! Tests of a WHIP client: it counts as active while Janus receives its media, and the connection ends with
//! the media session.

use super::*;

impl Rig {
    /// Returns a WHIP client that has joined the room.
    fn published() -> Self {
        let mut rig = Self::new(UserRole::Anchor);
        rig.session.identity.source = Source::Whip;
        rig.feed(Input::Opened);
        assert_eq!(rig.acquired(1), [Effect::Greet]);
        rig.enter(0);
        rig
    }
}

fn update(status: ActivityStatus) -> Effect {
    Effect::Update(PresenceEntry { source: Source::Whip, ..entry(1, status, false) })
}

fn without_renewals(effects: Vec<Effect>) -> Vec<Effect> {
    effects.into_iter().filter(|effect| !matches!(effect, Effect::Renew { .. })).collect()
}

#[test]
fn whip_media_renew_presence() {
    let mut rig = Rig::published();
    rig.at.now = Duration::from_secs(2);
    assert_eq!(rig.media(MediaEvent::Receiving(true)), [update(ActivityStatus::OnAir)]);
    let mut renewals = 0;
    for second in 3..=120 {
        for effect in without_renewals(rig.tick(second)) {
            assert_eq!(effect, update(ActivityStatus::OnAir), "after {second} s");
            rig.feed(updated(UpdateOutcome::Ok));
            renewals += 1;
        }
        rig.feed(updated(UpdateOutcome::Ok));
    }
    assert_eq!(renewals, 11, "every third of the time after which a client counts as silent");
}

#[test]
fn whip_without_media_is_closed() {
    for (from, events) in [(0, vec![]), (10, vec![true, false])] {
        let mut rig = Rig::published();
        rig.at.now = Duration::from_secs(from);
        for receiving in events {
            rig.media(MediaEvent::Receiving(receiving));
            rig.feed(updated(UpdateOutcome::Ok));
        }
        for second in from + 1..from + 30 {
            assert_eq!(without_renewals(rig.tick(second)), [], "after {second} s");
        }
        let effects = without_renewals(rig.tick(from + 30));
        assert!(effects.contains(&Effect::LeaveMedia), "{effects:?}");
        assert!(effects.contains(&Effect::Close(CloseCode::Gone)), "{effects:?}");
    }
}

#[test]
fn whip_closes_with_media_session() {
    let after = Some(Duration::from_millis(500));
    for (event, code) in [
        (MediaEvent::Ended { end: End::MediaOver, reconnect_after: after }, CloseCode::Gone),
        (MediaEvent::Ended { end: End::JanusMoved, reconnect_after: after }, CloseCode::Gone),
        (MediaEvent::Ended { end: End::Removed, reconnect_after: None }, CloseCode::Removed),
        (MediaEvent::Lost, CloseCode::Gone),
    ] {
        let mut rig = Rig::published();
        let effects = rig.media(event.clone());
        assert!(effects.contains(&Effect::Close(code)), "{event:?}: {effects:?}");
        assert_eq!(rig.closed(code), [left_presence(1, true, true)]);
    }
    let mut rig = Rig::published();
    let effects = rig.call(1, "leave", json!({}));
    assert!(effects.contains(&Effect::LeaveMedia) && effects.contains(&Effect::Close(CloseCode::Gone)));
}

#[test]
fn every_whip_close_is_for_good() {
    for code in [CloseCode::Gone, CloseCode::Replaced, CloseCode::Draining, CloseCode::Removed] {
        let mut rig = Rig::published();
        assert_eq!(rig.closed(code), [Effect::LeaveMedia, left_presence(1, true, true)], "{code:?}");
    }
}

#[test]
fn failed_whip_join_closes_nothing_itself() {
    let mut rig = Rig::new(UserRole::Anchor);
    rig.session.identity.source = Source::Whip;
    rig.feed(Input::Opened);
    rig.acquired(1);
    rig.call(0, "join", json!({}));
    let effects = rig.feed(Input::Entered(Ok(JoinOutcome::Full)));
    assert_eq!(effects, [refused_for(0, ErrorCode::RoomFull, FULL)]);
}

#[test]
fn media_reports_leave_other_clients_alone() {
    let mut rig = Rig::joined();
    assert_eq!(rig.media(MediaEvent::Receiving(true)), []);
    assert_eq!(rig.media(MediaEvent::Receiving(false)), []);
}
