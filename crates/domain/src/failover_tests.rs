//! Tests of failover: examples and random histories.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ids::{Epoch, MediaAddr, Nonce, Pin, UnixMs};
use crate::model::{Heartbeat, Mark, Meta, MixerState};
use crate::view::StoredValue;

#[cfg(test)]
#[path = "failover_drain_tests.rs"]
mod drain;
#[path = "failover_silence_tests.rs"]
mod silence;

const TTL: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_millis(500);
/// The store has been steady since the beginning.
const STEADY: Option<Duration> = Some(Duration::ZERO);

#[test]
fn vanished_mixer_is_replaced_after_grace() {
    let mut house = House::new(&["a", "b", "c", "d"]);
    house.room("room", "a", "b");
    house.at(20_000);
    house.mixers.remove("b");
    assert!(house.at(30_000).moves.is_empty());
    let early = house.at(30_400);
    assert!(early.moves.is_empty() && early.waits[0].contains("in case it comes back"), "{early:?}");
    assert_eq!(early.until, Some(ms(30_500)));
    let due = house.at(30_500);
    let [moved] = &due.moves[..] else { panic!("{due:?}") };
    assert_eq!(moved.to.janus_id, id("a"));
    assert!(moved.to.mixer_id != id("b"));
    let [left] = &moved.leaves[..] else { panic!("{moved:?}") };
    assert_eq!((left.kind, &left.from, left.cause), (ModuleKind::Mixer, &id("b"), Cause::Vanished));
}

#[test]
fn module_back_within_grace_keeps_rooms() {
    let mut house = House::new(&["a", "b"]);
    house.room("room", "a", "b");
    house.at(20_000);
    let gone = house.mixers.remove("b").unwrap();
    house.at(20_100);
    house.mixers.insert("b".into(), gone);
    assert_eq!(house.at(20_700), FailoverPlan::default());
    house.mixers.remove("b");
    assert!(house.at(20_800).moves.is_empty(), "the grace time starts over");
}

#[test]
fn lost_node_moves_rooms_once() {
    let mut house = House::new(&["a", "b", "c", "d"]);
    house.room("room", "a", "a");
    house.at(20_000);
    house.januses.remove("a");
    house.mixers.remove("a");
    house.at(20_000);
    let due = house.at(20_500);
    assert_eq!(due.moves.len(), 1);
    assert_eq!(due.moves[0].leaves.len(), 2);
}

#[test]
fn only_movable_module_is_replaced() {
    let mut house = House::new(&["a", "b"]);
    house.room("room", "a", "a");
    house.mixers.remove("b");
    house.at(20_000);
    house.januses.remove("a");
    house.mixers.remove("a");
    house.at(20_000);
    let due = house.at(30_500);
    let [moved] = &due.moves[..] else { panic!("another Janus takes the room: {due:?}") };
    assert_eq!(places(moved), ["b", "a"]);
    assert_eq!(moved.leaves.iter().map(|left| left.kind).collect::<Vec<_>>(), [ModuleKind::Janus]);
    assert!(due.waits.iter().any(|why| why.contains("no mixer takes the room")), "{due:?}");
    house.apply(&due.moves[0]);
    house.mixers.insert("b".into(), (Health::Healthy, None));
    let due = house.at(31_500);
    assert_eq!(places(&due.moves[0]), ["b", "b"]);
}

#[test]
fn unreadable_values_move_nothing() {
    let unreadable = |part| std::collections::BTreeSet::from([part]);
    let mut house = House::new(&["a", "b"]);
    house.room("room", "a", "a");
    house.unreadable_mixer_a = unreadable(ModulePart::Heartbeat);
    house.mixers.get_mut("a").unwrap().0 = Health::Unhealthy;
    house.at(20_000);
    assert_eq!(house.at(40_000).moves, [], "an unreadable health value");
    house.unreadable_mixer_a = unreadable(ModulePart::Mark);
    *house.mixers.get_mut("a").unwrap() = (Health::Healthy, Some(MarkLabel::Draining));
    assert_eq!(house.at(50_000).moves.len(), 1, "an unreadable label does not cancel the earlier label");
    let room = RoomId::new("room").unwrap();
    house.change(&room, |view| {
        let unknown = br#"{"status":"paused"}"#;
        let key = crate::keys::RoomKey::Part(crate::keys::RoomPart::LiveMeta);
        assert!(view.apply(key, Some((unknown, 9))).is_err());
    });
    let verdict = house.at(60_000);
    assert!(verdict.moves.is_empty() && verdict.drained.is_empty(), "{verdict:?}");
    assert!(verdict.waits[0].contains("livemeta cannot be read"), "{verdict:?}");
}

#[test]
fn mass_loss_waits_for_stable_store() {
    let mut house = House::new(&["a", "b", "c", "d"]);
    house.room("one", "a", "a");
    house.room("two", "a", "b");
    house.at(20_000);
    let (a, _) = (house.mixers.remove("a").unwrap(), house.mixers.remove("b"));
    house.at(20_000);
    let held = house.at(21_000);
    assert!(held.moves.is_empty(), "two of four mixers: {held:?}");
    assert!(held.waits.iter().all(|w| w.contains("many vanished")), "{held:?}");
    house.mixers.insert("a".into(), a);
    let after = house.at(25_000);
    assert_eq!(after.moves.iter().map(|m| m.room.as_str()).collect::<Vec<_>>(), ["two"]);
}

#[test]
fn losing_two_of_ten_moves_rooms() {
    let names: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut house = House::new(&names);
    house.room("one", "m9", "m0");
    house.room("two", "m9", "m1");
    house.at(20_000);
    house.mixers.remove("m0");
    house.mixers.remove("m1");
    house.at(20_000);
    assert_eq!(house.at(20_500).moves.len(), 2);
}

#[test]
fn failover_waits_for_stable_store() {
    let mut house = House::new(&["a", "b"]);
    house.room("room", "a", "b");
    house.at(20_000);
    house.mixers.remove("b");
    house.steady_since = None;
    let lost = house.at(40_000);
    assert!(lost.moves.is_empty() && lost.waits[0].contains("unavailable"));
    house.steady_since = Some(ms(41_000));
    assert!(house.at(41_000).moves.is_empty());
    assert!(house.at(45_900).moves.is_empty());
    assert_eq!(house.at(46_000).moves.len(), 1);
}

#[test]
fn new_leader_grants_grace() {
    let mut house = House::new(&["a", "b"]);
    house.room("room", "a", "gone");
    assert!(house.at(20_000).moves.is_empty());
    assert_eq!(house.at(20_500).moves.len(), 1);
}

#[test]
fn unhealthy_module_loses_rooms_after_delay() {
    let mut house = House::new(&["a", "b"]);
    house.room("room", "a", "b");
    house.januses.get_mut("a").unwrap().0 = Health::Unhealthy;
    house.at(20_000);
    assert!(house.at(21_900).moves.is_empty());
    let due = house.at(22_000);
    assert_eq!(places(&due.moves[0]), ["b", "b"]);
    assert_eq!(due.moves[0].leaves[0].cause, Cause::Unhealthy);
    let reasons = &due.moves[0].to.reasons;
    assert_eq!(reasons.janus.as_deref(), Some("janus a does not work; no other janus took rooms"));
    assert_eq!(reasons.mixer, None, "the room keeps its mixer, with the earlier reason");
}

#[test]
fn cordon_keeps_rooms_other_labels_move() {
    for (label, moves) in [
        (MarkLabel::Ready, 0),
        (MarkLabel::Cordon, 0),
        (MarkLabel::Unready, 1),
        (MarkLabel::Draining, 1),
        (MarkLabel::Drained, 1),
    ] {
        let mut house = House::new(&["a", "b"]);
        house.room("room", "a", "a");
        house.mixers.get_mut("a").unwrap().1 = Some(label);
        assert_eq!(house.at(20_000).moves.len(), moves, "{label:?}");
    }
}

#[test]
fn move_without_target_waits_with_reason() {
    let mut house = House::new(&["a"]);
    house.room("room", "a", "a");
    house.mixers.get_mut("a").unwrap().1 = Some(MarkLabel::Draining);
    let verdict = house.at(20_000);
    assert!(verdict.moves.is_empty());
    assert!(verdict.waits[0].contains("no mixer takes the room: there is no other module"), "{verdict:?}");
    assert!(verdict.until.is_some());
}

#[test]
fn given_up_room_tries_each_mixer_once() {
    let mut house = House::new(&["a", "b", "c"]);
    house.room("room", "a", "a");
    let mut at = 20_000;
    let mut tried = vec![id("a")];
    for _ in 0..2 {
        house.give_up("room");
        let due = house.at(at);
        let to = due.moves[0].to.mixer_id.clone();
        assert!(!tried.contains(&to), "{to} has given it up before");
        assert_eq!(due.moves[0].leaves[0].cause, Cause::GaveUp);
        house.apply(&due.moves[0]);
        tried.push(to);
        at += 5_000;
    }
    house.give_up("room");
    assert!(house.at(at).moves.is_empty(), "the last mixer keeps the room");
    assert_eq!(house.at(at + 300_000).moves.len(), 1, "after a while, the other mixers are tried again");
}

#[test]
fn rooms_of_lost_mixer_are_spread() {
    let mut house = House::new(&["a", "b", "c"]);
    for n in 0..40 {
        house.room(&format!("room{n}"), "b", "a");
    }
    house.at(20_000);
    house.mixers.remove("a");
    house.at(20_000);
    let due = house.at(20_500);
    let to_b = due.moves.iter().filter(|m| m.to.mixer_id == id("b")).count();
    assert_eq!(due.moves.len(), 40);
    assert!((15..=25).contains(&to_b), "{to_b} of 40");
}

#[derive(Debug, Clone)]
enum Step {
    Vanish(usize),
    Return(usize),
    Mark(usize, Option<MarkLabel>),
    StoreLost,
    StoreBack,
    GiveUp,
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let label = prop_oneof![Just(None), Just(Some(MarkLabel::Unready)), Just(Some(MarkLabel::Cordon))];
    let step = prop_oneof![
        3 => (0usize..5).prop_map(Step::Vanish),
        3 => (0usize..5).prop_map(Step::Return),
        1 => ((0usize..5), label).prop_map(|(n, l)| Step::Mark(n, l)),
        1 => Just(Step::StoreLost),
        2 => Just(Step::StoreBack),
        1 => Just(Step::GiveUp),
        4 => (0u16..4000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    #[test]
    fn failover_moves_with_cause_and_converges(steps in steps()) {
        const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
        let mut house = House::new(&NAMES);
        for n in 0..6 {
            house.room(&format!("room{n}"), NAMES[n % 5], NAMES[(n + 1) % 5]);
        }
        let mut now = 20_000;
        for step in &steps {
            match step {
                Step::Vanish(n) => drop(house.mixers.remove(NAMES[*n])),
                Step::Return(n) => {
                    house.mixers.entry(NAMES[*n].into()).or_insert((Health::Healthy, None));
                }
                Step::Mark(n, label) => {
                    if let Some(mixer) = house.mixers.get_mut(NAMES[*n]) { mixer.1 = *label }
                }
                Step::StoreLost => house.steady_since = None,
                Step::StoreBack => { house.steady_since.get_or_insert(ms(now)); }
                Step::GiveUp => house.give_up("room0"),
                Step::Wait(by) => now += u64::from(*by),
            }
            let verdict = house.at(now);
            prop_assert!(house.steady_since.is_some() || verdict.moves.is_empty());
            for moved in &verdict.moves {
                let left = &moved.leaves[0];
                prop_assert!(moved.leaves.len() == 1 && left.kind == ModuleKind::Mixer);
                let is_there = house.mixers.contains_key(left.from.as_str());
                prop_assert_eq!(left.cause == Cause::Vanished, !is_there);
                let taker = &house.mixers[moved.to.mixer_id.as_str()];
                prop_assert!(matches!(taker.1, None | Some(MarkLabel::Ready)));
                house.apply(moved);
            }
        }
        house.steady_since.get_or_insert(ms(now));
        for _ in 0..20 {
            now += 1000;
            house.at(now).moves.iter().for_each(|m| house.apply(m));
        }
        let takes = |m: &str| {
            house.mixers.get(m).is_some_and(|(_, mark)| mark.is_none_or(|label| !sends_away(label)))
        };
        if house.mixers.values().any(|(_, mark)| mark.is_none()) {
            for (room, view) in &house.rooms {
                let mixer = &view.live.as_ref().unwrap().mixer_id;
                prop_assert!(takes(mixer.as_str()), "{} is still on {}", room, mixer);
            }
        }
    }
}

type Fleet = BTreeMap<String, (Health, Option<MarkLabel>)>;

/// Model of the store, and a leader that observes it. Times are in milliseconds.
struct House {
    failover: FailoverPolicy,
    januses: Fleet,
    mixers: Fleet,
    rooms: Rooms,
    steady_since: Option<Duration>,
    random: u64,
    unreadable_mixer_a: std::collections::BTreeSet<ModulePart>,
}

impl House {
    fn new(names: &[&str]) -> Self {
        let fleet: Fleet = names.iter().map(|n| ((*n).to_owned(), (Health::Healthy, None))).collect();
        Self {
            failover: FailoverPolicy::new(FailoverTimers::new(GRACE, TTL)),
            januses: fleet.clone(),
            mixers: fleet,
            rooms: Rooms::new(),
            steady_since: STEADY,
            random: 1,
            unreadable_mixer_a: Default::default(),
        }
    }

    fn room(&mut self, name: &str, janus: &str, mixer: &str) {
        let live = LiveMeta {
            status: LiveStatus::OnAir,
            mixer_id: id(mixer),
            janus_id: id(janus),
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
        let view =
            RoomView { meta: Some(versioned(meta)), live: Some(versioned(live)), ..RoomView::default() };
        self.rooms.insert(RoomId::new(name).unwrap(), Arc::new(view));
    }

    /// Returns the leader's plan at the time `now`.
    fn at(&mut self, now: u64) -> FailoverPlan {
        let modules = self.modules();
        let load = ModuleKind::ALL.map(|kind| super::super::placement::load_of(kind, &self.rooms));
        let mut seed = self.random;
        self.random += 1;
        let random = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 11) as f64 / (1u64 << 53) as f64
        };
        self.failover.plan_moves(&self.rooms, &modules, load, self.steady_since, ms(now), random)
    }

    fn modules(&self) -> Modules {
        let of = |kind, fleet: &Fleet| {
            let view = |(name, (status, mark)): (&String, &(Health, Option<MarkLabel>))| {
                let view = ModuleView {
                    heartbeat: Some(versioned(heartbeat(*status))),
                    mark: mark.map(|label| versioned(Mark { label, lease: None })),
                    unreadable: match (kind, name.as_str()) {
                        (ModuleKind::Mixer, "a") => self.unreadable_mixer_a.clone(),
                        _ => Default::default(),
                    },
                    listeners: None,
                };
                ((kind, id(name)), Arc::new(view))
            };
            fleet.iter().map(view).collect::<Vec<_>>()
        };
        [of(ModuleKind::Janus, &self.januses), of(ModuleKind::Mixer, &self.mixers)]
            .concat()
            .into_iter()
            .collect()
    }

    fn change(&mut self, room: &RoomId, change: impl FnOnce(&mut RoomView)) {
        change(Arc::make_mut(self.rooms.get_mut(room).unwrap()));
    }

    fn apply(&mut self, moved: &RoomMove) {
        let to = moved.to.clone();
        self.change(&moved.room, |view| {
            let live = &mut view.live.as_mut().unwrap().value;
            live.epoch = live.epoch.next();
            (live.janus_id, live.mixer_id) = (to.janus_id, to.mixer_id);
        });
    }

    fn give_up(&mut self, room: &str) {
        self.give_up_starved(room, 0);
    }

    /// Lets the mixer give up because of silence, although somebody spoke.
    fn give_up_unheard(&mut self, room: &str) {
        self.give_up_starved(room, 5);
        self.change(&RoomId::new(room).unwrap(), |view| view.mixer.as_mut().unwrap().value.unheard = true);
    }

    fn begin_next_broadcast(&mut self, room: &str) {
        self.change(&RoomId::new(room).unwrap(), |view| {
            view.live.as_mut().unwrap().value.nonce = Nonce("next".into());
        });
    }

    fn give_up_starved(&mut self, room: &str, starved: u32) {
        self.change(&RoomId::new(room).unwrap(), |view| {
            let live = view.live.as_ref().unwrap();
            let rtp = MediaAddr { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 20_000 };
            let (id, epoch) = (live.mixer_id.clone(), live.epoch);
            view.mixer = Some(versioned(MixerState {
                id,
                rtp,
                hls_url: String::new(),
                epoch,
                incarnation: None,
                gave_up: true,
                starved,
                silent: false,
                unheard: false,
                ready: false,
            }));
        });
    }
}

fn places(moved: &RoomMove) -> [&str; 2] {
    [moved.to.janus_id.as_str(), moved.to.mixer_id.as_str()]
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(name: &str) -> ModuleId {
    ModuleId::new(name).unwrap()
}

fn versioned<T>(value: T) -> StoredValue<T> {
    StoredValue { value, mod_revision: 1 }
}

fn heartbeat(status: Health) -> Heartbeat {
    Heartbeat {
        status,
        host: "host".into(),
        url: "url".into(),
        capacity: 100,
        started_at: UnixMs(1),
        incarnation: "i".into(),
        version: "0".into(),
        rtp: None,
        machine_load: None,
        secret_fingerprint: None,
    }
}
