//! Tests of moves away from modules that are being drained.

use super::*;

#[test]
fn drained_needs_no_rooms_and_keys() {
    let mut house = House::new(&["a", "b"]);
    house.room("room", "b", "a");
    house.mixers.get_mut("a").unwrap().1 = Some(MarkLabel::Draining);
    house.give_up("room");
    let first = house.at(20_000);
    assert_eq!((first.moves.len(), first.drained), (1, vec![]));
    house.apply(&first.moves[0]);
    assert_eq!(house.at(20_001).drained, [], "its key is still there");
    house.change(&RoomId::new("room").unwrap(), |view| view.mixer = None);
    let [drained] = &house.at(20_002).drained[..] else { panic!("the mixer must be drained") };
    assert_eq!((drained.kind, &drained.id), (ModuleKind::Mixer, &id("a")));
}

#[test]
fn drained_mixer_writes_key_before_handover() {
    let mut house = House::new(&["a", "b"]);
    let room = RoomId::new("room").unwrap();
    house.room("room", "a", "a");
    house.give_up("room");
    house.change(&room, |view| view.live.as_mut().unwrap().value.epoch = Epoch(2));
    house.mixers.get_mut("a").unwrap().1 = Some(MarkLabel::Draining);
    let early = house.at(20_000);
    assert!(early.moves.is_empty() && early.waits[0].contains("has written its key"), "{early:?}");
    assert_eq!(house.at(25_000).moves.len(), 1, "the wait has a limit");
    house.change(&room, |view| view.mixer.as_mut().unwrap().value.epoch = Epoch(2));
    assert_eq!(house.at(25_100).moves.len(), 1);
}

#[test]
fn drained_node_moves_janus_before_mixer() {
    let mut house = House::new(&["a", "b"]);
    let room = RoomId::new("room").unwrap();
    house.room("room", "a", "a");
    house.give_up("room");
    house.change(&room, |view| view.mixer.as_mut().unwrap().value.gave_up = false);
    for fleet in [&mut house.januses, &mut house.mixers] {
        fleet.get_mut("a").unwrap().1 = Some(MarkLabel::Draining);
    }
    let left = |plan: &FailoverPlan| -> Vec<ModuleKind> {
        plan.moves.iter().flat_map(|moved| &moved.leaves).map(|left| left.kind).collect()
    };
    let first = house.at(20_000);
    assert_eq!(left(&first), [ModuleKind::Janus], "{first:?}");
    house.apply(&first.moves[0]);
    assert_eq!(left(&house.at(20_100)), [], "the mixer has not written its key");
    house.change(&room, |view| {
        let epoch = view.live.as_ref().unwrap().value.epoch;
        view.mixer.as_mut().unwrap().value.epoch = epoch;
    });
    let second = house.at(20_200);
    assert_eq!(left(&second), [ModuleKind::Mixer], "{second:?}");
    assert!(second.moves[0].is_in_good_order());
}
