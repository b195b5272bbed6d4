//! How many people listen: who has asked this node for a room's playlist within the last seconds.
//!
//! A player that plays reloads its playlist several times a second (by parts) or every target duration; one
//! that was paused or closed stops. So whoever asked within [`WINDOW`] listens.
//!
//! On the way of every playlist, so it must cost next to nothing: rooms are spread over [`SHARDS`] locks, each
//! held for one look into a hash map (a fraction of what the answer itself costs); what all rooms share is one
//! counter, touched only when a listener comes or goes. Of a listener a keyed hash is kept, never the token or
//! the address. The memory is bounded by [`MAX_LISTENERS`], whatever anybody invents as a token.
//!
//! Owns: these sightings. Never does: check a token, or know of listeners of other nodes.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::ids::RoomId;

/// Some reloads of the slowest player, a plain one whose target duration is a few seconds.
pub const WINDOW: Duration = Duration::from_secs(10);
/// About 8 MB; those beyond are not counted.
pub const MAX_LISTENERS: usize = 1 << 18;
const SHARDS: usize = 64;

pub struct Audience {
    shards: [Mutex<Shard>; SHARDS],
    hashes: RandomState,
    /// Sightings kept, in all shards.
    kept: AtomicUsize,
    began: Instant,
}

#[derive(Default)]
struct Shard {
    /// Per listener the ms since `began` at which they were last seen.
    rooms: HashMap<RoomId, HashMap<u64, u64>>,
    swept: u64,
}

impl Audience {
    pub fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hashes: RandomState::new(),
            kept: AtomicUsize::new(0),
            began: Instant::now(),
        }
    }

    /// `listener` is whatever tells one from another.
    pub fn saw(&self, room: &RoomId, listener: impl Hash, now: Instant) {
        let (listener, now) = (self.hashes.hash_one(listener), self.millis(now));
        let mut shard = self.shard(room);
        if now >= shard.swept + WINDOW.as_millis() as u64 {
            self.sweep(&mut shard, now);
        }
        if let Some(seen) = shard.rooms.get_mut(room).and_then(|room| room.get_mut(&listener)) {
            *seen = now.max(*seen);
        } else if self.kept.fetch_add(1, Relaxed) < MAX_LISTENERS {
            shard.rooms.entry(room.clone()).or_default().insert(listener, now);
        } else {
            self.kept.fetch_sub(1, Relaxed);
        }
    }

    /// Those of one room.
    pub fn of(&self, room: &RoomId, now: Instant) -> usize {
        let now = self.millis(now);
        let shard = self.shard(room);
        let listeners = shard.rooms.get(room).into_iter().flat_map(HashMap::values);
        listeners.filter(|seen| is_recent(**seen, now)).count()
    }

    /// Those of all rooms; somebody who listens to two counts twice.
    pub fn total(&self, now: Instant) -> usize {
        let now = self.millis(now);
        for shard in &self.shards {
            self.sweep(&mut lock(shard), now);
        }
        self.kept.load(Relaxed)
    }

    fn sweep(&self, shard: &mut Shard, now: u64) {
        shard.swept = now;
        shard.rooms.retain(|_, listeners| {
            let before = listeners.len();
            listeners.retain(|_, seen| is_recent(*seen, now));
            self.kept.fetch_sub(before - listeners.len(), Relaxed);
            if listeners.len() < listeners.capacity() / 4 {
                listeners.shrink_to_fit();
            }
            !listeners.is_empty()
        });
    }

    fn shard(&self, room: &RoomId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hashes.hash_one(room) as usize % SHARDS])
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }
}

impl Default for Audience {
    fn default() -> Self {
        Self::new()
    }
}

fn is_recent(seen: u64, now: u64) -> bool {
    now.saturating_sub(seen) < WINDOW.as_millis() as u64
}

/// A sighting is complete in itself, so a panic elsewhere leaves nothing half done.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_counts_once_and_while_it_asks() {
        let (audience, start) = (Audience::new(), Instant::now());
        let (tea, jam) = (room("tea-room"), room("jam-room"));
        for second in 0..9 {
            audience.saw(&tea, "ann", start + Duration::from_secs(second));
        }
        audience.saw(&tea, ("127.0.0.1", "player"), start);
        audience.saw(&jam, "ann", start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((audience.of(&tea, at(9)), audience.of(&jam, at(9)), audience.total(at(9))), (2, 1, 3));
        assert_eq!((audience.of(&tea, at(12)), audience.of(&jam, at(12)), audience.total(at(12))), (1, 0, 1));
        assert_eq!((audience.of(&tea, at(30)), audience.total(at(30))), (0, 0));
        assert!(audience.shards.iter().all(|shard| lock(shard).rooms.is_empty()), "nothing is left");
    }

    #[test]
    fn invented_listeners_take_no_more_than_their_share_of_memory() {
        let (audience, start) = (Audience::new(), Instant::now());
        for n in 0..MAX_LISTENERS + 100 {
            audience.saw(&room("demo"), n, start);
        }
        assert_eq!(audience.of(&room("demo"), start), MAX_LISTENERS);
        let later = start + WINDOW * 2;
        audience.saw(&room("demo"), "ann", later);
        assert_eq!((audience.of(&room("demo"), later), audience.total(later)), (1, 1));
    }

    fn room(id: &str) -> RoomId {
        RoomId::new(id).unwrap()
    }
}
