//! Tests of a media session when its client, its Janus or its room goes away and comes back.

use std::sync::Arc;

use super::*;
use crate::ids::{Nonce, Pin, UnixMs};
use crate::model::{JanusState, JanusStatus, LiveMeta, LiveStatus, Meta, User, UserRole};
use crate::view::StoredValue;
use proptest::prelude::*;

const GRACE: Duration = Duration::from_secs(60);

#[test]
fn detached_session_is_kept_alive_once() {
    let mut anchor = up();
    anchor.client_left(at(100));
    assert!(anchor.takes_calls() && anchor.is_resumable() && anchor.name() == "detached");
    assert!(does(&anchor, 100, Effect::KeepAlive));
    anchor.kept_alive(at(100));
    assert!(matches!(anchor.plan(at(150)), Plan::Wait { until: Some(until), .. } if until == at(164)));
    anchor.look(at(163));
    assert_eq!(anchor.name(), "detached", "Janus may decide late");
    anchor.look(at(164));
    assert_eq!(anchor.state(), State::Ended(End::GraceOver));
    assert_eq!(anchor.plan(at(164)), Plan::Finished, "another gateway may have claimed the session");
}

#[test]
fn returning_client_reclaims_its_session() {
    let mut anchor = up();
    anchor.client_left(at(100));
    anchor.kept_alive(at(100));
    anchor.client_back(at(159));
    // Another gateway may have claimed the session, whether or not we knew that the client was away.
    assert!(anchor.is_resumable() && does(&anchor, 159, Effect::Reclaim));
    anchor.reclaimed(at(160));
    anchor.look(at(300));
    assert!(anchor.is_resumable() && anchor.takes_calls());
    assert!(does(&anchor, 180, Effect::KeepAlive));
}

#[test]
fn session_grace_sets_deadline() {
    let mut anchor = up();
    assert_eq!(anchor.deadline(), None);
    anchor.link_lost(at(10));
    assert_eq!(anchor.deadline(), Some(at(70)), "Janus may stay away for the grace time");
    anchor.heard(JanusEvent::RoomDestroyed, at(20));
    assert_eq!(anchor.deadline(), Some(at(20) + VERDICT_WAIT));
    anchor.look(anchor.deadline().unwrap());
    assert_eq!((anchor.state(), anchor.deadline()), (State::Ended(End::JanusMoved), None));
}

#[test]
fn removed_user_ends_detached_session() {
    let mut anchor = up();
    anchor.client_left(at(100));
    anchor.kept_alive(at(100));
    let mut room = view(3, "janus-a", 111_111);
    let removed = User { removed_at: Some(UnixMs(1)), ..User::invited(UserRole::Anchor, UnixMs(0)) };
    room.users = Arc::new([(user("bert"), versioned(removed))].into());
    anchor.observe(Some(&room), &user("anna"));
    assert_eq!(anchor.name(), "detached");
    anchor.observe(Some(&room), &user("bert"));
    assert_eq!(anchor.state(), State::Ended(End::Removed));
    assert!(does(&anchor, 101, Effect::Destroy));
}

#[test]
fn session_outside_its_room_is_lost() {
    let mut anchor = up();
    anchor.heard(JanusEvent::NotInRoom, at(1));
    assert_eq!(anchor.state(), State::Ended(End::SessionLost));
    assert!(does(&anchor, 1, Effect::Destroy) && End::SessionLost.reconnect_after().is_some());
}

#[test]
fn hangup_ends_detached_session() {
    let mut anchor = up();
    anchor.client_left(at(100));
    anchor.heard(JanusEvent::Down, at(101));
    assert_eq!(anchor.state(), State::Ended(End::MediaOver));
    assert!(does(&anchor, 101, Effect::Destroy));
    anchor.destroyed();
    assert_eq!(anchor.plan(at(101)), Plan::Finished);
}

#[test]
fn hangup_destroys_session_for_rejoin() {
    let mut anchor = up();
    anchor.heard(JanusEvent::Down, at(1));
    assert!(!anchor.takes_calls() && does(&anchor, 1, Effect::Destroy));
    assert!(End::MediaOver.reconnect_after().is_some());
}

#[test]
fn lost_janus_link_reclaims_within_grace() {
    let mut anchor = up();
    anchor.link_lost(at(10));
    assert!(!anchor.takes_calls() && does(&anchor, 10, Effect::Reclaim));
    anchor.reclaim_failed(ClaimFailure::Unavailable("refused".into()), at(10), 1.0);
    assert!(matches!(anchor.plan(at(10)), Plan::Wait { until: Some(_), .. }));
    let mut healed = up();
    healed.link_lost(at(10));
    healed.reclaimed(at(12));
    assert!(healed.is_resumable() && healed.name() == "up");
    anchor.look(at(70));
    assert_eq!(anchor.state(), State::Ended(End::JanusUnreachable));
    assert!(End::JanusUnreachable.reconnect_after().is_some());
}

#[test]
fn detached_session_without_janus_is_abandoned() {
    let mut anchor = up();
    anchor.client_left(at(10));
    anchor.link_lost(at(20));
    anchor.look(at(20));
    assert_eq!(anchor.state(), State::Ended(End::Abandoned));
    assert_eq!(anchor.plan(at(20)), Plan::Finished);
}

#[test]
fn session_unknown_to_janus_is_lost() {
    let mut anchor = up();
    anchor.link_lost(at(10));
    anchor.reclaim_failed(ClaimFailure::SessionGone, at(11), 0.5);
    assert_eq!(anchor.state(), State::Ended(End::SessionLost));
    assert_eq!(anchor.plan(at(11)), Plan::Finished);
}

#[test]
fn destroyed_room_waits_for_store() {
    let mut closed = up();
    closed.heard(JanusEvent::RoomDestroyed, at(10));
    let mut unknown = up();
    unknown.heard(JanusEvent::RoomDestroyed, at(10));
    assert!(!unknown.is_resumable(), "there are no media to resume");
    assert!(!unknown.takes_calls(), "Janus would refuse the calls");
    closed.observe(None, &user("anna"));
    assert_eq!(closed.state(), State::Ended(End::RoomClosed));
    unknown.observe(Some(&view(3, "janus-a", 111_111)), &user("anna"));
    unknown.look(at(12));
    assert_eq!(unknown.state(), State::Ended(End::JanusMoved));
}

#[test]
fn only_janus_moves_move_anchors() {
    let place = JanusAssignment::of(Some(&view(3, "janus-a", 111_111))).unwrap();
    let fate = |view: RoomView| place.fate(Some(&view));
    assert_eq!(fate(view(4, "janus-a", 111_111)), AssignmentChange::Stays, "the mixer moved");
    assert_eq!(fate(view(4, "janus-b", 111_111)), AssignmentChange::Moved);
    assert_eq!(fate(view(4, "janus-a", 222_222)), AssignmentChange::Moved, "its Janus was restarted");
    assert_eq!(
        fate(RoomView { janus: None, ..view(4, "janus-a", 1) }),
        AssignmentChange::Stays,
        "not told yet"
    );
    let mut removing = view(3, "janus-a", 111_111);
    removing.live.as_mut().unwrap().value.status = LiveStatus::Removing;
    assert_eq!(fate(removing), AssignmentChange::Closed);
    assert_eq!(place.fate(None), AssignmentChange::Closed);
}

#[test]
fn room_is_joinable_once_janus_reports() {
    let of = |view: &RoomView| JanusAssignment::of(Some(view));
    let ready = view(3, "janus-a", 111_111);
    assert_eq!(of(&ready).unwrap().janus_room_id, 111_111);
    assert_eq!(of(&RoomView { janus: None, ..ready.clone() }), Err(JoinUnavailable::Preparing));
    assert_eq!(of(&RoomView { live: None, ..ready.clone() }), Err(JoinUnavailable::NotOnAir));
    assert_eq!(of(&RoomView { meta: None, ..ready }), Err(JoinUnavailable::NoSuchRoom));
    assert_eq!(JanusAssignment::of(None), Err(JoinUnavailable::NoSuchRoom));
}

#[derive(Debug, Clone)]
enum Step {
    Left,
    Back,
    Heard(JanusEvent),
    LinkLost,
    Moved,
    End(End),
    Tick(u64),
}

proptest! {
    /// After any history, the session ends some time after the client has left permanently, and no effect is
    /// left.
    #[test]
    fn session_always_ends_without_client(
        steps in proptest::collection::vec(step(), 0..40),
        random in 0.0..1.0f64,
    ) {
        let mut anchor = MediaSession::new(place(), timing());
        let mut now = 0;
        for step in steps {
            apply(&mut anchor, &step, &mut now);
            run(&mut anchor, now, random);
        }
        anchor.client_left(at(now));
        for _ in 0..200 {
            now += 1;
            anchor.look(at(now));
            run(&mut anchor, now, random);
        }
        let ended = matches!(anchor.state(), State::Ended(_));
        prop_assert!(ended, "{anchor:?}");
        prop_assert_eq!(anchor.plan(at(now)), Plan::Finished);
    }
}

fn apply(anchor: &mut MediaSession, step: &Step, now: &mut u64) {
    match step {
        Step::Left => anchor.client_left(at(*now)),
        Step::Back => anchor.client_back(at(*now)),
        Step::Heard(heard) => anchor.heard(*heard, at(*now)),
        Step::LinkLost => anchor.link_lost(at(*now)),
        Step::Moved => anchor.observe(Some(&view(9, "janus-b", 1)), &user("anna")),
        Step::End(end) => anchor.end(*end),
        Step::Tick(seconds) => *now += seconds,
    }
    anchor.look(at(*now));
}

/// Carries out the plans; `random` decides the outcomes.
fn run(anchor: &mut MediaSession, now: u64, random: f64) {
    for _ in 0..5 {
        let Plan::Do { effect, .. } = anchor.plan(at(now)) else { return };
        match effect {
            Effect::Open => anchor.opened(random > 0.5, at(now)),
            Effect::Reclaim if random > 0.7 => anchor.reclaimed(at(now)),
            Effect::Reclaim => {
                anchor.reclaim_failed(ClaimFailure::Unavailable("no".into()), at(now), random);
            }
            Effect::KeepAlive => anchor.kept_alive(at(now)),
            Effect::Destroy => anchor.destroyed(),
        }
    }
    assert!(!matches!(anchor.plan(at(now)), Plan::Do { .. }), "effects remain: {anchor:?}");
}

fn step() -> impl Strategy<Value = Step> {
    use JanusEvent::*;
    let heard = prop::sample::select(vec![Up, Down, Removed, RoomDestroyed, NotInRoom, SessionOver]);
    let end = prop::sample::select(vec![End::Left, End::Replaced, End::Draining]);
    prop_oneof![
        2 => Just(Step::Left),
        2 => Just(Step::Back),
        2 => heard.prop_map(Step::Heard),
        2 => Just(Step::LinkLost),
        1 => Just(Step::Moved),
        1 => end.prop_map(Step::End),
        4 => (0..30u64).prop_map(Step::Tick),
    ]
}

fn up() -> MediaSession {
    let mut anchor = MediaSession::new(place(), timing());
    anchor.opened(false, at(0));
    anchor.answered();
    anchor.heard(JanusEvent::Up, at(0));
    anchor
}

fn does(anchor: &MediaSession, now: u64, wanted: Effect) -> bool {
    matches!(anchor.plan(at(now)), Plan::Do { effect, .. } if effect == wanted)
}

fn timing() -> Timing {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(2) };
    Timing { grace: GRACE, keep_alive: Duration::from_secs(20), backoff }
}

fn place() -> JanusAssignment {
    JanusAssignment { janus: janus("janus-a"), janus_room_id: 111_111, epoch: Epoch(3) }
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn janus(id: &str) -> ModuleId {
    ModuleId::new(id).unwrap()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn view(epoch: u64, id: &str, janus_room_id: u32) -> RoomView {
    let meta = Meta {
        pin: Pin::new("abc123").unwrap(),
        max_anchors: 3,
        hls_path: String::new(),
        created_at: UnixMs(0),
        deleted_at: None,
        last_epoch: Epoch(epoch),
        last_started_at: None,
        last_end: None,
        api_key: None,
        profile: Default::default(),
    };
    let live = LiveMeta {
        status: LiveStatus::OnAir,
        mixer_id: janus("mixer"),
        janus_id: janus(id),
        nonce: Nonce("n".into()),
        created_at: UnixMs(0),
        discard_at: None,
        epoch: Epoch(epoch),
        handover: None,
        trace: None,
        placement_reasons: Default::default(),
    };
    let key = JanusState {
        id: janus(id),
        janus_room_id,
        status: JanusStatus::Forwarding,
        forwarder: None,
        timestamp: UnixMs(0),
        unheard: false,
        incarnation: None,
        epoch: Epoch(epoch),
    };
    RoomView {
        meta: Some(versioned(meta)),
        live: Some(versioned(live)),
        janus: Some(versioned(key)),
        ..RoomView::default()
    }
}

fn versioned<T>(value: T) -> StoredValue<T> {
    StoredValue { value, mod_revision: 1 }
}
