//! Invariants of every history, checked at every write, every FFmpeg start, every published number, and at
//! the end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::TTL;
use super::node::{Requester, Vital};
use super::world::World;
use crate::domain::failover::{Cause, Eviction};
use crate::domain::handover::outgoing_mixer;
use crate::domain::ids::{Epoch, ModuleId, Nonce, RoomId};
use crate::domain::keys::{self, LEADER, ModulePart, RoomKey, RoomPart};
use crate::domain::mixer_room::StoreEffect;
use crate::domain::model::{JanusStatus, Leader, LiveMeta, SequenceState};
use crate::domain::view::RoomView;
use crate::store::Txn;

/// Time in which every module registers again after a store outage (half a lease TTL).
const SETTLE: Duration = Duration::from_millis(TTL.as_millis() as u64 / 2);

#[derive(Default)]
pub struct Laws {
    /// Number of FFmpeg processes started, of all rooms.
    pub starts: usize,
    pub moves: usize,
    pub connections: usize,
    pub joins: usize,
    /// Modules to which each epoch was assigned; an entry never changes.
    owners: BTreeMap<(RoomId, Epoch), (ModuleId, ModuleId)>,
    newest: BTreeMap<RoomId, Epoch>,
    /// Node on which FFmpeg ran under an epoch.
    ran: BTreeMap<(RoomId, Epoch), usize>,
    /// Number of times that each room was deleted. The sequence numbers of a recreated room start again.
    made: BTreeMap<RoomId, u64>,
    lives: BTreeMap<String, u64>,
    ceilings: BTreeMap<(RoomId, u64), u64>,
    published: BTreeMap<(RoomId, u64), BTreeMap<u64, u64>>,
}

impl Laws {
    fn life_of(&self, room: &RoomId) -> (RoomId, u64) {
        (room.clone(), self.made.get(room).copied().unwrap_or(0))
    }

    pub fn highest_ceiling(&self, room: &RoomId) -> u64 {
        let all = self.ceilings.range((room.clone(), 0)..=(room.clone(), u64::MAX));
        all.map(|(_, ceiling)| *ceiling).max().unwrap_or(0)
    }

    fn last_published(&self, room: &RoomId) -> u64 {
        let all = self.published.get(&self.life_of(room));
        all.and_then(|all| all.last_key_value()).map_or(0, |(_, end)| *end)
    }
}

impl World {
    /// Checks a write whose conditions hold, before it is made.
    pub fn judge_write(&mut self, n: usize, asker: &Requester, txn: &Txn) {
        let me = self.nodes[n].id.clone();
        match asker {
            Requester::JanusKey(room, _, Some(state)) => {
                let live = self.open(room, "janus key");
                assert!(
                    live.janus_id == me && live.epoch == state.epoch,
                    "{me} is superseded and writes {state:?}"
                );
            }
            Requester::JanusKey(room, _, None) => {
                let key = self.store.view(room).janus;
                assert!(key.is_none_or(|key| key.id == me), "{me} deletes another's key of {room}");
            }
            Requester::MixerStore(room, _, effect) => self.judge_mixer(&me, room, effect),
            Requester::Move { order, judged } => {
                self.laws.moves += 1;
                self.judge_guard(&me, txn);
                let vanished = order.leaves.iter().filter(|d| d.cause == Cause::Vanished);
                for Eviction { kind, from, .. } in vanished {
                    let heartbeat = keys::module(*kind, from, ModulePart::Heartbeat);
                    assert!(
                        self.store.get(&heartbeat).is_none(),
                        "{} leaves {from}, which is there",
                        order.room
                    );
                    let early = self.shaken.is_some_and(|at| at <= *judged && *judged < at + SETTLE);
                    assert!(!early, "{} leaves {from} although the store was away just now", order.room);
                }
            }
            Requester::Drained => self.judge_guard(&me, txn),
            _ => {}
        }
    }

    fn judge_guard(&self, me: &ModuleId, txn: &Txn) {
        let leader: Leader = serde_json::from_slice(self.store.get(LEADER).unwrap()).unwrap();
        assert_eq!(leader.id, *me, "a node that is not the leader moves rooms");
        assert!(txn.compares.iter().any(|compare| compare.key == LEADER), "a move without a leader guard");
    }

    fn open(&self, room: &RoomId, what: &str) -> LiveMeta {
        let view = self.store.view(room);
        assert!(view.is_open(), "{what} of {room} written while it is neither on air nor backstage");
        view.live.unwrap().value
    }

    fn owned(&self, room: &RoomId, what: &str) -> LiveMeta {
        let view = self.store.view(room);
        assert!(view.is_on_air(), "{what} of {room} written while it is not on air");
        view.live.unwrap().value
    }

    fn judge_mixer(&mut self, me: &ModuleId, room: &RoomId, effect: &StoreEffect) {
        let view = self.store.view(room);
        match effect {
            StoreEffect::Claim { key, numbers, .. } => {
                let live = self.owned(room, "mixer claim");
                if let Some(key) = key {
                    let mine = live.mixer_id == *me && live.epoch == key.state.epoch;
                    assert!(mine, "{me} is superseded and writes {:?}", key.state);
                }
                if let Some(numbers) = numbers {
                    // In a handover, the successor may already be ready. Until it has reserved numbers, only
                    // the old mixer uses the numbers that it reserves here.
                    let handing_over = live.handover.is_some_and(|handover| handover.mixer_id == *me);
                    assert!(live.mixer_id == *me || handing_over, "{me} is superseded and takes numbers");
                    let stored = view.sequence.as_ref().map_or(0, |s| s.ceiling);
                    assert!(numbers.ceiling.ceiling > stored, "the ceiling only rises while on air");
                    let next = self.laws.last_published(room);
                    assert!(
                        numbers.ceiling.ceiling > next,
                        "{room}: the ceiling is below what was published"
                    );
                }
            }
            StoreEffect::DeleteKey { .. } => {
                assert!(view.mixer.is_none_or(|key| key.id == *me), "{me} deletes another's key of {room}");
            }
            StoreEffect::Release { exact, .. } => {
                let next = self.laws.last_published(room);
                assert!(exact.ceiling >= next, "{me} gives back numbers of {room} that were published");
            }
        }
    }

    /// Checks the contents of the store after a write.
    pub fn judge_changes(&mut self, from: usize) {
        for change in &self.store.log[from..] {
            let Some((room, RoomKey::Part(part))) = keys::parse_room(&change.key) else { continue };
            match (part, &change.value) {
                (RoomPart::LiveMeta, Some(json)) => {
                    let live: LiveMeta = serde_json::from_slice(json).unwrap();
                    let (owners, life) = ((live.janus_id, live.mixer_id), self.laws.life_of(&room).1);
                    self.laws.lives.entry(live.nonce.0).or_insert(life);
                    let known = self.laws.owners.get(&(room.clone(), live.epoch));
                    if let Some(known) = known {
                        assert_eq!(*known, owners, "{room} has two owners under epoch {}", live.epoch);
                        continue;
                    }
                    let newest = self.laws.newest.insert(room.clone(), live.epoch).unwrap_or_default();
                    assert!(newest < live.epoch, "{room}: epoch {} after {newest}", live.epoch);
                    self.laws.owners.insert((room, live.epoch), owners);
                }
                (RoomPart::Sequence, Some(json)) => {
                    let sequence: SequenceState = serde_json::from_slice(json).unwrap();
                    let ceiling = self.laws.ceilings.entry(self.laws.life_of(&room)).or_default();
                    *ceiling = sequence.ceiling.max(*ceiling);
                }
                (RoomPart::Meta, None) => *self.laws.made.entry(room).or_default() += 1,
                _ => {}
            }
        }
    }

    pub fn judge_spawn(&mut self, n: usize, room: &RoomId, epoch: Epoch) {
        self.laws.starts += 1;
        let before = *self.laws.ran.entry((room.clone(), epoch)).or_insert(n);
        assert_eq!(before, n, "FFmpeg of {room} runs on two nodes under epoch {epoch}");
        let owners = &self.laws.owners[&(room.clone(), epoch)];
        assert_eq!(owners.1, self.nodes[n].id, "FFmpeg of {room} runs where epoch {epoch} is not");
    }

    pub fn judge_published(&mut self, n: usize, room: &RoomId, live: Option<Nonce>, numbers: Range<u64>) {
        let live = live.expect("a stream has a nonce");
        let life = (room.clone(), self.laws.lives[&live.0]);
        let me = &self.nodes[n].id;
        let ceiling = self.laws.ceilings.get(&life).copied().unwrap_or(0);
        assert!(numbers.end <= ceiling, "{me} publishes {numbers:?} of {room}, the ceiling is {ceiling}");
        let all = self.laws.published.entry(life).or_default();
        let overlaps = all.range(..numbers.end).next_back().is_some_and(|(_, end)| *end > numbers.start);
        assert!(!overlaps, "{me} publishes {numbers:?} of {room}, which were published before");
        // Consecutive ranges are merged.
        match all.range_mut(..=numbers.start).next_back().filter(|(_, end)| **end == numbers.start) {
            Some((_, end)) => *end = numbers.end,
            None => drop(all.insert(numbers.start, numbers.end)),
        }
    }

    /// Checks that the broadcast is over before a mixer reports that to its listeners.
    pub fn judge_end(&self, n: usize, room: &RoomId) {
        let (view, nonce) = (self.store.view(room), self.nonce_open(n, room));
        let goes_on = view.is_on_air() && view.live.map(|live| live.value.nonce) == nonce;
        assert!(
            !goes_on,
            "listeners of {room}, which goes on, are told by {} that it is over",
            self.nodes[n].id
        );
    }

    /// Checks that the world is in exactly the state that the store requires.
    ///
    /// # Errors
    /// Description of the difference.
    pub fn at_rest(&self) -> Result<(), String> {
        if self.leaders().len() != 1 {
            return Err(format!("{:?} lead", self.leaders()));
        }
        let alive = || self.nodes.iter().filter(|node| node.vital == Vital::Up);
        let count = |has: bool| usize::from(has);
        let leases: usize = alive()
            .map(|n| count(n.janus.is_some()) + count(n.mixer.is_some()) + count(n.house.is_some()))
            .sum();
        if self.store.leases.len() != leases {
            return Err(format!("{} leases, {leases} are kept", self.store.leases.len()));
        }
        self.sessions_at_rest()?;
        self.rooms.iter().try_for_each(|room| self.room_at_rest(room))
    }

    fn room_at_rest(&self, room: &RoomId) -> Result<(), String> {
        let view = self.store.view(room);
        if let Some(user) = view.users.keys().find(|user| view.is_kicked(user)) {
            return Err(format!("{user} is still kicked from {room}"));
        }
        let alive = || self.nodes.iter().filter(|node| node.vital == Vital::Up);
        let januses: Vec<_> =
            alive().filter_map(|n| Some((n, n.janus.as_ref()?.worlds.get(room)?))).collect();
        let mixers: Vec<_> = alive().filter_map(|n| Some((n, n.mixer.as_ref()?.worlds.get(room)?))).collect();
        let janus_rooms: usize = januses.iter().map(|(_, world)| world.rooms.len()).sum();
        let running = mixers.iter().filter(|(_, world)| world.process.is_some()).count();
        let streams = mixers.iter().filter(|(_, world)| world.open.is_some()).count();
        let ports: usize = mixers.iter().map(|(_, world)| world.pool.taken()).sum();
        let has = (janus_rooms, running, streams, ports);
        let Some(live) = view.live.clone() else {
            let keys = (view.janus.is_some(), view.mixer.is_some());
            let stays = view.meta.as_ref().is_none_or(|meta| meta.deleted_at.is_none());
            let nothing = has == (0, 0, 0, 0) && keys == (false, false) && stays;
            let orphaned = view.meta.is_none() && view != RoomView::default();
            return match nothing && !orphaned {
                true => Ok(()),
                false => Err(format!("{room} is not live, and {has:?}, keys {keys:?} are left")),
            };
        };
        if view.is_backstage() {
            let janus = view.janus.as_ref().filter(|key| key.epoch == live.epoch && key.id == live.janus_id);
            let ready = janus.is_some_and(|key| key.status == JanusStatus::RoomCreated);
            return match ready && view.mixer.is_none() && has == (1, 0, 0, 0) {
                true => Ok(()),
                false => Err(format!("{room} is backstage and has {has:?}, its Janus is ready: {ready}")),
            };
        }
        if !view.is_on_air() {
            return Err(format!("{room} is still being removed"));
        }
        if has != (1, 1, 1, 1) {
            return Err(format!("{room} is on air and has {has:?} of Janus rooms, FFmpegs, streams, ports"));
        }
        let (Some(janus), Some(mixer)) = (&view.janus, &view.mixer) else {
            return Err(format!("{room} lacks a key"));
        };
        let said = janus.status == JanusStatus::Forwarding
            && (janus.epoch, mixer.epoch) == (live.epoch, live.epoch)
            && (&janus.id, &mixer.id) == (&live.janus_id, &live.mixer_id)
            && outgoing_mixer(&view).is_none();
        let world = januses.iter().find(|(n, _)| n.id == live.janus_id).map(|(_, world)| *world);
        let forwarders = world.and_then(|world| world.rooms.get(&janus.janus_room_id));
        let fed = forwarders.is_some_and(|(_, f)| f.iter().map(|f| f.target).eq([mixer.rtp]));
        let runs = mixers.iter().any(|(n, world)| n.id == live.mixer_id && world.process == Some(mixer.rtp));
        if !(said && fed && runs) {
            return Err(format!("{room}: said {said}, fed {fed}, runs {runs}"));
        }
        (0..self.nodes.len()).filter(|n| self.nodes[*n].is_up()).try_for_each(|n| self.plays(n, room, &view))
    }
}
