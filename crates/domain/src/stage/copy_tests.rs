//! Tests of copies of a stage on several nodes. The store loses its data or is reset, nodes die, and messages
//! are late or lost.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::signalling::DisplayName;
use crate::stage::{ChatText, PersonId, StageRole};

/// Message of the store to all nodes.
type Message = (HistoryId, u64, Vec<Event>);

struct Node {
    copy: StageCopy,
    /// Messages that the node has not received yet.
    inbox: VecDeque<Message>,
    /// Command between its decision and its write.
    pending: Option<(Proposal, (u64, u8))>,
    /// Position at the beginning of a read, and the stage that was read.
    reading: Option<(Position, Option<Stage>)>,
}

/// Nodes and the store they share.
#[derive(Default)]
struct World {
    store: Option<Stage>,
    /// Earlier states of the store.
    snapshots: Vec<Option<Stage>>,
    nodes: Vec<Node>,
    histories: u64,
    clock: u64,
    /// Each stage that was written, by history and version.
    written: BTreeMap<(HistoryId, u64), Stage>,
    resets: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Begins a command on a node; its write follows with `Write`.
    Command(usize, u64, u8),
    Write(usize),
    Deliver(usize),
    /// A message is lost. The node notices it by a gap, or by a new subscription.
    Drop(usize),
    BeginRead(usize),
    EndRead(usize),
    Die(usize),
    Lose,
    /// The store returns to an earlier state.
    Reset(usize),
}

impl World {
    fn new(nodes: usize) -> Self {
        let mut world = Self::default();
        for _ in 0..nodes {
            let node = world.node();
            world.nodes.push(node);
        }
        world
    }

    fn fresh(&mut self) -> HistoryId {
        self.histories += 1;
        HistoryId(format!("h{}", self.histories))
    }

    fn node(&mut self) -> Node {
        let copy = StageCopy::new(self.store.clone(), self.fresh());
        Node { copy, inbox: VecDeque::new(), pending: None, reading: None }
    }

    fn step(&mut self, step: Step) {
        self.clock += 1;
        let count = self.nodes.len();
        match step {
            Step::Command(at, person, what) => self.begin(at % count, person, what),
            Step::Write(at) => self.write(at % count),
            Step::Deliver(at) => self.deliver(at % count),
            Step::Drop(at) => drop(self.nodes[at % count].inbox.pop_front()),
            Step::BeginRead(at) => {
                let read = self.store.clone();
                let node = &mut self.nodes[at % count];
                node.reading = Some((node.copy.position(), read));
            }
            Step::EndRead(at) => {
                let at = at % count;
                if let Some((since, read)) = self.nodes[at].reading.take()
                    && self.nodes[at].copy.reread(read, &since) == RereadOutcome::Again
                {
                    self.look_again(at);
                }
            }
            Step::Die(at) => {
                let node = self.node();
                self.nodes[at % count] = node;
            }
            Step::Lose => self.store = None,
            Step::Reset(to) => {
                self.resets = true;
                if !self.snapshots.is_empty() {
                    self.store = self.snapshots[to % self.snapshots.len()].clone();
                }
            }
        }
    }

    fn begin(&mut self, at: usize, person: u64, what: u8) {
        let fresh = self.fresh();
        let attempt = self.nodes[at].copy.attempt(fresh);
        self.decide(at, &attempt, (person, what));
    }

    fn decide(&mut self, at: usize, attempt: &Attempt, what: (u64, u8)) {
        let (by, command) = command(what);
        // A refused command, or one without effect, has no write.
        let proposal = attempt.decide(&by, command, UnixMs(self.clock)).unwrap_or_default();
        self.nodes[at].pending = proposal.map(|proposal| (proposal, what));
    }

    /// Sends the write of a node. After a conflict, the command is decided again on the stage that is read.
    fn write(&mut self, at: usize) {
        let Some((proposal, what)) = self.nodes[at].pending.take() else { return };
        let Proposal { expected, stage, events } = proposal;
        if self.store.as_ref().map(Position::of) != expected {
            let fresh = self.fresh();
            let attempt = self.nodes[at].copy.attempt_on(self.store.clone(), fresh);
            return self.decide(at, &attempt, what);
        }
        self.snapshots.push(self.store.replace(stage.clone()));
        let key = (stage.history.clone(), stage.version);
        let before = self.written.insert(key.clone(), stage.clone());
        assert!(self.resets || before.is_none_or(|before| before == stage), "{key:?} was written twice");
        for node in &mut self.nodes {
            node.inbox.push_back((stage.history.clone(), stage.version, events.clone()));
        }
        // After a gap, the message of the store reveals it again.
        self.nodes[at].copy.hear(&stage.history, stage.version, &events);
    }

    fn hear(&mut self, at: usize, (history, version, events): &Message) {
        if self.nodes[at].copy.hear(history, *version, events) == ApplyOutcome::Gap {
            self.look_again(at);
        }
    }

    fn deliver(&mut self, at: usize) {
        if let Some(message) = self.nodes[at].inbox.pop_front() {
            self.hear(at, &message);
        }
    }

    fn look_again(&mut self, at: usize) {
        let since = self.nodes[at].copy.position();
        self.nodes[at].copy.reread(self.store.clone(), &since);
    }

    /// Ends the faults: every node receives its messages, subscribes anew, and one of them writes.
    fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            self.nodes[at].pending = None;
            self.step(Step::EndRead(at));
            while !self.nodes[at].inbox.is_empty() {
                self.deliver(at);
            }
            self.look_again(at);
        }
        // The rate limit of the chat does not apply any more.
        self.clock += 10_000;
        self.begin(0, 0, 3);
        while self.nodes[0].pending.is_some() {
            self.write(0);
        }
        for at in 0..self.nodes.len() {
            while !self.nodes[at].inbox.is_empty() {
                self.deliver(at);
            }
        }
    }

    fn hands(&self) -> Vec<PersonId> {
        let stage = self.store.as_ref().expect("somebody has written");
        stage.hands.iter().map(|hand| hand.person.id.clone()).collect()
    }
}

fn command((person, what): (u64, u8)) -> (Person, Command) {
    let id = PersonId::new(&format!("{person:016x}")).unwrap();
    let role = if person == 0 { StageRole::Host } else { StageRole::Listener };
    let by = Person { id, name: DisplayName::new("Ann").ok(), role, verified: true, subject: None };
    let command = match what {
        0 => Command::RaiseHand { note: None },
        1 => Command::LowerHand,
        2 => Command::Invite(PersonId::new(&format!("{:016x}", person + 1)).unwrap()),
        _ => Command::Say(ChatText::new("tea").unwrap()),
    };
    (by, command)
}

fn steps(resets: bool) -> impl Strategy<Value = Vec<Step>> {
    let at = 0usize..4;
    let rare = if resets { 1 } else { 0 };
    let step = prop_oneof![
        8 => (at.clone(), 0u64..5, 0u8..4).prop_map(|(at, person, what)| Step::Command(at, person, what)),
        8 => at.clone().prop_map(Step::Write),
        12 => at.clone().prop_map(Step::Deliver),
        1 => at.clone().prop_map(Step::Drop),
        2 => at.clone().prop_map(Step::BeginRead),
        2 => at.clone().prop_map(Step::EndRead),
        1 => at.prop_map(Step::Die),
        1 => Just(Step::Lose),
        rare => (0usize..64).prop_map(Step::Reset),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    /// A store that loses everything never gets two stages with one history and version. Every copy equals
    /// the stage that was written at its position. In the end, all nodes have the stage of the store.
    #[test]
    fn copies_agree_after_lost_store(steps in steps(false)) {
        let mut world = World::new(4);
        for step in steps {
            world.step(step);
            for node in &world.nodes {
                let Position { history, version } = node.copy.position();
                if let Some(written) = world.written.get(&(history, version)) {
                    prop_assert_eq!(written, node.copy.stage());
                }
            }
        }
        world.settle();
        for node in &world.nodes {
            prop_assert_eq!(Some(node.copy.stage()), world.store.as_ref());
        }
    }

    /// Even if the store returns to an earlier state, all nodes have the stage of the store in the end.
    #[test]
    fn copies_agree_after_reset_store(steps in steps(true)) {
        let mut world = World::new(4);
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        for node in &world.nodes {
            prop_assert_eq!(Some(node.copy.stage()), world.store.as_ref());
        }
    }

    /// Hands that a surviving node has seen outlive the death of other nodes and the loss of the store.
    #[test]
    fn hands_outlive_store_and_nodes(raised in 1u64..6, survivor in 0usize..4) {
        let mut world = World::new(4);
        for person in 1..=raised {
            world.begin(0, person, 0);
            world.write(0);
        }
        world.nodes[survivor].inbox.clone().iter().for_each(|_| world.deliver(survivor));
        let before = world.hands();
        world.step(Step::Lose);
        world.begin(survivor, raised + 1, 3);
        while world.nodes[survivor].pending.is_some() {
            world.write(survivor);
        }
        while !world.nodes[survivor].inbox.is_empty() {
            world.deliver(survivor);
        }
        for at in (0..4).filter(|at| *at != survivor) {
            world.step(Step::Die(at));
        }
        prop_assert_eq!(world.hands(), before);
        for node in &world.nodes {
            prop_assert_eq!(Some(node.copy.stage()), world.store.as_ref());
        }
    }
}

#[test]
fn restored_stage_gets_new_history() {
    let mut world = World::new(2);
    for person in [1, 2] {
        world.begin(0, person, 0);
        world.write(0);
    }
    world.deliver(1);
    // Node 1 has not received the second hand when the store loses both, and restores only the first.
    world.step(Step::Lose);
    world.begin(1, 3, 0);
    world.write(1);
    world.write(1);
    assert_eq!(world.hands().len(), 2);
    world.nodes[0].inbox.clear();
    let (stage, events) = (world.store.clone().unwrap(), Vec::new());
    // The version is the same as that of node 0, whose copy has another second hand.
    assert_eq!((stage.version, world.nodes[0].copy.stage().version), (2, 2));
    assert_eq!(world.nodes[0].copy.hear(&stage.history, stage.version, &events), ApplyOutcome::Gap);
    world.look_again(0);
    assert_eq!(world.nodes[0].copy.stage(), &stage);
}
