//! Tests of `join` when an application decides who may join.

use super::*;
use crate::pin_attempts::Guess;
use crate::roles::RoomRole;

impl Rig {
    /// Returns a connected anchor in a room whose application decides who may join.
    fn guarded() -> Self {
        let mut rig = Self::connected();
        rig.session.rules = Arc::new(Rules { admission: true, ..(*rig.session.rules).clone() });
        rig
    }

    fn answered(&mut self, outcome: Result<(), RpcError>) -> Vec<Effect> {
        self.feed(Input::AdmissionAnswered(outcome))
    }
}

fn ask(role: RoomRole) -> Effect {
    Effect::AskAdmission { role, display_name: None }
}

#[test]
fn admitted_user_joins_on() {
    let mut rig = Rig::guarded();
    assert_eq!(rig.call(0, "join", json!({})), [ask(RoomRole::Anchor)]);
    assert_eq!(rig.answered(Ok(())), [enter(&entry(1, ActivityStatus::Idle, false))]);
    rig.feed(Input::Entered(Ok(JoinOutcome::Ok)));
    assert_eq!(rig.answered(Ok(())), [], "an answer counts once");
    rig.feed(Input::MediaJoined(Ok(media(false))));
    // The application is asked again at the next join, even if the client has a resume token.
    let again = rig.call(1, "join", json!({ "jtoken": "sealed" }));
    assert_eq!(again, [ask(RoomRole::Anchor)]);
}

#[test]
fn refused_user_may_try_again() {
    let mut rig = Rig::guarded();
    rig.call(0, "join", json!({}));
    let refusal = RpcError::new(ErrorCode::NotAdmitted, "subscribers only");
    assert_eq!(rig.answered(Err(refusal.clone())), [Effect::Reply(CallId(0), Err(refusal))]);
    assert_eq!(rig.call(1, "join", json!({})), [ask(RoomRole::Anchor)], "the connection stays open");
}

#[test]
fn admission_is_asked_after_cheap_checks() {
    let mut rig = Rig::guarded();
    assert_eq!(rig.call(0, "join", json!({ "pin": "wrong1" })), [Effect::CheckPin { right: false }]);
    assert_eq!(rig.feed(Input::PinChecked(Guess::Wrong)), [refused(0, ErrorCode::WrongPin)]);
    rig.at.room = Some(Arc::new(RoomView { live: None, ..(*room(OPEN, &[])).clone() }));
    let effects = rig.call(1, "join", json!({}));
    assert!(matches!(&effects[..], [Effect::Reply(_, Err(e))] if e.code == ErrorCode::NotOnAir));
}

#[test]
fn room_that_closed_meanwhile_refuses() {
    let mut rig = Rig::guarded();
    rig.call(0, "join", json!({}));
    rig.at.room = Some(Arc::default());
    let effects = rig.answered(Ok(()));
    assert!(effects.contains(&refused(0, ErrorCode::RoomOver)), "{effects:?}");
    // The answer of the application counts even after the `join` call has timed out.
    let mut rig = Rig::guarded();
    rig.call(0, "join", json!({}));
    assert!(rig.tick(10).contains(&refused(0, ErrorCode::Timeout)));
    assert_eq!(rig.answered(Ok(())), [enter(&entry(1, ActivityStatus::Idle, false))]);
    let mut rig = Rig::guarded();
    rig.call(0, "join", json!({}));
    rig.closed(CloseCode::Gone);
    assert_eq!(rig.answered(Ok(())), [], "the connection is closed");
}

#[test]
fn join_needs_consent_if_required() {
    let mut rig = Rig::connected();
    rig.session.rules = Arc::new(Rules { consent: true, ..(*rig.session.rules).clone() });
    for params in [json!({}), json!({ "recordingConsent": false })] {
        let refused = rig.call(0, "join", params);
        let [Effect::Reply(_, Err(error))] = &refused[..] else { panic!("{refused:?}") };
        assert_eq!(error.code, ErrorCode::ConsentRequired);
    }
    let agreed = PresenceEntry { consent: true, ..entry(1, ActivityStatus::Idle, false) };
    assert_eq!(rig.call(1, "join", json!({ "recordingConsent": true })), [enter(&agreed)]);
}
