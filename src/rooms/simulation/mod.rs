//! Simulation of several nodes over one store: the production state machines, with faults of every kind.
//!
//! State machines, transactions, directory, watch applier and presence backend are the production code. The
//! world around them is a model: time, network, store, clients, Janus instances and FFmpeg processes. The
//! shells are models, too; they only carry out the plans of the machines. A seed determines a history: 22 s
//! of faults and requests, then a quiet period, in which everything must come to rest within a bound.
//!
//! `STENTOR_SIM_SEED=17 cargo test --lib rooms::simulation` runs only history 17 and prints its last events;
//! `STENTOR_SIM_HISTORIES=100000` runs 100,000 histories.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::domain;
use crate::domain::plan::{Failure, WriteOutcome};
use crate::domain::restart::Backoff;
use laws::Laws;
use node::Answer;
use world::World;

mod beat;
mod clients;
mod faults;
mod gateways;
mod house;
#[path = "../../../crates/domain/src/simulation/janus_world.rs"]
mod janus_world;
mod januses;
mod laws;
#[path = "../../../crates/domain/src/simulation/mixer_world.rs"]
mod mixer_world;
mod mixers;
mod node;
mod random;
mod relays;
mod scenes;
mod store;
mod watch;
mod world;

/// TTL of every lease.
const TTL: Duration = Duration::from_secs(4);
/// Virtual time after the last fault within which everything must be at rest. The longest wait is for a
/// create request without an answer, which may still be carried out.
const BOUND: Duration = Duration::from_secs(90);
/// Number of events that are printed for a failing history.
const SHOWN: u64 = 40;
const HISTORIES: u64 = 2_000;

#[test]
fn cluster_histories_hold_laws_and_settle() {
    if let Some(seed) = variable("STENTOR_SIM_SEED") {
        return replay(seed);
    }
    let histories = variable("STENTOR_SIM_HISTORIES").unwrap_or(HISTORIES);
    let (next, first_failure) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let work = || {
        let mut done = Summary::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= histories.min(first_failure.load(Ordering::Relaxed)) {
                return done;
            }
            match run(seed, false) {
                (Ok(rested), world) => done.add(rested, &world),
                (Err(_), _) => drop(first_failure.fetch_min(seed, Ordering::Relaxed)),
            }
        }
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Summary::default(), Summary::plus)
    });
    if first_failure.load(Ordering::Relaxed) < u64::MAX {
        return replay(first_failure.load(Ordering::Relaxed));
    }
    println!("{histories} histories: {all:?}");
}

/// Totals over histories.
#[derive(Debug, Default)]
struct Summary {
    /// Longest time until everything was at rest.
    longest: Duration,
    events: u64,
    moves: usize,
    /// Number of client connections.
    connections: usize,
    /// Number of media sessions that the clients joined.
    joins: usize,
}

impl Summary {
    fn add(&mut self, rested: Duration, world: &World) {
        let Laws { moves, connections, joins, .. } = world.laws;
        let one = Self { longest: rested, events: world.events, moves, connections, joins };
        *self = std::mem::take(self).plus(one);
    }

    fn plus(self, other: Self) -> Self {
        Self {
            longest: self.longest.max(other.longest),
            events: self.events + other.events,
            moves: self.moves + other.moves,
            connections: self.connections + other.connections,
            joins: self.joins + other.joins,
        }
    }
}

/// Runs one history again and prints its events.
fn replay(seed: u64) {
    let (outcome, world) = run(seed, true);
    let told = world.last_events().join("\n");
    println!("history {seed}, its last events:\n{told}");
    if let Err(why) = outcome {
        panic!("history {seed}: {why}\nSTENTOR_SIM_SEED={seed} cargo test --lib rooms::simulation");
    }
}

fn run(seed: u64, traced: bool) -> (Result<Duration, String>, World) {
    let mut world = World::new(seed, traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.history()));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default())
    });
    (outcome, world)
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn backoff() -> Backoff {
    Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) }
}

fn written(answer: Answer) -> WriteOutcome {
    match answer {
        Answer::Committed(revision) => WriteOutcome::Written { revision },
        Answer::Conflict => WriteOutcome::Superseded,
        _ => WriteOutcome::Failed(Failure::Unknown("no answer".into())),
    }
}
