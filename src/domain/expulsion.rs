//! Users who were removed from a room, and its Janus room, which may still have them.
//!
//! The gateway that has an anchor ends their session itself. A gateway that died does not, and Janus would keep the
//! anchor in the mix until its time-out; so whoever has the Janus room puts them out as well. Twice: a join that was
//! on its way when the user was removed may land after the first time.
//!
//! Owns: who has to be put out, and when. Never does: hold up anything else of the room when that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ids::UserId;
use super::plan::Retry;
use super::restart::Backoff;
use super::view::RoomView;

#[derive(Debug, Default)]
pub struct Expulsion {
    janus_room_id: u32,
    /// Of each whom this Janus room does not have any more: when to look once more.
    done: BTreeMap<UserId, Option<Duration>>,
    retry: Retry,
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    Now(BTreeSet<UserId>),
    Later(Duration),
    Nothing,
}

impl Expulsion {
    pub fn due(&self, view: &RoomView, janus_room_id: u32, now: Duration) -> Due {
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
            (false, None) => Due::Now(users),
            (false, Some(due)) => Due::Later(due),
            (true, _) => next.map_or(Due::Nothing, Due::Later),
        }
    }

    /// The Janus room has none of them; what may land later has landed by `settled`.
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
