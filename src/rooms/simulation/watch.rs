//! Delivery of the store's changes to a node: late, in part, or not at all until the node lists again.

use std::collections::BTreeMap;

use super::node::{TimedPart, Vital};
use super::world::{Event, Input, World, ms};
use crate::domain::ids::RoomId;
use crate::domain::keys::LEADER;
use crate::domain::leadership::LeaderRecord;
use crate::rooms::{Scope, StoreChange, WatchApplier};
use crate::store::KeyValue;

/// Time in ms for which a watch may be silent before it is restarted. The real watch waits 15 s.
const SILENCE: u64 = 3_000;

pub struct Watch {
    /// Scope of the watch; `None`: the leader key.
    pub scope: Option<Scope>,
    fold: Option<WatchApplier>,
    held: Option<LeaderRecord>,
    /// Revision up to which everything was delivered.
    cursor: i64,
    /// Keys that were delivered ahead of `cursor`, with their revisions.
    ahead: BTreeMap<String, i64>,
    /// Number of the current connection.
    pub session: u32,
    pub following: bool,
    /// True if the watch looks alive but delivers nothing.
    pub stalled: bool,
}

impl Watch {
    pub fn new(scope: Option<Scope>, fold: Option<WatchApplier>) -> Self {
        let (held, cursor, ahead) = (None, 0, BTreeMap::new());
        Self { scope, fold, held, cursor, ahead, session: 0, following: false, stalled: false }
    }

    pub fn prefix(&self) -> &'static str {
        self.scope.map_or(LEADER, Scope::prefix)
    }

    fn apply(&mut self, key: &str, value: Option<&[u8]>, revision: i64, leased: bool) -> Option<StoreChange> {
        let Some(fold) = &mut self.fold else {
            self.held =
                value.map(|json| LeaderRecord { by: serde_json::from_slice(json).ok(), revision, leased });
            return None;
        };
        match value {
            Some(value) => fold.put(key, value, revision),
            None => fold.delete(key),
        }
    }
}

impl World {
    /// Delivers changes to the watches of their keys.
    pub fn spread(&mut self, from: usize) {
        let upto = self.store.revision;
        for n in 0..self.nodes.len() {
            for w in 0..self.nodes[n].watches.len() {
                let watch = &self.nodes[n].watches[w];
                let prefix = watch.prefix();
                if watch.following && self.store.log[from..].iter().any(|c| c.key.starts_with(prefix)) {
                    self.feed_soon(n, w, upto);
                }
            }
        }
    }

    pub fn feed_soon(&mut self, n: usize, w: usize, upto: i64) {
        let slow = self.slow.contains(&n) && !self.calm;
        let delay = if slow { self.random.ms(300..4_000) } else { self.random.ms(1..40) };
        let session = self.nodes[n].watches[w].session;
        self.input_after(delay, n, Input::Feed { w, session, upto });
    }

    pub fn feed(&mut self, n: usize, w: usize, session: u32, upto: i64) {
        let torn = !self.calm && self.random.chance(0.1);
        let cut = self.nodes[n].cut;
        let watch = &mut self.nodes[n].watches[w];
        if watch.session != session || !watch.following || watch.stalled || cut || upto <= watch.cursor {
            return;
        }
        let begin = self.store.log.partition_point(|change| change.revision <= watch.cursor);
        let prefix = watch.prefix();
        let due = self.store.log[begin..].iter().take_while(|change| change.revision <= upto);
        let due: Vec<_> = due.filter(|change| change.key.starts_with(prefix)).collect();
        // Some keys may be delivered before others.
        let torn = torn && due.len() > 1;
        let first = due.first().map(|change| change.key.clone());
        let mut changed = Vec::new();
        for change in due {
            let held_back = torn && Some(&change.key) == first.as_ref();
            if held_back || watch.ahead.get(&change.key).is_some_and(|ahead| change.revision <= *ahead) {
                continue;
            }
            changed.extend(watch.apply(&change.key, change.value.as_deref(), change.revision, change.leased));
            if torn {
                watch.ahead.insert(change.key.clone(), change.revision);
            }
        }
        if torn {
            let delay = self.random.ms(1..30);
            self.input_after(delay, n, Input::Feed { w, session, upto });
        } else {
            watch.cursor = upto;
            watch.ahead.clear();
            if let Some(fold) = &mut watch.fold {
                fold.progress(upto);
            }
        }
        self.changed(n, w, changed, !torn);
    }

    fn changed(&mut self, n: usize, w: usize, changed: Vec<StoreChange>, whole: bool) {
        let rooms = self.nodes[n].directory.affected_by(&changed);
        rooms.iter().for_each(|room| self.touch(n, room, whole));
        let watch = &self.nodes[n].watches[w];
        match watch.scope {
            None => {
                let (held, cursor) = (watch.held.clone(), watch.cursor);
                if let (Some(house), true) = (&mut self.nodes[n].house, whole) {
                    house.leadership.observe(held, cursor);
                    self.step_elector(n);
                }
            }
            Some(Scope::Rooms) => self.step_team(n),
            Some(Scope::Modules(_)) => {
                self.step_team(n);
                self.keep_house(n);
            }
        }
    }

    /// Notifies everything on the node that handles the room. `whole`: everything up to the revision seen has
    /// been delivered.
    pub fn touch(&mut self, n: usize, room: &RoomId, whole: bool) {
        self.janus_changed(n, room, whole);
        self.mixer_changed(n, room, whole);
        self.room_changed(n, room);
        self.relay_changed(n, room);
        self.gateway_changed(n, room);
    }

    /// Ends the connection of a watch; the node notices it.
    pub fn lose(&mut self, n: usize, w: usize) {
        let node = &mut self.nodes[n];
        let watch = &mut node.watches[w];
        watch.session += 1;
        (watch.following, watch.stalled) = (false, false);
        match watch.scope {
            Some(Scope::Rooms) => node.store_up = false,
            Some(_) => {}
            None => {
                if let Some(house) = &mut node.house {
                    house.leadership.lost_sight();
                }
            }
        }
        let pause = self.random.ms(50..400);
        let session = self.nodes[n].watches[w].session;
        self.input_after(pause, n, Input::List { w, session });
    }

    /// Restarts a watch, because its revision was compacted or a relist is due. Nothing is lost; the keys are
    /// listed again.
    pub fn relist(&mut self, n: usize, w: usize) {
        let watch = &mut self.nodes[n].watches[w];
        watch.session += 1;
        watch.following = false;
        let session = watch.session;
        self.list(n, w, session);
    }

    pub fn stall(&mut self, n: usize, w: usize) {
        let watch = &mut self.nodes[n].watches[w];
        if watch.following {
            watch.stalled = true;
            let session = watch.session;
            self.input_after(ms(SILENCE), n, Input::Silent { w, session });
        }
    }

    pub fn silent(&mut self, n: usize, w: usize, session: u32) {
        let cut = self.nodes[n].cut || self.store_frozen;
        let watch = &self.nodes[n].watches[w];
        if watch.session == session && watch.following && (watch.stalled || cut) {
            self.lose(n, w);
        }
    }

    /// Lets all watches of a node time out, because it does not reach the store.
    pub fn unreachable(&mut self, n: usize) {
        for w in 0..self.nodes[n].watches.len() {
            let session = self.nodes[n].watches[w].session;
            let after = self.random.ms(200..SILENCE);
            self.input_after(after, n, Input::Silent { w, session });
        }
    }

    pub fn list(&mut self, n: usize, w: usize, session: u32) {
        if self.nodes[n].watches[w].session != session {
            return;
        }
        if self.nodes[n].cut || self.store_frozen {
            return self.lose(n, w);
        }
        let entries = self.store.list(self.nodes[n].watches[w].prefix());
        let (delay, revision) = (self.random.ms(2..60), self.store.revision);
        self.input_after(delay, n, Input::Listed { w, session, entries, revision });
    }

    pub fn listed(&mut self, n: usize, w: usize, session: u32, entries: Vec<KeyValue>, revision: i64) {
        let node = &mut self.nodes[n];
        let watch = &mut node.watches[w];
        if watch.session != session {
            return;
        }
        (watch.following, watch.stalled) = (true, false);
        watch.cursor = revision;
        watch.ahead.clear();
        watch.held = None;
        if let Some(fold) = &mut watch.fold {
            fold.begin_init();
        }
        for entry in &entries {
            watch.apply(&entry.key, Some(&entry.value), entry.mod_revision, entry.lease.is_some());
        }
        let changed = watch.fold.as_mut().map(|fold| fold.end_init(revision)).unwrap_or_default();
        let rebuilt = watch.scope == Some(Scope::Rooms) && !std::mem::replace(&mut node.store_up, true);
        self.changed(n, w, changed, true);
        if rebuilt {
            self.rebuilt(n);
        }
        if self.store.revision > revision {
            self.feed_soon(n, w, self.store.revision);
        }
    }

    fn rebuilt(&mut self, n: usize) {
        let node = &self.nodes[n];
        let mut rooms: std::collections::BTreeSet<RoomId> = node.directory.rooms().keys().cloned().collect();
        rooms.extend(node.janus.iter().flat_map(|side| side.actors.keys().cloned()));
        rooms.extend(node.mixer.iter().flat_map(|side| side.actors.keys().cloned()));
        let connections = node.gateway.iter().flat_map(|side| side.connections.values());
        rooms.extend(connections.map(|connection| connection.key.room.clone()));
        rooms.iter().for_each(|room| self.touch(n, room, true));
        self.janus_link_up(n);
    }

    /// Thaws a node: events delivered while it was frozen reach it now.
    pub fn thaw(&mut self, n: usize) {
        if self.nodes[n].vital != Vital::Frozen {
            return;
        }
        self.note(|w| format!("{} thaws", w.nodes[n].id));
        self.nodes[n].vital = Vital::Up;
        for event in std::mem::take(&mut self.nodes[n].parked) {
            self.queue_at(self.now, event);
        }
    }

    pub fn uncut(&mut self, n: usize) {
        self.note(|w| format!("{} reaches the store again", w.nodes[n].id));
        self.nodes[n].cut = false;
        for w in 0..self.nodes[n].watches.len() {
            if self.nodes[n].watches[w].following {
                self.feed_soon(n, w, self.store.revision);
            }
        }
    }

    /// Wakes `who` at `at`, unless another timer wakes it earlier.
    pub fn wake(&mut self, n: usize, who: TimedPart, at: std::time::Duration) {
        let now = self.now;
        let known = self.nodes[n].timers.get(&who);
        if known.is_none_or(|known| at < *known || *known < now) {
            let at = at.max(now + ms(1));
            self.nodes[n].timers.insert(who.clone(), at);
            let to = self.to(n);
            self.queue_at(at, Event::Node(to, Input::Timer(who)));
        }
    }
}
