//! Kernel tests on real actix. A `Puppet` runs the closures that the test sends to it.

mod chaos;
mod effects;
mod observation;
mod stopping;
mod supervision;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::cell::locked;
use super::*;
use stentor_backoff::{Backoff, Budget};

type Deed = Box<dyn FnOnce(&mut Puppet, &mut Cx<Puppet>) + Send>;

/// Message to a puppet.
enum Msg {
    Do(Deed),
    StateChanged(u64),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Do(_) => "do",
            Self::StateChanged(_) => "state_changed",
        }
    }
}

fn deed(f: impl FnOnce(&mut Puppet, &mut Cx<Puppet>) + Send + 'static) -> Msg {
    Msg::Do(Box::new(f))
}

fn crash() -> Msg {
    deed(|_, _| panic!("ordered to"))
}

/// Events across all puppets of a test, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, entry: impl Into<String>) {
        locked(&self.0).push(entry.into());
    }

    fn all(&self) -> Vec<String> {
        locked(&self.0).clone()
    }

    fn count(&self, entry: &str) -> usize {
        locked(&self.0).iter().filter(|e| *e == entry).count()
    }

    fn has(&self, entry: &str) -> bool {
        self.count(entry) > 0
    }
}

type OnStart = Arc<dyn Fn(&mut Puppet, &mut Cx<Puppet>) + Send + Sync>;
type OnStop = Arc<dyn Fn(&mut Puppet, &mut Cx<Puppet>) -> StopAnswer + Send + Sync>;

#[derive(Clone)]
struct Puppet {
    name: String,
    log: Log,
    state: &'static str,
    news: u64,
    on_start: OnStart,
    on_stop: OnStop,
    /// True if `observe` panics.
    unobservable: bool,
    /// False for a prototype inside a factory, whose drop is not logged.
    started: bool,
}

impl Puppet {
    fn new(name: &str, log: &Log) -> Self {
        Self {
            name: name.to_owned(),
            log: log.clone(),
            state: "idle",
            news: 0,
            on_start: Arc::new(|_, _| {}),
            on_stop: Arc::new(|_, _| StopAnswer::Now),
            unobservable: false,
            started: false,
        }
    }

    fn on_start(mut self, f: impl Fn(&mut Puppet, &mut Cx<Puppet>) + Send + Sync + 'static) -> Self {
        self.on_start = Arc::new(f);
        self
    }

    fn on_stop(
        mut self,
        f: impl Fn(&mut Puppet, &mut Cx<Puppet>) -> StopAnswer + Send + Sync + 'static,
    ) -> Self {
        self.on_stop = Arc::new(f);
        self
    }

    /// Returns a factory of clones of this puppet.
    fn factory(self) -> impl Fn() -> Puppet + Send + 'static {
        move || self.clone()
    }

    fn says(&self, what: &str) {
        self.log.add(format!("{} {what}", self.name));
    }
}

impl Behaviour for Puppet {
    const KIND: &'static str = "puppet";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.says("started");
        self.started = true;
        self.on_start.clone()(self, cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Do(f) => f(self, cx),
            Msg::StateChanged(n) => self.news = n,
        }
    }

    fn child_down(&mut self, child: &ChildDown, _: &mut Cx<Self>) {
        let decision = match child.decision {
            Decision::Restart { .. } => "restarts",
            Decision::Parked { .. } => "parks",
            Decision::GaveUp => "gives up",
            Decision::Ended => "ended",
            Decision::Stopped => "stopped",
        };
        self.says(&format!("hears {} {decision}: {}", child.name, child.exit.label()));
    }

    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        self.says("stopping");
        self.on_stop.clone()(self, cx)
    }

    fn observe(&self) -> ActorState {
        assert!(!self.unobservable, "do not look");
        ActorState::state(self.state)
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        if self.started {
            self.says("dropped");
        }
    }
}

/// Returns the spec of a worker that restarts within milliseconds.
fn quick() -> ChildSpec {
    ChildSpec {
        backoff: Backoff { first: Duration::from_millis(1), max: Duration::from_millis(4) },
        ..ChildSpec::worker()
    }
}

fn budget(max: usize) -> Budget {
    Budget { max, window: Duration::from_secs(60) }
}

fn start(root: Puppet) -> SystemHandle<Msg> {
    ActorSystem::start(root.factory(), RootOptions { spec: quick(), ..RootOptions::default() })
}

/// Runs `f` in the actor and returns its result.
async fn ask<T: Send + 'static>(
    actor: &ActorRef<Msg>,
    f: impl FnOnce(&mut Puppet, &mut Cx<Puppet>) -> T + Send + 'static,
) -> T {
    let (answer, answered) = oneshot::channel();
    actor.tell(deed(move |puppet, cx| drop(answer.send(f(puppet, cx))))).expect("mailbox has room");
    tokio::time::timeout(Duration::from_secs(10), answered).await.expect("answers").expect("not dropped")
}

async fn spawn(parent: &ActorRef<Msg>, name: &str, spec: ChildSpec, child: Puppet) -> ActorRef<Msg> {
    let name = name.to_owned();
    ask(parent, move |_, cx| cx.spawn_child(name, spec, child.factory())).await
}

/// Waits for a condition; fails with `what` after ten seconds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        // Sleep: the interval between two checks of the condition.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn find(registry: &Registry, path: &str) -> Option<ActorView> {
    fn below(view: ActorView, path: &str) -> Option<ActorView> {
        if view.path == path { Some(view) } else { view.children.into_iter().find_map(|c| below(c, path)) }
    }
    below(registry.snapshot()?, path)
}
