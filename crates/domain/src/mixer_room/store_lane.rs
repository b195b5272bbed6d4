//! Store lane of a mixer's room: the mixer key and the reserved media sequence numbers.
//!
//! Owns: content and time of the writes. Never delays a start or restart of FFmpeg.

use std::time::Duration;

use super::{
    GIVE_UP_AT, KeyClaim, MixerRoom, Process, Reservation, ReservedNumbers, Role, StoreEffect, WantedPart,
};
use crate::ids::{Epoch, Nonce};
use crate::model::{MixerState, SequenceState};
use crate::plan::{Plan, WriteOutcome};
use crate::view::{RoomView, StoredValue, UNREADABLE};

/// Time granted to an outgoing mixer to stop its FFmpeg and give its numbers back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);

impl MixerRoom {
    /// Records published parts, of audio or of silence. `next` are the packager's next unused numbers.
    pub fn published(&mut self, next: SequenceState) {
        if let Some(reserved) = &mut self.reserved {
            reserved.next = next;
        }
    }

    pub fn plan_store(&self, view: &RoomView, now: Duration) -> Plan<StoreEffect> {
        if let Some(wait) = self.store_retry.pending(now) {
            return wait;
        }
        let key = self.key.current(view.mixer.as_ref());
        match self.wanted(view) {
            Some(wanted) => self.publish(&wanted, view, key, now),
            None if self.must_keep(view) => Plan::wait(UNREADABLE),
            None => self.withdraw(view, key),
        }
    }

    fn publish(
        &self,
        wanted: &WantedPart,
        view: &RoomView,
        key: Option<StoredValue<MixerState>>,
        now: Duration,
    ) -> Plan<StoreEffect> {
        let sequence = self.sequence.current(view.sequence.as_ref());
        // The key is written before FFmpeg runs, so that Janus prepares its forwarder while FFmpeg starts.
        let Some(state) = self.key_wanted(wanted, view) else {
            return Plan::wait("waits for a port");
        };
        let known = key.as_ref().is_some_and(|k| k.value == state);
        let key_revision = key.map_or(0, |k| k.mod_revision);
        // During a handover the key already belongs to the successor.
        let ours = wanted.part != Role::Predecessor;
        let key = (ours && !known).then_some(KeyClaim { state, key_revision });
        let numbers_from = self.numbers_from(wanted, view, sequence.as_ref());
        let numbers = Reservation::due(self.reserved, sequence, wanted.epoch)
            .filter(|_| numbers_from.is_some_and(|from| from <= now) && !self.lost_its_numbers());
        let why = match (&key, &numbers) {
            (None, None) if self.reserved.is_none() => {
                let reason = "waits for the numbers of the outgoing mixer".into();
                return Plan::Wait { reason, until: numbers_from };
            }
            (None, None) => return Plan::wait("key written, numbers reserved"),
            (Some(claim), _) if claim.state.starved >= GIVE_UP_AT => match claim.state.unheard {
                true => "the mix stays silent although somebody speaks: the room must move",
                false => "nothing arrives: the room must move",
            },
            (Some(claim), _) if claim.state.gave_up => "FFmpeg keeps crashing: the room must move",
            (Some(claim), _) if claim.state.silent || claim.state.unheard => "reports silence to Janus",
            (Some(claim), _) if claim.state.starved > 0 => "reports to Janus that nothing arrives",
            (Some(_), _) => "announces the RTP address to Janus",
            (None, Some(_)) => "sequence numbers run low",
        };
        Plan::act(StoreEffect::Claim { live_revision: wanted.live_revision, key, numbers }, why)
    }

    /// Returns the time from which numbers may be reserved. `None`: wait until the view changes. After a
    /// handover, this mixer waits until the outgoing mixer has given its numbers back, but at most
    /// `GIVEN_BACK_WITHIN` after this mixer became ready.
    fn numbers_from(
        &self,
        wanted: &WantedPart,
        view: &RoomView,
        sequence: Option<&StoredValue<SequenceState>>,
    ) -> Option<Duration> {
        let handed_over = view.live.as_ref().is_some_and(|live| live.handover.is_some());
        let given_back = sequence.is_some_and(|s| s.mod_revision > wanted.live_revision);
        match wanted.part {
            Role::Predecessor => Some(Duration::ZERO),
            Role::Successor => None,
            Role::Owner if !handed_over || given_back || self.reserved.is_some() => Some(Duration::ZERO),
            Role::Owner => {
                let ready = self.ready.filter(|(epoch, _)| *epoch == wanted.epoch);
                Some(ready.map_or(Duration::ZERO, |(_, since)| since + GIVEN_BACK_WITHIN))
            }
        }
    }

    fn key_wanted(&self, wanted: &WantedPart, view: &RoomView) -> Option<MixerState> {
        let port = self.port.as_ref().filter(|p| p.epoch == wanted.epoch)?;
        let starved = self.starved_under(wanted.epoch);
        Some(MixerState {
            id: self.me.clone(),
            rtp: port.rtp,
            hls_url: self.policy.hls_base.clone(),
            epoch: wanted.epoch,
            gave_up: self.gave_up == Some(wanted.epoch) || starved >= GIVE_UP_AT,
            starved,
            silent: wanted.part == Role::Owner && self.is_silent(wanted.epoch),
            unheard: starved > 0 && self.starvation.unheard,
            ready: self.is_ready(wanted, view),
            incarnation: Some(self.incarnation.clone()),
        })
    }

    /// Returns true if a handover made this mixer the successor and FFmpeg has produced audio since then.
    /// Stays true for the rest of the epoch, because the room never returns to the outgoing mixer.
    fn is_ready(&self, wanted: &WantedPart, view: &RoomView) -> bool {
        let said = view.mixer.as_ref().is_some_and(|m| m.ready && m.epoch == wanted.epoch && m.id == self.me);
        let is = self.ready.is_some_and(|(epoch, _)| epoch == wanted.epoch);
        view.live.as_ref().is_some_and(|live| live.handover.is_some()) && (said || is)
    }

    /// Plans the next step of the end: wait for the end of the process, release the numbers, delete the key.
    /// A missing key therefore implies that the rest is gone.
    fn withdraw(&self, view: &RoomView, key: Option<StoredValue<MixerState>>) -> Plan<StoreEffect> {
        if self.process != Process::Idle || self.port.is_some() || self.stream.is_some() {
            return Plan::wait("waits for the end of FFmpeg");
        }
        let deleted = view.meta.as_ref().is_none_or(|m| m.deleted_at.is_some());
        let sequence = self.sequence.current(view.sequence.as_ref());
        if let (Some(reserved), Some(stored), false) = (self.reserved, &sequence, deleted)
            && stored.value == reserved.ceiling
        {
            let exact = SequenceState { epoch: Epoch::default(), ..reserved.next };
            let effect = StoreEffect::Release { exact, key_revision: stored.mod_revision };
            return Plan::act(effect, "the next start continues without a jump");
        }
        match key.filter(|k| k.id == self.me && !self.leaving) {
            Some(key) => Plan::act(
                StoreEffect::DeleteKey { key_revision: key.mod_revision },
                "the room has no resources on this mixer",
            ),
            None => Plan::Finished,
        }
    }

    /// Applies the outcome of a store effect.
    pub fn store_done(&mut self, effect: StoreEffect, outcome: WriteOutcome, now: Duration, random: f64) {
        let revision = match outcome {
            WriteOutcome::Written { revision } => revision,
            WriteOutcome::Superseded => {
                let why = "the store changed under the write";
                return self.store_retry.failed(why, now, &self.policy.backoff, random);
            }
            WriteOutcome::Failed(failure) => {
                return self.store_retry.failed(failure.to_string(), now, &self.policy.backoff, random);
            }
        };
        self.store_retry.succeeded();
        match effect {
            StoreEffect::Claim { key, numbers, .. } => {
                if let Some(KeyClaim { state, .. }) = key {
                    self.key.wrote(revision, Some(state));
                }
                if let Some(Reservation { from, ceiling, .. }) = numbers {
                    // `next` is `None` if the reservation was lost while the write was in progress.
                    let next = self.reserved.map(|r| r.next).or(from);
                    self.reserved = next.map(|next| ReservedNumbers { next, ceiling });
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

/// Returns true if the broadcast of this nonce is on air, here or on another mixer.
pub(super) fn live_goes_on(view: &RoomView, nonce: &Nonce) -> bool {
    view.is_on_air() && view.live.as_ref().is_some_and(|live| live.nonce == *nonce)
}
