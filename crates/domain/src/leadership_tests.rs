//! Tests of elections over a model store: delayed watches, lost answers, frozen candidates, expired leases.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(10);
const NODES: usize = 3;

#[test]
fn first_leader_renews_each_third() {
    let mut world = World::new();
    world.run(0, 10);
    world.deliver(0);
    assert_eq!(world.leaders(), [0]);
    for _ in 0..100 {
        world.now += TTL / 3;
        world.run(0, 3);
        assert_eq!(world.leaders(), [0]);
    }
    assert_eq!(world.nodes[0].steady().since(world.now), Some(Duration::from_secs(1)), "since it began");
}

#[test]
fn older_store_is_the_reason_to_wait() {
    let mut node = Leadership::new(name(0), "i".into(), TTL);
    node.done(Outcome::Granted { lease: 1 }, Duration::ZERO, Duration::ZERO, 0.5);
    node.observe(None, 9);
    node.lost_sight();
    node.observe(None, 3);
    assert_eq!(node.sees_older_store(), Some((3, 9)));
    let plan = node.plan(Duration::ZERO, UnixMs(0));
    assert!(matches!(&plan, Plan::Wait { reason, .. } if *reason == OLDER_STORE), "{plan:?}");
    node.lost_sight();
    assert_eq!(node.sees_older_store(), None, "an outage is not a loss of data");
    node.observe(None, 3);
    node.observe(None, 9);
    assert_eq!(node.sees_older_store(), None);
}

#[test]
fn dead_leader_is_replaced_at_lease_end() {
    let mut world = World::new();
    world.elect_first();
    let died = world.now;
    while world.leader_in_store() == Some(0) {
        world.now += Duration::from_millis(100);
        world.expire();
        (1..NODES).for_each(|n| world.step(n));
    }
    (1..NODES).for_each(|n| world.step(n));
    assert!(world.now - died <= TTL + Duration::from_secs(1), "{:?}", world.now - died);
    assert!(world.leaders().iter().all(|n| *n != 0));
    assert_eq!(world.leaders().len(), 1);
}

#[test]
fn unrenewed_leader_stops_before_lease_end() {
    let mut world = World::new();
    world.elect_first();
    let renewed = world.now;
    world.now += TTL / 3;
    world.nodes[0].done(Outcome::Failed("no answer".into()), world.now, world.now + TTL / 4, 0.5);
    assert!(world.nodes[0].leads(world.now + TTL / 4).is_some(), "a short outage costs nothing");
    assert_eq!(world.nodes[0].leads(renewed + TTL * 9 / 10), None);
    let Plan::Wait { until: Some(until), .. } = world.nodes[0].plan(world.now + TTL / 4, UnixMs(0)) else {
        panic!("it waits to try again")
    };
    assert!(until <= renewed + TTL * 9 / 10, "it is asked again in time to stop");
}

#[test]
fn leader_without_lease_stops() {
    let mut world = World::new();
    world.elect_first();
    world.nodes[0].done(Outcome::LeaseGone, world.now, world.now, 0.5);
    assert_eq!(world.nodes[0].leads(world.now), None);
    assert_eq!(world.nodes[0].steady().since(world.now), None);
}

#[test]
fn a_restarted_leader_takes_over_from_itself() {
    let mut world = World::new();
    world.elect_first();
    world.restart(0);
    world.run(0, 10);
    assert_eq!(world.leaders(), [0]);
}

#[test]
fn keys_without_a_lease_are_taken_over() {
    for readable in [true, false] {
        let mut world = World::new();
        world.elect_first();
        world.forge(readable, false);
        (0..NODES).for_each(|n| world.deliver(n));
        assert_eq!(world.leaders(), [0; 0], "no node leads by a key without a lease");
        assert!(world.nodes[1].orphan().is_some());
        (0..NODES).rev().for_each(|n| world.step(n));
        (0..NODES).for_each(|n| world.deliver(n));
        assert_eq!(world.leaders(), [2]);
        assert_eq!(world.nodes[1].orphan(), None);
    }
}

#[test]
fn unreadable_leased_keys_are_waited_out() {
    let mut world = World::new();
    world.forge(false, true);
    (0..NODES).for_each(|n| world.run(n, 10));
    assert_eq!(world.leaders(), [0; 0], "a newer version may lead");
    world.delete();
    world.run(1, 3);
    assert_eq!(world.leaders(), [1]);
}

#[test]
fn slow_answers_reset_store_stability() {
    let mut world = World::new();
    world.elect_first();
    let start = world.nodes[0].steady().since(world.now).unwrap();
    world.now += TTL / 3;
    world.step(0);
    assert_eq!(world.nodes[0].steady().since(world.now), Some(start));
    world.now += TTL;
    assert_eq!(world.nodes[0].steady().since(world.now), None, "the candidate or the store was frozen");
    world.step(0);
    assert_eq!(world.nodes[0].steady().since(world.now), Some(world.now), "the count starts over");
}

#[derive(Debug, Clone)]
enum Step {
    Effect { node: usize, luck: Luck },
    Deliver { node: usize },
    LoseSight { node: usize },
    Restart { node: usize },
    Delete,
    Forge { readable: bool },
    Tick { ms: u16 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Luck {
    Works,
    Refused,
    AnswerLost,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let luck = prop_oneof![8 => Just(Luck::Works), 1 => Just(Luck::Refused), 1 => Just(Luck::AnswerLost)];
    let step = prop_oneof![
        8 => (node(), luck).prop_map(|(node, luck)| Step::Effect { node, luck }),
        6 => node().prop_map(|node| Step::Deliver { node }),
        1 => node().prop_map(|node| Step::LoseSight { node }),
        1 => node().prop_map(|node| Step::Restart { node }),
        1 => Just(Step::Delete),
        1 => any::<bool>().prop_map(|readable| Step::Forge { readable }),
        6 => (0u16..4000).prop_map(|ms| Step::Tick { ms }),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    #[test]
    fn leadership_is_unique_and_eventual(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            match *step {
                Step::Effect { node, luck } => drop(world.effect(node, luck)),
                Step::Deliver { node } => world.deliver(node),
                Step::LoseSight { node } => world.nodes[node].lost_sight(),
                Step::Restart { node } => world.restart(node),
                // Manual deletion: the leader learns of it from the watch.
                Step::Delete => world.delete(),
                Step::Forge { readable } => world.forge(readable, false),
                Step::Tick { ms } => world.now += Duration::from_millis(ms.into()),
            }
            world.expire();
            world.check();
        }
        for _ in 0..60 {
            world.now += Duration::from_millis(500);
            world.expire();
            (0..NODES).for_each(|n| world.step(n));
        }
        prop_assert_eq!(world.leaders().len(), 1);
    }
}

struct World {
    now: Duration,
    nodes: Vec<Leadership>,
    runs: u32,
    key: Option<LeaderRecord>,
    revision: i64,
    leases: BTreeMap<i64, Duration>,
}

impl World {
    fn new() -> Self {
        let nodes = (0..NODES).map(|n| Leadership::new(name(n), format!("{n}-0"), TTL)).collect();
        let now = Duration::from_secs(1);
        Self { now, nodes, runs: 0, key: None, revision: 1, leases: BTreeMap::new() }
    }

    fn elect_first(&mut self) {
        self.run(0, 10);
        (0..NODES).for_each(|n| self.step(n));
        assert_eq!(self.leaders(), [0]);
    }

    fn step(&mut self, node: usize) {
        self.run(node, 3);
    }

    fn run(&mut self, node: usize, effects: usize) {
        for _ in 0..effects {
            self.deliver(node);
            self.effect(node, Luck::Works);
        }
        self.deliver(node);
    }

    fn deliver(&mut self, node: usize) {
        self.nodes[node].observe(self.key.clone(), self.revision);
    }

    fn restart(&mut self, node: usize) {
        self.runs += 1;
        self.nodes[node] = Leadership::new(name(node), format!("{node}-{}", self.runs), TTL);
    }

    fn delete(&mut self) {
        self.revision += 1;
        self.key = None;
    }

    /// Writes the key manually, outside an election.
    fn forge(&mut self, readable: bool, leased: bool) {
        self.revision += 1;
        let id = ModuleId::new("nobody").unwrap();
        let by = Leader { id, incarnation: "x".into(), lease: 0, since: UnixMs(0) };
        self.key = Some(LeaderRecord { by: readable.then_some(by), revision: self.revision, leased });
    }

    fn effect(&mut self, node: usize, luck: Luck) -> Option<()> {
        let Plan::Do { effect, reason } = self.nodes[node].plan(self.now, UnixMs(0)) else { return None };
        assert!(!reason.is_empty());
        let outcome = if luck == Luck::Refused { None } else { Some(self.happen(effect)) };
        let lost = || Outcome::Failed("no answer".into());
        let outcome = outcome.filter(|_| luck == Luck::Works).unwrap_or_else(lost);
        self.nodes[node].done(outcome, self.now, self.now, 0.5);
        Some(())
    }

    fn happen(&mut self, effect: Effect) -> Outcome {
        match effect {
            Effect::Grant => {
                self.revision += 1;
                self.leases.insert(self.revision, self.now + TTL);
                Outcome::Granted { lease: self.revision }
            }
            Effect::Renew { lease } => match self.leases.get_mut(&lease) {
                Some(until) => {
                    *until = self.now + TTL;
                    Outcome::Renewed
                }
                None => Outcome::LeaseGone,
            },
            Effect::Claim { leader, over } => {
                if !self.leases.contains_key(&leader.lease) {
                    return Outcome::LeaseGone;
                }
                if self.key.as_ref().map_or(0, |k| k.revision) != over {
                    return Outcome::Beaten;
                }
                self.revision += 1;
                self.key = Some(LeaderRecord { by: Some(leader), revision: self.revision, leased: true });
                Outcome::Claimed { revision: self.revision }
            }
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        self.leases.retain(|_, until| *until > now);
        let lease = |key: &LeaderRecord| key.by.as_ref().filter(|_| key.leased).map(|by| by.lease);
        if self.key.as_ref().and_then(lease).is_some_and(|lease| !self.leases.contains_key(&lease)) {
            self.delete();
        }
    }

    fn leader_in_store(&self) -> Option<usize> {
        let key = self.key.as_ref()?;
        (0..NODES).find(|n| key.by.as_ref().is_some_and(|by| name(*n) == by.id))
    }

    fn leaders(&self) -> Vec<usize> {
        (0..NODES).filter(|n| self.nodes[*n].leads(self.now).is_some()).collect()
    }

    /// Checks that every leading node holds the key. Exception: the key was changed manually, and the node's
    /// watch has not delivered that yet.
    fn check(&self) {
        for node in self.leaders() {
            let revision = self.nodes[node].leads(self.now).unwrap();
            let held = self.key.as_ref().is_some_and(|k| k.revision == revision);
            let stale = self.revision > self.nodes[node].as_of;
            assert!(held || stale, "{node} leads by a key that is not there");
        }
    }
}

fn name(node: usize) -> ModuleId {
    ModuleId::new(&format!("node-{node}")).unwrap()
}
