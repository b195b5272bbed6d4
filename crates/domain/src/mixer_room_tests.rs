//! Tests of cases outside the simulation: watchdog, crash loops, sequence numbers, starvation.

use super::*;
use crate::ids::{Pin, UnixMs};
use crate::model::{LiveMeta, Meta};
use crate::plan::WriteOutcome;
use crate::view::StoredValue;

const WATCHDOG: Duration = Duration::from_secs(2);

#[test]
fn failed_starts_extend_mixer_watchdog() {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    let crashes = Budget { max: 5, window: Duration::from_secs(30) };
    let policy = MixerPolicy { backoff, crashes, watchdog: WATCHDOG, hls_base: String::new() };
    let mut room = MixerRoom::new(ModuleId::new("here").unwrap(), "i".into(), policy);
    let mut running = RunningProcess {
        epoch: Epoch(1),
        since: Duration::ZERO,
        feed: None,
        unfit: None,
        last_fragment: None,
        silent: false,
    };
    let mut allowed = Vec::new();
    for _ in 0..7 {
        allowed.push(room.patience(&running));
        room.process = Process::Ending { why: KillReason::Starved };
        room.exited(Exit::Other, "signal: 9 (SIGKILL)", Duration::ZERO, 0.5);
    }
    assert_eq!(allowed, [1, 2, 3, 4, 5, 5, 5].map(|times| WATCHDOG * times));
    running.last_fragment = Some(Duration::ZERO);
    assert_eq!(room.patience(&running), WATCHDOG);
}

#[test]
fn crash_loop_is_reported_until_stable() {
    let (mut room, view) = on_air();
    let mut now = Duration::from_secs(1);
    for crash in 1..=6 {
        assert!(!claims_to_have_given_up(&room, &view, now), "after {} crashes", crash - 1);
        now += Duration::from_millis(700);
        spawn(&mut room, now);
        room.exited(Exit::Other, "signal: 11 (SIGSEGV)", now, 0.5);
    }
    assert!(claims_to_have_given_up(&room, &view, now), "the sixth crash within 30 s exceeds the limit");
    now += Duration::from_secs(10);
    spawn(&mut room, now);
    room.produced(now + Duration::from_secs(29));
    assert!(claims_to_have_given_up(&room, &view, now), "the next process may crash again");
    room.produced(now + Duration::from_secs(31));
    assert!(!claims_to_have_given_up(&room, &view, now));
}

#[test]
fn new_epoch_resets_crash_budget() {
    let (mut room, mut view) = on_air();
    let now = Duration::from_secs(1);
    for _ in 0..6 {
        spawn(&mut room, now);
        room.exited(Exit::Other, "signal: 11 (SIGSEGV)", now, 0.5);
    }
    view.live.as_mut().unwrap().value.epoch = Epoch(2);
    room.process_done(ProcessOutcome::Freed, now, 0.5);
    spawn_under(&mut room, Epoch(2), now);
    assert!(!claims_to_have_given_up(&room, &view, now));
    room.exited(Exit::Other, "signal: 11 (SIGSEGV)", now, 0.5);
    assert!(!claims_to_have_given_up(&room, &view, now), "the crash budget is fresh");
}

/// A mixer may lose the room and get it back before it has seen the loss. It must not continue its own
/// numbers, because they are below those that the other mixer has published.
#[test]
fn returned_room_continues_above_other_mixer() {
    let (mut room, mut view, at) = publishing();
    assigned(&mut view, Epoch(3), 30);
    view.sequence = numbers(2048, 20);
    let effects = until_fed(&mut room, &mut view, at);
    assert_eq!(effects, ["kill", "end the stream", "free the port", "take a port", "spawn", "open at 2048"]);
}

#[test]
fn unpublished_move_keeps_stream() {
    let (mut room, mut view, at) = publishing();
    assigned(&mut view, Epoch(3), 30);
    assert_eq!(until_fed(&mut room, &mut view, at), ["kill", "free the port", "take a port", "spawn"]);
    assert_eq!(room.next_sequence(), Some(SequenceState::at(600, 1, None)));
}

/// After a store outage, this mixer's own write may have raised the ceiling. Under its epoch, no other mixer
/// can have done so.
#[test]
fn own_raised_ceiling_keeps_stream() {
    let (mut room, mut view, at) = publishing();
    view.sequence = numbers(2048, 20);
    assert_eq!(until_fed(&mut room, &mut view, at), [""; 0]);
    assert_eq!(room.next_sequence(), Some(SequenceState::at(600, 1, None)));
}

#[test]
fn late_write_answer_restores_no_numbers() {
    let (mut room, mut view, at) = publishing();
    let Plan::Do { effect, .. } = room.plan_store(&view, at) else { panic!("half of the numbers are used") };
    room.published(SequenceState::at(700, 1, None));
    assigned(&mut view, Epoch(3), 30);
    view.sequence = numbers(3072, 25);
    room.observe_revision(30);
    room.look(&view, at);
    room.store_done(effect, WriteOutcome::Written { revision: 15 }, at, 0.5);
    assert_eq!(room.next_sequence(), None);
    let effects = until_fed(&mut room, &mut view, at);
    assert_eq!(effects, ["kill", "end the stream", "free the port", "take a port", "spawn", "open at 3072"]);
}

/// A room may be deleted and recreated on another mixer while this mixer sees neither change. The other mixer
/// may then have reserved exactly the same numbers.
#[test]
fn equal_numbers_of_others_are_refused() {
    let (mut room, mut view, at) = publishing();
    assigned(&mut view, Epoch(7), 30);
    view.live.as_mut().unwrap().value.mixer_id = ModuleId::new("another").unwrap();
    view.mixer = None;
    let theirs = SequenceState { epoch: Epoch(7), ..view.sequence.unwrap().value };
    view.sequence = Some(StoredValue { value: theirs, mod_revision: 31 });
    assert_eq!(until_fed(&mut room, &mut view, at), ["kill", "free the port", "end the stream"]);
}

/// Returns a publishing room under epoch 1, with numbers reserved up to 1024 and 600 of them used; also its
/// view and the current time.
fn publishing() -> (MixerRoom, RoomView, Duration) {
    let (mut room, mut view) = on_air();
    let at = Duration::from_secs(1);
    assert_eq!(until_fed(&mut room, &mut view, at), ["take a port", "spawn", "open at 0"]);
    room.produced(at);
    room.published(SequenceState::at(600, 1, None));
    (room, view, at)
}

fn assigned(view: &mut RoomView, epoch: Epoch, mod_revision: i64) {
    let live = view.live.as_mut().unwrap();
    (live.value.epoch, live.mod_revision) = (epoch, mod_revision);
}

fn numbers(ceiling: u64, mod_revision: i64) -> Option<StoredValue<SequenceState>> {
    Some(StoredValue { value: SequenceState::at(ceiling, 64, None), mod_revision })
}

/// Runs all effects until the room publishes and waits for Janus. Returns descriptions of the effects of the
/// process lane.
fn until_fed(room: &mut MixerRoom, view: &mut RoomView, now: Duration) -> Vec<String> {
    let (mut done, mut revision) = (Vec::new(), 100);
    loop {
        room.look(view, now);
        let process = room.plan_process(view, now);
        if let Plan::Do { effect, .. } = process {
            let (said, outcome) = run(effect);
            let killed = matches!(outcome, ProcessOutcome::Killing { .. });
            room.process_done(outcome, now, 0.5);
            if killed {
                room.exited(Exit::Other, "signal: 9 (SIGKILL)", now, 0.5);
            }
            done.push(said);
        } else if let Plan::Do { effect, .. } = room.plan_store(view, now) {
            revision += 1;
            let StoreEffect::Claim { numbers, key, .. } = &effect else { panic!("{effect:?}") };
            if let Some(numbers) = numbers {
                let value = numbers.ceiling;
                view.sequence = Some(StoredValue { value, mod_revision: revision });
            }
            if let Some(key) = key {
                view.mixer = Some(StoredValue { value: key.state.clone(), mod_revision: revision });
            }
            room.store_done(effect, WriteOutcome::Written { revision }, now, 0.5);
            room.observe_revision(revision);
        } else {
            return done;
        }
    }
}

/// Next port to take. No port is taken twice.
static NEXT_PORT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(21_000);

fn run(effect: ProcessEffect) -> (String, ProcessOutcome) {
    match effect {
        ProcessEffect::TakePort { epoch } => {
            let port = NEXT_PORT.fetch_add(2, std::sync::atomic::Ordering::Relaxed);
            let rtp = MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port };
            ("take a port".into(), ProcessOutcome::PortTaken { rtp, epoch })
        }
        ProcessEffect::Spawn { epoch, .. } => ("spawn".into(), ProcessOutcome::Spawned { epoch }),
        ProcessEffect::Kill { why, .. } => ("kill".into(), ProcessOutcome::Killing { why }),
        ProcessEffect::FreePort { .. } => ("free the port".into(), ProcessOutcome::Freed),
        ProcessEffect::OpenStream { nonce, start } => {
            (format!("open at {}", start.ceiling), ProcessOutcome::Opened { nonce })
        }
        ProcessEffect::EndStream { over } => {
            assert!(!over, "the broadcast continues");
            ("end the stream".into(), ProcessOutcome::Ended)
        }
    }
}

fn spawn(room: &mut MixerRoom, now: Duration) {
    spawn_under(room, Epoch(1), now);
}

fn spawn_under(room: &mut MixerRoom, epoch: Epoch, now: Duration) {
    room.process_done(port_taken(epoch), now, 0.5);
    room.process_done(ProcessOutcome::Spawned { epoch }, now, 0.5);
}

fn port_taken(epoch: Epoch) -> ProcessOutcome {
    let rtp = MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 20_000 };
    ProcessOutcome::PortTaken { rtp, epoch }
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
        trace: None,
        placement_reasons: Default::default(),
    };
    let meta = Meta {
        pin: Pin::new("abc123").unwrap(),
        max_anchors: 3,
        hls_path: String::new(),
        created_at: UnixMs(0),
        deleted_at: None,
        last_epoch: Epoch(1),
        last_started_at: None,
        last_end: None,
        api_key: None,
        profile: Default::default(),
    };
    let (meta, live) =
        (StoredValue { value: meta, mod_revision: 1 }, StoredValue { value: live, mod_revision: 1 });
    let view = RoomView { meta: Some(meta), live: Some(live), ..RoomView::default() };
    (MixerRoom::new(me, "run-1".into(), policy), view)
}

#[test]
fn starvation_changes_port_then_gives_up() {
    let (mut room, mut view, mut now) = publishing();
    let (mut ports, mut told) = (vec![port_of(&view)], Vec::new());
    for _ in 0..6 {
        now = starve(&mut room, &mut view, now);
        let key = &view.mixer.as_ref().unwrap().value;
        told.push((key.starved, key.gave_up));
        ports.push(key.rtp.port);
    }
    let changes = ports.windows(2).map(|pair| pair[0] != pair[1]);
    assert_eq!(changes.collect::<Vec<_>>(), [false, true, false, true, false, true], "{ports:?}");
    assert_eq!(told, [(1, false), (2, false), (3, false), (4, false), (5, true), (5, true)]);
    room.produced(now);
    until_fed(&mut room, &mut view, now);
    let key = &view.mixer.as_ref().unwrap().value;
    assert_eq!((key.starved, key.gave_up), (0, false), "sound is back");
}

/// Janus would not learn of a new port, so the room would stay silent until the store is back.
#[test]
fn port_is_kept_while_store_is_away() {
    let (mut room, mut view, now) = publishing();
    feed(&mut view);
    let mut now = now;
    for _ in 0..4 {
        now = kill_starved(&mut room, &view, now) + Duration::from_secs(10);
        let effects = process_lane(&mut room, &view, now);
        assert_eq!(effects, ["spawn"], "on the same port");
    }
}

/// A new FFmpeg would start with a rollover counter of 0 (RFC 3711 section 3.3.1) and reject every packet as
/// forged.
#[test]
fn old_stream_is_not_joined() {
    let (mut room, mut view, at) = publishing();
    let before = port_of(&view);
    let young = at + port::JOINABLE_FOR;
    room.exited(Exit::Other, "signal: 9 (SIGKILL)", young, 0.5);
    assert_eq!(until_fed(&mut room, &mut view, young), ["spawn"]);
    room.produced(young);
    let old = young + Duration::from_secs(1);
    room.exited(Exit::Other, "signal: 9 (SIGKILL)", old, 0.5);
    assert_eq!(until_fed(&mut room, &mut view, old), ["free the port", "take a port", "spawn"]);
    assert_ne!(port_of(&view), before);
}

#[test]
fn starvation_without_forwarder_is_not_counted() {
    let (mut room, _view, now) = publishing();
    room.exited(Exit::Starved, "exit status: 0", now, 0.5);
    assert_eq!((room.starved(), room.attempt()), (0, 1));
}

#[test]
fn silence_under_speech_is_repaired() {
    let (mut room, mut view, mut now) = publishing();
    let (mut ports, mut told) = (vec![port_of(&view)], Vec::new());
    for _ in 0..5 {
        assert_eq!(alarm(&mut room, &mut view, now), ["kill"]);
        now += Duration::from_secs(10);
        until_fed(&mut room, &mut view, now);
        let key = &view.mixer.as_ref().unwrap().value;
        told.push((key.starved, key.unheard, key.gave_up));
        ports.push(key.rtp.port);
    }
    let changes = ports.windows(2).map(|pair| pair[0] != pair[1]);
    assert_eq!(changes.collect::<Vec<_>>(), [false, true, false, true, false], "{ports:?}");
    assert_eq!(told, [1, 2, 3, 4, 5].map(|starved| (starved, true, starved == 5)));

    assert_eq!(alarm(&mut room, &mut view, now), [""; 0], "the alarm may be false");
    let Plan::Wait { reason, .. } = room.plan_process(&view, now) else { panic!("waits") };
    assert!(reason.contains("repairs did not help"), "{reason}");
    room.produced(now);
    until_fed(&mut room, &mut view, now);
    assert_eq!(view.mixer.as_ref().unwrap().starved, 5, "silence is no sound");
    room.metered(false);
    until_fed(&mut room, &mut view, now);
    let key = &view.mixer.as_ref().unwrap().value;
    assert_eq!((key.starved, key.unheard, key.gave_up, key.silent), (0, false, false, false));

    // Ten minutes after the first repairs, others are permitted.
    now += Duration::from_secs(10 * 60);
    assert_eq!(alarm(&mut room, &mut view, now), ["kill"]);
    now += Duration::from_secs(3 * 60);
    until_fed(&mut room, &mut view, now);
    assert_eq!(view.mixer.as_ref().unwrap().starved, 0, "nobody spoke for two minutes");
}

#[test]
fn earlier_answers_do_not_raise_alarm() {
    let (mut room, mut view, now) = publishing();
    feed(&mut view);
    view.janus.as_mut().unwrap().value.unheard = true;
    room.metered(true);
    assert_eq!(until_fed(&mut room, &mut view, now), [""; 0]);
    assert!(view.mixer.as_ref().unwrap().silent);
    room.metered(false);
    view.janus.as_mut().unwrap().mod_revision = 1_000;
    assert_eq!(until_fed(&mut room, &mut view, now), [""; 0], "there is sound");
}

/// Reports silence, and lets Janus answer that somebody speaks. Returns the effects.
fn alarm(room: &mut MixerRoom, view: &mut RoomView, now: Duration) -> Vec<String> {
    feed(view);
    room.produced(now);
    until_fed(room, view, now);
    room.metered(true);
    until_fed(room, view, now);
    assert!(view.mixer.as_ref().unwrap().silent);
    let janus = view.janus.as_mut().unwrap();
    (janus.value.unheard, janus.mod_revision) = (true, 1_000);
    let mut effects = until_fed(room, view, now);
    effects.truncate(1);
    effects
}

fn port_of(view: &RoomView) -> u16 {
    view.mixer.as_ref().unwrap().rtp.port
}

/// Makes Janus report that it forwards to the mixer's port.
fn feed(view: &mut RoomView) {
    let live = view.live.as_ref().unwrap();
    let target = view.mixer.as_ref().unwrap().rtp;
    let value = crate::model::JanusState {
        id: live.janus_id.clone(),
        janus_room_id: 123_456,
        status: JanusStatus::Forwarding,
        forwarder: Some(crate::model::ForwarderState { stream_id: target.port.into(), target }),
        timestamp: UnixMs(0),
        epoch: live.epoch,
        unheard: false,
        incarnation: None,
    };
    view.janus = Some(StoredValue { value, mod_revision: 50 });
}

/// Runs one starvation and the room's own reactions. Returns the time after it.
fn starve(room: &mut MixerRoom, view: &mut RoomView, now: Duration) -> Duration {
    feed(view);
    let at_once = kill_starved(room, view, now);
    until_fed(room, view, at_once);
    let later = at_once + Duration::from_secs(10);
    until_fed(room, view, later);
    later
}

/// Lets the watchdog expire and returns the time of its expiry.
fn kill_starved(room: &mut MixerRoom, view: &RoomView, now: Duration) -> Duration {
    room.look(view, now);
    let due = match room.plan_process(view, now) {
        Plan::Wait { until: Some(due), .. } => due,
        plan => panic!("{plan:?}"),
    };
    let plan = room.plan_process(view, due);
    let Plan::Do { effect: ProcessEffect::Kill { why, .. }, .. } = plan else { panic!("{plan:?}") };
    room.process_done(ProcessOutcome::Killing { why }, due, 0.5);
    room.exited(Exit::Other, "signal: 9 (SIGKILL)", due, 0.5);
    due
}

/// Runs the effects of the process lane while the store is unavailable. Returns descriptions of these
/// effects.
fn process_lane(room: &mut MixerRoom, view: &RoomView, now: Duration) -> Vec<String> {
    let mut done = Vec::new();
    while let Plan::Do { effect, .. } = room.plan_process(view, now) {
        let (said, outcome) = run(effect);
        room.process_done(outcome, now, 0.5);
        done.push(said);
    }
    done
}
