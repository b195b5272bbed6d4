//! Obtains and renews the certificate of the listening sockets through ACME.
//!
//! ```text
//! attempting ──valid──▶ waiting for the renewal, at most 1 h ──▶ attempting
//!     ├──store or file error──▶ waiting, longer after each error ──▶ attempting
//!     ├──another node orders or has failed──▶ waiting 30 s ──▶ attempting
//!     └──failed──▶ looking for a certificate of another node every 30 s, until the next order is due;
//!                  the delay of the order grows with each failure ──▶ attempting
//! ```
//! The rules are in [`domain::acme`](crate::domain::acme), the steps of an attempt in [`acme`](crate::acme).

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::acme::{Acme, Attempt, Permission};
use crate::clock::{Clock, random_unit};
use crate::domain::acme::{Validity, delay_for_others};
use crate::domain::restart::Backoff;

/// Actor that keeps the certificate file up to date.
pub struct CertificateActor {
    acme: Acme,
    clock: Clock,
    /// Delays after store and file errors.
    backoff: Backoff,
    busy: bool,
    /// Failed orders in a row, including those of other nodes.
    failures: u32,
    /// Store and file errors in a row.
    errors: u32,
    /// Validity of the certificate, and the time from which it is renewed.
    validity: Option<(Validity, SystemTime)>,
    reason: Option<String>,
    /// Error of this node's latest order; `None` after a success.
    failed: Option<String>,
    due: Duration,
    /// Time from which this node may order again.
    orders_from: Duration,
    timer: Option<Timer>,
}

pub enum Msg {
    Due,
    Attempted(Result<Attempt, String>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Attempted(_) => "attempted",
        }
    }
}

impl CertificateActor {
    pub fn new(acme: Acme, clock: Clock, backoff: Backoff) -> Self {
        Self {
            acme,
            clock,
            backoff,
            busy: false,
            failures: 0,
            errors: 0,
            validity: None,
            reason: None,
            failed: None,
            due: Duration::ZERO,
            orders_from: Duration::ZERO,
            timer: None,
        }
    }

    fn attempt(&mut self, permission: Permission, cx: &mut Cx<Self>) {
        if std::mem::replace(&mut self.busy, true) {
            return;
        }
        let (acme, failures) = (self.acme.clone(), self.failures);
        cx.run(async move { acme.attempt(failures, random_unit(), permission).await }, Msg::Attempted);
    }

    /// Records the result of an attempt. Returns the time until the next one.
    fn attempted(&mut self, result: Result<Attempt, String>) -> Duration {
        self.busy = false;
        let attempt = match result {
            Ok(attempt) => attempt,
            Err(error) => {
                tracing::warn!(error, "ACME certificate could not be checked; will retry");
                self.reason = Some(error);
                self.errors = self.errors.saturating_add(1);
                return self.backoff.delay(self.errors, random_unit());
            }
        };
        self.errors = 0;
        match attempt {
            Attempt::Valid { validity, renewal, obtained } => {
                if obtained {
                    let names = self.acme.names().join(", ");
                    tracing::info!(names, "certificate obtained through ACME");
                }
                let now = SystemTime::now();
                (self.failures, self.validity) = (0, Some((validity, renewal)));
                (self.failed, self.orders_from) = (None, Duration::ZERO);
                self.reason = validity.begins_in(now).map(|left| {
                    let seconds = left.as_secs();
                    format!("the certificate becomes valid in {seconds} s; check the clock of this machine")
                });
                validity.examined_in(renewal, now).unwrap_or_default()
            }
            Attempt::Waits(record) => {
                self.failures = self.failures.max(record.failures);
                self.reason = Some(match record.error {
                    Some(error) => format!("the order of {} has failed: {error}", record.node),
                    None => format!("{} orders the certificate", record.node),
                });
                delay_for_others()
            }
            Attempt::NotDue => {
                self.reason = self.failed.clone();
                delay_for_others()
            }
            Attempt::Failed { error, retry_in } => {
                self.failures = self.failures.saturating_add(1);
                let minutes = retry_in.as_secs() / 60;
                tracing::error!(error, minutes, "ACME order failed; will retry after these minutes");
                (self.reason, self.failed) = (Some(error.clone()), Some(error));
                self.orders_from = self.clock.now() + retry_in;
                delay_for_others()
            }
        }
    }
}

impl Behaviour for CertificateActor {
    const KIND: &'static str = "certificate";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let permission = if self.acme.is_first_start() { Permission::Yes } else { Permission::AtOnce };
        self.attempt(permission, cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Due => {
                let may_order = self.clock.now() >= self.orders_from;
                self.attempt(if may_order { Permission::Yes } else { Permission::No }, cx);
            }
            Msg::Attempted(result) => {
                let delay = self.attempted(result);
                self.due = self.clock.now() + delay;
                self.timer = Some(cx.after(delay, Msg::Due));
            }
        }
    }

    fn observe(&self) -> ActorState {
        let left = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
        let state = match (self.busy, self.validity, &self.reason) {
            (true, ..) => "attempting",
            (false, Some(_), None) => "valid",
            (false, ..) => "waiting",
        };
        let next = self.due.max(self.orders_from);
        ActorState {
            desired: json!({ "names": self.acme.names() }),
            observed: json!({
                "expiresInSeconds": self.validity.map(|(validity, _)| left(validity.until)),
                "renewedInSeconds": self.validity.map(|(_, renewal)| left(renewal)),
                "failures": self.failures,
            }),
            reason: self.reason.clone(),
            next_retry_in: (!self.busy).then(|| next.saturating_sub(self.clock.now())),
            ..ActorState::state(state)
        }
    }
}
