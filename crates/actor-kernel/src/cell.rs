//! Part of an actor that any thread may access: its published state and the signals to it.
//!
//! The cell outlives incarnations. Every lock here is held for a few instructions and never while behaviour
//! code runs, so readers never wait for an actor.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::task::AtomicWaker;
use serde::Serialize;

use super::behaviour::ActorState;
use super::metrics::{KindStats, Kinds};
use super::spec::Exit;

/// Maximum number of transitions that are stored per actor.
const TRANSITIONS: usize = 32;

/// Locks a mutex and ignores poisoning: kernel code does not panic under a lock, so no value is
/// half-written.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State shared by all actors of one system.
pub(super) struct Kernel {
    origin: Instant,
    ids: AtomicU64,
    pub kinds: Kinds,
    shutdown: Mutex<Option<Vec<String>>>,
}

impl Kernel {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            ids: AtomicU64::new(0),
            kinds: Kinds::default(),
            shutdown: Mutex::default(),
        })
    }

    /// Returns the monotonic time since the system began. It is never zero, so that zero can mean "none".
    pub fn now(&self) -> Duration {
        self.origin.elapsed() + Duration::from_nanos(1)
    }

    pub fn nanos(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    /// Starts recording the actors that do not stop in time.
    pub fn shutdown_begins(&self) {
        locked(&self.shutdown).get_or_insert_default();
    }

    /// Logs an actor that did not stop in time, and records it if a shutdown has begun.
    pub fn overdue(&self, path: &str) {
        tracing::error!(actor = path, "actor did not stop in time");
        if let Some(paths) = locked(&self.shutdown).as_mut() {
            paths.push(path.to_owned());
        }
    }

    /// Returns the paths of the actors that have not stopped in time since the shutdown began.
    pub fn overdue_at_shutdown(&self) -> Vec<String> {
        locked(&self.shutdown).clone().unwrap_or_default()
    }
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Lifecycle state that the kernel maintains, independent of the state that the actor publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Lifecycle {
    Starting,
    Alive,
    Stopping,
    Restarting,
    Parked,
    Dead,
}

impl Lifecycle {
    fn from_u8(raw: u8) -> Self {
        [Self::Starting, Self::Alive, Self::Stopping, Self::Restarting, Self::Parked][..]
            .get(usize::from(raw))
            .copied()
            .unwrap_or(Self::Dead)
    }
}

/// Signal to an actor. Signals are never refused: the number of the receiver's children limits kernel
/// signals, and operator requests are rare.
pub(super) enum Signal {
    /// From the parent: stop within this time.
    Stop { within: Duration },
    /// From incarnation `run` of a child: it ended.
    ChildExit { child: u64, run: u64, exit: Exit },
    /// From a child that is stopping its own children: its next signal comes within this time.
    ChildUnwinding { child: u64, within: Duration },
    /// From an operator: fail with this cause, so that the parent restarts the actor.
    Restart(&'static str),
    /// From a test: panic like a handler with a bug.
    #[cfg(debug_assertions)]
    Panic,
}

/// Change of an actor's state.
#[derive(Debug, Clone, Serialize)]
pub struct Transition {
    pub from: Cow<'static, str>,
    pub to: Cow<'static, str>,
    pub cause: Cow<'static, str>,
    /// Unix time, milliseconds.
    pub at: u64,
}

/// The latest failure of an actor.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    pub text: String,
    /// Unix time, milliseconds.
    pub at: u64,
}

/// Published state of an actor, as of its last message or the kernel's last decision.
#[derive(Default, Clone)]
pub(super) struct ActorSnapshot {
    pub seen: ActorState,
    /// Kernel time at which `seen` was published.
    pub seen_at: Duration,
    pub transitions: VecDeque<Transition>,
    pub restarts: BTreeMap<&'static str, u64>,
    pub last_failure: Option<Failure>,
    pub waiting: Option<PendingRestart>,
    /// `restarting` or `parked`. A separate field, because `seen` contains the last state that the actor
    /// itself published.
    detour: Option<&'static str>,
}

impl ActorSnapshot {
    fn moves(&mut self, to: Cow<'static, str>, cause: Cow<'static, str>) {
        let from = self.detour.take().map_or_else(|| self.seen.state.clone(), Cow::Borrowed);
        if from == to {
            return;
        }
        if self.transitions.len() == TRANSITIONS {
            self.transitions.pop_front();
        }
        self.transitions.push_back(Transition { from, to, cause, at: unix_ms() });
    }
}

/// Scheduled restart.
#[derive(Clone)]
pub(super) struct PendingRestart {
    pub attempt: u32,
    pub due: Duration,
}

/// Statistics of a mailbox, updated by the mailbox.
#[derive(Default)]
pub(super) struct MailStats {
    pub depth: AtomicUsize,
    /// Arrival time of the oldest waiting message, in nanoseconds of kernel time; 0 if none waits.
    pub oldest: AtomicU64,
    pub coalesced: AtomicU64,
    pub refused: AtomicU64,
}

/// Message being handled, and the kernel time at which it began.
pub(super) type InFlightMessage = (&'static str, Duration);

pub(super) struct ActorCell {
    /// Unique in the system; orders siblings by first start.
    pub id: u64,
    pub name: Arc<str>,
    pub path: String,
    pub kind: &'static str,
    pub kernel: Arc<Kernel>,
    pub stats: Arc<KindStats>,
    pub mail: MailStats,
    pub capacity: usize,
    /// Unix milliseconds of the current incarnation's start.
    pub started_at: AtomicU64,
    life: AtomicU8,
    killed: AtomicBool,
    waker: AtomicWaker,
    signals: Mutex<VecDeque<Signal>>,
    in_flight: Mutex<Option<InFlightMessage>>,
    snapshot: Mutex<ActorSnapshot>,
    children: Mutex<BTreeMap<u64, Arc<ActorCell>>>,
}

impl ActorCell {
    pub fn new(
        kernel: Arc<Kernel>,
        parent: Option<&ActorCell>,
        name: Arc<str>,
        kind: &'static str,
        capacity: usize,
    ) -> Arc<Self> {
        let above = parent.map(|p| p.path.as_str()).filter(|path| !path.is_empty());
        Arc::new(Self {
            id: kernel.next_id(),
            path: above.map_or_else(|| name.to_string(), |above| format!("{above}/{name}")),
            name,
            kind,
            stats: kernel.kinds.of(kind),
            kernel,
            mail: MailStats::default(),
            capacity,
            started_at: AtomicU64::new(unix_ms()),
            life: AtomicU8::new(Lifecycle::Starting as u8),
            killed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            signals: Mutex::default(),
            in_flight: Mutex::default(),
            snapshot: Mutex::default(),
            children: Mutex::default(),
        })
    }

    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Drops the waker of the ended incarnation's task.
    pub fn forget_task(&self) {
        drop(self.waker.take());
    }

    pub fn signal(&self, signal: Signal) {
        locked(&self.signals).push_back(signal);
        self.wake();
    }

    pub fn next_signal(&self) -> Option<Signal> {
        locked(&self.signals).pop_front()
    }

    /// Discards signals meant for an incarnation that has ended.
    pub fn clear_signals(&self) {
        locked(&self.signals).clear();
    }

    pub fn life(&self) -> Lifecycle {
        Lifecycle::from_u8(self.life.load(Relaxed))
    }

    pub fn set_life(&self, life: Lifecycle) {
        self.life.store(life as u8, Relaxed);
    }

    pub fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// Ends this actor and all actors below it without a request to stop: each actor that can still run drops
    /// everything at its next turn. Nothing is reported to a parent.
    pub fn kill(&self) {
        self.killed.store(true, Relaxed);
        self.wake();
        self.kill_children();
    }

    pub fn kill_children(&self) {
        let children = self.children();
        children.iter().for_each(|child| child.kill());
    }

    pub fn adopt(&self, child: Arc<ActorCell>) {
        locked(&self.children).insert(child.id, child);
    }

    pub fn disown(&self, child: u64) {
        locked(&self.children).remove(&child);
    }

    /// Returns the children, ordered by their first start.
    pub fn children(&self) -> Vec<Arc<ActorCell>> {
        locked(&self.children).values().cloned().collect()
    }

    pub fn begin_message(&self, message: &'static str) {
        *locked(&self.in_flight) = Some((message, self.kernel.now()));
    }

    /// Clears the current message and returns how long it was handled.
    pub fn end_message(&self) -> Duration {
        let in_flight = locked(&self.in_flight).take();
        in_flight.map(|(_, since)| self.kernel.now().saturating_sub(since)).unwrap_or_default()
    }

    pub fn in_flight(&self) -> Option<InFlightMessage> {
        *locked(&self.in_flight)
    }

    pub fn snapshot(&self) -> ActorSnapshot {
        locked(&self.snapshot).clone()
    }

    /// Publishes the behaviour's observed state; a changed state name is a transition.
    pub fn publish(&self, seen: ActorState, cause: Cow<'static, str>) {
        let mut snapshot = locked(&self.snapshot);
        snapshot.moves(seen.state.clone(), cause);
        snapshot.seen_at = self.kernel.now();
        let old = std::mem::replace(&mut snapshot.seen, seen);
        drop(snapshot);
        drop(old);
    }

    /// Prepares the cell for an incarnation that is about to start.
    pub fn incarnation_starts(&self) {
        self.clear_signals();
        self.set_life(Lifecycle::Starting);
        self.started_at.store(unix_ms(), Relaxed);
        locked(&self.snapshot).waiting = None;
    }

    /// Records an exit after which the actor restarts at `waiting.due`.
    pub fn comes_back(&self, life: Lifecycle, exit: &Exit, waiting: PendingRestart) {
        self.set_life(life);
        self.stats.restarted(exit.label());
        let mut snapshot = locked(&self.snapshot);
        *snapshot.restarts.entry(exit.label()).or_default() += 1;
        snapshot.last_failure = Some(Failure { text: exit.to_string(), at: unix_ms() });
        snapshot.waiting = Some(waiting);
        let detour = if life == Lifecycle::Parked { "parked" } else { "restarting" };
        snapshot.moves(detour.into(), exit.to_string().into());
        snapshot.detour = Some(detour);
    }
}
