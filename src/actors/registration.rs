//! Keeps this process registered under the node's id, and publishes the state of the registration:
//! registered, waiting, or refused because another process has the id.
//!
//! The rules are in [`domain::registration`](crate::domain::registration). The node's roles start once it is
//! registered. If the lease is lost, the id is claimed again, unless another process has taken it in the
//! meantime.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::context::Context;
use super::kernel::{ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::clock::random_unit;
use crate::domain::civil_time::Rfc3339;
use crate::domain::keys;
use crate::domain::registration::{Decision, FoundRecord, NodeRecord, decide};
use crate::domain::restart::{Backoff, STORE_ASKED_WITHIN};
use crate::store::{KeyValue, LeaseId, Store, StoreError, Txn, TxnOutcome};

/// Interval between two checks of another process's record.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// State of this process's registration under its node id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RegistrationState {
    /// The registration is in force, or the store is not shared and needs none.
    #[default]
    Registered,
    Waiting(String),
    /// The node must end; the text is the reason.
    Refused(String),
}

pub struct Registration {
    context: Context,
    record: Arc<NodeRecord>,
    lease: Option<LeaseId>,
    /// True if the node's key holds our record, under `lease`.
    registered: bool,
    /// Revision of another process's record, and the time at which it was first seen.
    other: Option<(i64, Duration)>,
    attempt: u32,
    stopping: bool,
    timer: Option<Timer>,
}

pub enum Msg {
    Beat,
    Beaten(Result<(LeaseId, AttemptOutcome), StoreError>),
    Revoked,
}

/// Result of a registration attempt.
#[derive(Debug)]
pub enum AttemptOutcome {
    Ours,
    /// Another process wrote the key at the same time.
    Conflict,
    Other(FoundRecord),
    /// Another process has the id, so this node must end.
    Refused(FoundRecord),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Beat => "beat",
            Self::Beaten(_) => "beaten",
            Self::Revoked => "revoked",
        }
    }
}

impl Registration {
    pub fn new(context: Context, record: Arc<NodeRecord>) -> Self {
        Self {
            context,
            record,
            lease: None,
            registered: false,
            other: None,
            attempt: 0,
            stopping: false,
            timer: None,
        }
    }

    fn beat(&mut self, cx: &mut Cx<Self>) {
        let (store, record, lease) = (self.context.store.clone(), self.record.clone(), self.lease);
        let (key, ttl) = (keys::node(&self.context.me), self.context.config.rooms.heartbeat_ttl);
        let (registered, other, now) = (self.registered, self.other, self.context.clock.now());
        // If a process took the id from us, it waited until our lease had ended. So its record was not left
        // behind by an earlier run, and this node must end immediately.
        let was_ours = *self.context.standing.borrow() == RegistrationState::Registered;
        let work = async move {
            let lease = match lease {
                Some(lease) => store.keep_alive(lease).await.map(|()| lease)?,
                None => store.grant(ttl).await?,
            };
            if registered {
                return Ok((lease, AttemptOutcome::Ours));
            }
            let found = store.get(&key).await?.map(|entry| found(&entry));
            let since = other.filter(|(revision, _)| found.as_ref().is_some_and(|f| f.revision == *revision));
            let waited = since.map_or(Duration::ZERO, |(_, since)| now.saturating_sub(since));
            let waited = if was_ours { Duration::MAX } else { waited };
            let seen = match (decide(found.as_ref(), &record, waited, ttl), found) {
                (Decision::Claim { over }, _) => claim(&*store, key, &record, lease, over).await?,
                (Decision::Wait, Some(found)) => AttemptOutcome::Other(found),
                (Decision::Refuse, Some(found)) => AttemptOutcome::Refused(found),
                (_, None) => AttemptOutcome::Conflict,
            };
            Ok((lease, seen))
        };
        cx.run(work, Msg::Beaten);
    }

    fn beaten(&mut self, outcome: Result<(LeaseId, AttemptOutcome), StoreError>, cx: &mut Cx<Self>) {
        let ttl = self.context.config.rooms.heartbeat_ttl;
        let next = match outcome {
            Ok((lease, seen)) => {
                (self.lease, self.attempt) = (Some(lease), 0);
                self.observe(seen).unwrap_or(ttl / 3)
            }
            Err(error) => {
                if matches!(error, StoreError::LeaseNotFound) {
                    (self.lease, self.registered) = (None, false);
                }
                if self.attempt == 0 {
                    tracing::warn!(%error, "node registration failed");
                }
                self.attempt += 1;
                self.wait(format!("registration of the node failed: {error}"));
                let max = STORE_ASKED_WITHIN.min(ttl / 4);
                Backoff { first: Duration::from_millis(100), max }.delay(self.attempt, random_unit())
            }
        };
        self.timer = Some(cx.after(next, Msg::Beat));
    }

    /// Applies the result. Returns the delay until the next check, if that is before the next renewal.
    fn observe(&mut self, seen: AttemptOutcome) -> Option<Duration> {
        match seen {
            AttemptOutcome::Ours => {
                (self.registered, self.other) = (true, None);
                self.context.standing.send_if_modified(|standing| {
                    let is_news = *standing != RegistrationState::Registered;
                    *standing = RegistrationState::Registered;
                    is_news
                });
                None
            }
            AttemptOutcome::Conflict => Some(Duration::from_millis(50)),
            AttemptOutcome::Other(found) => {
                let named = named(&self.context, &found);
                if self.other.is_none_or(|(revision, _)| revision != found.revision) {
                    self.other = Some((found.revision, self.context.clock.now()));
                    tracing::warn!("{named}: waiting to see if it still runs");
                }
                self.wait(format!("{named}: waiting to see if it still runs"));
                Some(LOOK_EVERY)
            }
            AttemptOutcome::Refused(found) => {
                let remedy = "stop it, or give this node another node.id";
                let why = format!("{}: {remedy}", named(&self.context, &found));
                self.context.standing.send_replace(RegistrationState::Refused(why));
                None
            }
        }
    }

    /// Updates the reason of a waiting node. Has no effect on a registered node, which continues while the
    /// store is unavailable.
    fn wait(&self, why: String) {
        self.context.standing.send_if_modified(|standing| match standing {
            RegistrationState::Waiting(known) if *known != why => {
                *known = why;
                true
            }
            _ => false,
        });
    }
}

fn named(context: &Context, found: &FoundRecord) -> String {
    let id = &context.me;
    match &found.record {
        Some(NodeRecord { host, started_at, .. }) => {
            let started_at = Rfc3339(*started_at);
            format!("another node with the id {id} is registered (host {host}, started at {started_at})")
        }
        None => format!("another node with the id {id} is registered, in a record that cannot be read"),
    }
}

fn found(entry: &KeyValue) -> FoundRecord {
    let record = serde_json::from_slice(&entry.value).ok();
    FoundRecord { record, revision: entry.mod_revision, leased: entry.lease.is_some() }
}

async fn claim(
    store: &dyn Store,
    key: String,
    record: &NodeRecord,
    lease: LeaseId,
    over: i64,
) -> Result<AttemptOutcome, StoreError> {
    let json = serde_json::to_vec(record).map_err(|e| StoreError::Rejected(e.to_string()))?;
    Ok(match store.txn(Txn::new().when(&key, over).put_leased(&key, json, lease)).await? {
        TxnOutcome::Committed(_) => AttemptOutcome::Ours,
        TxnOutcome::Conflict => AttemptOutcome::Conflict,
    })
}

impl Behaviour for Registration {
    const KIND: &'static str = "registration";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.beat(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Revoked => cx.exit(),
            _ if self.stopping => {}
            Msg::Beat => self.beat(cx),
            Msg::Beaten(outcome) => self.beaten(outcome, cx),
        }
    }

    /// Revokes the lease, so that the next process with this id need not wait for it to expire.
    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        self.stopping = true;
        let Some(lease) = self.lease.take() else { return StopAnswer::Now };
        let store = self.context.store.clone();
        cx.run(async move { store.revoke(lease).await }, |outcome| {
            if let Err(error) = outcome {
                tracing::debug!(%error, "registration lease was not revoked");
            }
            Msg::Revoked
        });
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        let (state, reason) = match &*self.context.standing.borrow() {
            RegistrationState::Registered => ("registered", None),
            RegistrationState::Waiting(why) => ("waiting", Some(why.clone())),
            RegistrationState::Refused(why) => ("refused", Some(why.clone())),
        };
        let observed = json!({ "id": self.context.me, "host": self.record.host });
        ActorState { observed, reason, attempt: self.attempt, ..ActorState::state(state) }
    }
}
