//! The model: what the machines can observe of the store, the Janus instances and the mixers' processes.
//!
//! Owns the true state and the assertions that hold at every step. Never chooses what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::handover;
use crate::ids::{Epoch, MediaAddr, ModuleId, Nonce, Pin, RoomId, UnixMs};
use crate::janus_room::{self, JanusRoom};
use crate::keys::{self, RoomPart};
use crate::mixer_room::{
    Exit, KeyClaim, MixerPolicy, MixerRoom, ProcessEffect, ProcessOutcome, Reservation, StoreEffect,
};
use crate::model::{JanusStatus, LiveMeta, LiveStatus, Meta};
use crate::plan::{Failure, Plan, WriteOutcome};
use crate::ports::PortPool;
use crate::restart::{Backoff, Budget};
use crate::view::RoomView;

use super::janus_world::JanusWorld;
use super::mixer_world::MixerWorld;
use super::{Luck, MODULES, Step};

pub struct World {
    store: BTreeMap<String, (Vec<u8>, i64)>,
    revision: i64,
    epoch: u64,
    now: Duration,
    next_id: u32,
    januses: Vec<(JanusRoom, JanusWorld, RoomView)>,
    mixers: Vec<(MixerRoom, MixerWorld, RoomView)>,
    published: BTreeSet<u64>,
    ceiling_seen: u64,
}

fn room() -> RoomId {
    RoomId::new("room").unwrap()
}

fn module(node: usize) -> ModuleId {
    ModuleId::new(&format!("node-{node}")).unwrap()
}

fn backoff() -> Backoff {
    Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) }
}

fn mixer_room(node: usize) -> MixerRoom {
    let policy = MixerPolicy {
        backoff: backoff(),
        crashes: Budget { max: 5, window: Duration::from_secs(30) },
        watchdog: Duration::from_secs(2),
        hls_base: "http://mixer".into(),
    };
    MixerRoom::new(module(node), "i".into(), policy)
}

impl World {
    pub fn new() -> Self {
        let januses = (0..MODULES).map(|n| {
            let mut machine = JanusRoom::new(module(n), "i".into(), backoff());
            machine.linked(Some(Vec::new()));
            (machine, JanusWorld::default(), RoomView::default())
        });
        let mixers = (0..MODULES).map(|n| (mixer_room(n), mixer_world(n), RoomView::default()));
        let mut world = World {
            store: BTreeMap::new(),
            revision: 1,
            epoch: 0,
            now: Duration::from_secs(1),
            next_id: 100_000,
            januses: januses.collect(),
            mixers: mixers.collect(),
            published: BTreeSet::new(),
            ceiling_seen: 0,
        };
        let meta = Meta {
            pin: Pin::new("abc123").unwrap(),
            max_anchors: 3,
            hls_path: String::new(),
            created_at: UnixMs(0),
            deleted_at: None,
            last_epoch: Epoch(0),
            last_started_at: None,
            last_end: None,
            api_key: None,
            profile: Default::default(),
        };
        world.put(RoomPart::Meta, &meta);
        world
    }

    fn put<T: serde::Serialize>(&mut self, part: RoomPart, value: &T) -> i64 {
        self.revision += 1;
        self.put_along(part, value);
        self.revision
    }

    /// Writes a key in the same transaction as the previous write.
    fn put_along<T: serde::Serialize>(&mut self, part: RoomPart, value: &T) {
        let json = serde_json::to_vec(value).unwrap();
        self.store.insert(keys::room(&room(), part), (json, self.revision));
    }

    fn remove(&mut self, part: RoomPart) -> i64 {
        self.revision += 1;
        self.store.remove(&keys::room(&room(), part));
        self.revision
    }

    fn revision_of(&self, part: RoomPart) -> i64 {
        self.store.get(&keys::room(&room(), part)).map_or(0, |(_, r)| *r)
    }

    pub fn view(&self) -> RoomView {
        let mut view = RoomView::default();
        for (key, (json, revision)) in &self.store {
            let (_, part) = keys::parse_room(key).unwrap();
            view.apply(part, Some((json, *revision))).unwrap();
        }
        view
    }

    pub fn apply(&mut self, step: &Step) {
        match *step {
            Step::Start { janus, mixer } if self.view().live.is_none() => self.assign(janus, mixer),
            Step::Move { janus, mixer } if self.view().is_on_air() => self.assign(janus, mixer),
            Step::HandOver { mixer } if self.view().is_on_air() => self.hand_over(mixer),
            Step::Stop => self.stop(),
            Step::Cleanup => self.cleanup(),
            Step::Deliver { node } => self.deliver(node),
            Step::RunJanus { node, luck } => drop(self.run_janus(node, luck)),
            Step::RunProcess { node, luck } => drop(self.run_process(node, luck)),
            Step::RunStore { node, luck } => drop(self.run_store(node, luck)),
            Step::Fragment { node } => _ = self.fragment(node),
            Step::FfmpegDies { node, bind } => self.exit(node, bind),
            Step::JanusRestarts { node } => self.restart_janus(node),
            Step::MixerNodeRestarts { node } => self.restart_mixer(node),
            Step::MixerActorPanics { node } => self.replace_mixer_actor(node),
            Step::Tick { ms } => self.pass(Duration::from_millis(ms.into())),
            _ => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.januses.iter_mut().for_each(|(_, world, _)| world.land(self.now));
    }

    fn assign(&mut self, janus: usize, mixer: usize) {
        let old = self.view().live;
        self.epoch += 1;
        let live = LiveMeta {
            status: LiveStatus::OnAir,
            janus_id: module(janus),
            mixer_id: module(mixer),
            nonce: old.map_or_else(|| Nonce(format!("n{}", self.epoch)), |l| l.value.nonce),
            created_at: UnixMs(0),
            discard_at: None,
            handover: None,
            epoch: Epoch(self.epoch),
            trace: None,
            placement_reasons: Default::default(),
        };
        self.put(RoomPart::LiveMeta, &live);
    }

    /// Hands the room over: the mixer that listeners hear continues until the other one produces media.
    fn hand_over(&mut self, mixer: usize) {
        let (view, epoch) = (self.view(), Epoch(self.epoch + 1));
        let (Some(live), Some(handover)) = (view.live.clone(), handover::begin(&view)) else { return };
        self.epoch += 1;
        let handover = Some(handover).filter(|h| h.mixer_id != module(mixer)).map(Box::new);
        let live = LiveMeta { mixer_id: module(mixer), epoch, handover, ..live.value };
        self.put(RoomPart::LiveMeta, &live);
    }

    pub fn stop(&mut self) {
        if let Some(live) = self.view().live {
            self.put(RoomPart::LiveMeta, &LiveMeta { status: LiveStatus::Removing, ..live.value });
        }
    }

    fn cleanup(&mut self) {
        let view = self.view();
        let removing = view.live.is_some_and(|l| l.status == LiveStatus::Removing);
        if removing && view.janus.is_none() && view.mixer.is_none() {
            self.remove(RoomPart::LiveMeta);
        }
    }

    fn deliver(&mut self, node: usize) {
        let (view, revision) = (self.view(), self.revision);
        self.januses[node].0.observe_revision(revision);
        self.januses[node].2 = view.clone();
        self.mixers[node].0.observe_revision(revision);
        self.mixers[node].2 = view;
    }

    /// Runs one effect of a janus node. Returns true if there was one.
    fn run_janus(&mut self, node: usize, luck: Luck) -> bool {
        let now = self.now;
        let (machine, _, view) = &mut self.januses[node];
        machine.look(view);
        let effect = match machine.plan(view, now, UnixMs(0)) {
            Plan::Do { effect, reason } => {
                assert!(!reason.is_empty());
                effect
            }
            Plan::Wait { reason, .. } => {
                assert!(!reason.is_empty(), "every wait has a reason");
                return false;
            }
            Plan::Finished => return false,
        };
        let unanswered = self.unanswered(&effect);
        let outcome = match luck {
            Luck::Works => self.janus_effect(node, effect),
            Luck::Refused => janus_room::Outcome::Failed(Failure::Refused("no".into())),
            Luck::Timeout { happened } => {
                if happened {
                    self.janus_effect(node, effect);
                }
                unanswered
            }
            Luck::Late { ms } => {
                self.next_id += 1;
                self.januses[node].1.later(effect, self.next_id, now + Duration::from_millis(ms.into()));
                unanswered
            }
        };
        self.januses[node].0.done(outcome, now, 0.5);
        true
    }

    /// Returns the outcome of an effect that gets no answer. For a create, it contains the number that the
    /// room would get now.
    fn unanswered(&self, effect: &janus_room::Effect) -> janus_room::Outcome {
        let why = String::from("timeout");
        match effect {
            janus_room::Effect::Create { again, .. } => {
                let janus_room_id = again.unwrap_or(self.next_id + 1);
                janus_room::Outcome::Unanswered { janus_room_id, why }
            }
            _ => janus_room::Outcome::Failed(Failure::Unknown(why)),
        }
    }

    fn janus_effect(&mut self, node: usize, effect: janus_room::Effect) -> janus_room::Outcome {
        use janus_room::{Effect, Outcome};
        self.next_id += 1;
        match effect {
            Effect::WriteKey { state, live_revision, key_revision } => {
                let fits = self.fits(live_revision, RoomPart::Janus, key_revision);
                let written = fits.then(|| self.put(RoomPart::Janus, &state));
                Outcome::Key { value: Some(state), outcome: written_or_superseded(written) }
            }
            Effect::DeleteKey { key_revision } => {
                let fits = self.revision_of(RoomPart::Janus) == key_revision;
                let written = fits.then(|| self.remove(RoomPart::Janus));
                Outcome::Key { value: None, outcome: written_or_superseded(written) }
            }
            effect => self.januses[node].1.run(effect, self.next_id),
        }
    }

    fn fits(&self, live_revision: i64, part: RoomPart, key_revision: i64) -> bool {
        self.revision_of(RoomPart::LiveMeta) == live_revision && self.revision_of(part) == key_revision
    }

    fn run_process(&mut self, node: usize, luck: Luck) -> bool {
        let now = self.now;
        let (machine, _, view) = &mut self.mixers[node];
        machine.look(view, now);
        let effect = match machine.plan_process(view, now) {
            Plan::Do { effect, .. } => effect,
            Plan::Wait { reason, .. } => {
                assert!(!reason.is_empty(), "every wait has a reason");
                return false;
            }
            Plan::Finished => return false,
        };
        if effect == (ProcessEffect::EndStream { over: true }) {
            let (nonce, view) = (self.mixers[node].1.resources.nonce.clone(), self.view());
            let goes_on = view.is_on_air() && view.live.map(|l| l.value.nonce) == nonce;
            assert!(!goes_on, "the broadcast continues, but its listeners are told that it is over");
        }
        let outcome = match (&effect, luck) {
            (ProcessEffect::Spawn { .. }, Luck::Refused | Luck::Timeout { .. }) => {
                ProcessOutcome::Failed(Failure::Refused("fork failed".into()))
            }
            _ => self.mixers[node].1.run(effect, now, self.ceiling_seen),
        };
        self.mixers[node].0.process_done(outcome, now, 0.5);
        true
    }

    fn run_store(&mut self, node: usize, luck: Luck) -> bool {
        let now = self.now;
        let (machine, _, view) = &mut self.mixers[node];
        machine.look(view, now);
        let effect = match machine.plan_store(view, now) {
            Plan::Do { effect, .. } => effect,
            Plan::Wait { reason, .. } => {
                assert!(!reason.is_empty(), "every wait has a reason");
                return false;
            }
            Plan::Finished => return false,
        };
        let happens = matches!(luck, Luck::Works | Luck::Timeout { happened: true });
        let done = if happens { Some(self.store_effect(&effect)) } else { None };
        let outcome = match (luck, done) {
            (Luck::Works, Some(outcome)) => outcome,
            (Luck::Refused, _) => WriteOutcome::Failed(Failure::Refused("no".into())),
            _ => WriteOutcome::Failed(Failure::Unknown("timeout".into())),
        };
        let (machine, world, _) = &mut self.mixers[node];
        machine.store_done(effect, outcome, now, 0.5);
        world.resources.ceiling = machine.ceiling().or(world.resources.ceiling);
        true
    }

    fn store_effect(&mut self, effect: &StoreEffect) -> WriteOutcome {
        let written = match effect {
            StoreEffect::Claim { live_revision, key, numbers } => self.claim(*live_revision, key, numbers),
            StoreEffect::DeleteKey { key_revision } => {
                let fits = self.revision_of(RoomPart::Mixer) == *key_revision;
                fits.then(|| self.remove(RoomPart::Mixer))
            }
            StoreEffect::Release { exact, key_revision } => {
                let fits = self.revision_of(RoomPart::Sequence) == *key_revision;
                if fits {
                    let highest = self.published.last().map_or(0, |n| n + 1);
                    assert!(exact.ceiling >= highest, "released a number that was published");
                    self.ceiling_seen = exact.ceiling;
                }
                fits.then(|| self.put(RoomPart::Sequence, exact))
            }
        };
        written_or_superseded(written)
    }

    /// Writes the mixer key and the reservation, if there are any, in one transaction. Returns its revision;
    /// `None` if a condition does not hold, so nothing was written.
    fn claim(
        &mut self,
        live_revision: i64,
        key: &Option<KeyClaim>,
        numbers: &Option<Reservation>,
    ) -> Option<i64> {
        let key_fits = key.as_ref().is_none_or(|k| self.fits(live_revision, RoomPart::Mixer, k.key_revision));
        let numbers_fit =
            numbers.as_ref().is_none_or(|n| self.fits(live_revision, RoomPart::Sequence, n.key_revision));
        if !key_fits || !numbers_fit {
            return None;
        }
        self.revision += 1;
        if let Some(key) = key {
            self.put_along(RoomPart::Mixer, &key.state);
        }
        if let Some(numbers) = numbers {
            let ceiling = numbers.ceiling.ceiling;
            assert!(ceiling > self.ceiling_seen, "the ceiling only rises while on air");
            self.ceiling_seen = ceiling;
            self.put_along(RoomPart::Sequence, &numbers.ceiling);
        }
        Some(self.revision)
    }

    /// Lets FFmpeg deliver a fragment, which here is a whole segment. Returns true if it is the first audio
    /// of an epoch and the mixer does not publish yet: the machine may then have something to write.
    fn fragment(&mut self, node: usize) -> bool {
        let now = self.now;
        let live = self.view().live.filter(|live| live.status == LiveStatus::OnAir);
        let heard = live.filter(|live| live.mixer_id == module(node)).map(|live| live.epoch);
        let (machine, world, _) = &mut self.mixers[node];
        if world.process.is_none() || world.dying {
            return false;
        }
        let Some(next) = &mut world.open else { return machine.warm(now) };
        if heard == world.resources.port.map(|(_, epoch)| epoch) {
            let highest = self.published.last().copied();
            assert!(highest < Some(next.ceiling), "listeners are sent back from {highest:?} to {next:?}");
        }
        assert!(self.published.insert(next.ceiling), "number {} published twice", next.ceiling);
        next.ceiling += 1;
        machine.produced(now);
        machine.published(*next);
        false
    }

    fn exit(&mut self, node: usize, bind: bool) {
        let now = self.now;
        let (machine, world, _) = &mut self.mixers[node];
        let Some(rtp) = world.process.take() else { return };
        let exit = if bind && !world.dying { Exit::BindFailed } else { Exit::Other };
        world.dying = false;
        if exit == Exit::BindFailed {
            world.pool.quarantine(rtp.port, now + Duration::from_secs(5));
            world.resources.port = None;
        }
        machine.exited(exit, "died", now, 0.5);
    }

    fn restart_janus(&mut self, node: usize) {
        let (machine, world, _) = &mut self.januses[node];
        *world = JanusWorld::default();
        machine.unlinked();
        machine.linked(Some(Vec::new()));
    }

    fn restart_mixer(&mut self, node: usize) {
        self.mixers[node].1 = mixer_world(node);
        self.mixers[node].0 = mixer_room(node);
        self.deliver(node);
    }

    /// Replaces the mixer actor. The process ends with the incarnation. Ports and stream go to the next
    /// incarnation.
    fn replace_mixer_actor(&mut self, node: usize) {
        let (machine, world, view) = &mut self.mixers[node];
        (world.process, world.dying) = (None, false);
        let left = world.left();
        *machine = mixer_room(node);
        let port = world.resources.port.map(|(rtp, epoch)| (rtp, epoch, self.now));
        if !machine.inherit(port, left, view) {
            (world.open, world.resources.nonce) = (None, None);
        }
    }

    /// Runs without faults: delivers and carries out everything until nothing changes.
    pub fn settle(&mut self) {
        let mut moved = true;
        for _ in 0..400 {
            // While everything waits, time advances faster, but not beyond a watchdog.
            self.pass(Duration::from_millis(if moved { 500 } else { 1500 }));
            self.cleanup();
            moved = false;
            for node in 0..MODULES {
                if self.mixers[node].1.dying {
                    self.exit(node, false);
                }
                self.deliver(node);
                moved |= self.run_janus(node, Luck::Works);
                moved |= self.run_process(node, Luck::Works);
                moved |= self.run_store(node, Luck::Works);
                let fed = self.mixers[node].1.process.is_some_and(|rtp| self.feeds(rtp) > 0);
                moved |= fed && self.fragment(node);
            }
            let waiting = self.mixers.iter().any(|(m, ..)| m.retry_due(self.now).is_some())
                || self.januses.iter().any(|(machine, _, view)| {
                    // A forwarded room is checked at intervals forever, so its wait does not count.
                    let plan = machine.plan(view, self.now, UnixMs(0));
                    matches!(plan, Plan::Wait { reason, until: Some(_) } if !reason.starts_with("forwarding"))
                });
            if !moved && !waiting {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn feeds(&self, rtp: MediaAddr) -> usize {
        let rooms = self.januses.iter().flat_map(|(_, w, _)| w.rooms.values());
        rooms.flat_map(|(_, f)| f).filter(|f| f.target == rtp).count()
    }

    pub fn check(&self) {
        let view = self.view();
        let janus_rooms: usize = self.januses.iter().map(|(_, w, _)| w.rooms.len()).sum();
        let processes = self.mixers.iter().filter(|(_, w, _)| w.process.is_some()).count();
        let ports: usize = self.mixers.iter().map(|(_, w, _)| w.pool.taken()).sum();
        if let Some(live) = view.live.clone().filter(|l| l.status == LiveStatus::OnAir) {
            assert_eq!((janus_rooms, processes, ports), (1, 1, 1), "exactly one of each on air");
            let (janus, mixer) = (view.janus.expect("janus key"), view.mixer.expect("mixer key"));
            assert_eq!((janus.epoch, mixer.epoch), (live.epoch, live.epoch));
            assert_eq!(janus.status, JanusStatus::Forwarding);
            assert_eq!((&janus.id, &mixer.id), (&live.janus_id, &live.mixer_id));
            let (_, janus_world, _) = self.januses.iter().find(|(_, w, _)| !w.rooms.is_empty()).unwrap();
            let (_, forwarders) = &janus_world.rooms[&janus.janus_room_id];
            assert_eq!(forwarders.as_slice(), &[janus.forwarder.unwrap()], "exactly one forwarder");
            assert_eq!(forwarders[0].target, mixer.rtp);
        } else {
            assert_eq!((janus_rooms, processes, ports), (0, 0, 0), "nothing is left of a removed room");
            assert!(view.janus.is_none() && view.mixer.is_none() && view.live.is_none());
        }
    }
}

/// Creates a mixer. No two mixers have a port in common.
fn mixer_world(node: usize) -> MixerWorld {
    let first = 20_000 + 100 * node as u16;
    MixerWorld::new(PortPool::new(first, first + 8, 0.0))
}

fn written_or_superseded(written: Option<i64>) -> WriteOutcome {
    written.map_or(WriteOutcome::Superseded, |revision| WriteOutcome::Written { revision })
}
