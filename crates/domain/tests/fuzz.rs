//! Fuzz tests: the rules never panic if client messages, stored values or recording journals are changed at
//! random positions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stentor_domain::ages::Ages;
use stentor_domain::failover::{FailoverPolicy, FailoverTimers};
use stentor_domain::housekeeping::HousekeepingPolicy;
use stentor_domain::ids::{ModuleId, RoomId, UnixMs};
use stentor_domain::keys::{self, RoomKey};
use stentor_domain::public_status;
use stentor_domain::quotas::Usage;
use stentor_domain::room::ExpiryLimits;
use stentor_domain::rpc::{self, Entry, Packet, Response};
use stentor_domain::schedule::Scheduler;
use stentor_domain::signalling::methods::Method;
use stentor_domain::timeline::Moment;
use stentor_domain::view::{ModuleView, Modules, RoomView, Rooms};
use stentor_domain::{recording, recording_journal, rewind};
use stentor_fuzz::{Corpus, Mutations};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn fuzz_signalling_packets() {
    let corpus = Corpus::lines(include_str!("corpus/packets.txt"));
    bolero::check!().with_type().for_each(|mutations: &Mutations| match rpc::read(&corpus.text(mutations)) {
        Packet::Single(entry) => answer(vec![entry], false),
        Packet::Batch(entries) => {
            assert!((1..=rpc::MAX_BATCH).contains(&entries.len()));
            answer(entries, true);
        }
    });
}

/// Answers the calls, and asserts that each call with an id gets a response.
fn answer(entries: Vec<Entry>, batch: bool) {
    let responses = entries.into_iter().filter_map(|entry| match entry {
        Err(refused) => Some(refused),
        Ok(call) => {
            let outcome = Method::parse(&call.method, call.params).map(|method| json!(method.name()));
            call.id.map(|id| Response { id, outcome })
        }
    });
    let responses: Vec<_> = responses.collect();
    let Some(text) = rpc::write(&responses, batch) else { return assert!(responses.is_empty()) };
    let sent: Value = serde_json::from_str(&text).expect("it is JSON");
    let count = sent.as_array().map_or(1, Vec::len);
    assert_eq!(count, responses.len(), "{text}");
}

#[test]
fn fuzz_store_values() {
    let rooms = Corpus::lines(include_str!("corpus/rooms.txt"));
    let modules = Corpus::lines(include_str!("corpus/modules.txt"));
    bolero::check!().with_type().for_each(|changes: &(Vec<Mutations>, Vec<Mutations>)| {
        let rooms = rooms_with(changes.0.iter().map(|mutations| rooms.text(mutations)));
        let modules = modules_with(changes.1.iter().map(|mutations| modules.text(mutations)));
        for view in rooms.values() {
            decide_room(view, &modules);
        }
        decide_cluster(&rooms, &modules);
    });
}

#[test]
fn fuzz_recording_journals() {
    let corpus = Corpus::new([include_str!("corpus/journals.txt")]);
    bolero::check!().with_type().for_each(|takes: &Vec<Mutations>| {
        let takes = takes.iter().map(|mutations| ((), recording_journal::parse(&corpus.input(mutations))));
        let joined = recording_journal::join(takes);
        assert!(joined.is_sorted_by(|one, next| one.1.sequence < next.1.sequence));
    });
}

/// Returns the rooms as a node would see them, from lines of the form `key value` that are applied in order.
fn rooms_with(lines: impl Iterator<Item = String>) -> Rooms {
    let mut rooms: BTreeMap<RoomId, RoomView> = BTreeMap::new();
    for (revision, line) in lines.enumerate() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let Some((room, key)) = keys::parse_room(key) else { continue };
        let view = rooms.entry(room).or_default();
        let result = view.apply(key.clone(), Some((value.as_bytes(), revision as i64 + 1)));
        assert_eq!(result.is_err(), view.unreadable.contains(&key));
        if let (Ok(()), RoomKey::User(user)) = (result, key) {
            assert_eq!(view.is_banned(&user), view.banned().any(|(banned, _)| *banned == user));
        }
    }
    rooms.into_iter().map(|(room, view)| (room, Arc::new(view))).collect()
}

fn modules_with(lines: impl Iterator<Item = String>) -> Modules {
    let mut modules = BTreeMap::<_, ModuleView>::new();
    for (revision, line) in lines.enumerate() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let Some((kind, id, part)) = keys::parse_module(key) else { continue };
        let view = modules.entry((kind, id)).or_default();
        // Ignore the error: the view marks the value as unreadable, and the rules below must handle that.
        let _ = view.apply(part, Some((value.as_bytes(), revision as i64 + 1)));
    }
    modules.into_iter().map(|(id, view)| (id, Arc::new(view))).collect()
}

/// Calls each rule that decides about one room.
fn decide_room(view: &RoomView, modules: &Modules) {
    let me = ModuleId::new("mixer-1").expect("a valid id");
    public_status::shown(view, modules);
    rewind::offered(view, HOUR);
    rewind::duty(view, &me, HOUR, None);
    recording::in_force(view);
    recording::is_mixed_by(view, &me);
}

/// Calls each rule that decides about the whole cluster.
fn decide_cluster(rooms: &Rooms, modules: &Modules) {
    let limits = ExpiryLimits { never_started_after: HOUR, max_age: HOUR };
    let mut housekeeping = HousekeepingPolicy::new(limits, HOUR);
    let mut failover = FailoverPolicy::new(FailoverTimers::new(Duration::ZERO, Duration::from_secs(3)));
    let (mut ages, mut scheduler) = (Ages::default(), Scheduler::default());
    for now in [Duration::ZERO, HOUR, 48 * HOUR] {
        housekeeping.round(rooms, modules, &mut ages, &BTreeMap::new(), now);
        failover.plan_moves(rooms, modules, Default::default(), Some(Duration::ZERO), now, || 0.5);
        scheduler.round(rooms, Moment { now, wall: UnixMs(1_700_000_000_000) });
    }
    Usage::by_key(rooms.values().map(Arc::as_ref));
}
