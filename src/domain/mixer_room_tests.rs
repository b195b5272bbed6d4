//! What the simulation does not look at: how long a process may be silent.

use super::*;
use crate::domain::ids::{Pin, UnixMs};
use crate::domain::model::{LiveMeta, Meta};
use crate::domain::view::Versioned;

const WATCHDOG: Duration = Duration::from_secs(2);

#[test]
fn each_start_in_vain_allows_the_next_one_more_and_a_fragment_ends_that() {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    let crashes = Budget { max: 5, window: Duration::from_secs(30) };
    let policy = MixerPolicy { backoff, crashes, watchdog: WATCHDOG, hls_base: String::new() };
    let mut room = MixerRoom::new(ModuleId::new("here").unwrap(), "i".into(), policy);
    let mut running =
        Running { epoch: Epoch(1), since: Duration::ZERO, feed: None, unfit: None, last_fragment: None };
    let mut allowed = Vec::new();
    for _ in 0..7 {
        allowed.push(room.patience(&running));
        room.process = Process::Ending { why: STARVED };
        room.exited(Exit::Other, "signal: 9 (SIGKILL)", Duration::ZERO, 0.5);
    }
    assert_eq!(allowed, [1, 2, 3, 4, 5, 5, 5].map(|times| WATCHDOG * times));
    running.last_fragment = Some(Duration::ZERO);
    assert_eq!(room.patience(&running), WATCHDOG);
}

#[test]
fn a_crash_loop_is_told_in_the_key_and_taken_back_after_a_long_life() {
    let (mut room, view) = on_air();
    let mut now = Duration::from_secs(1);
    for crash in 1..=6 {
        assert!(!claims_to_have_given_up(&room, &view, now), "after {} crashes", crash - 1);
        now += Duration::from_millis(700);
        spawn(&mut room, now);
        room.exited(Exit::Other, "signal: 11 (SIGSEGV)", now, 0.5);
    }
    assert!(claims_to_have_given_up(&room, &view, now), "the sixth within 30 s is too much");
    now += Duration::from_secs(10);
    spawn(&mut room, now);
    room.produced(SequenceState::default(), now + Duration::from_secs(29));
    assert!(claims_to_have_given_up(&room, &view, now), "it may crash again");
    room.produced(SequenceState::default(), now + Duration::from_secs(31));
    assert!(!claims_to_have_given_up(&room, &view, now));
}

#[test]
fn under_a_new_epoch_a_room_that_was_given_up_is_tried_again() {
    let (mut room, mut view) = on_air();
    let now = Duration::from_secs(1);
    for _ in 0..6 {
        spawn(&mut room, now);
        room.exited(Exit::Other, "signal: 11 (SIGSEGV)", now, 0.5);
    }
    view.live.as_mut().unwrap().value.epoch = Epoch(2);
    room.process_done(ProcessOutcome::Freed, "", now, 0.5);
    let rtp = MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 20_002 };
    room.process_done(ProcessOutcome::Spawned { rtp, epoch: Epoch(2) }, "", now, 0.5);
    assert!(!claims_to_have_given_up(&room, &view, now));
    room.exited(Exit::Other, "signal: 11 (SIGSEGV)", now, 0.5);
    assert!(!claims_to_have_given_up(&room, &view, now), "its budget is fresh");
}

fn spawn(room: &mut MixerRoom, now: Duration) {
    let rtp = MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 20_000 };
    room.process_done(ProcessOutcome::Spawned { rtp, epoch: Epoch(1) }, "", now, 0.5);
}

fn claims_to_have_given_up(room: &MixerRoom, view: &RoomView, now: Duration) -> bool {
    match room.plan_store(view, now) {
        Plan::Do { effect: StoreEffect::Claim { key: Some(claim), .. }, .. } => claim.state.gave_up,
        _ => false,
    }
}

fn on_air() -> (MixerRoom, RoomView) {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    let crashes = Budget { max: 5, window: Duration::from_secs(30) };
    let policy = MixerPolicy { backoff, crashes, watchdog: WATCHDOG, hls_base: String::new() };
    let me = ModuleId::new("here").unwrap();
    let live = LiveMeta {
        status: LiveStatus::OnAir,
        mixer_id: me.clone(),
        janus_id: me.clone(),
        nonce: Nonce("n".into()),
        created_at: UnixMs(0),
        discard_at: None,
        handover: None,
        epoch: Epoch(1),
    };
    let meta = Meta {
        pin: Pin::new("abc123").unwrap(),
        max_anchors: 3,
        hls_path: String::new(),
        created_at: UnixMs(0),
        deleted_at: None,
        last_epoch: Epoch(1),
        last_started_at: None,
    };
    let (meta, live) =
        (Versioned { value: meta, mod_revision: 1 }, Versioned { value: live, mod_revision: 1 });
    let view = RoomView { meta: Some(meta), live: Some(live), ..RoomView::default() };
    (MixerRoom::new(me, "run-1".into(), policy), view)
}
