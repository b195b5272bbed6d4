//! The part of an actor that others may touch from any thread: what it publishes and the signals it gets.
//!
//! Lives across incarnations. Every lock here is held for a few instructions and never while code of a
//! behaviour runs, so readers never wait for an actor.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::task::AtomicWaker;
use serde::Serialize;

use super::behaviour::Observed;
use super::metrics::{KindStats, Kinds};
use super::spec::Exit;

/// Transitions kept per actor.
const TRANSITIONS: usize = 32;

/// A mutex whose holder cannot leave the value half-written by a panic: nothing of ours panics under a lock.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shared by all actors of one system.
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

    /// Monotonic time since the system began; never zero, so that zero can mean "none".
    pub fn now(&self) -> Duration {
        self.origin.elapsed() + Duration::from_nanos(1)
    }

    pub fn nanos(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    /// From now on those that do not stop in time are remembered.
    pub fn shutdown_begins(&self) {
        locked(&self.shutdown).get_or_insert_default();
    }

    /// This actor did not stop in time.
    pub fn overdue(&self, path: &str) {
        tracing::error!(actor = path, "did not stop in time");
        if let Some(paths) = locked(&self.shutdown).as_mut() {
            paths.push(path.to_owned());
        }
    }

    /// Paths of those that did not stop in time since the shutdown began.
    pub fn overdue_at_shutdown(&self) -> Vec<String> {
        locked(&self.shutdown).clone().unwrap_or_default()
    }
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What the kernel knows of an actor, apart from what the actor says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Life {
    Starting,
    Alive,
    Stopping,
    Restarting,
    Parked,
    Dead,
}

impl Life {
    fn from_u8(raw: u8) -> Self {
        [Self::Starting, Self::Alive, Self::Stopping, Self::Restarting, Self::Parked][..]
            .get(usize::from(raw))
            .copied()
            .unwrap_or(Self::Dead)
    }
}

/// Kernel to kernel; never refused, because bounded by what the receiver itself started.
pub(super) enum Signal {
    /// From the parent: end within this time.
    Stop { within: Duration },
    /// From a child's incarnation `run`.
    ChildExit { child: u64, run: u64, exit: Exit },
    /// From a child that is stopping its own children: the next sign of life comes within this time.
    ChildUnwinding { child: u64, within: Duration },
    /// From a test: panic, as a handler with a bug would.
    #[cfg(debug_assertions)]
    Panic,
}

/// One change of state.
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

/// What is shown of an actor, as of its last message or the kernel's last decision.
#[derive(Default, Clone)]
pub(super) struct Board {
    pub seen: Observed,
    /// Kernel time at which `seen` was made.
    pub seen_at: Duration,
    pub transitions: VecDeque<Transition>,
    pub restarts: BTreeMap<&'static str, u64>,
    pub last_failure: Option<Failure>,
    pub waiting: Option<Waiting>,
    /// `restarting` or `parked`, since `seen` keeps what the actor itself showed last.
    detour: Option<&'static str>,
}

impl Board {
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

/// A start that is to come.
#[derive(Clone)]
pub(super) struct Waiting {
    pub attempt: u32,
    pub due: Duration,
}

/// Figures of the mailbox, kept by it.
#[derive(Default)]
pub(super) struct MailStats {
    pub depth: AtomicUsize,
    /// Kernel nanoseconds at which the oldest waiting message came; 0: none waits.
    pub oldest: AtomicU64,
    pub coalesced: AtomicU64,
    pub refused: AtomicU64,
}

/// The message being handled, and since when (kernel time).
pub(super) type Hand = (&'static str, Duration);

pub(super) struct ActorCell {
    /// Unique in the system; orders siblings by their start.
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
    hand: Mutex<Option<Hand>>,
    board: Mutex<Board>,
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
            life: AtomicU8::new(Life::Starting as u8),
            killed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            signals: Mutex::default(),
            hand: Mutex::default(),
            board: Mutex::default(),
            children: Mutex::default(),
        })
    }

    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Lets go of the ended incarnation's task.
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

    /// What was meant for an incarnation that has ended.
    pub fn clear_signals(&self) {
        locked(&self.signals).clear();
    }

    pub fn life(&self) -> Life {
        Life::from_u8(self.life.load(Relaxed))
    }

    pub fn set_life(&self, life: Life) {
        self.life.store(life as u8, Relaxed);
    }

    pub fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// Ends this actor and all below it without asking: whoever can still run drops everything at its next
    /// turn. Nothing is reported to anybody.
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

    /// In the order of their start.
    pub fn children(&self) -> Vec<Arc<ActorCell>> {
        locked(&self.children).values().cloned().collect()
    }

    pub fn take_in_hand(&self, message: &'static str) {
        *locked(&self.hand) = Some((message, self.kernel.now()));
    }

    /// Time it was in hand.
    pub fn put_down(&self) -> Duration {
        let hand = locked(&self.hand).take();
        hand.map(|(_, since)| self.kernel.now().saturating_sub(since)).unwrap_or_default()
    }

    pub fn hand(&self) -> Option<Hand> {
        *locked(&self.hand)
    }

    pub fn board(&self) -> Board {
        locked(&self.board).clone()
    }

    /// Publishes what the behaviour shows; a new state is a transition.
    pub fn publish(&self, seen: Observed, cause: Cow<'static, str>) {
        let mut board = locked(&self.board);
        board.moves(seen.state.clone(), cause);
        board.seen_at = self.kernel.now();
        let old = std::mem::replace(&mut board.seen, seen);
        drop(board);
        drop(old);
    }

    /// A new incarnation is about to start.
    pub fn incarnation_starts(&self) {
        self.clear_signals();
        self.set_life(Life::Starting);
        self.started_at.store(unix_ms(), Relaxed);
        locked(&self.board).waiting = None;
    }

    /// Books an exit after which the actor comes back at `waiting.due`.
    pub fn comes_back(&self, life: Life, exit: &Exit, waiting: Waiting) {
        self.set_life(life);
        self.stats.restarted(exit.label());
        let mut board = locked(&self.board);
        *board.restarts.entry(exit.label()).or_default() += 1;
        board.last_failure = Some(Failure { text: exit.to_string(), at: unix_ms() });
        board.waiting = Some(waiting);
        let detour = if life == Life::Parked { "parked" } else { "restarting" };
        board.moves(detour.into(), exit.to_string().into());
        board.detour = Some(detour);
    }
}
