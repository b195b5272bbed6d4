//! Janus node, as `actors::janus` runs it: its Janus, the link to it, and a machine per room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::beat::Beat;
use super::janus_world::JanusWorld;
use super::node::{Answer, Requester, StoreRequest, TimedPart};
use super::world::{Event, Input, JanusCall, ProcessId, World, ms};
use super::{backoff, written};
use crate::domain::ids::RoomId;
use crate::domain::janus_room::{Effect, FoundRoom, JanusRoom, Outcome, concerns};
use crate::domain::keys::ModuleKind;
use crate::domain::model::{Health, JanusState};
use crate::domain::plan::{Failure, Plan};
use crate::domain::view::RoomView;
use crate::domain::vouched::rtp_refusal;
use crate::rooms::writes;

/// Time after which a request to Janus without an answer fails.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct JanusSide {
    pub beat: Beat,
    /// Rooms of the Janus instance, which outlive the node that controls it.
    pub worlds: BTreeMap<RoomId, JanusWorld>,
    pub actors: BTreeMap<RoomId, JanusActor>,
    /// True while the Janus instance runs.
    pub runs: bool,
    /// True once the rooms of the Janus instance were listed over this connection.
    up: bool,
    connected: bool,
    pub connection: u64,
}

pub struct JanusActor {
    number: u64,
    machine: JanusRoom,
    view: Arc<RoomView>,
    busy: bool,
}

impl JanusSide {
    pub fn new(worlds: BTreeMap<RoomId, JanusWorld>, connection: u64) -> Self {
        let (beat, actors) = (Beat::new(Health::Unhealthy), BTreeMap::new());
        Self { beat, worlds, actors, runs: true, up: false, connected: false, connection }
    }
}

impl World {
    /// Informs the room's actor of a change. Creates an actor for a room that is wanted and has none.
    pub fn janus_changed(&mut self, n: usize, room: &RoomId, whole: bool) {
        let node = &mut self.nodes[n];
        let (as_of, view, modules) = (node.as_of(), node.view(room), node.directory.modules());
        let wanted = concerns(&view, &node.id);
        let Some(side) = &mut node.janus else { return };
        match side.actors.get_mut(room) {
            Some(actor) => {
                actor.view = view;
                let mixer = actor.view.mixer.as_ref();
                actor.machine.vouched(mixer.and_then(|mixer| rtp_refusal(mixer, &modules)));
                if whole {
                    actor.machine.observe_revision(as_of);
                }
                self.step_janus(n, room);
            }
            // The room was not in the list of the last connection and was not created since, so Janus does
            // not have it.
            None if side.up && wanted => self.ensure_janus(n, room, Some(Vec::new())),
            None => {}
        }
    }

    fn ensure_janus(&mut self, n: usize, room: &RoomId, found: Option<Vec<FoundRoom>>) {
        let (number, incarnation) = (self.number(), self.nodes[n].incarnation());
        let node = &mut self.nodes[n];
        let (as_of, view) = (node.as_of(), node.view(room));
        let mut machine = JanusRoom::new(node.id.clone(), incarnation, backoff());
        machine.observe_revision(as_of);
        let modules = node.directory.modules();
        machine.vouched(view.mixer.as_ref().and_then(|mixer| rtp_refusal(mixer, &modules)));
        machine.linked(found);
        let Some(side) = &mut node.janus else { return };
        side.actors.insert(room.clone(), JanusActor { number, machine, view, busy: false });
        self.step_janus(n, room);
    }

    pub fn step_janus(&mut self, n: usize, room: &RoomId) {
        let (now, wall) = (self.now, self.wall());
        let node = &mut self.nodes[n];
        let view = node.view(room);
        let Some(side) = &mut node.janus else { return };
        let connection = side.connection;
        let Some(actor) = side.actors.get_mut(room).filter(|actor| !actor.busy) else { return };
        let (number, up) = (actor.number, side.up);
        actor.machine.look(&actor.view);
        match actor.machine.plan(&actor.view, now, wall) {
            Plan::Wait { reason, until } => {
                assert!(!reason.is_empty(), "every wait has a reason");
                if let Some(until) = until {
                    self.wake(n, TimedPart::Janus(room.clone()), until);
                }
            }
            Plan::Finished if concerns(&view, &node.id) => {}
            Plan::Finished => drop(side.actors.remove(room)),
            Plan::Do { effect, .. } => {
                actor.busy = true;
                match effect {
                    Effect::WriteKey { state, live_revision, key_revision } => {
                        let txn = writes::janus_key(room, &state, live_revision, key_revision);
                        self.ask(
                            n,
                            Requester::JanusKey(room.clone(), number, Some(state)),
                            StoreRequest::Txn(txn),
                        );
                    }
                    Effect::DeleteKey { key_revision } => {
                        let txn = writes::janus_key_gone(room, key_revision);
                        self.ask(n, Requester::JanusKey(room.clone(), number, None), StoreRequest::Txn(txn));
                    }
                    effect => {
                        let call = JanusCall { room: room.clone(), actor: number, connection, effect };
                        let (to, delay) = (self.to(n), if up { self.random.ms(1..15) } else { ms(1) });
                        self.after(delay, Event::Janus(to, call));
                    }
                }
            }
        }
    }

    /// Handles a call that reaches Janus, or is too late because Janus or the connection has ended.
    pub fn at_janus(&mut self, to: ProcessId, call: JanusCall) {
        let JanusCall { room, actor, connection, effect } = call;
        self.fresh += 1;
        let fresh = self.fresh;
        let luck = if self.calm { 0.0 } else { self.random.unit() };
        let due = self.now + self.random.ms(100..25_000);
        let Some(side) = self.nodes[to.node].janus.as_mut() else { return };
        let unanswered = unanswered(&effect, fresh);
        let name = format!("{effect:?}");
        let (outcome, delay) = if side.connection != connection || !side.runs {
            (unanswered, ms(5))
        } else {
            let world = side.worlds.entry(room.clone()).or_default();
            world.land(self.now);
            match luck {
                0.0..0.88 => (world.run(effect, fresh), self.random.ms(1..10)),
                0.88..0.91 => (Outcome::Failed(Failure::Refused("no".into())), ms(5)),
                0.91..0.94 => {
                    world.run(effect, fresh);
                    (unanswered, PATIENCE)
                }
                0.94..0.97 => (unanswered, PATIENCE),
                _ => {
                    world.later(effect, fresh, due);
                    (unanswered, PATIENCE)
                }
            }
        };
        self.note(|w| format!("{}'s Janus {room} {name} -> {outcome:?}", w.nodes[to.node].id));
        self.after(delay, Event::Node(to, Input::JanusDone { room, actor, connection, outcome }));
    }

    pub fn janus_done(&mut self, n: usize, room: &RoomId, number: u64, connection: u64, outcome: Outcome) {
        let random = self.random.unit();
        let now = self.now;
        let node = &mut self.nodes[n];
        let (as_of, view, modules) = (node.as_of(), node.view(room), node.directory.modules());
        let Some(side) = &mut node.janus else { return };
        // As in the real Janus client, outstanding requests fail with these errors when a connection ends.
        let outcome = match outcome {
            Outcome::Created { janus_room_id, .. } if side.connection != connection => {
                Outcome::Unanswered { janus_room_id, why: "the connection ended".into() }
            }
            _ if side.connection != connection => Outcome::Failed(Failure::Unknown("it ended".into())),
            outcome => outcome,
        };
        let Some(actor) = side.actors.get_mut(room).filter(|actor| actor.number == number) else { return };
        actor.busy = false;
        actor.machine.done(outcome, now, random);
        actor.view = view;
        actor.machine.vouched(actor.view.mixer.as_ref().and_then(|mixer| rtp_refusal(mixer, &modules)));
        actor.machine.observe_revision(as_of);
        self.step_janus(n, room);
    }

    pub fn janus_key_done(
        &mut self,
        n: usize,
        room: &RoomId,
        number: u64,
        value: Option<JanusState>,
        answer: Answer,
    ) {
        let connection = self.nodes[n].janus.as_ref().map_or(0, |side| side.connection);
        let outcome = Outcome::Key { value, outcome: written(answer) };
        self.janus_done(n, room, number, connection, outcome);
    }

    /// Ends the link. `dies`: Janus ends too, and loses all rooms.
    pub fn janus_down(&mut self, n: usize, dies: bool) {
        let back = if dies { self.random.ms(200..3_000) } else { self.random.ms(50..1_500) };
        let carried_out = self.random.chance(0.5);
        let number = self.number();
        let Some(side) = &mut self.nodes[n].janus else { return };
        for world in side.worlds.values_mut() {
            match dies {
                true => *world = JanusWorld::default(),
                false => end_connection(world, carried_out),
            }
        }
        side.connection = number;
        (side.up, side.connected) = (false, false);
        side.actors.values_mut().for_each(|actor| actor.machine.unlinked());
        self.note(|w| format!("{}'s Janus {}", w.nodes[n].id, if dies { "dies" } else { "loses its link" }));
        self.feel(n, ModuleKind::Janus, Health::Unhealthy);
        self.input_after(back, n, Input::JanusBack);
    }

    pub fn janus_back(&mut self, n: usize) {
        if let Some(side) = &mut self.nodes[n].janus {
            side.connected = true;
        }
        self.janus_link_up(n);
    }

    /// Compares the rooms of the Janus instance with the wanted rooms, once both are known.
    pub fn janus_link_up(&mut self, n: usize) {
        let (now, node) = (self.now, &mut self.nodes[n]);
        let listed = node.rooms_listed();
        let (directory, me) = (node.directory.clone(), node.id.clone());
        let Some(side) = &mut node.janus else { return };
        if !side.connected || side.up || !listed {
            return;
        }
        side.up = true;
        side.worlds.values_mut().for_each(|world| world.land(now));
        let mut found: BTreeMap<RoomId, Vec<FoundRoom>> =
            side.worlds.iter().map(|(room, world)| (room.clone(), world.found())).collect();
        found.retain(|_, found| !found.is_empty());
        for (room, actor) in &mut side.actors {
            actor.machine.linked(Some(found.remove(room).unwrap_or_default()));
        }
        let known: Vec<RoomId> = side.actors.keys().cloned().collect();
        let rooms = directory.rooms();
        let wanted = rooms.iter().filter(|(_, view)| concerns(view, &me)).map(|(room, _)| room.clone());
        let new: std::collections::BTreeSet<RoomId> =
            wanted.chain(found.keys().cloned()).filter(|room| !known.contains(room)).collect();
        known.iter().for_each(|room| self.janus_changed(n, room, true));
        for room in new {
            let found = found.remove(&room).unwrap_or_default();
            self.ensure_janus(n, &room, Some(found));
        }
        self.feel(n, ModuleKind::Janus, Health::Healthy);
    }

    /// Makes the actor panic, so that its state is lost.
    pub fn janus_actor_panics(&mut self, n: usize, room: &RoomId) {
        let side = self.nodes[n].janus.as_ref();
        if side.is_some_and(|side| side.up && side.actors.contains_key(room)) {
            self.note(|w| format!("{}: the janus room's actor of {room} panics", w.nodes[n].id));
            self.ensure_janus(n, room, None);
        }
    }
}

fn unanswered(effect: &Effect, fresh: u32) -> Outcome {
    match effect {
        Effect::Create { again, .. } => {
            Outcome::Unanswered { janus_room_id: again.unwrap_or(fresh), why: "timeout".into() }
        }
        _ => Outcome::Failed(Failure::Unknown("timeout".into())),
    }
}

/// Ends the connection to Janus. Late create requests of the connection are carried out now if
/// `carried_out`, otherwise never.
pub fn end_connection(world: &mut JanusWorld, carried_out: bool) {
    match carried_out {
        true => world.land(Duration::MAX),
        false => world.late.clear(),
    }
}
