//! Children of one incarnation: running, waiting for a restart, or stopping.
//!
//! Owns the table and its deadlines; decisions come from `spec`. Never calls a behaviour.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::cell::{ActorCell, Lifecycle, PendingRestart, Signal};
use super::mailbox::Inbox;
use super::spec::{ChildDown, ChildSpec, Decision, Exit, StopOrder, decide};
use stentor_backoff::Restarts;

/// Extra time after the stop deadline. A child that can still run ends its own wait at the deadline; one that
/// has not ended after this extra time is considered blocked.
const BLOCKED_AFTER: Duration = Duration::from_millis(250);

/// Function that starts one incarnation on its arbiter. If the start fails, the link is dropped and reports
/// the failure.
pub(super) type Launch = Box<dyn Fn(Link)>;

/// Link of one incarnation to its parent: reports the exit exactly once, even if the arbiter drops the
/// incarnation.
pub(super) struct Link {
    pub cell: Arc<ActorCell>,
    parent: Parent,
    run: u64,
    over: bool,
}

pub(super) enum Parent {
    Actor(Arc<ActorCell>),
    /// System handle, the parent of `Top`.
    System(watch::Sender<Option<Exit>>),
}

impl Link {
    pub fn new(cell: Arc<ActorCell>, parent: Parent, run: u64) -> Self {
        Self { cell, parent, run, over: false }
    }

    /// Reports that the incarnation has ended completely.
    pub fn report(&mut self, exit: Exit) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let (child, run) = (self.cell.id, self.run);
        match &self.parent {
            Parent::Actor(parent) => parent.signal(Signal::ChildExit { child, run, exit }),
            Parent::System(outcome) => drop(outcome.send_replace(Some(exit))),
        }
    }

    /// Suppresses the report: the parent has already abandoned this actor.
    pub fn sever(&mut self) {
        self.over = true;
    }

    /// Tells the parent that this actor is stopping its own children. The next signal comes within this
    /// time.
    pub fn unwinding(&self, within: Duration) {
        if let Parent::Actor(parent) = &self.parent {
            parent.signal(Signal::ChildUnwinding { child: self.cell.id, within });
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.over {
            // No actor is left to stop the children in order.
            self.cell.kill_children();
            self.report(Exit::ArbiterGone);
        }
    }
}

pub(super) struct Children {
    owner: Arc<ActorCell>,
    /// Rows by cell id. The ids are in the order of the first start.
    rows: BTreeMap<u64, Row>,
    names: HashMap<Arc<str>, u64>,
    /// Deadlines of the rows that have one.
    dates: BTreeSet<(Instant, u64)>,
}

pub(super) struct Row {
    pub cell: Arc<ActorCell>,
    pub inbox: Arc<dyn Inbox>,
    /// The child's `ActorRef`, with its message type erased.
    pub reference: Box<dyn Any>,
    pub launch: Launch,
    pub spec: ChildSpec,
    state: RowState,
}

#[derive(Default)]
struct RowState {
    phase: Phase,
    restarts: Restarts,
    /// Current incarnation; exits of earlier ones are ignored.
    run: u64,
    date: Option<Instant>,
}

/// Phase of a child: `Running ⇄ Resting`, and from both to `Stopping`. The row's date is the next start or
/// the stop deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Running,
    Resting,
    Stopping,
}

impl Row {
    pub fn new(
        cell: Arc<ActorCell>,
        inbox: Arc<dyn Inbox>,
        reference: Box<dyn Any>,
        launch: Launch,
        spec: ChildSpec,
    ) -> Self {
        Self { cell, inbox, reference, launch, spec, state: RowState::default() }
    }

    fn start(&mut self, owner: &Arc<ActorCell>) {
        self.cell.incarnation_starts();
        self.state.phase = Phase::Running;
        self.state.run = owner.kernel.next_id();
        let parent = Parent::Actor(owner.clone());
        (self.launch)(Link::new(self.cell.clone(), parent, self.state.run));
    }

    fn down(&self, exit: Exit, decision: Decision) -> ChildDown {
        ChildDown { name: self.cell.name.clone(), kind: self.cell.kind, exit, decision }
    }
}

impl Children {
    pub fn new(owner: Arc<ActorCell>) -> Self {
        Self { owner, rows: BTreeMap::new(), names: HashMap::new(), dates: BTreeSet::new() }
    }

    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Returns the names, ordered by first start.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.rows.values().map(|row| row.cell.name.clone()).collect()
    }

    pub fn reference(&self, name: &str) -> Option<&dyn Any> {
        let row = self.rows.get(self.names.get(name)?)?;
        Some(&*row.reference)
    }

    /// Adds the child and starts it.
    pub fn add(&mut self, mut row: Row) {
        self.owner.adopt(row.cell.clone());
        self.names.insert(row.cell.name.clone(), row.cell.id);
        row.start(&self.owner);
        self.rows.insert(row.cell.id, row);
    }

    /// Returns the earliest time at which [`due`](Self::due) has something to do; `None` if no row has a
    /// deadline.
    pub fn next_date(&self) -> Option<Instant> {
        self.dates.first().map(|(date, _)| *date)
    }

    /// Handles the end of an incarnation. Returns `None` if the child or this incarnation is no longer in
    /// the table.
    pub fn exited(&mut self, child: u64, run: u64, exit: Exit, random: f64) -> Option<ChildDown> {
        let now = self.owner.kernel.now();
        let row = self.rows.get_mut(&child).filter(|row| row.state.run == run)?;
        let decision = match row.state.phase {
            Phase::Stopping => Decision::Stopped,
            _ => decide(&exit, &row.spec, &mut row.state.restarts, now, random),
        };
        let down = row.down(exit, decision);
        match decision {
            Decision::Restart { after, attempt } => {
                self.rest(child, &down, Lifecycle::Restarting, after, attempt)
            }
            Decision::Parked { rest } => self.rest(child, &down, Lifecycle::Parked, rest, 0),
            Decision::GaveUp | Decision::Ended | Decision::Stopped => self.remove(child),
        }
        Some(down)
    }

    fn rest(&mut self, child: u64, down: &ChildDown, life: Lifecycle, delay: Duration, attempt: u32) {
        let Some(row) = self.rows.get_mut(&child) else { return };
        tracing::warn!(actor = %row.cell.path, cause = %down.exit, ?delay, attempt, "restart scheduled");
        row.state.phase = Phase::Resting;
        let due = self.owner.kernel.now() + delay;
        row.cell.comes_back(life, &down.exit, PendingRestart { attempt, due });
        self.set_date(child, Some(Instant::now() + delay));
    }

    /// Starts the children whose restart is due, and abandons those that did not stop in time. Returns the
    /// abandoned children.
    pub fn due(&mut self) -> Vec<ChildDown> {
        let now = Instant::now();
        let mut abandoned = Vec::new();
        while let Some(&(date, child)) = self.dates.first()
            && date <= now
        {
            self.set_date(child, None);
            let Some(row) = self.rows.get_mut(&child) else { continue };
            match row.state.phase {
                Phase::Running => {}
                Phase::Resting => row.start(&self.owner),
                Phase::Stopping => {
                    abandoned.push(row.down(Exit::Abandoned, Decision::Stopped));
                    self.owner.kernel.overdue(&row.cell.path);
                    row.cell.kill();
                    self.remove(child);
                }
            }
        }
        abandoned
    }

    /// Asks a child to stop; its end arrives as an exit. Returns false if there is no child of that name.
    pub fn stop(&mut self, name: &str) -> bool {
        let child = self.names.get(name).copied();
        child.map(|child| self.stop_row(child)).is_some()
    }

    fn stop_row(&mut self, child: u64) {
        let Some(row) = self.rows.get_mut(&child) else { return };
        let within = row.spec.stop_deadline;
        let date = match std::mem::replace(&mut row.state.phase, Phase::Stopping) {
            Phase::Stopping => return,
            Phase::Running => {
                row.cell.signal(Signal::Stop { within });
                Some(Instant::now() + within + BLOCKED_AFTER)
            }
            Phase::Resting => {
                let (run, exit) = (row.state.run, Exit::Stopped);
                self.owner.signal(Signal::ChildExit { child, run, exit });
                None
            }
        };
        self.set_date(child, date);
    }

    /// Stops the youngest child. If that child stops together with others ([`StopOrder::Together`]), stops
    /// the whole group. Returns the maximum time until every child of the group has ended or is abandoned;
    /// `None` if there are no children. Must be called again after each exit.
    pub fn stop_youngest(&mut self) -> Option<Duration> {
        let mut group = Vec::new();
        for (child, row) in self.rows.iter().rev() {
            let together = row.spec.stop_order == StopOrder::Together;
            if group.is_empty() || together {
                group.push(*child);
            }
            if !together {
                break;
            }
        }
        group.iter().for_each(|child| self.stop_row(*child));
        let dates = group.iter().filter_map(|child| self.rows.get(child)?.state.date);
        let last = dates.max().map(|date| date.saturating_duration_since(Instant::now()));
        if group.is_empty() { None } else { Some(last.unwrap_or_default()) }
    }

    /// Extends the deadline of a child that is stopping its own children, the slowest of which needs up to
    /// `within`. From now on, the child has this time, its own stop deadline and `BLOCKED_AFTER`. A later
    /// deadline remains.
    pub fn extend(&mut self, child: u64, within: Duration) {
        let Some(row) = self.rows.get(&child).filter(|row| row.state.phase == Phase::Stopping) else {
            return;
        };
        let date = Instant::now() + within + row.spec.stop_deadline + BLOCKED_AFTER;
        self.set_date(child, row.state.date.max(Some(date)));
    }

    fn set_date(&mut self, child: u64, date: Option<Instant>) {
        let Some(row) = self.rows.get_mut(&child) else { return };
        if let Some(old) = std::mem::replace(&mut row.state.date, date) {
            self.dates.remove(&(old, child));
        }
        self.dates.extend(date.map(|date| (date, child)));
    }

    fn remove(&mut self, child: u64) {
        self.set_date(child, None);
        if let Some(row) = self.rows.remove(&child) {
            self.names.remove(&row.cell.name);
            self.owner.disown(child);
            row.cell.set_life(Lifecycle::Dead);
            row.inbox.close();
        }
    }
}
