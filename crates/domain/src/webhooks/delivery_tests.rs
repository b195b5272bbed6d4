//! Tests of delivery against a model of ledger, store and endpoint: examples, and random histories.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::plan::Failure;
use crate::webhooks::{DeadLetter, RETRY_DELAYS, replayed, slot};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const RETENTION: Duration = Duration::from_secs(168 * 3600);

#[test]
fn new_endpoint_begins_after_newest_event() {
    let mut world = World::default();
    world.add("cup");
    world.start();
    world.settle();
    world.add("tea");
    world.settle();
    assert_eq!(world.received.len(), 1);
    assert_eq!(world.stored().cursor, world.ledger[1].cursor);
    assert_eq!(world.stored().waiting, BTreeMap::new());
}

/// The hour passes only on the clock of the model.
#[test]
fn failing_hour_misses_nothing() {
    for failure in [Mode::Down, Mode::Refuses(None)] {
        let mut world = World::started();
        world.mode = failure;
        for minute in 0..60 {
            world.add(["tea", "cup", "pot"][minute % 3]);
            world.add("tea");
            world.pass(60 * SECOND);
            if minute % 20 == 7 {
                world.crash([true, false][minute % 2]);
            }
        }
        assert_eq!(world.received, []);
        world.mode = Mode::Up;
        world.pass(3 * HOUR);
        world.all_arrived_in_order();
        assert_eq!((world.received.len(), world.dead.len()), (120, 0), "no event came twice");
    }
}

#[test]
fn endpoint_gets_events_minutes_after_outage() {
    let mut world = World::started();
    world.mode = Mode::Down;
    for room in ["tea", "cup", "tea"] {
        world.add(room);
    }
    world.pass(30 * HOUR);
    let unavailable = world.stored().unavailable.unwrap();
    assert!((360..800).contains(&unavailable.attempts), "{unavailable:?}");
    world.mode = Mode::Up;
    world.pass(301 * SECOND);
    assert_eq!(world.received.len(), 3);
    assert_eq!(world.stored().unavailable, None);
}

#[test]
fn refused_event_delays_its_room_only() {
    let mut world = World::started();
    let poison = world.add("tea");
    world.mode = Mode::Refuses(Some(poison));
    world.add("tea");
    for _ in 0..20 {
        world.add("cup");
        world.pass(HOUR);
    }
    assert_eq!(world.received.len(), 20, "the other room goes on");
    let waiting = &world.stored().waiting[&RoomId::new("tea").unwrap()];
    assert_eq!((waiting.from, waiting.attempts), (poison, 7));
    assert_eq!(waiting.error.as_deref(), Some("400"));
    world.pass(70 * HOUR);
    assert_eq!(world.dead.len(), 1);
    assert_eq!((world.dead[&0].number, world.dead[&0].attempts), (0, 10));
    world.all_arrived_in_order();
}

#[test]
fn event_without_answer_becomes_dead_letter() {
    let mut world = World::started();
    let poison = world.add("tea");
    world.mode = Mode::Hangs(poison);
    world.add("tea");
    for _ in 0..90 {
        world.add("cup");
        world.pass(HOUR);
    }
    assert_eq!(world.dead.len(), 1);
    world.all_arrived_in_order();
    assert!(world.requests < 300, "{}", world.requests);
}

#[test]
fn expired_events_become_dead_letters() {
    let mut world = World::started();
    world.mode = Mode::Down;
    for _ in 0..60 {
        world.add("tea");
        world.add("cup");
    }
    world.pass(RETENTION - 2 * HOUR);
    assert_eq!(world.dead.len(), 0);
    world.pass(2 * HOUR);
    assert_eq!(world.dead.len(), 120);
    world.add("tea");
    world.mode = Mode::Up;
    world.pass(HOUR);
    assert_eq!(world.received.len(), 1);
}

#[test]
fn rooms_beyond_the_limit_wait_in_ledger() {
    let mut world = World::started();
    world.mode = Mode::Refuses(None);
    for round in 0..2 {
        for room in 0..150 {
            world.add(&format!("room-{room}-{round}"));
        }
    }
    world.pass(HOUR);
    assert_eq!(world.stored().waiting.len(), MOST_WAITING_ROOMS);
    world.crash(true);
    world.mode = Mode::Up;
    world.pass(6 * HOUR);
    world.all_arrived_in_order();
    assert_eq!(world.received.len(), 300);
}

#[test]
fn attempts_follow_the_schedule() {
    let mut world = World::started();
    world.mode = Mode::Refuses(None);
    world.add("tea");
    world.settle();
    for (attempt, delay) in RETRY_DELAYS.into_iter().enumerate() {
        let next = world.stored().waiting[&RoomId::new("tea").unwrap()].next;
        let left = Duration::from_millis(next.0 - world.wall().0);
        assert!(left >= delay && left <= delay.mul_f64(1.1), "{left:?} {delay:?}");
        world.pass(left - SECOND);
        assert_eq!(world.requests, attempt + 1);
        world.pass(SECOND);
        assert_eq!(world.requests, attempt + 2);
    }
    assert_eq!(world.dead.len(), 1);
}

#[test]
fn retry_after_of_endpoint_is_kept() {
    let mut world = World::started();
    world.mode = Mode::Busy(Duration::from_secs(900));
    world.add("tea");
    world.pass(SECOND);
    let requests = world.requests;
    world.pass(890 * SECOND);
    assert_eq!(world.requests, requests);
    world.mode = Mode::Up;
    world.pass(15 * SECOND);
    assert_eq!(world.received.len(), 1);
}

#[test]
fn wrong_clock_costs_one_delay() {
    let mut world = World::started();
    world.mode = Mode::Refuses(None);
    world.add("tea");
    world.pass(SECOND);
    world.crash(true);
    // The next leader's clock is a day behind.
    world.wall_at_zero -= 24 * 3_600_000;
    world.mode = Mode::Up;
    world.pass(10 * SECOND);
    assert_eq!(world.received.len(), 1);
}

#[test]
fn skipped_events_move_the_cursor() {
    let mut world = World { filter: filter("room_ended"), ..World::default() };
    world.start();
    world.settle();
    world.add("tea");
    world.pass(SECOND);
    let before = world.revision;
    world.pass(11 * SECOND);
    assert_eq!(world.stored().cursor, world.ledger[0].cursor);
    assert_eq!((world.requests, world.revision), (0, before + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn random_histories_miss_nothing(steps in prop::collection::vec((0u8..14, any::<u16>()), 1..250)) {
        let mut world = World::started();
        for (step, random) in steps {
            world.random_step(step, random);
        }
        world.mode = Mode::Up;
        world.pass(200 * HOUR);
        world.all_arrived_in_order();
        prop_assert!(world.stored().waiting.is_empty());
        // Each crash, lost outcome or replay repeats at most the accepted events that the stored state lacks.
        prop_assert!(world.repeats <= world.losses * MOST_UNWRITTEN, "{} {}", world.repeats, world.losses);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Mode {
    #[default]
    Up,
    Down,
    Busy(Duration),
    /// Refuses this event; `None`: refuses all events.
    Refuses(Option<Cursor>),
    /// Never answers a request that delivers this event.
    Hangs(Cursor),
}

/// Ledger, store, endpoint and the machine of the leader. Time advances only in [`World::pass`] and in random
/// steps.
#[derive(Default)]
struct World {
    filter: WebhookFilter,
    ledger: Vec<LedgerEntry>,
    revision: i64,
    state: Option<(EndpointState, i64)>,
    dead: BTreeMap<u64, DeadLetter>,
    machine: Option<Delivery>,
    /// Effects in progress, ordered by start.
    running: Vec<Effect>,
    now: Duration,
    wall_at_zero: u64,
    mode: Mode,
    requests: usize,
    received: Vec<(RoomId, Cursor)>,
    repeats: usize,
    /// Number of crashes, lost answers and replays: each may repeat events.
    losses: usize,
    /// Events up to here may arrive again, because of a replay.
    replayed: Cursor,
}

fn filter(kind: &str) -> WebhookFilter {
    WebhookFilter { types: vec![kind.to_owned()], ..WebhookFilter::default() }
}

impl World {
    fn started() -> Self {
        let mut world = Self { wall_at_zero: 1_700_000_000_000, ..Self::default() };
        world.start();
        world.settle();
        world
    }

    fn start(&mut self) {
        self.machine = Some(Delivery::new(self.filter.clone(), RETENTION));
        self.watch();
    }

    fn wall(&self) -> UnixMs {
        UnixMs(self.wall_at_zero + self.now.as_millis() as u64)
    }

    fn add(&mut self, room: &str) -> Cursor {
        self.revision += 1;
        let cursor = Cursor { revision: self.revision, index: 0 };
        let room = RoomId::new(room).unwrap();
        self.ledger.push(LedgerEntry { cursor, room, kind: "room_started".into(), time: self.wall() });
        cursor
    }

    fn end(&self) -> Cursor {
        self.ledger.last().map_or(Cursor::default(), |entry| entry.cursor)
    }

    fn stored(&self) -> EndpointState {
        self.state.clone().expect("a state").0
    }

    /// Shows the machine the current state of the key.
    fn watch(&mut self) {
        let (state, revision) = self.state.clone().map_or((None, 0), |(state, at)| (Some(state), at));
        let (now, wall, end) = (self.now, self.wall(), self.end());
        let seen = StoredState { state, revision, as_of: self.revision };
        if let Some(machine) = &mut self.machine {
            machine.observe(seen, end, now, wall);
        }
    }

    /// Lets the machine read the ledger and start effects until it waits. Returns the time to wake it.
    fn plan(&mut self) -> Option<Duration> {
        let (now, wall) = (self.now, self.wall());
        let machine = self.machine.as_mut()?;
        let after = machine.position();
        let events: Vec<_> = self.ledger.iter().filter(|entry| entry.cursor > after).cloned().collect();
        machine.feed(events, Some(self.revision), now);
        loop {
            match machine.plan(now, wall) {
                Plan::Do { effect, .. } => self.running.push(effect),
                Plan::Wait { until, .. } => return until,
                Plan::Finished => return None,
            }
        }
    }

    fn settle(&mut self) -> Option<Duration> {
        loop {
            let until = self.plan();
            match self.running.is_empty() {
                true => return until,
                false => self.complete(0, false),
            }
        }
    }

    /// Lets time pass, with all effects completed and all changes of the store seen.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            self.watch();
            match self.settle() {
                Some(until) if until <= end => self.now = until.max(self.now + Duration::from_millis(1)),
                _ => {
                    self.now = end;
                    self.settle();
                    return;
                }
            }
        }
        panic!("the machine never stops waking");
    }

    /// Completes an effect in progress. `lost`: the machine does not learn the outcome.
    fn complete(&mut self, at: usize, lost: bool) {
        let effect = self.running.remove(at);
        let done = self.perform(&effect);
        self.losses += usize::from(lost);
        let (now, wall, end) = (self.now, self.wall(), self.end());
        let Some(machine) = &mut self.machine else { return };
        match (effect, done) {
            (Effect::Send { room, cursor }, FinishedEffect::Answer(outcome)) => {
                let error = "the answer is lost".to_owned();
                let lost = lost.then_some(Outcome::Unavailable { error, retry_after: None });
                machine.done((&room, cursor), lost.unwrap_or(outcome), now, wall, 0.5);
            }
            (_, FinishedEffect::Write(outcome)) => {
                let lost = lost.then(|| WriteOutcome::Failed(Failure::Unknown("lost".into())));
                machine.written(lost.unwrap_or(outcome), end, now, wall, 0.5);
            }
            (effect, _) => panic!("{effect:?}"),
        }
    }

    fn perform(&mut self, effect: &Effect) -> FinishedEffect {
        match effect {
            Effect::Send { room, cursor } => FinishedEffect::Answer(self.request(room, *cursor)),
            Effect::Write { over, state, given_up } => {
                FinishedEffect::Write(self.write(*over, state, given_up))
            }
        }
    }

    fn request(&mut self, room: &RoomId, cursor: Cursor) -> Outcome {
        self.requests += 1;
        let unavailable = |retry_after| Outcome::Unavailable { error: "no answer".into(), retry_after };
        match self.mode {
            Mode::Down => unavailable(None),
            Mode::Busy(retry_after) => unavailable(Some(retry_after)),
            Mode::Hangs(poison) if poison == cursor => unavailable(None),
            Mode::Refuses(poison) if poison.is_none_or(|poison| poison == cursor) => {
                Outcome::Refused("400".into())
            }
            _ => {
                self.receive(room, cursor);
                Outcome::Delivered
            }
        }
    }

    /// Receives an event. Checks that every earlier event of the room was received or is a dead letter.
    fn receive(&mut self, room: &RoomId, cursor: Cursor) {
        let is_here = |at: Cursor| self.received.contains(&(room.clone(), at)) || self.is_dead(at);
        let earlier = self.ledger.iter().filter(|entry| entry.room == *room && entry.cursor < cursor);
        for entry in earlier {
            assert!(is_here(entry.cursor), "{room}: {} before {}", cursor, entry.cursor);
        }
        if self.received.contains(&(room.clone(), cursor)) && cursor > self.replayed {
            self.repeats += 1;
        }
        self.received.push((room.clone(), cursor));
    }

    fn is_dead(&self, cursor: Cursor) -> bool {
        self.dead.values().any(|letter| letter.event == cursor.to_string())
    }

    fn write(&mut self, over: i64, state: &EndpointState, given_up: &[AbandonedEvent]) -> WriteOutcome {
        if self.state.as_ref().map_or(0, |(_, revision)| *revision) != over {
            return WriteOutcome::Superseded;
        }
        self.revision += 1;
        let at = self.wall();
        for AbandonedEvent { number, cursor, attempts, error } in given_up.iter().cloned() {
            let event = cursor.to_string().into();
            self.dead.insert(slot(number), DeadLetter { number, event, attempts, error, at });
        }
        self.state = Some((state.clone(), self.revision));
        WriteOutcome::Written { revision: self.revision }
    }

    /// Replaces the leader with another one. `performed`: the effects in progress are carried out, but their
    /// outcomes are lost.
    fn crash(&mut self, performed: bool) {
        self.machine = None;
        for effect in std::mem::take(&mut self.running) {
            if performed {
                self.perform(&effect);
            }
        }
        self.losses += 1;
        self.start();
    }

    fn replay(&mut self, random: u16) {
        let Some((state, _)) = &self.state else { return };
        let after = self.ledger.get(usize::from(random) % self.ledger.len().max(1));
        let after = after.map_or(Cursor::default(), |entry| entry.cursor);
        if let Ok(state) = replayed(state, after) {
            self.replayed = self.replayed.max(self.end());
            self.revision += 1;
            self.state = Some((state, self.revision));
            self.losses += 1;
        }
    }

    fn random_step(&mut self, step: u8, random: u16) {
        let some = |len: usize| usize::from(random) % len.max(1);
        match step {
            0..=3 => drop(self.add(["tea", "cup", "pot", "jug"][some(4)])),
            4..=7 if !self.running.is_empty() => {
                self.complete(some(self.running.len()), random.is_multiple_of(11))
            }
            4..=7 => drop(self.plan()),
            8 => self.now += Duration::from_millis(u64::from(random) * 20),
            9 => self.watch(),
            10 => {
                let poison = self.ledger.get(some(self.ledger.len())).map(|entry| entry.cursor);
                self.mode = match (random % 5, poison) {
                    (0, _) => Mode::Down,
                    (1, Some(poison)) => Mode::Hangs(poison),
                    (2, _) => Mode::Refuses(poison),
                    _ => Mode::Up,
                };
            }
            11 if random.is_multiple_of(4) => self.crash(random.is_multiple_of(8)),
            12 if random.is_multiple_of(8) => self.replay(random / 8),
            _ => self.pass(Duration::from_millis(u64::from(random))),
        }
    }

    fn all_arrived_in_order(&self) {
        let received: BTreeSet<_> = self.received.iter().map(|(_, cursor)| *cursor).collect();
        for entry in &self.ledger {
            assert!(received.contains(&entry.cursor) || self.is_dead(entry.cursor), "{entry:?} is missed");
        }
    }
}

enum FinishedEffect {
    Answer(Outcome),
    Write(WriteOutcome),
}
