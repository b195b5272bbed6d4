//! Listener counts: the clients that requested a room's playlist from this node in the last seconds, and the
//! counts of other nodes.
//!
//! A player that plays reloads its playlist several times a second (by parts) or every target duration. A
//! paused or closed player sends no requests. So a client that made a request within [`WINDOW`] counts as a
//! listener.
//!
//! This code runs with every playlist request, so it must be cheap. Rooms are spread over [`SHARDS`] locks,
//! each held for one hash map lookup (a fraction of the cost of the response). All rooms share only one
//! counter, which changes only when a listener comes or goes. For each listener the table contains a keyed
//! hash, never the token or the address. The memory is bounded by [`MAX_LISTENERS`]. The table is also the
//! cache of verified tokens: a token that was verified shortly before is not verified again for each
//! playlist.
//!
//! Across nodes: a listener node sends its count of a room to the room's mixer with each playlist request.
//! The mixer writes the sum to its own key, so every node knows the sum ([`Listeners`]).
//!
//! Owns: the sightings of listeners. Does not check a token.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::keys::ModuleKind;
use crate::domain::view::RoomView;
use crate::rooms::Directory;

/// Time after its last request during which a client counts as a listener. Covers several reloads of the
/// slowest player, which reloads once per target duration of a few seconds.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Maximum number of listeners in the table, which then takes about 10 MB. Further listeners are not counted.
pub const MAX_LISTENERS: usize = 1 << 18;
const SHARDS: usize = 64;

/// Listener sightings of this node.
pub struct ListenerCounter {
    shards: [Mutex<Shard>; SHARDS],
    hashes: RandomState,
    /// Number of sightings in all shards.
    kept: AtomicUsize,
    began: Instant,
}

#[derive(Default)]
struct Shard {
    rooms: HashMap<RoomId, HashMap<u64, Sighting>>,
    /// Count of each listener node, and the time of its report in milliseconds since `began`.
    elsewhere: HashMap<RoomId, HashMap<ModuleId, (usize, u64)>>,
    cleaned_at: u64,
}

/// Times of one listener, in milliseconds since `began`.
#[derive(Clone, Copy)]
struct Sighting {
    seen: u64,
    /// Time until which the same listener need not be verified again.
    verified_until: u64,
}

impl ListenerCounter {
    pub fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hashes: RandomState::new(),
            kept: AtomicUsize::new(0),
            began: Instant::now(),
        }
    }

    /// Counts a listener. `listener` identifies it: an address, or a verified token, which need not be
    /// verified again until `verified_until`.
    pub fn record(&self, room: &RoomId, listener: impl Hash, verified_until: Option<Instant>, now: Instant) {
        let (listener, now) = (self.hashes.hash_one(listener), self.millis(now));
        let verified_until = verified_until.map_or(0, |until| self.millis(until));
        let mut shard = self.cleaned_shard(room, now);
        if let Some(sighting) = shard.sighting(room, listener) {
            *sighting = Sighting { seen: now.max(sighting.seen), verified_until };
        } else if self.kept.fetch_add(1, Relaxed) < MAX_LISTENERS {
            let sighting = Sighting { seen: now, verified_until };
            shard.rooms.entry(room.clone()).or_default().insert(listener, sighting);
        } else {
            self.kept.fetch_sub(1, Relaxed);
        }
    }

    /// Counts a listener that was verified a short time ago. Returns false if the token must be verified
    /// first.
    pub fn record_again(&self, room: &RoomId, listener: impl Hash, now: Instant) -> bool {
        let (listener, now) = (self.hashes.hash_one(listener), self.millis(now));
        let mut shard = self.shard(room);
        let known = shard.sighting(room, listener).filter(|sighting| now < sighting.verified_until);
        known.map(|sighting| sighting.seen = now.max(sighting.seen)).is_some()
    }

    /// Returns true if the listener is counted now.
    pub fn is_counted(&self, room: &RoomId, listener: impl Hash, now: Instant) -> bool {
        let (listener, now) = (self.hashes.hash_one(listener), self.millis(now));
        self.shard(room).sighting(room, listener).is_some_and(|sighting| is_recent(sighting.seen, now))
    }

    /// Records the number of listeners of a room on the listener node `by`, as that node reported it.
    pub fn told(&self, room: &RoomId, by: &ModuleId, count: usize, now: Instant) {
        let now = self.millis(now);
        self.cleaned_shard(room, now)
            .elsewhere
            .entry(room.clone())
            .or_default()
            .insert(by.clone(), (count, now));
    }

    /// Returns the number of a room's listeners on this node.
    pub fn here(&self, room: &RoomId, now: Instant) -> usize {
        let now = self.millis(now);
        self.shard(room).here(room, now)
    }

    /// Returns the number of listeners across all nodes, for a room that is mixed here.
    pub fn everywhere(&self, room: &RoomId, now: Instant) -> usize {
        let now = self.millis(now);
        let shard = self.shard(room);
        let told = shard.elsewhere.get(room).into_iter().flat_map(HashMap::values);
        let elsewhere: usize = told.filter(|(_, at)| is_recent(*at, now)).map(|(count, _)| count).sum();
        shard.here(room, now) + elsewhere
    }

    /// Returns the number of listeners of all rooms on this node. A client that listens to two rooms counts
    /// twice.
    pub fn total(&self, now: Instant) -> usize {
        let now = self.millis(now);
        for shard in &self.shards {
            self.remove_expired(&mut lock(shard), now);
        }
        self.kept.load(Relaxed)
    }

    /// Returns the room's shard, after removing old sightings if the last removal was at least [`WINDOW`]
    /// ago.
    fn cleaned_shard(&self, room: &RoomId, now: u64) -> MutexGuard<'_, Shard> {
        let mut shard = self.shard(room);
        if now >= shard.cleaned_at + WINDOW.as_millis() as u64 {
            self.remove_expired(&mut shard, now);
        }
        shard
    }

    fn remove_expired(&self, shard: &mut Shard, now: u64) {
        shard.cleaned_at = now;
        shard.rooms.retain(|_, listeners| {
            let before = listeners.len();
            listeners.retain(|_, sighting| is_recent(sighting.seen, now));
            self.kept.fetch_sub(before - listeners.len(), Relaxed);
            if listeners.len() < listeners.capacity() / 4 {
                listeners.shrink_to_fit();
            }
            !listeners.is_empty()
        });
        shard.elsewhere.retain(|_, nodes| {
            nodes.retain(|_, (_, at)| is_recent(*at, now));
            !nodes.is_empty()
        });
    }

    fn shard(&self, room: &RoomId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hashes.hash_one(room) as usize % SHARDS])
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }
}

impl Shard {
    fn sighting(&mut self, room: &RoomId, listener: u64) -> Option<&mut Sighting> {
        self.rooms.get_mut(room)?.get_mut(&listener)
    }

    fn here(&self, room: &RoomId, now: u64) -> usize {
        let listeners = self.rooms.get(room).into_iter().flat_map(HashMap::values);
        listeners.filter(|sighting| is_recent(sighting.seen, now)).count()
    }
}

/// Listener counts of the rooms in this node's directory.
#[derive(Clone)]
pub struct Listeners {
    pub me: ModuleId,
    pub counter: Arc<ListenerCounter>,
    pub directory: Arc<Directory>,
}

impl Listeners {
    /// Returns the number of a room's listeners. For a room that is mixed here, the number is exact and
    /// current. For any other room, it is the larger of the mixer's last report, which is a few seconds old,
    /// and this node's own count.
    pub fn of(&self, room: &RoomId, view: &RoomView) -> usize {
        let now = Instant::now();
        let Some(live) = &view.live else { return 0 };
        if live.mixer_id == self.me {
            return self.counter.everywhere(room, now);
        }
        let mixer = self.directory.module(ModuleKind::Mixer, &live.mixer_id);
        let said = mixer.and_then(|mixer| mixer.listeners.as_ref()?.0.get(room).copied());
        self.counter.here(room, now).max(said.unwrap_or_default())
    }

    /// Returns true if the room has a `listenerLimit`.
    pub fn is_limited(&self, room: &RoomId) -> bool {
        self.directory.room(room).is_some_and(|view| listener_limit(&view).is_some())
    }

    /// Returns true if the listener is already counted, the room has no limit, or the limit admits this
    /// listener. `adds`: number that the listener adds to the count, which is as exact as [`of`](Self::of).
    pub fn has_place(&self, room: &RoomId, listener: impl Hash, adds: usize) -> bool {
        let Some(view) = self.directory.room(room) else { return true };
        let Some(limit) = listener_limit(&view) else { return true };
        self.counter.is_counted(room, listener, Instant::now()) || self.of(room, &view) + adds <= limit
    }

    /// Returns the number of listeners of all rooms. A client that listens to two rooms counts twice.
    pub fn total(&self) -> usize {
        self.directory.rooms().iter().map(|(room, view)| self.of(room, view)).sum()
    }
}

fn listener_limit(view: &RoomView) -> Option<usize> {
    view.meta.as_ref()?.profile.listener_limit.map(|limit| limit as usize)
}

impl Default for ListenerCounter {
    fn default() -> Self {
        Self::new()
    }
}

fn is_recent(seen: u64, now: u64) -> bool {
    now.saturating_sub(seen) < WINDOW.as_millis() as u64
}

/// Locks a shard. A poisoned lock is usable: each sighting is complete in itself.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::{ModulePart, RoomKey, RoomPart};
    use crate::domain::view::ModuleView;

    #[test]
    fn listener_counts_once_while_active() {
        let (counter, start) = (ListenerCounter::new(), Instant::now());
        let (tea, jam) = (room("tea-room"), room("jam-room"));
        for second in 0..9 {
            counter.record(&tea, "ann", None, start + Duration::from_secs(second));
        }
        counter.record(&tea, ("127.0.0.1", "player"), None, start);
        counter.record(&jam, "ann", None, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((counter.here(&tea, at(9)), counter.here(&jam, at(9)), counter.total(at(9))), (2, 1, 3));
        assert_eq!(
            (counter.here(&tea, at(12)), counter.here(&jam, at(12)), counter.total(at(12))),
            (1, 0, 1)
        );
        assert_eq!((counter.here(&tea, at(30)), counter.total(at(30))), (0, 0));
        assert!(counter.shards.iter().all(|shard| lock(shard).rooms.is_empty()), "nothing is left");
    }

    #[test]
    fn mixer_adds_recent_listener_reports() {
        let (counter, start, tea) = (ListenerCounter::new(), Instant::now(), room("tea-room"));
        let [one, two] = ["one", "two"].map(|id| ModuleId::new(id).unwrap());
        counter.record(&tea, "ann", None, start);
        counter.told(&tea, &one, 5, start);
        counter.told(&tea, &two, 7, start);
        counter.told(&tea, &one, 4, start + Duration::from_secs(5));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            (counter.everywhere(&tea, at(6)), counter.here(&tea, at(6)), counter.total(at(6))),
            (12, 1, 1)
        );
        assert_eq!(counter.everywhere(&tea, at(12)), 4);
        counter.total(at(16));
        assert!(counter.shards.iter().all(|shard| lock(shard).elsewhere.is_empty()), "nothing is left");
    }

    #[test]
    fn listener_count_takes_larger_report() {
        let (counter, directory) = (Arc::new(ListenerCounter::new()), Arc::new(Directory::default()));
        let (tea, mixer) = (room("tea-room"), ModuleId::new("mixer").unwrap());
        let mut view = ModuleView::default();
        view.apply(ModulePart::Listeners, Some((br#"{"tea-room":2}"#, 1))).unwrap();
        directory.set_module(ModuleKind::Mixer, &mixer, view);
        let mut live = RoomView::default();
        let meta =
            r#"{"status":"onair","mixerId":"mixer","janusId":"j","nonce":"n","createdAt":0,"epoch":1}"#;
        live.apply(RoomKey::Part(RoomPart::LiveMeta), Some((meta.as_bytes(), 1))).unwrap();
        let listeners = |me: &str| {
            let me = ModuleId::new(me).unwrap();
            Listeners { me, counter: counter.clone(), directory: directory.clone() }.of(&tea, &live)
        };
        assert_eq!(listeners("api"), 2);
        ["ann", "bob", "eve"].iter().for_each(|name| counter.record(&tea, name, None, Instant::now()));
        assert_eq!(listeners("api"), 3);
        counter.told(&tea, &ModuleId::new("ear").unwrap(), 4, Instant::now());
        assert_eq!((listeners("mixer"), listeners("api")), (7, 3));
    }

    #[test]
    fn full_room_keeps_its_listeners() {
        let (counter, directory) = (Arc::new(ListenerCounter::new()), Arc::new(Directory::default()));
        let [tea, jam] = ["tea-room", "jam-room"].map(room);
        let live = r#"{"status":"onair","mixerId":"one","janusId":"j","nonce":"n","createdAt":0,"epoch":1}"#;
        for (room, profile) in [(&tea, r#"{"listenerLimit":2}"#), (&jam, "{}")] {
            let meta = format!(
                r#"{{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":0,"profile":{profile}}}"#
            );
            let mut view = RoomView::default();
            view.apply(RoomKey::Part(RoomPart::Meta), Some((meta.as_bytes(), 1))).unwrap();
            view.apply(RoomKey::Part(RoomPart::LiveMeta), Some((live.as_bytes(), 1))).unwrap();
            directory.set_room(room, view);
        }
        let listeners = Listeners { me: ModuleId::new("one").unwrap(), counter: counter.clone(), directory };
        assert!(listeners.is_limited(&tea) && !listeners.is_limited(&jam));
        for name in ["ann", "bob"] {
            assert!(listeners.has_place(&tea, name, 1), "{name}");
            counter.record(&tea, name, None, Instant::now());
        }
        assert!(!listeners.has_place(&tea, "eve", 1) && listeners.has_place(&jam, "eve", 1));
        assert!(listeners.has_place(&tea, "ann", 1), "is counted already");
        assert!(listeners.has_place(&tea, "eve", 0), "adds nothing");
        counter.told(&tea, &ModuleId::new("ear").unwrap(), 1, Instant::now());
        assert!(!listeners.has_place(&tea, "eve", 0), "with those of other nodes");
    }

    #[test]
    fn verified_listeners_are_known_for_a_while() {
        let (counter, start, tea) = (ListenerCounter::new(), Instant::now(), room("tea-room"));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!counter.record_again(&tea, "token", start), "not seen before");
        counter.record(&tea, "token", Some(at(20)), start);
        assert!(counter.record_again(&tea, "token", at(8)) && counter.record_again(&tea, "token", at(16)));
        assert!(!counter.record_again(&room("jam-room"), "token", at(16)), "of another room");
        assert_eq!(counter.here(&tea, at(25)), 1);
        assert!(!counter.record_again(&tea, "token", at(20)), "to be verified again");
        assert_eq!(counter.here(&tea, at(27)), 0, "and not counted meanwhile");
        counter.record(&tea, "address", None, start);
        assert!(!counter.record_again(&tea, "address", start));
    }

    #[test]
    fn listener_counter_memory_is_bounded() {
        let (counter, start) = (ListenerCounter::new(), Instant::now());
        for n in 0..MAX_LISTENERS + 100 {
            counter.record(&room("demo"), n, None, start);
        }
        assert_eq!(counter.here(&room("demo"), start), MAX_LISTENERS);
        let later = start + WINDOW * 2;
        counter.record(&room("demo"), "ann", None, later);
        assert_eq!((counter.here(&room("demo"), later), counter.total(later)), (1, 1));
    }

    fn room(id: &str) -> RoomId {
        RoomId::new(id).unwrap()
    }
}
