//! The world of a history: the clock, the events under way, and the store.
//!
//! Owns the order of events. Never decides what a node does or which fault happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::faults::Fault;
use super::gateways::{Departure, PresenceCall, SharedPresence};
use super::laws::Laws;
use super::node::{Answer, Node, Requester, StoreRequest, TimedPart, Vital};
use super::random::RandomSource;
use super::store::{CommitOutcome, SimStore};
use super::{SHOWN, TTL};
use crate::domain::client_session;
use crate::domain::ids::{Epoch, MediaAddr, RoomId, UnixMs};
use crate::domain::janus_room;
use crate::domain::mixer_room::Exit;
use crate::domain::relay_room::{Fetch, Outcome};
use crate::store::KeyValue;

/// Time after which a client of the store or of presence gives up.
pub const PATIENCE: Duration = Duration::from_secs(2);

pub struct World {
    pub now: Duration,
    pub random: RandomSource,
    pub store: SimStore,
    pub presence: SharedPresence,
    pub nodes: Vec<Node>,
    pub rooms: Vec<RoomId>,
    pub laws: Laws,
    /// True once no more faults happen.
    pub calm: bool,
    pub store_frozen: bool,
    /// Start of the current or latest freeze of the store.
    froze: Duration,
    /// End of the last freeze of the store that lasted at least one lease TTL.
    pub shaken: Option<Duration>,
    waiting: Vec<Event>,
    /// Nodes whose watches are slow.
    pub slow: BTreeSet<usize>,
    /// Nodes that are not started again.
    pub lost: BTreeSet<usize>,
    pub capacity: u32,
    queue: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    pub fresh: u32,
    pub events: u64,
    trace: Option<VecDeque<String>>,
    shown: usize,
}

/// One process of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId {
    pub node: usize,
    pub life: u32,
}

#[derive(Debug, Clone)]
pub enum Event {
    Node(ProcessId, Input),
    Store(ProcessId, u64, Requester, StoreRequest),
    Janus(ProcessId, JanusCall),
    Presence(Box<PresenceCall>),
    Expire(i64),
    Fault(Fault),
}

#[derive(Debug, Clone)]
pub struct JanusCall {
    pub room: RoomId,
    pub actor: u64,
    pub connection: u64,
    pub effect: janus_room::Effect,
}

/// Event that reaches a node.
#[derive(Debug, Clone)]
pub enum Input {
    Feed { w: usize, session: u32, upto: i64 },
    Silent { w: usize, session: u32 },
    List { w: usize, session: u32 },
    Listed { w: usize, session: u32, entries: Vec<KeyValue>, revision: i64 },
    Answer(u64, Answer),
    Timer(TimedPart),
    JanusDone { room: RoomId, actor: u64, connection: u64, outcome: janus_room::Outcome },
    JanusBack,
    Spawned { room: RoomId, actor: u64, epoch: Epoch, rtp: MediaAddr },
    Exited { room: RoomId, process: u64, exit: Exit },
    Fragment { room: RoomId, process: u64 },
    Fetched { room: RoomId, number: u64, fetch: Fetch, patience: u32 },
    Got { room: RoomId, number: u64, fetch: Fetch, outcome: Outcome },
    Session(u64, Box<client_session::Input>),
    MediaJoin { connection: u64, resume: bool },
    LeavePresence(Box<Departure>),
    Left,
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl World {
    pub fn new(seed: u64, traced: bool) -> Self {
        Self {
            // Start far enough from zero that durations can be subtracted.
            now: Duration::from_secs(1000),
            random: RandomSource::new(seed),
            store: SimStore::new(TTL),
            presence: SharedPresence::new(),
            nodes: Vec::new(),
            rooms: (0..3).map(|n| RoomId::new(&format!("room-{n}")).unwrap()).collect(),
            laws: Laws::default(),
            calm: false,
            store_frozen: false,
            froze: Duration::ZERO,
            shaken: None,
            waiting: Vec::new(),
            slow: BTreeSet::new(),
            lost: BTreeSet::new(),
            capacity: 10,
            queue: BTreeMap::new(),
            sequence: 0,
            fresh: 100_000,
            events: 0,
            trace: traced.then(VecDeque::new),
            shown: super::variable("STENTOR_SIM_SHOWN").unwrap_or(SHOWN) as usize,
        }
    }

    pub fn wall(&self) -> UnixMs {
        UnixMs(self.now.as_millis() as u64)
    }

    pub fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Adds a line to the trace, for humans. Does nothing if there is no trace.
    pub fn note(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let text = format!("{:9.3} {}", self.now.as_secs_f64() - 1000.0, what(self));
            if let Some(trace) = &mut self.trace {
                trace.push_back(text);
                if trace.len() > self.shown {
                    trace.pop_front();
                }
            }
        }
    }

    fn note_if(&mut self, telling: bool, what: impl FnOnce(&Self) -> String) {
        if telling {
            self.note(what);
        }
    }

    pub fn last_events(&self) -> Vec<String> {
        self.trace.iter().flatten().cloned().collect()
    }

    pub fn to(&self, node: usize) -> ProcessId {
        ProcessId { node, life: self.nodes[node].life }
    }

    pub fn queue_at(&mut self, at: Duration, event: Event) {
        let key = (at, self.number());
        self.queue.insert(key, event);
    }

    pub fn after(&mut self, delay: Duration, event: Event) {
        self.queue_at(self.now + delay, event);
    }

    pub fn input_after(&mut self, delay: Duration, n: usize, input: Input) {
        let to = self.to(n);
        self.after(delay, Event::Node(to, input));
    }

    pub fn run_until(&mut self, end: Duration) {
        while let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= end) {
            let ((at, _), event) = first.remove_entry();
            self.now = at;
            self.events += 1;
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Node(to, input) => {
                let node = &mut self.nodes[to.node];
                match node.vital {
                    _ if node.life != to.life => {}
                    Vital::Dead => {}
                    Vital::Frozen => node.parked.push(Event::Node(to, input)),
                    Vital::Up => self.input(to.node, input),
                }
            }
            Event::Store(to, id, asker, ask) => self.at_store(to, id, &asker, ask),
            Event::Janus(to, call) => self.at_janus(to, call),
            Event::Presence(call) => self.at_presence(*call),
            Event::Expire(lease) => self.expire(lease),
            Event::Fault(fault) => self.go_wrong(fault),
        }
    }

    fn input(&mut self, n: usize, input: Input) {
        match input {
            Input::Feed { w, session, upto } => self.feed(n, w, session, upto),
            Input::Silent { w, session } => self.silent(n, w, session),
            Input::List { w, session } => self.list(n, w, session),
            Input::Listed { w, session, entries, revision } => self.listed(n, w, session, entries, revision),
            Input::Answer(id, answer) => self.answered(n, id, answer),
            Input::Timer(who) => self.woken(n, who),
            Input::JanusDone { room, actor, connection, outcome } => {
                self.janus_done(n, &room, actor, connection, outcome);
            }
            Input::JanusBack => self.janus_back(n),
            Input::Spawned { room, actor, epoch, rtp } => self.spawned(n, &room, actor, epoch, rtp),
            Input::Exited { room, process, exit } => self.exited(n, &room, process, exit),
            Input::Fragment { room, process } => self.fragment(n, &room, process),
            Input::Fetched { room, number, fetch, patience } => {
                self.at_mixer(n, room, number, fetch, patience);
            }
            Input::Got { room, number, fetch, outcome } => self.got(n, &room, number, &fetch, outcome),
            Input::Session(connection, input) => self.session_input(n, connection, *input),
            Input::MediaJoin { connection, resume } => self.media_joined(n, connection, resume),
            Input::LeavePresence(departure) => self.leave_presence(n, *departure),
            Input::Left => self.left(n),
        }
    }

    fn woken(&mut self, n: usize, who: TimedPart) {
        let due = self.nodes[n].timers.get(&who).is_some_and(|at| *at <= self.now);
        if !due {
            return;
        }
        self.nodes[n].timers.remove(&who);
        match who {
            TimedPart::Beat(kind) => self.beat(n, kind),
            TimedPart::Elector => self.step_elector(n),
            TimedPart::Team => self.step_team(n),
            TimedPart::Housekeeping => self.keep_house(n),
            TimedPart::Janus(room) => self.step_janus(n, &room),
            TimedPart::Mixer(room) => self.step_mixer(n, &room),
            TimedPart::Room(room) => self.room_changed(n, &room),
            TimedPart::Relay(room) => self.step_relay(n, &room),
            TimedPart::Gateway => self.gateway_beat(n),
            TimedPart::Session(connection) => {
                self.session_input(n, connection, client_session::Input::Tick);
            }
        }
    }

    /// Sends a request of a node to the store.
    pub fn ask(&mut self, n: usize, asker: Requester, ask: StoreRequest) {
        let (to, id) = (self.to(n), self.number());
        self.nodes[n].asked.insert(id, asker.clone());
        let lost = self.nodes[n].cut || (!self.calm && self.random.chance(0.01));
        if lost {
            return self.input_after(PATIENCE, n, Input::Answer(id, Answer::Silence));
        }
        let late = !self.calm && self.random.chance(0.01);
        let travel = if late { self.random.ms(500..5_000) } else { self.random.ms(1..10) };
        if travel > PATIENCE {
            self.input_after(PATIENCE, n, Input::Answer(id, Answer::Silence));
        }
        self.after(travel, Event::Store(to, id, asker, ask));
    }

    fn at_store(&mut self, to: ProcessId, id: u64, asker: &Requester, ask: StoreRequest) {
        if self.store_frozen {
            self.waiting.push(Event::Store(to, id, asker.clone(), ask));
            return self.after(PATIENCE, Event::Node(to, Input::Answer(id, Answer::Silence)));
        }
        let from = self.store.log.len();
        let answer = match ask {
            StoreRequest::Grant => {
                let lease = self.store.grant(self.now);
                self.after(TTL, Event::Expire(lease));
                Answer::Granted(lease)
            }
            StoreRequest::Keep(lease) => match self.store.keep_alive(lease, self.now) {
                true => {
                    self.after(TTL, Event::Expire(lease));
                    Answer::Done
                }
                false => Answer::LeaseGone,
            },
            StoreRequest::Revoke(lease) => {
                self.store.revoke(lease);
                Answer::Done
            }
            StoreRequest::Txn(txn) => {
                if self.store.holds(&txn) {
                    self.judge_write(to.node, asker, &txn);
                }
                match self.store.commit(&txn) {
                    CommitOutcome::At(revision) => Answer::Committed(revision),
                    CommitOutcome::Conflict => Answer::Conflict,
                    CommitOutcome::NoSuchLease => Answer::LeaseGone,
                }
            }
        };
        let dull = answer == Answer::Done || matches!(answer, Answer::Granted(_));
        self.note_if(!dull, |w| {
            let keys: Vec<_> = w.store.log[from..].iter().map(|c| tell(&c.key, c.value.as_deref())).collect();
            format!("{}/{} {} -> {answer:?} {}", w.nodes[to.node].id, to.life, said(asker), keys.join(" "))
        });
        self.judge_changes(from);
        self.spread(from);
        let answer_lost = self.nodes[to.node].cut || (!self.calm && self.random.chance(0.02));
        let (answer, delay) = match answer_lost {
            true => (Answer::Silence, PATIENCE),
            false => (answer, self.random.ms(1..15)),
        };
        self.after(delay, Event::Node(to, Input::Answer(id, answer)));
    }

    fn answered(&mut self, n: usize, id: u64, answer: Answer) {
        let Some(asker) = self.nodes[n].asked.remove(&id) else { return };
        match asker {
            Requester::Beat(kind) => self.beaten(n, kind, answer),
            Requester::Elector { asked } => self.elector_done(n, asked, answer),
            Requester::JanusKey(room, actor, value) => self.janus_key_done(n, &room, actor, value, answer),
            Requester::MixerStore(room, actor, effect) => self.mixer_stored(n, &room, actor, effect, answer),
            Requester::Move { .. } | Requester::Drained => self.team_done(n, answer),
            Requester::Removal(room) => self.removal_done(n, &room),
            Requester::Housekeeping | Requester::User | Requester::Goodbye => {}
        }
    }

    fn expire(&mut self, lease: i64) {
        let over = self.store.leases.get(&lease).is_some_and(|until| *until <= self.now);
        if over && !self.store_frozen {
            self.revoke(lease);
        }
    }

    pub fn revoke(&mut self, lease: i64) {
        let from = self.store.log.len();
        self.store.revoke(lease);
        self.note(|w| {
            let gone: Vec<_> = w.store.log[from..].iter().map(|c| c.key.as_str()).collect();
            format!("store: lease {lease} is gone {}", gone.join(" "))
        });
        self.spread(from);
    }

    pub fn freeze_store(&mut self) {
        (self.store_frozen, self.froze) = (true, self.now);
        (0..self.nodes.len()).for_each(|n| self.unreachable(n));
    }

    /// Thaws the store. `harsh`: leases that have expired are gone before any node can renew them.
    pub fn thaw_store(&mut self, harsh: bool) {
        if !std::mem::replace(&mut self.store_frozen, false) {
            return;
        }
        self.note(|_| format!("store: thaws, leases {}", if harsh { "run out" } else { "start over" }));
        if self.now >= self.froze + TTL {
            self.shaken = Some(self.now);
        }
        if harsh {
            self.store.over(self.now).into_iter().for_each(|lease| self.revoke(lease));
        } else {
            self.store.extend_leases(self.now);
            let leases: Vec<i64> = self.store.leases.keys().copied().collect();
            leases.into_iter().for_each(|lease| self.after(TTL, Event::Expire(lease)));
        }
        for event in std::mem::take(&mut self.waiting) {
            self.after(ms(1), event);
        }
        for n in 0..self.nodes.len() {
            for w in 0..self.nodes[n].watches.len() {
                if self.nodes[n].watches[w].following {
                    self.feed_soon(n, w, self.store.revision);
                }
            }
        }
    }
}

fn said(asker: &Requester) -> String {
    match asker {
        Requester::Move { order, .. } => {
            let why: Vec<_> = order.leaves.iter().map(ToString::to_string).collect();
            format!("moves {}: {}", order.room, why.join(", "))
        }
        Requester::MixerStore(room, _, effect) => {
            let text = format!("{effect:?}");
            format!("mixer {room} {}", text.split([' ', '{']).next().unwrap_or_default())
        }
        Requester::JanusKey(room, ..) => format!("janus key {room}"),
        other => format!("{other:?}"),
    }
}

/// Formats a change in one line. The model contains no secrets.
fn tell(key: &str, value: Option<&[u8]>) -> String {
    match value {
        Some(value) if key.ends_with("heartbeat") => format!("{key}={} bytes", value.len()),
        Some(value) => format!("{key}={}", String::from_utf8_lossy(value)),
        None => format!("{key} deleted"),
    }
}
