//! Listener nodes of the simulation. They run the machines of rooms that are mixed elsewhere, as
//! `actors::relay` does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::node::TimedPart;
use super::world::{Input, World, ms};
use crate::domain::handover::serving_mixer;
use crate::domain::ids::{Epoch, Nonce, RoomId};
use crate::domain::plan::Plan;
use crate::domain::relay_room::{Fetch, Outcome, RelayRoom};
use crate::domain::restart::Backoff;
use crate::domain::view::RoomView;

/// Number of times that a blocking reload checks for the awaited part.
const LOOKS: u32 = 4;

#[derive(Default)]
pub struct Relays(pub BTreeMap<RoomId, Relay>);

pub struct Relay {
    machine: RelayRoom,
    view: Arc<RoomView>,
    under_way: Option<u64>,
    /// Highest epoch followed.
    pub followed: Epoch,
    /// Last position shown, per broadcast.
    pub shown: BTreeMap<String, (u64, u32)>,
    pub shown_at: Duration,
}

impl World {
    pub fn relay_changed(&mut self, n: usize, room: &RoomId) {
        let node = &mut self.nodes[n];
        let (view, modules) = (node.view(room), node.directory.modules());
        let Some(relays) = &mut node.relays else { return };
        let relay = relays.0.entry(room.clone()).or_insert_with(|| Relay {
            machine: RelayRoom::new(Backoff { first: ms(50), max: ms(1000) }),
            view: Arc::default(),
            under_way: None,
            followed: Epoch(0),
            shown: BTreeMap::new(),
            shown_at: Duration::ZERO,
        });
        relay.view = view;
        if relay.machine.look(&relay.view, &modules) {
            relay.under_way = None;
        }
        self.step_relay(n, room);
    }

    pub fn step_relay(&mut self, n: usize, room: &RoomId) {
        let now = self.now;
        let Some(relay) = self.nodes[n].relays.as_mut().and_then(|relays| relays.0.get_mut(room)) else {
            return;
        };
        if let Some(followed) = relay.machine.following() {
            let before = std::mem::replace(&mut relay.followed, followed.epoch);
            assert!(
                before <= followed.epoch,
                "listeners of {room} went from epoch {before} to {}",
                followed.epoch
            );
        }
        if relay.under_way.is_some() {
            return;
        }
        match relay.machine.plan(&relay.view, now) {
            Plan::Do { effect, .. } => {
                let number = self.number();
                let delay = self.random.ms(1..10);
                if let Some(relays) = &mut self.nodes[n].relays
                    && let Some(relay) = relays.0.get_mut(room)
                {
                    relay.under_way = Some(number);
                }
                let fetched = Input::Fetched { room: room.clone(), number, fetch: effect, patience: LOOKS };
                self.input_after(delay, n, fetched);
            }
            Plan::Wait { until: Some(until), .. } => self.wake(n, TimedPart::Relay(room.clone()), until),
            Plan::Wait { .. } | Plan::Finished => {}
        }
    }

    /// Handles a request at the mixer: a blocking reload.
    pub fn at_mixer(&mut self, n: usize, room: RoomId, number: u64, fetch: Fetch, patience: u32) {
        let relay = self.nodes[n].relays.as_ref().and_then(|relays| relays.0.get(&room));
        if relay.is_none_or(|relay| relay.under_way != Some(number)) {
            return;
        }
        let outcome = match self.served(&room, &fetch) {
            Outcome::Playlist { next, ended: false } if fetch.at.is_some_and(|at| next <= at) => {
                if patience > 0 {
                    let again = Input::Fetched { room, number, fetch, patience: patience - 1 };
                    return self.input_after(ms(800), n, again);
                }
                Outcome::NotYet
            }
            outcome => outcome,
        };
        let failed = !self.calm && self.random.chance(0.02);
        let outcome = if failed { Outcome::Failed("connection reset".into()) } else { outcome };
        let delay = self.random.ms(1..10);
        self.input_after(delay, n, Input::Got { room, number, fetch, outcome });
    }

    /// Answers as `delivery::origin` does.
    fn served(&self, room: &RoomId, fetch: &Fetch) -> Outcome {
        let mixer = self.nodes.iter().find(|node| node.id == fetch.from.mixer);
        let Some((node, side)) = mixer.filter(|n| n.is_up()).and_then(|n| Some((n, n.mixer.as_ref()?)))
        else {
            return Outcome::Failed("no answer".into());
        };
        let view = node.view(room);
        let world = side.worlds.get(room);
        let asked = |nonce: &Nonce| *nonce == fetch.from.nonce;
        let open = world.and_then(|world| world.resources.nonce.as_ref().zip(world.open));
        let open = open.filter(|(nonce, _)| asked(nonce));
        let here = view.live.as_ref().filter(|_| serving_mixer(&view) == Some(&node.id));
        if let Some(live) = here {
            return match open.filter(|(nonce, _)| **nonce == live.nonce) {
                Some((_, next)) => Outcome::Playlist { next: (next.ceiling, 0), ended: false },
                None => Outcome::NotYet,
            };
        }
        let ended = side.ended.get(room).filter(|(of, .., until)| asked(of) && self.now < *until);
        match (open, ended) {
            (Some((_, next)), _) => Outcome::Playlist { next: (next.ceiling, 0), ended: false },
            (None, Some((_, next, over, _))) => Outcome::Playlist { next: (*next, 0), ended: *over },
            (None, None) => Outcome::Failed("404".into()),
        }
    }

    pub fn got(&mut self, n: usize, room: &RoomId, number: u64, fetch: &Fetch, outcome: Outcome) {
        let (now, random) = (self.now, self.random.unit());
        self.note(|w| format!("{} hears of {room} from {}: {outcome:?}", w.nodes[n].id, fetch.from.mixer));
        let Some(relay) = self.nodes[n].relays.as_mut().and_then(|relays| relays.0.get_mut(room)) else {
            return;
        };
        if relay.under_way.take_if(|under_way| *under_way == number).is_none() {
            return;
        }
        let next = match &outcome {
            Outcome::Playlist { next, .. } => Some(*next),
            _ => None,
        };
        if relay.machine.done(fetch, outcome, now, random)
            && let Some(next) = next
        {
            let Nonce(live) = &fetch.from.nonce;
            let before = relay.shown.insert(live.clone(), next).unwrap_or_default();
            assert!(before <= next, "listeners of {room} were shown {before:?} and then {next:?}");
            relay.shown_at = now;
        }
        self.step_relay(n, room);
    }

    /// Checks that this listener node follows the current broadcast and shows new parts.
    ///
    /// # Errors
    /// Description of the difference.
    pub fn plays(&self, n: usize, room: &RoomId, view: &RoomView) -> Result<(), String> {
        let Some(relays) = &self.nodes[n].relays else { return Ok(()) };
        let Some(relay) = relays.0.get(room) else { return Err(format!("{n} does not know {room}")) };
        let live = view.live.as_ref().ok_or("not live")?;
        let followed = relay.machine.following().ok_or(format!("{n} follows nobody for {room}"))?;
        if followed.mixer != live.mixer_id || followed.nonce != live.nonce {
            return Err(format!("{n} follows {} for {room}", followed.mixer));
        }
        match relay.shown_at + Duration::from_secs(3) < self.now {
            true => Err(format!("{n} has shown nothing new of {room}")),
            false => Ok(()),
        }
    }
}
