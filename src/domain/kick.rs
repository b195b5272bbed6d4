//! Removal of expelled users from the Janus room, which may still contain them.
//!
//! The gateway that serves an anchor ends their session itself. A gateway that has died cannot, and Janus
//! would keep the anchor in the mix until the session times out. Therefore the node that has the Janus room
//! removes the user as well. It does so twice, because a join that was under way when the user was removed
//! may be carried out after the first removal.
//!
//! Owns the list of users to remove and the times. A failure never blocks other work on the room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ids::UserId;
use super::plan::Retry;
use super::restart::Backoff;
use super::view::RoomView;

#[derive(Debug, Default)]
pub struct KickTracker {
    janus_room_id: u32,
    /// Users already removed from this Janus room, with the time of the second removal; `None`: it is done as
    /// well.
    done: BTreeMap<UserId, Option<Duration>>,
    retry: Retry,
}

/// Next step of the removal.
#[derive(Debug, PartialEq, Eq)]
pub enum KickStep {
    Now(BTreeSet<UserId>),
    Later(Duration),
    Nothing,
}

impl KickTracker {
    pub fn due(&self, view: &RoomView, janus_room_id: u32, now: Duration) -> KickStep {
        let removed = view.users.iter().filter(|(_, user)| user.removed_at.is_some()).map(|(id, _)| id);
        let mut next: Option<Duration> = None;
        let mut users = BTreeSet::new();
        for user in removed {
            let done = self.done.get(user).filter(|_| janus_room_id == self.janus_room_id);
            match done {
                Some(None) => {}
                Some(Some(at)) if *at > now => next = Some(next.map_or(*at, |next| next.min(*at))),
                Some(Some(_)) | None => drop(users.insert(user.clone())),
            }
        }
        match (users.is_empty(), self.retry.due().filter(|due| *due > now)) {
            (false, None) => KickStep::Now(users),
            (false, Some(due)) => KickStep::Later(due),
            (true, _) => next.map_or(KickStep::Nothing, KickStep::Later),
        }
    }

    /// Records that none of the users is in the Janus room. `settled`: time by which joins that were under
    /// way have been carried out.
    pub fn done(&mut self, janus_room_id: u32, users: BTreeSet<UserId>, settled: Duration) {
        if janus_room_id != self.janus_room_id {
            *self = Self { janus_room_id, ..Self::default() };
        }
        for user in users {
            self.done.entry(user).and_modify(|again| *again = None).or_insert(Some(settled));
        }
        self.retry.succeeded();
    }

    pub fn failed(&mut self, why: String, now: Duration, backoff: &Backoff, dice: f64) {
        self.retry.failed(why, now, backoff, dice);
    }
}
