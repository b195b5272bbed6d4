//! The leases that are alive. This module is pure: the time is an argument.
//!
//! Owns: deadlines. Does not delete a key; the writer does that when a lease is due.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use crate::{LeaseId, StoreError};

#[derive(Default)]
pub(super) struct Leases {
    alive: HashMap<LeaseId, Lease>,
}

struct Lease {
    ttl: Duration,
    deadline: Instant,
}

impl Leases {
    /// Grants a lease. Ids are random, so that an id from before a restart does not name a new lease.
    pub fn grant(&mut self, ttl: Duration, now: Instant) -> LeaseId {
        loop {
            let id = LeaseId(rand::random_range(1..i64::MAX));
            if let Entry::Vacant(free) = self.alive.entry(id) {
                free.insert(Lease { ttl, deadline: now + ttl });
                return id;
            }
        }
    }

    pub fn contains(&self, id: LeaseId) -> bool {
        self.alive.contains_key(&id)
    }

    pub fn keep_alive(&mut self, id: LeaseId, now: Instant) -> Result<(), StoreError> {
        let lease = self.alive.get_mut(&id).ok_or(StoreError::LeaseNotFound)?;
        lease.deadline = now + lease.ttl;
        Ok(())
    }

    pub fn remove(&mut self, id: LeaseId) {
        self.alive.remove(&id);
    }

    /// Sets the deadlines of these leases to `pause` from now, because their end could not be written.
    pub fn postpone(&mut self, ids: &[LeaseId], pause: Duration, now: Instant) {
        for id in ids {
            if let Some(lease) = self.alive.get_mut(id) {
                lease.deadline = now + pause;
            }
        }
    }

    pub fn due(&self, now: Instant) -> Vec<LeaseId> {
        self.alive.iter().filter(|(_, lease)| lease.deadline <= now).map(|(id, _)| *id).collect()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.alive.values().map(|lease| lease.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_is_due_at_expiry() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut leases = Leases::default();
        let id = leases.grant(Duration::from_secs(10), at(0));
        leases.keep_alive(id, at(5)).unwrap();
        assert_eq!(leases.due(at(14)), []);
        assert_eq!(leases.next_deadline(), Some(at(15)));
        assert_eq!(leases.due(at(15)), [id]);
        leases.remove(id);
        assert!(matches!(leases.keep_alive(id, at(15)), Err(StoreError::LeaseNotFound)));
    }
}
