//! Reads of the supervision tree, from any thread, without waiting for any actor.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use serde::Serialize;
use serde_json::Value;

use super::cell::{ActorCell, Failure, Lifecycle, Signal, Transition, unix_ms};
use super::metrics;

/// Handling time of one message above which an actor counts as stuck.
const STUCK_IN_HAND: Duration = Duration::from_secs(1);
/// Age of the oldest waiting message above which an actor counts as stuck.
const STUCK_WAITING: Duration = Duration::from_secs(5);

/// Handle to the tree of one actor system; cheap to clone. Register it with Prometheus for `/metrics`.
#[derive(Clone)]
pub struct Registry {
    top: Arc<ActorCell>,
    descriptions: Arc<[Desc]>,
}

/// Reason why an actor is not restarted on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartRefused {
    NotFound,
    /// The actor is the root actor, and its end would end the system.
    Root,
    /// The actor is starting, stopping or waiting for a restart.
    NotRunning,
    /// The actor has not run for the minimum time.
    TooYoung,
}

/// Status of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Starting,
    Alive,
    /// The actor is blocked in one message, or the oldest message in its mailbox has waited for too long.
    Stuck,
    Stopping,
    /// The actor waits for its next start after a failure.
    Restarting,
    /// The actor failed too often, and waits for a longer time before its next start.
    Parked,
    Dead,
}

/// View of one actor and all actors below it. Times are in milliseconds; `…_at` counts from the Unix epoch.
#[derive(Debug, Clone, Serialize)]
pub struct ActorView {
    pub name: String,
    pub path: String,
    pub kind: &'static str,
    pub status: Status,
    pub state: String,
    pub desired: Value,
    pub observed: Value,
    /// Reason for waiting, as the actor states it. While the actor waits for a restart: its failure.
    pub reason: Option<String>,
    pub attempt: u32,
    pub next_retry_in_ms: Option<u64>,
    pub transitions: VecDeque<Transition>,
    /// Number of restarts for each reason.
    pub restarts: BTreeMap<&'static str, u64>,
    pub last_failure: Option<Failure>,
    pub mailbox: MailboxView,
    /// Kind of the message being handled, and its handling time so far.
    pub handling: Option<(&'static str, u64)>,
    /// Start of the current incarnation.
    pub started_at: u64,
    pub children: Vec<ActorView>,
}

/// View of a mailbox. Counts are since the actor's first start.
#[derive(Debug, Clone, Serialize)]
pub struct MailboxView {
    pub depth: usize,
    pub capacity: usize,
    pub oldest_age_ms: u64,
    pub coalesced: u64,
    pub refused: u64,
}

impl Registry {
    pub(super) fn new(top: Arc<ActorCell>) -> Self {
        let describe = |(name, help, _, labels): &(&str, &str, _, &[&str])| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            // Names and labels are constants of this crate; the collector test registers them all.
            Desc::new((*name).to_owned(), (*help).to_owned(), labels, Default::default()).ok()
        };
        let descriptions = metrics::FAMILIES.iter().filter_map(describe).collect();
        Self { top, descriptions }
    }

    /// Returns the tree from the root actor down; `None` once the system has ended.
    pub fn snapshot(&self) -> Option<ActorView> {
        self.top.children().first().map(|root| view(root))
    }

    /// Makes the actor at this path fail in its next turn with `cause`, so that its parent restarts it if the
    /// spec permits that. Its children end with it. An actor that has not run for `min_age` is not restarted,
    /// because requests alone must not use up a restart budget.
    ///
    /// # Errors
    /// There is no such actor, or it must not be restarted now.
    pub fn restart(&self, path: &str, cause: &'static str, min_age: Duration) -> Result<(), RestartRefused> {
        let cell = find(&self.top, path).ok_or(RestartRefused::NotFound)?;
        if self.top.children().iter().any(|root| root.path == path) {
            return Err(RestartRefused::Root);
        }
        if cell.life() != Lifecycle::Alive {
            return Err(RestartRefused::NotRunning);
        }
        let age = unix_ms().saturating_sub(cell.started_at.load(Relaxed));
        if u128::from(age) < min_age.as_millis() {
            return Err(RestartRefused::TooYoung);
        }
        cell.signal(Signal::Restart(cause));
        Ok(())
    }

    /// Makes the actor at this path panic in its next turn, to test the effect on the rest of the system.
    /// Returns true if the actor exists. This function does not exist in release builds.
    #[cfg(debug_assertions)]
    pub fn panic(&self, path: &str) -> bool {
        let found = find(&self.top, path);
        found.inspect(|cell| cell.signal(Signal::Panic)).is_some()
    }
}

impl Collector for Registry {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        metrics::collect(&self.top)
    }
}

fn find(cell: &ActorCell, path: &str) -> Option<Arc<ActorCell>> {
    let below = |child: Arc<ActorCell>| if child.path == path { Some(child) } else { find(&child, path) };
    cell.children().into_iter().find_map(below)
}

fn view(cell: &ActorCell) -> ActorView {
    let snapshot = cell.snapshot();
    let now = cell.kernel.now();
    let mailbox = mailbox_view(cell);
    let handling = cell.in_flight().map(|(kind, since)| (kind, now.saturating_sub(since)));
    let stuck = handling.is_some_and(|(_, held)| held > STUCK_IN_HAND)
        || u128::from(mailbox.oldest_age_ms) > STUCK_WAITING.as_millis();
    let waiting = snapshot.waiting.as_ref();
    let retry = snapshot.seen.next_retry_in.map(|delay| snapshot.seen_at + delay);
    let due = waiting.map(|start| start.due).or(retry);
    let failure = snapshot.last_failure.as_ref().filter(|_| waiting.is_some()).map(|f| f.text.clone());
    ActorView {
        name: cell.name.to_string(),
        path: cell.path.clone(),
        kind: cell.kind,
        status: status(cell.life(), stuck),
        state: snapshot.seen.state.into_owned(),
        desired: snapshot.seen.desired,
        observed: snapshot.seen.observed,
        attempt: waiting.map_or(snapshot.seen.attempt, |start| start.attempt),
        reason: failure.or(snapshot.seen.reason),
        next_retry_in_ms: due.map(|due| ms(due.saturating_sub(now))),
        transitions: snapshot.transitions,
        restarts: snapshot.restarts,
        last_failure: snapshot.last_failure,
        mailbox,
        handling: handling.map(|(kind, held)| (kind, ms(held))),
        started_at: cell.started_at.load(Relaxed),
        children: cell.children().iter().map(|child| view(child)).collect(),
    }
}

/// Returns the status to show. A stuck actor is shown as stuck unless it is restarting, parked or dead.
fn status(life: Lifecycle, stuck: bool) -> Status {
    match life {
        Lifecycle::Restarting => Status::Restarting,
        Lifecycle::Parked => Status::Parked,
        Lifecycle::Dead => Status::Dead,
        _ if stuck => Status::Stuck,
        Lifecycle::Starting => Status::Starting,
        Lifecycle::Alive => Status::Alive,
        Lifecycle::Stopping => Status::Stopping,
    }
}

fn mailbox_view(cell: &ActorCell) -> MailboxView {
    let since = cell.mail.oldest.load(Relaxed);
    let age = if since == 0 { 0 } else { cell.kernel.nanos().saturating_sub(since) };
    MailboxView {
        depth: cell.mail.depth.load(Relaxed),
        capacity: cell.capacity,
        oldest_age_ms: age / 1_000_000,
        coalesced: cell.mail.coalesced.load(Relaxed),
        refused: cell.mail.refused.load(Relaxed),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
