//! The store lane of a mixer's room: our key, and the numbers reserved for us.
//!
//! Owns: what is written, and when. Never does: wait for FFmpeg, or let FFmpeg wait for the store.

use std::time::Duration;

use super::{KeyClaim, MixerRoom, Process, Reservation, Reserved};
use super::{StoreEffect, Wanted};
use crate::domain::model::{MixerState, SequenceState};
use crate::domain::plan::{Plan, WriteOutcome};
use crate::domain::view::{RoomView, Versioned};

impl MixerRoom {
    pub fn plan_store(&self, view: &RoomView, now: Duration) -> Plan<StoreEffect> {
        if let Some(wait) = self.store_retry.pending(now) {
            return wait;
        }
        let key = self.key.current(view.mixer.as_ref());
        match self.wanted(view) {
            Some(wanted) => self.publish(&wanted, key, self.sequence.current(view.sequence.as_ref())),
            None => self.withdraw(view, key),
        }
    }

    fn publish(
        &self,
        wanted: &Wanted,
        key: Option<Versioned<MixerState>>,
        sequence: Option<Versioned<SequenceState>>,
    ) -> Plan<StoreEffect> {
        // Janus waits for the key, and the key for FFmpeg: a reservation before it would delay them both, and
        // nothing needs numbers before FFmpeg runs.
        let Some(state) = self.key_wanted(wanted) else {
            return Plan::wait("waits for FFmpeg to be started");
        };
        let known = key.as_ref().is_some_and(|k| k.value == state);
        let key_revision = key.map_or(0, |k| k.mod_revision);
        let key = (!known).then_some(KeyClaim { state, key_revision });
        let numbers = Reservation::due(self.reserved, sequence);
        let why = match (&key, &numbers) {
            (None, None) => return Plan::wait("key written, numbers reserved"),
            (Some(claim), _) if claim.state.gave_up => "FFmpeg keeps crashing: another mixer is to try",
            (Some(_), _) => "FFmpeg waits for RTP",
            (None, Some(_)) => "sequence numbers run low",
        };
        Plan::act(StoreEffect::Claim { live_revision: wanted.live_revision, key, numbers }, why)
    }

    fn key_wanted(&self, wanted: &Wanted) -> Option<MixerState> {
        let port = self.port.as_ref().filter(|p| p.epoch == wanted.epoch)?;
        let spawned = matches!(&self.process, Process::Running(r) if r.epoch == wanted.epoch);
        let gave_up = self.gave_up == Some(wanted.epoch);
        (spawned || gave_up).then(|| MixerState {
            id: self.me.clone(),
            rtp: port.rtp,
            hls_url: self.policy.hls_base.clone(),
            epoch: wanted.epoch,
            gave_up,
            incarnation: Some(self.incarnation.clone()),
        })
    }

    /// Process, then numbers, then the key: whoever sees the key gone may rely on the rest being gone.
    fn withdraw(&self, view: &RoomView, key: Option<Versioned<MixerState>>) -> Plan<StoreEffect> {
        if self.process != Process::Idle || self.port.is_some() || self.stream.is_some() {
            return Plan::wait("waits for FFmpeg to be gone");
        }
        let deleted = view.meta.as_ref().is_none_or(|m| m.deleted_at.is_some());
        let sequence = self.sequence.current(view.sequence.as_ref());
        if let (Some(reserved), Some(stored), false) = (self.reserved, &sequence, deleted)
            && stored.value == reserved.ceiling
        {
            let effect = StoreEffect::Release { exact: reserved.next, key_revision: stored.mod_revision };
            return Plan::act(effect, "the next start continues without a jump");
        }
        match key.filter(|k| k.id == self.me && !self.leaving) {
            Some(key) => Plan::act(
                StoreEffect::DeleteKey { key_revision: key.mod_revision },
                "nothing is left of the room on this mixer",
            ),
            None => Plan::Finished,
        }
    }

    /// Takes in how a store effect ended.
    pub fn store_done(&mut self, effect: StoreEffect, outcome: WriteOutcome, now: Duration, dice: f64) {
        let revision = match outcome {
            WriteOutcome::Written { revision } => revision,
            WriteOutcome::Superseded => {
                let why = "the store changed under the write";
                return self.store_retry.failed(why, now, &self.policy.backoff, dice);
            }
            WriteOutcome::Failed(failure) => {
                return self.store_retry.failed(failure.to_string(), now, &self.policy.backoff, dice);
            }
        };
        self.store_retry.succeeded();
        match effect {
            StoreEffect::Claim { key, numbers, .. } => {
                if let Some(KeyClaim { state, .. }) = key {
                    self.key.wrote(revision, Some(state));
                }
                if let Some(Reservation { from, ceiling, .. }) = numbers {
                    let next = self.reserved.map_or(from, |r| r.next);
                    self.reserved = Some(Reserved { next, ceiling });
                    self.sequence.wrote(revision, Some(ceiling));
                }
            }
            StoreEffect::DeleteKey { .. } => self.key.wrote(revision, None),
            StoreEffect::Release { exact, .. } => {
                self.reserved = None;
                self.sequence.wrote(revision, Some(exact));
            }
        }
        self.key.seen(self.as_of);
        self.sequence.seen(self.as_of);
    }
}
