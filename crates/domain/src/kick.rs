//! Moderation in the Janus room: removal of users who may no longer speak but may still be in that room, and
//! muting of everybody.
//!
//! The gateway that serves an anchor ends their session itself. A gateway that has died cannot end the
//! session, and Janus would keep the anchor in the mix until the session times out. Therefore the node that
//! has the Janus room removes the user as well. It removes the user twice, because a join that was in
//! progress at the first removal may be carried out after it.
//!
//! Owns the record of the removals, the times of the second checks, and the last order to mute. A failure
//! never blocks other work on the room.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ids::UserId;
use super::janus_effects::Effect;
use super::mute_all::pending;
use super::plan::{Plan, Reason, Retry};
use super::restart::Backoff;
use super::view::RoomView;

#[derive(Debug, Default)]
pub struct ModerationTracker {
    janus_room_id: u32,
    /// Revision of the last order to mute everybody that was carried out.
    muted: i64,
    /// Users already removed from this Janus room, with the revision of their record and the time of the
    /// second check. `None`: the second check is done.
    done: BTreeMap<UserId, (i64, Option<Duration>)>,
    retry: Retry,
}

/// Next step of the removal.
#[derive(Debug, PartialEq, Eq)]
enum KickStep {
    /// Users, with the revisions of their records.
    Now(BTreeMap<UserId, i64>),
    Later(Duration),
    Nothing,
}

impl ModerationTracker {
    /// Forgets who was removed: Janus may have been restarted.
    pub fn reset(&mut self) {
        *self = Self { muted: self.muted, ..Self::default() };
    }

    /// Plans moderation if the room would otherwise only wait: moderation has the lowest priority of all
    /// effects.
    pub fn or_wait(
        &self,
        reason: Reason,
        until: Option<Duration>,
        view: &RoomView,
        janus_room_id: u32,
        now: Duration,
    ) -> Plan<Effect> {
        let retries = self.retry.due().is_some_and(|due| due > now);
        if let Some(order) = pending(view).filter(|order| order.mod_revision > self.muted && !retries) {
            let (but, key_revision) = (order.by.clone(), order.mod_revision);
            return Plan::act(
                Effect::MuteAll { janus_room_id, but, key_revision },
                "everybody is to be muted",
            );
        }
        match self.due(view, janus_room_id, now) {
            KickStep::Now(users) => Plan::act(
                Effect::Expel { janus_room_id, users },
                "users may no longer speak, and their gateway may be gone",
            ),
            KickStep::Later(at) => {
                Plan::Wait { reason, until: Some(until.map_or(at, |until| until.min(at))) }
            }
            // An order to mute may have to be retried.
            KickStep::Nothing => {
                let at = self.retry.due().filter(|_| pending(view).is_some());
                Plan::Wait { reason, until: until.into_iter().chain(at).min() }
            }
        }
    }

    fn due(&self, view: &RoomView, janus_room_id: u32, now: Duration) -> KickStep {
        let mut next: Option<Duration> = None;
        let mut users = BTreeMap::new();
        for (user, record) in view.off_stage() {
            // The record of a user who was readmitted and then removed again has a different revision.
            let done = self.done.get(user).filter(|(revision, _)| *revision == record.mod_revision);
            match done.filter(|_| janus_room_id == self.janus_room_id) {
                Some((_, None)) => {}
                Some((_, Some(at))) if *at > now => next = Some(next.map_or(*at, |next| next.min(*at))),
                Some((_, Some(_))) | None => drop(users.insert(user.clone(), record.mod_revision)),
            }
        }
        match (users.is_empty(), self.retry.due().filter(|due| *due > now)) {
            (false, None) => KickStep::Now(users),
            (false, Some(due)) => KickStep::Later(due),
            (true, _) => next.map_or(KickStep::Nothing, KickStep::Later),
        }
    }

    /// Records that none of these users is in the Janus room. A join in progress may still be carried out, so
    /// `settled` is the time of the second and last check.
    pub fn expelled(&mut self, janus_room_id: u32, users: BTreeMap<UserId, i64>, settled: Duration) {
        if janus_room_id != self.janus_room_id {
            *self = Self { janus_room_id, muted: self.muted, ..Self::default() };
        }
        for (user, revision) in users {
            let again = self.done.get(&user).is_some_and(|(known, _)| *known == revision);
            self.done.insert(user, (revision, (!again).then_some(settled)));
        }
        self.retry.succeeded();
    }

    /// Records that the order with this revision was carried out.
    pub fn muted(&mut self, key_revision: i64) {
        self.muted = self.muted.max(key_revision);
        self.retry.succeeded();
    }

    pub fn failed(&mut self, why: String, now: Duration, backoff: &Backoff, random: f64) {
        self.retry.failed(why, now, backoff, random);
    }
}
