//! Tests of cases outside the simulation: kicked users, silent rooms, Janus rooms that refuse our secret, and
//! the canary room.

use std::sync::Arc;

use super::super::ids::Nonce;
use super::super::ids::UserId;
use super::super::model::{LiveMeta, Meta, MixerState, User, UserRole};
use super::super::mute_all::MuteOrder;
use super::*;
use crate::ids::RoomId;
use crate::view::Rooms;

const NOW: Duration = Duration::from_secs(1);

#[test]
fn locked_janus_room_is_tried_once() {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    let mut machine = JanusRoom::new(ModuleId::new("here").unwrap(), "i".into(), backoff);
    let left = FoundRoom { janus_room_id: 123_456, created_at: Epoch(1), forwarders: None };
    for _ in 0..2 {
        machine.linked(Some(vec![left.clone()]));
        let plan = machine.plan(&RoomView::default(), NOW, UnixMs(0));
        assert!(
            matches!(plan, Plan::Do { effect: Effect::Destroy { janus_room_id: 123_456 }, .. }),
            "{plan:?}"
        );
        machine.done(Outcome::Locked { janus_room_id: 123_456 }, NOW, 0.5);
        let Plan::Wait { reason, until: None } = machine.plan(&RoomView::default(), NOW, UnixMs(0)) else {
            panic!("the refusal is final, but the machine is not finished");
        };
        assert!(reason.contains("123456") && reason.contains("hls.secret"), "{reason}");
        assert_eq!((machine.attempt(), machine.retry_due()), (0, None));
    }
}

#[test]
fn removed_user_is_kicked_twice_per_connection() {
    let (mut machine, mut view) = built();
    assert_eq!(expelled(&mut machine, &view, NOW), [] as [&str; 0]);
    know(&mut view, "ann", Some(UnixMs(9)));
    know(&mut view, "bob", None);
    assert_eq!(expelled(&mut machine, &view, NOW), ["ann"]);
    know(&mut view, "bob", Some(UnixMs(9)));
    let later = NOW + Duration::from_secs(10);
    assert_eq!(expelled(&mut machine, &view, later), ["bob"]);
    // At the time `landed`, all joins that were in progress have been carried out.
    let Plan::Wait { until: Some(landed), .. } = machine.plan(&view, later, UnixMs(0)) else {
        panic!("waits")
    };
    assert_eq!(landed, NOW + LANDS_WITHIN);
    assert_eq!(expelled(&mut machine, &view, landed), ["ann"]);
    assert_eq!(expelled(&mut machine, &view, later + LANDS_WITHIN), ["bob"]);
    assert_eq!(expelled(&mut machine, &view, later + 2 * LANDS_WITHIN), [] as [&str; 0]);
    machine.unlinked();
    machine.linked(Some(vec![found()]));
    assert_eq!(expelled(&mut machine, &view, later + 2 * LANDS_WITHIN), ["ann", "bob"]);
}

#[test]
fn user_banned_again_is_kicked_again() {
    let (mut machine, mut view) = built();
    know(&mut view, "ann", Some(UnixMs(9)));
    assert_eq!(expelled(&mut machine, &view, NOW), ["ann"]);
    assert_eq!(expelled(&mut machine, &view, NOW + LANDS_WITHIN), ["ann"]);
    know(&mut view, "ann", None);
    assert_eq!(expelled(&mut machine, &view, NOW + LANDS_WITHIN), [] as [&str; 0]);
    know(&mut view, "ann", Some(UnixMs(10)));
    let ann = UserId::new("ann").unwrap();
    Arc::make_mut(&mut view.users).get_mut(&ann).unwrap().mod_revision = 2;
    assert_eq!(expelled(&mut machine, &view, NOW + LANDS_WITHIN), ["ann"]);
}

#[test]
fn everybody_is_muted_once_per_order() {
    let (mut machine, mut view) = built();
    let nonce = view.live.as_ref().unwrap().nonce.clone();
    let order = |nonce: &Nonce, mod_revision: i64| {
        let value = MuteOrder { nonce: nonce.clone(), at: UnixMs(1), by: UserId::new("ann").ok() };
        Some(StoredValue { value, mod_revision })
    };
    let planned = |machine: &JanusRoom, view: &RoomView, now| match machine.plan(view, now, UnixMs(0)) {
        Plan::Do { effect: Effect::MuteAll { but, key_revision, .. }, .. } => Some((but, key_revision)),
        Plan::Do { effect: Effect::ListForwarders { .. }, .. } | Plan::Wait { .. } => None,
        other => panic!("{other:?}"),
    };
    view.mute = order(&Nonce("of an earlier broadcast".into()), 4);
    assert_eq!(planned(&machine, &view, NOW), None);
    view.mute = order(&nonce, 5);
    assert_eq!(planned(&machine, &view, NOW), Some((UserId::new("ann").ok(), 5)));
    machine.done(Outcome::NotModerated("no answer".into()), NOW, 0.5);
    assert_eq!(planned(&machine, &view, NOW), None, "it waits");
    let later = NOW + Duration::from_secs(10);
    assert_eq!(planned(&machine, &view, later), Some((UserId::new("ann").ok(), 5)));
    machine.done(Outcome::MutedAll { key_revision: 5 }, later, 0.5);
    machine.unlinked();
    machine.linked(Some(vec![found()]));
    assert_eq!(planned(&machine, &view, later), None, "not again, even if the key could not be deleted");
    view.mute = order(&nonce, 6);
    assert_eq!(planned(&machine, &view, later), Some((UserId::new("ann").ok(), 6)));
}

#[test]
fn failed_kick_does_not_block_effects() {
    let (mut machine, mut view) = built();
    know(&mut view, "ann", Some(UnixMs(9)));
    for _ in 0..5 {
        let plan = machine.plan(&view, NOW, UnixMs(0));
        assert!(
            matches!(plan, Plan::Do { effect: Effect::Expel { .. }, .. } | Plan::Wait { .. }),
            "{plan:?}"
        );
        machine.done(Outcome::NotModerated("no answer".into()), NOW, 0.5);
    }
    let Plan::Wait { until: Some(due), .. } = machine.plan(&view, NOW, UnixMs(0)) else { panic!("it waits") };
    view.mixer.as_mut().unwrap().value.rtp.port = 31_000;
    let plan = machine.plan(&view, NOW, UnixMs(0));
    assert!(matches!(plan, Plan::Do { effect: Effect::StartForwarder { .. }, .. }), "{plan:?}");
    view.mixer.as_mut().unwrap().value.rtp.port = 30_000;
    assert_eq!(expelled(&mut machine, &view, due), ["ann"], "it is tried again");
}

/// Returns the machine and the view of a room that is built on this Janus and needs no further effect.
fn built() -> (JanusRoom, RoomView) {
    let here = ModuleId::new("here").unwrap();
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    let mut machine = JanusRoom::new(here.clone(), "i".into(), backoff);
    machine.linked(Some(vec![found()]));
    let mut view = on_air(&here, &here, 123_456);
    let key = &mut view.janus.as_mut().unwrap().value;
    (key.epoch, key.forwarder) = (Epoch(3), Some(forwarder()));
    let mixer = MixerState {
        id: here,
        rtp: target(),
        hls_url: String::new(),
        epoch: Epoch(3),
        gave_up: false,
        ready: true,
        starved: 0,
        silent: false,
        unheard: false,
        incarnation: None,
    };
    view.mixer = Some(StoredValue { value: mixer, mod_revision: 2 });
    let Plan::Do { effect: Effect::WriteKey { state, .. }, .. } = machine.plan(&view, NOW, UnixMs(0)) else {
        panic!("tells the store")
    };
    view.janus = Some(StoredValue { value: state, mod_revision: 3 });
    machine.done(Outcome::Forwarders { janus_room_id: 123_456, forwarders: vec![forwarder()] }, NOW, 0.5);
    (machine, view)
}

fn found() -> FoundRoom {
    FoundRoom { janus_room_id: 123_456, created_at: Epoch(3), forwarders: Some(vec![forwarder()]) }
}

fn forwarder() -> ForwarderState {
    ForwarderState { stream_id: 7, target: target() }
}

fn target() -> MediaAddr {
    MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 30_000 }
}

/// Runs the planned effects until none is due. Returns the expelled users.
fn expelled(machine: &mut JanusRoom, view: &RoomView, now: Duration) -> Vec<String> {
    let mut names = Vec::new();
    while let Plan::Do { effect, .. } = machine.plan(view, now, UnixMs(0)) {
        match effect {
            Effect::Expel { janus_room_id, users } => {
                names.extend(users.keys().map(ToString::to_string));
                machine.done(Outcome::Expelled { janus_room_id, users }, now, 0.5);
            }
            Effect::ListForwarders { janus_room_id } => {
                let forwarders = vec![forwarder()];
                machine.done(Outcome::Forwarders { janus_room_id, forwarders }, now, 0.5);
            }
            effect => panic!("{effect:?}"),
        }
    }
    names
}

#[test]
fn canary_rotates_over_expected_rooms() {
    let (here, there) = (ModuleId::new("here").unwrap(), ModuleId::new("there").unwrap());
    let mut rooms = Rooms::new();
    for (n, (name, janus)) in [("aaa", &here), ("bbb", &there), ("ccc", &here)].into_iter().enumerate() {
        let view = on_air(janus, &here, n as u32 + 100_000);
        rooms.insert(RoomId::new(name).unwrap(), Arc::new(view));
    }
    // `ddd` is assigned here, but another Janus instance wrote its key. `eee` is not on air.
    rooms.insert(RoomId::new("ddd").unwrap(), Arc::new(on_air(&here, &there, 100_003)));
    let mut leaving = on_air(&here, &here, 100_004);
    leaving.live.as_mut().unwrap().value.status = LiveStatus::Removing;
    rooms.insert(RoomId::new("eee").unwrap(), Arc::new(leaving));
    let mut asked = None;
    let mut turns = Vec::new();
    for _ in 0..4 {
        let (room, number) = canary(&rooms, &here, asked.as_ref()).unwrap();
        turns.push(number);
        asked = Some(room);
    }
    assert_eq!(turns, [100_000, 100_002, 100_000, 100_002]);
    assert_eq!(canary(&Rooms::new(), &here, asked.as_ref()), None);
}

/// Returns a room on air on the Janus instance `assigned`, with a Janus key that `made_by` wrote.
fn on_air(assigned: &ModuleId, made_by: &ModuleId, janus_room_id: u32) -> RoomView {
    let live = LiveMeta {
        status: LiveStatus::OnAir,
        mixer_id: assigned.clone(),
        janus_id: assigned.clone(),
        nonce: Nonce("n".into()),
        created_at: UnixMs(0),
        discard_at: None,
        epoch: Epoch(3),
        handover: None,
        trace: None,
        placement_reasons: Default::default(),
    };
    let key = JanusState {
        id: made_by.clone(),
        janus_room_id,
        status: JanusStatus::Forwarding,
        forwarder: None,
        timestamp: UnixMs(0),
        epoch: Epoch(2),
        unheard: false,
        incarnation: None,
    };
    let meta = Meta {
        pin: Pin::new("424242").unwrap(),
        max_anchors: 3,
        hls_path: "/hls/x/index.m3u8".into(),
        created_at: UnixMs(0),
        deleted_at: None,
        last_epoch: Epoch(3),
        last_started_at: None,
        last_end: None,
        api_key: None,
        profile: Default::default(),
    };
    RoomView {
        meta: Some(StoredValue { value: meta, mod_revision: 1 }),
        live: Some(StoredValue { value: live, mod_revision: 1 }),
        janus: Some(StoredValue { value: key, mod_revision: 2 }),
        ..RoomView::default()
    }
}

fn know(view: &mut RoomView, name: &str, removed_at: Option<UnixMs>) {
    let user = User { removed_at, ..User::invited(UserRole::Anchor, UnixMs(1)) };
    let user = StoredValue { value: user, mod_revision: 1 };
    Arc::make_mut(&mut view.users).insert(UserId::new(name).unwrap(), user);
}

#[test]
fn lost_forwarder_is_listed_and_restarted() {
    let (mut machine, view) = built();
    let plan = machine.plan(&view, NOW, UnixMs(0));
    let Plan::Wait { until: Some(due), .. } = plan else { panic!("{plan:?}") };
    assert!(due <= NOW + Duration::from_secs(30), "{due:?}");
    relist(&mut machine, &view, due, Vec::new());
    let plan = machine.plan(&view, due, UnixMs(0));
    assert!(matches!(plan, Plan::Do { effect: Effect::StartForwarder { .. }, .. }), "{plan:?}");
    let forwarder = ForwarderState { stream_id: 8, target: target() };
    machine.done(Outcome::Started { janus_room_id: 123_456, forwarder, epoch: Epoch(3) }, due, 0.5);
    let plan = machine.plan(&view, due, UnixMs(0));
    let Plan::Do { effect: Effect::WriteKey { state, .. }, .. } = plan else { panic!("{plan:?}") };
    assert_eq!(state.forwarder, Some(forwarder), "the mixer learns of the new source");
}

#[test]
fn silence_relists_then_remakes_room_once() {
    let (mut machine, mut view) = built();
    let soon = NOW + Duration::from_secs(3);
    starve(&mut machine, &mut view, 1);
    relist(&mut machine, &view, soon, vec![forwarder()]);
    let reason = match machine.plan(&view, soon, UnixMs(0)) {
        Plan::Wait { reason, until: Some(_) } => reason,
        plan => panic!("{plan:?}"),
    };
    assert!(reason.contains("nothing arrives"), "{reason}");
    starve(&mut machine, &mut view, 3);
    let plan = machine.plan(&view, soon, UnixMs(0));
    assert!(matches!(plan, Plan::Do { effect: Effect::Destroy { janus_room_id: 123_456 }, .. }), "{plan:?}");
    machine.done(Outcome::Gone { janus_room_id: 123_456 }, soon, 0.5);
    machine.done(Outcome::Created { janus_room_id: 200_000, epoch: Epoch(3) }, soon, 0.5);
    let forwarder = ForwarderState { stream_id: 9, target: target() };
    machine.done(Outcome::Started { janus_room_id: 200_000, forwarder, epoch: Epoch(3) }, soon, 0.5);
    let plan = machine.plan(&view, soon, UnixMs(0));
    let Plan::Do { effect: Effect::WriteKey { state, .. }, .. } = plan else { panic!("{plan:?}") };
    view.janus = Some(StoredValue { value: state, mod_revision: 4 });
    starve(&mut machine, &mut view, 5);
    let plan = machine.plan(&view, soon, UnixMs(0));
    assert!(matches!(plan, Plan::Wait { .. }), "its anchors are not sent away twice: {plan:?}");
    starve(&mut machine, &mut view, 0);
    starve(&mut machine, &mut view, 3);
    let plan = machine.plan(&view, soon, UnixMs(0));
    assert!(matches!(plan, Plan::Do { effect: Effect::Destroy { .. }, .. }), "another silence: {plan:?}");
}

#[test]
fn speech_in_silent_mix_is_told() {
    let (mut machine, mut view) = built();
    view.mixer.as_mut().unwrap().value.silent = true;
    machine.look(&view);
    let ask = |machine: &mut JanusRoom, view: &RoomView, now, talks| {
        let plan = machine.plan(view, now, UnixMs(0));
        assert!(matches!(plan, Plan::Do { effect: Effect::ListTalkers { .. }, .. }), "{plan:?}");
        machine.done(Outcome::Talkers([(7, talks)].into()), now, 0.5);
    };
    for (second, talks) in [(0, false), (2, true), (4, true), (6, true)] {
        ask(&mut machine, &view, NOW + Duration::from_secs(second), talks);
    }
    let later = NOW + Duration::from_secs(6);
    let Plan::Do { effect: Effect::WriteKey { state, .. }, .. } = machine.plan(&view, later, UnixMs(0))
    else {
        panic!("tells the mixer")
    };
    assert!(state.unheard);
    view.janus = Some(StoredValue { value: state, mod_revision: 4 });
    relist(&mut machine, &view, later, vec![forwarder()]);
    let Plan::Wait { reason, .. } = machine.plan(&view, later, UnixMs(0)) else { panic!("waits") };
    assert!(reason.contains("silent although somebody speaks"), "{reason}");

    let mixer = view.mixer.as_mut().unwrap();
    (mixer.value.silent, mixer.mod_revision) = (false, 5);
    machine.look(&view);
    let Plan::Do { effect: Effect::WriteKey { state, .. }, .. } = machine.plan(&view, later, UnixMs(0))
    else {
        panic!("there is sound again")
    };
    assert!(!state.unheard);
}

#[test]
fn forwarder_of_earlier_epoch_is_replaced() {
    let (mut machine, mut view) = built();
    view.live.as_mut().unwrap().value.epoch = Epoch(4);
    view.mixer.as_mut().unwrap().value.epoch = Epoch(4);
    let plan = machine.plan(&view, NOW, UnixMs(0));
    let Plan::Do { effect: Effect::StartForwarder { epoch, target: to, .. }, .. } = plan else {
        panic!("the SRTP key differs, although the port is the same: {plan:?}")
    };
    assert_eq!((epoch, to), (Epoch(4), target()));
    let forwarder = ForwarderState { stream_id: 8, target: target() };
    machine.done(Outcome::Started { janus_room_id: 123_456, forwarder, epoch }, NOW, 0.5);
    let plan = machine.plan(&view, NOW, UnixMs(0));
    let Plan::Do { effect: Effect::WriteKey { state, .. }, .. } = plan else { panic!("{plan:?}") };
    view.janus = Some(StoredValue { value: state, mod_revision: 4 });
    let plan = machine.plan(&view, NOW, UnixMs(0));
    assert!(matches!(plan, Plan::Do { effect: Effect::StopForwarder { stream_id: 7, .. }, .. }), "{plan:?}");
}

#[test]
fn all_silent_needs_every_room_starved() {
    let here = ModuleId::new("here").unwrap();
    let (_, view) = built();
    let rooms = |starved: &[u32]| -> Rooms {
        let room = |(n, starved): (usize, &u32)| {
            let mut view = view.clone();
            view.mixer.as_mut().unwrap().value.starved = *starved;
            (RoomId::new(&format!("room-{n}")).unwrap(), Arc::new(view))
        };
        starved.iter().enumerate().map(room).collect()
    };
    assert!(!all_silent(&rooms(&[]), &here));
    assert!(!all_silent(&rooms(&[3]), &here), "its Janus room is being recreated");
    assert!(all_silent(&rooms(&[4, 5]), &here));
    assert!(!all_silent(&rooms(&[4, 0]), &here), "the other room is heard");
    assert!(!all_silent(&rooms(&[4]), &ModuleId::new("there").unwrap()));
}

/// Sets the number of starvations that the mixer reports.
fn starve(machine: &mut JanusRoom, view: &mut RoomView, starved: u32) {
    view.mixer.as_mut().unwrap().value.starved = starved;
    machine.look(view);
}

/// Answers the next listing of forwarders with `forwarders`.
fn relist(machine: &mut JanusRoom, view: &RoomView, now: Duration, forwarders: Vec<ForwarderState>) {
    let plan = machine.plan(view, now, UnixMs(0));
    assert!(matches!(plan, Plan::Do { effect: Effect::ListForwarders { .. }, .. }), "{plan:?}");
    machine.done(Outcome::Forwarders { janus_room_id: 123_456, forwarders }, now, 0.5);
}
