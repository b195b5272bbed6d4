//! Tests of moves of rooms whose mixer receives nothing although Janus forwards.

use super::*;

#[test]
fn silent_room_leaves_mixer_then_janus() {
    let mut house = House::new(&["a", "b", "c"]);
    house.room("room", "a", "a");
    house.give_up_starved("room", 5);
    let first = house.at(20_000);
    let [Eviction { kind: ModuleKind::Mixer, cause: Cause::Silent, .. }] = &first.moves[0].leaves[..] else {
        panic!("{first:?}")
    };
    assert_eq!(first.moves[0].to.janus_id, id("a"));
    house.apply(&first.moves[0]);
    house.give_up_starved("room", 5);
    let second = house.at(50_000);
    let [Eviction { kind: ModuleKind::Janus, cause: Cause::Silent, .. }] = &second.moves[0].leaves[..] else {
        panic!("two mixers get no audio from Janus a: {second:?}")
    };
    assert_ne!(second.moves[0].to.janus_id, id("a"));
    assert_eq!(second.moves[0].to.mixer_id, first.moves[0].to.mixer_id);
}

#[test]
fn silent_room_leaves_janus_without_other_mixer() {
    let mut house = House::new(&["a", "b"]);
    house.mixers.remove("b");
    house.room("room", "a", "a");
    house.give_up_starved("room", 5);
    let verdict = house.at(20_000);
    assert_eq!(places(&verdict.moves[0]), ["b", "a"], "{verdict:?}");
}

#[test]
fn lost_janus_is_not_held_against_mixer() {
    let mut house = House::new(&["a", "b"]);
    house.room("room", "a", "a");
    house.at(20_000);
    house.januses.remove("a");
    house.give_up_starved("room", 5);
    assert!(house.at(20_001).moves.is_empty(), "its Janus may come back");
    let verdict = house.at(40_000);
    let kinds: Vec<_> = verdict.moves[0].leaves.iter().map(|d| d.kind).collect();
    assert_eq!(kinds, [ModuleKind::Janus], "{verdict:?}");
}

/// The speech may be false, for instance silence that a client declares as speech.
#[test]
fn unheard_room_moves_twice_per_broadcast() {
    let mut house = House::new(&["a", "b", "c", "d"]);
    house.room("room", "a", "a");
    let mut times = (0..).map(|n| 20_000 + 600_000 * n);
    let mut moves = |house: &mut House, give_up: fn(&mut House)| {
        [(); 4].map(|()| {
            give_up(house);
            let verdict = house.at(times.next().unwrap_or_default());
            verdict.moves.iter().for_each(|moved| house.apply(moved));
            verdict.moves.len()
        })
    };
    assert_eq!(moves(&mut house, |house| house.give_up_unheard("room")), [1, 1, 0, 0]);
    house.begin_next_broadcast("room");
    assert_eq!(moves(&mut house, |house| house.give_up_unheard("room")), [1, 1, 0, 0], "the next broadcast");
    let starved = moves(&mut house, |house| house.give_up_starved("room", 5));
    assert_eq!(starved, [1; 4], "nothing arrives: that is certain");
}
