//! What the simulation does not look at: Janus rooms that refuse our secret, and which room is the canary.

use std::sync::Arc;

use super::super::ids::Nonce;
use super::super::model::LiveMeta;
use super::*;

const NOW: Duration = Duration::from_secs(1);

#[test]
fn a_locked_room_is_tried_once_per_connection_and_the_actor_stays_to_name_it() {
    let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
    let mut machine = JanusRoom::new(ModuleId::new("here").unwrap(), "i".into(), backoff);
    let left = Found { janus_room_id: 123_456, created_at: Epoch(1), forwarders: None };
    for _ in 0..2 {
        machine.linked(Some(vec![left.clone()]));
        let plan = machine.plan(&RoomView::default(), NOW, UnixMs(0));
        assert!(
            matches!(plan, Plan::Do { effect: Effect::Destroy { janus_room_id: 123_456 }, .. }),
            "{plan:?}"
        );
        machine.done(Outcome::Locked { janus_room_id: 123_456 }, NOW, 0.5);
        let Plan::Wait { reason, until: None } = machine.plan(&RoomView::default(), NOW, UnixMs(0)) else {
            panic!("it is final, and not finished");
        };
        assert!(reason.contains("123456") && reason.contains("hls.secret"), "{reason}");
        assert_eq!((machine.attempt(), machine.retry_due()), (0, None));
    }
}

#[test]
fn each_room_that_must_be_there_is_the_canary_in_turn() {
    let (here, there) = (ModuleId::new("here").unwrap(), ModuleId::new("there").unwrap());
    let mut rooms = Rooms::new();
    for (n, (name, janus)) in [("aaa", &here), ("bbb", &there), ("ccc", &here)].into_iter().enumerate() {
        let view = on_air(janus, &here, n as u32 + 100_000);
        rooms.insert(RoomId::new(name).unwrap(), Arc::new(view));
    }
    // Assigned here, and still made by another; and one that is not on air.
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

/// On air: the Janus it is assigned to, and the one whose key there is.
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
    };
    let key = JanusState {
        id: made_by.clone(),
        janus_room_id,
        status: JanusStatus::Forwarding,
        forwarder: None,
        timestamp: UnixMs(0),
        epoch: Epoch(2),
        incarnation: None,
    };
    RoomView {
        live: Some(Versioned { value: live, mod_revision: 1 }),
        janus: Some(Versioned { value: key, mod_revision: 2 }),
        ..RoomView::default()
    }
}
