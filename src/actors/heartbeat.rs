//! Heartbeat of one module: a key under a lease that this actor renews. The value includes the module's
//! health.
//!
//! ```text
//!  Leaseless ──grant + put──▶ Beating ──keep-alive every ttl/3──▶ Beating
//!      ▲                        │ lease gone
//!      └────────── retry ───────┘
//! ```
//! While the store is unavailable, this actor keeps its lease and tries again.
//!
//! A mixer's listener counts are under the same lease, in a separate key. The counts change every few
//! seconds, while the content of a heartbeat rarely changes. The heartbeat also contains the machine's load.
//! A change of the load causes a new write only if it is five percentage points or more.
//!
//! The incarnation belongs to the process and survives restarts of this actor. So other nodes can distinguish
//! a node that was disconnected from the store from a node that was restarted.

use std::time::Duration;

use tokio::sync::watch;

use super::context::Context;
use super::kernel::{ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::clock::random_unit;
use crate::domain::keys::{self, ModuleKind, ModulePart};
use crate::domain::machine::{CpuTimes, LoadMeter};
use crate::domain::model::{Health, Heartbeat, ListenerCounts, MachineLoad};
use crate::domain::restart::{Backoff, STORE_ASKED_WITHIN};
use crate::process::usage::{self, Usage};
use crate::store::{LeaseId, StoreError, Txn};

/// Receiver of the module's current heartbeat. The other actors of the module change the heartbeat;
/// [`HeartbeatActor`] publishes it.
pub type HeartbeatReceiver = watch::Receiver<Heartbeat>;

pub struct HeartbeatActor {
    kind: ModuleKind,
    context: Context,
    heartbeats: HeartbeatReceiver,
    /// Listener counts of a mixer; `None` for other modules.
    counts: Option<watch::Receiver<ListenerCounts>>,
    /// CPU load meter of this machine; `None` for an external Janus, which may run elsewhere.
    meter: Option<LoadMeter>,
    /// Load in the last heartbeat that was written.
    told_load: Option<MachineLoad>,
    lease: Option<LeaseId>,
    attempt: u32,
    busy: bool,
    /// True if the write in progress includes the heartbeat key.
    telling: bool,
    stopping: bool,
    reason: Option<String>,
    timer: Option<Timer>,
}

pub enum Msg {
    Beat,
    /// The module's state or its listener counts changed.
    Changed,
    Beaten(Result<LeaseId, StoreError>),
    Revoked,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Beat => "beat",
            Self::Changed => "changed",
            Self::Beaten(_) => "beaten",
            Self::Revoked => "revoked",
        }
    }
}

impl HeartbeatActor {
    pub fn new(
        kind: ModuleKind,
        context: Context,
        heartbeats: HeartbeatReceiver,
        counts: Option<watch::Receiver<ListenerCounts>>,
        meter: Option<LoadMeter>,
    ) -> Self {
        Self {
            kind,
            context,
            heartbeats,
            counts,
            meter,
            told_load: None,
            lease: None,
            attempt: 0,
            busy: false,
            telling: false,
            stopping: false,
            reason: None,
            timer: None,
        }
    }

    fn beat(&mut self, cx: &mut Cx<Self>) {
        if self.busy || self.stopping {
            return;
        }
        self.busy = true;
        let load = self.measure();
        let changed = self.heartbeats.has_changed().unwrap_or(false) || load != self.told_load;
        self.telling = changed || self.lease.is_none() || !self.is_seen();
        self.told_load = load;
        let mut heartbeat = self.heartbeats.borrow_and_update().clone();
        heartbeat.machine_load = load;
        let counts = self.untold_counts();
        let key = |part| keys::module(self.kind, &self.context.me, part);
        let (key, counts_key) = (key(ModulePart::Heartbeat), key(ModulePart::Listeners));
        let ttl = self.context.config.rooms.heartbeat_ttl;
        let (store, lease, telling) = (self.context.store.clone(), self.lease, self.telling);
        let work = async move {
            // Always renew the lease first: after the store was frozen, the store keeps the lease only if a
            // keep-alive is among the waiting requests.
            let lease = match lease {
                Some(lease) => store.keep_alive(lease).await.map(|()| lease)?,
                None => store.grant(ttl).await?,
            };
            let mut txn = Txn::new();
            if telling {
                txn = txn.put_leased(key, json(&heartbeat)?, lease);
            }
            if let Some(counts) = counts {
                txn = txn.put_leased(counts_key, json(&counts)?, lease);
            }
            match txn.ops.is_empty() {
                true => Ok(lease),
                false => store.txn(txn).await.map(|_| lease),
            }
        };
        cx.run(work, Msg::Beaten);
    }

    /// Measures the load of this machine for the heartbeat.
    fn measure(&mut self) -> Option<MachineLoad> {
        let meter = self.meter.as_mut()?;
        // The kernel's counters are in memory: reading them takes a few microseconds per child process.
        let Usage { total, busy, children: media } = usage::read()?;
        meter.observe(self.context.clock.now(), CpuTimes { total, busy, media })
    }

    /// Takes the counts if they must be written, because they have changed or because there is no lease that
    /// holds them. Marks the counts as taken.
    fn untold_counts(&mut self) -> Option<ListenerCounts> {
        let counts = self.counts.as_mut()?;
        let untold = counts.has_changed().unwrap_or(false) || self.lease.is_none();
        untold.then(|| counts.borrow_and_update().clone())
    }

    /// Returns true if there is something to write before the next renewal.
    fn has_news(&self) -> bool {
        let counts = self.counts.as_ref().map(|counts| counts.has_changed());
        [Some(self.heartbeats.has_changed()), counts]
            .into_iter()
            .flatten()
            .any(|changed| changed.unwrap_or(false))
    }

    /// Returns true if the cluster cache shows this node's own heartbeat. The key can be deleted although its
    /// lease is alive.
    fn is_seen(&self) -> bool {
        let view = self.context.directory.module(self.kind, &self.context.me);
        let seen = view.as_ref().and_then(|view| view.heartbeat.as_ref());
        seen.is_some_and(|seen| *seen.incarnation == *self.context.incarnation)
    }

    fn beaten(&mut self, outcome: Result<LeaseId, StoreError>, cx: &mut Cx<Self>) {
        self.busy = false;
        self.context.metrics.heartbeat(outcome.is_ok());
        let ttl = self.context.config.rooms.heartbeat_ttl;
        let next = match outcome {
            Ok(lease) => {
                self.lease = Some(lease);
                self.attempt = 0;
                self.reason = None;
                if self.has_news() { Duration::ZERO } else { ttl / 3 }
            }
            Err(error) => {
                // The store may not have received the write.
                if self.telling {
                    self.heartbeats.mark_changed();
                }
                self.counts.iter_mut().for_each(|counts| counts.mark_changed());
                if self.attempt == 0 {
                    tracing::warn!(module = self.kind.as_str(), %error, "heartbeat write failed");
                }
                if matches!(error, StoreError::LeaseNotFound) {
                    self.lease = None;
                }
                self.attempt += 1;
                self.reason = Some(error.to_string());
                // The longest delay is at most a quarter of the lease's TTL, so that the lease does not
                // expire during a short outage.
                let max = STORE_ASKED_WITHIN.min(ttl / 4);
                Backoff { first: Duration::from_millis(100), max }.delay(self.attempt, random_unit())
            }
        };
        self.timer = Some(cx.after(next, Msg::Beat));
    }

    fn listen(&self, cx: &mut Cx<Self>) {
        let (mut heartbeats, mut counts) = (self.heartbeats.clone(), self.counts.clone());
        heartbeats.mark_unchanged();
        counts.iter_mut().for_each(|counts| counts.mark_unchanged());
        let counted = async move {
            match &mut counts {
                Some(counts) => counts.changed().await,
                None => std::future::pending().await,
            }
        };
        let changed = async move {
            let changed = tokio::select! {
                changed = heartbeats.changed() => changed,
                changed = counted => changed,
            };
            if changed.is_err() {
                // The supervisor of the module is gone. This actor ends soon, too, and has nothing to
                // publish.
                std::future::pending::<()>().await;
            }
        };
        cx.run(changed, |()| Msg::Changed);
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Rejected(e.to_string()))
}

impl Behaviour for HeartbeatActor {
    const KIND: &'static str = "heartbeat";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.heartbeats.mark_changed();
        self.listen(cx);
        self.beat(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Revoked => cx.exit(),
            // A renewal that was in progress may find its lease revoked.
            _ if self.stopping => {}
            Msg::Beat => self.beat(cx),
            Msg::Changed => {
                self.listen(cx);
                self.beat(cx);
            }
            Msg::Beaten(outcome) => self.beaten(outcome, cx),
        }
    }

    /// Revokes the lease, so that the other nodes need not wait for it to expire.
    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        self.stopping = true;
        let Some(lease) = self.lease.take() else { return StopAnswer::Now };
        let store = self.context.store.clone();
        cx.run(async move { store.revoke(lease).await }, |outcome| {
            if let Err(error) = outcome {
                tracing::debug!(%error, "heartbeat lease was not revoked");
            }
            Msg::Revoked
        });
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        let healthy = self.heartbeats.borrow().status == Health::Healthy;
        ActorState {
            state: if self.lease.is_some() { "beating" } else { "leaseless" }.into(),
            observed: serde_json::json!({ "module": self.kind.as_str(), "healthy": healthy }),
            reason: self.reason.clone(),
            attempt: self.attempt,
            ..ActorState::default()
        }
    }
}

#[cfg(test)]
#[path = "heartbeat_tests.rs"]
mod tests;
