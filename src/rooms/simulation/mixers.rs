//! Mixer node, as `actors::mixer` runs it: a machine per room, its FFmpeg, its ports, its stream.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::beat::Beat;
use super::mixer_world::MixerWorld;
use super::node::{Answer, Requester, StoreRequest, TimedPart};
use super::world::{Input, World, ms};
use super::{backoff, written};
use crate::domain::ids::{Epoch, MediaAddr, Nonce, RoomId};
use crate::domain::mixer_room::{
    Exit, MixerPolicy, MixerRoom, ProcessEffect, ProcessOutcome, StoreEffect, concerns,
};
use crate::domain::model::{Health, RtpRange};
use crate::domain::plan::{Failure, Plan};
use crate::domain::ports::PortPool;
use crate::domain::restart::Budget;
use crate::domain::view::RoomView;
use crate::rooms::writes;

/// Interval between two fragments; each is a segment here.
const FRAGMENT: Duration = Duration::from_millis(900);
/// Time for which an ended stream is still served.
const RETAIN: Duration = Duration::from_secs(30);
/// Ports per room and node: enough that no port is used twice in a history.
const PORTS: u16 = 60;

pub struct MixerSide {
    pub beat: Beat,
    pub worlds: BTreeMap<RoomId, MixerWorld>,
    pub actors: BTreeMap<RoomId, MixerActor>,
    /// Streams that have ended and are still served. Each has the nonce of the broadcast, the next number,
    /// true if the broadcast is over, and the time until which the stream is served.
    pub ended: BTreeMap<RoomId, (Nonce, u64, bool, Duration)>,
    /// Time until which FFmpeg crashes on this node.
    pub crashing: Duration,
    /// Number of the FFmpeg process that delivers nothing.
    pub stuck: Option<u64>,
    leaving: bool,
}

pub struct MixerActor {
    number: u64,
    machine: MixerRoom,
    view: Arc<RoomView>,
    spawning: bool,
    storing: bool,
    pub process: u64,
}

impl MixerSide {
    pub fn new(node: usize, life: u32, rooms: &[RoomId]) -> Self {
        let worlds = rooms.iter().enumerate().map(|(r, room)| {
            let first = rtp_range(node, rooms.len()).first + 2 * PORTS * r as u16;
            // Begin at a different port from the last process: late packets may still arrive at its ports.
            let begin = f64::from(life * 7 % u32::from(PORTS)) / f64::from(PORTS);
            (room.clone(), MixerWorld::new(PortPool::new(first, first + 2 * PORTS, begin)))
        });
        Self {
            beat: Beat::new(Health::Healthy),
            worlds: worlds.collect(),
            actors: BTreeMap::new(),
            ended: BTreeMap::new(),
            crashing: Duration::ZERO,
            stuck: None,
            leaving: false,
        }
    }
}

/// Returns the RTP addresses of a mixer in a world with this number of rooms.
pub fn rtp_range(node: usize, rooms: usize) -> RtpRange {
    let first = 10_000 + 2 * PORTS * (node * rooms) as u16;
    RtpRange { ip: Ipv4Addr::LOCALHOST.into(), first, last: first + 2 * PORTS * rooms as u16 }
}

pub fn hls_base(node: usize) -> String {
    format!("http://node-{node}:8080")
}

fn policy(node: usize) -> MixerPolicy {
    MixerPolicy {
        backoff: backoff(),
        crashes: Budget { max: 5, window: Duration::from_secs(30) },
        watchdog: Duration::from_secs(2),
        hls_base: hls_base(node),
    }
}

impl World {
    pub fn mixer_changed(&mut self, n: usize, room: &RoomId, whole: bool) {
        let (number, incarnation) = (self.number(), self.nodes[n].incarnation());
        let node = &mut self.nodes[n];
        let (as_of, view) = (node.as_of(), node.view(room));
        let (wanted, me) = (concerns(&view, &node.id), node.id.clone());
        let Some(side) = &mut node.mixer else { return };
        if !side.actors.contains_key(room) {
            if !wanted || side.leaving {
                return;
            }
            let machine = MixerRoom::new(me, incarnation, policy(n));
            let view = Arc::default();
            let actor = MixerActor { number, machine, view, spawning: false, storing: false, process: 0 };
            side.actors.insert(room.clone(), actor);
        }
        let Some(actor) = side.actors.get_mut(room) else { return };
        actor.view = view;
        if whole {
            actor.machine.observe_revision(as_of);
        }
        self.step_mixer(n, room);
    }

    pub fn step_mixer(&mut self, n: usize, room: &RoomId) {
        let now = self.now;
        let mut due = None;
        if let Some(actor) = self.nodes[n].mixer.as_mut().and_then(|side| side.actors.get_mut(room)) {
            actor.machine.look(&actor.view, now);
        }
        for _ in 0..20 {
            let side = self.nodes[n].mixer.as_mut();
            let Some(actor) = side.and_then(|side| side.actors.get_mut(room)).filter(|a| !a.spawning) else {
                break;
            };
            match actor.machine.plan_process(&actor.view, now) {
                Plan::Do { effect, reason } => self.run_process(n, room, effect, &reason),
                Plan::Wait { reason, until } => {
                    assert!(!reason.is_empty(), "every wait has a reason");
                    due = until;
                    break;
                }
                Plan::Finished => break,
            }
        }
        if let Some(due) = due {
            self.wake(n, TimedPart::Mixer(room.clone()), due);
        }
        self.step_mixer_store(n, room);
    }

    fn step_mixer_store(&mut self, n: usize, room: &RoomId) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let wanted = concerns(&node.view(room), &node.id);
        let Some(side) = &mut node.mixer else { return };
        let Some(actor) = side.actors.get_mut(room).filter(|actor| !actor.storing) else { return };
        match actor.machine.plan_store(&actor.view, now) {
            Plan::Do { effect, .. } => {
                actor.storing = true;
                let asker = Requester::MixerStore(room.clone(), actor.number, effect.clone());
                self.ask(n, asker, StoreRequest::Txn(writes::mixer(room, &effect)));
            }
            Plan::Wait { reason, until } => {
                assert!(!reason.is_empty(), "every wait has a reason");
                if let Some(until) = until {
                    self.wake(n, TimedPart::Mixer(room.clone()), until);
                }
            }
            Plan::Finished if wanted && !actor.machine.is_leaving() => {}
            Plan::Finished => {
                side.actors.remove(room);
                let world = &side.worlds[room];
                let left = (world.process, world.open, world.resources.port.is_some());
                assert_eq!(left, (None, None, false), "a mixer's room ends and leaves something behind");
                if side.leaving && side.actors.is_empty() {
                    self.input_after(ms(1), n, Input::Left);
                }
            }
        }
    }

    fn run_process(&mut self, n: usize, room: &RoomId, effect: ProcessEffect, why: &str) {
        let now = self.now;
        self.note(|w| format!("{} mixer {room} {effect:?}: {why}", w.nodes[n].id));
        if effect == (ProcessEffect::EndStream { over: true }) {
            self.judge_end(n, room);
        }
        let ceiling = self.laws.highest_ceiling(room);
        let random = self.random.unit();
        let delay = self.random.ms(30..300);
        let Some(side) = &mut self.nodes[n].mixer else { return };
        let (Some(actor), Some(world)) = (side.actors.get_mut(room), side.worlds.get_mut(room)) else {
            return;
        };
        match effect {
            ProcessEffect::Spawn { epoch, rtp, .. } => {
                actor.spawning = true;
                let actor = actor.number;
                return self.input_after(delay, n, Input::Spawned { room: room.clone(), actor, epoch, rtp });
            }
            ProcessEffect::EndStream { over } => {
                if let Some((open, nonce)) = world.open.zip(world.resources.nonce.clone()) {
                    side.ended.insert(room.clone(), (nonce, open.ceiling, over, now + RETAIN));
                }
            }
            _ => {}
        }
        let killed = matches!(effect, ProcessEffect::Kill { .. }).then_some(actor.process);
        let outcome = world.run(effect, now, ceiling);
        actor.machine.process_done(outcome, now, random);
        if let Some(process) = killed {
            self.input_after(delay, n, Input::Exited { room: room.clone(), process, exit: Exit::Other });
        }
    }

    pub fn spawned(&mut self, n: usize, room: &RoomId, number: u64, epoch: Epoch, rtp: MediaAddr) {
        let (now, random, process) = (self.now, self.random.unit(), self.number());
        let fails = !self.calm && self.random.chance(0.03);
        let Some(side) = &mut self.nodes[n].mixer else { return };
        let crashing = side.crashing > now;
        let Some(actor) = side.actors.get_mut(room).filter(|actor| actor.number == number) else { return };
        let Some(world) = side.worlds.get_mut(room) else { return };
        actor.spawning = false;
        let outcome = match fails {
            true => ProcessOutcome::Failed(Failure::Refused("fork failed".into())),
            false => world.spawn(epoch, rtp),
        };
        actor.process = process;
        let runs = matches!(outcome, ProcessOutcome::Spawned { .. });
        actor.machine.process_done(outcome, now, random);
        if runs {
            self.note(|w| format!("{} mixer {room} FFmpeg runs under epoch {epoch}", w.nodes[n].id));
            self.judge_spawn(n, room, epoch);
            self.input_after(FRAGMENT / 2, n, Input::Fragment { room: room.clone(), process });
            if crashing {
                self.input_after(
                    ms(100),
                    n,
                    Input::Exited { room: room.clone(), process, exit: Exit::Other },
                );
            }
        }
        self.step_mixer(n, room);
    }

    pub fn exited(&mut self, n: usize, room: &RoomId, process: u64, exit: Exit) {
        let (now, random) = (self.now, self.random.unit());
        let Some(side) = &mut self.nodes[n].mixer else { return };
        let Some(actor) = side.actors.get_mut(room).filter(|actor| actor.process == process) else { return };
        let Some(world) = side.worlds.get_mut(room) else { return };
        let Some(rtp) = world.process.take() else { return };
        let exit = if world.dying { Exit::Other } else { exit };
        world.dying = false;
        if exit == Exit::BindFailed {
            world.pool.quarantine(rtp.port, now + Duration::from_secs(5));
            world.resources.port = None;
        }
        actor.machine.exited(exit, "died", now, random);
        self.note(|w| format!("{} mixer {room} FFmpeg is gone: {exit:?}", w.nodes[n].id));
        self.step_mixer(n, room);
    }

    pub fn fragment(&mut self, n: usize, room: &RoomId, process: u64) {
        let now = self.now;
        let long = self.random.chance(0.05);
        let Some(side) = &self.nodes[n].mixer else { return };
        let running = side.worlds.get(room).and_then(|world| world.process.filter(|_| !world.dying));
        let mine = side.actors.get(room).is_some_and(|actor| actor.process == process);
        let Some(rtp) = running.filter(|_| mine) else { return };
        self.input_after(FRAGMENT, n, Input::Fragment { room: room.clone(), process });
        if self.feeds(n, room, rtp) == 0 {
            return;
        }
        let Some(side) = &mut self.nodes[n].mixer else { return };
        if side.stuck == Some(process) {
            return;
        }
        let (Some(actor), Some(world)) = (side.actors.get_mut(room), side.worlds.get_mut(room)) else {
            return;
        };
        let Some(next) = &mut world.open else {
            if actor.machine.warms_up(&actor.view) && actor.machine.warm(now) {
                self.step_mixer(n, room);
            }
            return;
        };
        // Simulate a long time by publishing many fragments at once.
        let room_left = actor.machine.ceiling().map_or(0, |c| c.ceiling.saturating_sub(next.ceiling));
        let many = if long && room_left > 600 { 300 } else { 1 };
        let from = next.ceiling;
        next.ceiling += many;
        let (next, nonce) = (*next, world.resources.nonce.clone());
        actor.machine.produced(now);
        actor.machine.published(next);
        self.judge_published(n, room, nonce, from..next.ceiling);
        self.step_mixer(n, room);
    }

    /// Returns the number of forwarders to this port.
    fn feeds(&self, n: usize, room: &RoomId, rtp: MediaAddr) -> usize {
        let sides = self.nodes.iter().filter_map(|node| node.janus.as_ref()).filter(|side| side.runs);
        let worlds = sides.filter_map(|side| side.worlds.get(room));
        let feeds = worlds.filter(|world| {
            world.rooms.values().any(|(_, forwarders)| forwarders.iter().any(|f| f.target == rtp))
        });
        let feeds = feeds.count();
        assert!(feeds <= 1, "{feeds} Januses feed {room} on {} at {rtp}", self.nodes[n].id);
        feeds
    }

    pub fn mixer_stored(
        &mut self,
        n: usize,
        room: &RoomId,
        number: u64,
        effect: StoreEffect,
        answer: Answer,
    ) {
        let (now, random) = (self.now, self.random.unit());
        let node = &mut self.nodes[n];
        let (as_of, view) = (node.as_of(), node.view(room));
        let Some(side) = &mut node.mixer else { return };
        let Some(actor) = side.actors.get_mut(room).filter(|actor| actor.number == number) else { return };
        actor.storing = false;
        actor.machine.store_done(effect, written(answer), now, random);
        if let Some(world) = side.worlds.get_mut(room) {
            world.resources.ceiling = actor.machine.ceiling().or(world.resources.ceiling);
        }
        actor.view = view;
        actor.machine.observe_revision(as_of);
        self.step_mixer(n, room);
    }

    /// Makes the room's actor panic. FFmpeg ends with the actor; ports and stream go to the actor's next
    /// incarnation.
    pub fn mixer_actor_panics(&mut self, n: usize, room: &RoomId) {
        let (number, incarnation, me) =
            (self.number(), self.nodes[n].incarnation(), self.nodes[n].id.clone());
        let node = &mut self.nodes[n];
        let (as_of, view) = (node.as_of(), node.view(room));
        let Some(side) = &mut node.mixer else { return };
        let (Some(actor), Some(world)) = (side.actors.get_mut(room), side.worlds.get_mut(room)) else {
            return;
        };
        (world.process, world.dying) = (None, false);
        let mut machine = MixerRoom::new(me, incarnation, policy(n));
        machine.observe_revision(as_of);
        let port = world.resources.port.map(|(rtp, epoch)| (rtp, epoch, self.now));
        if !machine.inherit(port, world.left(), &view) {
            (world.open, world.resources.nonce) = (None, None);
        }
        *actor = MixerActor { number, machine, view, spawning: false, storing: false, process: 0 };
        self.note(|w| format!("{}: the mixer room's actor of {room} panics", w.nodes[n].id));
        self.step_mixer(n, room);
    }

    /// Starts the orderly shutdown of a node.
    pub fn leave(&mut self, n: usize) {
        self.note(|w| format!("{} shuts down in order", w.nodes[n].id));
        self.input_after(Duration::from_secs(5), n, Input::Left);
        self.drain_gateway(n);
        let Some(side) = &mut self.nodes[n].mixer else { return };
        side.leaving = true;
        side.actors.values_mut().for_each(|actor| actor.machine.leave());
        let rooms: Vec<RoomId> = side.actors.keys().cloned().collect();
        rooms.iter().for_each(|room| self.step_mixer(n, room));
        if rooms.is_empty() {
            self.input_after(ms(10), n, Input::Left);
        }
    }

    pub fn nonce_open(&self, n: usize, room: &RoomId) -> Option<Nonce> {
        self.nodes[n].mixer.as_ref()?.worlds.get(room)?.resources.nonce.clone()
    }
}
