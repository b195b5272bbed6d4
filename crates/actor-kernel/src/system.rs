//! Start and shutdown of the whole tree.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Actor;
use tokio::sync::watch;

use super::behaviour::{ActorState, Behaviour, Message};
use super::cell::{ActorCell, Kernel, Signal};
use super::children::{Link, Parent};
use super::cx::Cx;
use super::mailbox::{ActorRef, Mailbox};
use super::registry::Registry;
use super::shell::{Factory, Shell};
use super::spec::{ChildDown, ChildSpec, Decision, Exit};

/// Entry point of the kernel.
pub struct ActorSystem;

/// Options of the root actor.
#[derive(Clone)]
pub struct RootOptions {
    /// First part of every path.
    pub name: &'static str,
    pub spec: ChildSpec,
}

impl Default for RootOptions {
    fn default() -> Self {
        Self { name: "node", spec: ChildSpec::supervisor() }
    }
}

/// A running actor system.
pub struct SystemHandle<M> {
    root: ActorRef<M>,
    top: Arc<ActorCell>,
    outcome: watch::Receiver<Option<Exit>>,
}

/// Result of a shutdown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Paths of the actors that did not stop in time and were abandoned.
    pub abandoned: Vec<String>,
}

impl ActorSystem {
    /// Starts the root actor under the kernel's own supervisor. Must be called on an actix arbiter.
    pub fn start<B: Behaviour>(
        factory: impl Fn() -> B + Send + 'static,
        options: RootOptions,
    ) -> SystemHandle<B::Msg> {
        let top = ActorCell::new(Kernel::new(), None, "".into(), Top::KIND, 1);
        let (sender, outcome) = watch::channel(None);
        let link = Link::new(top.clone(), Parent::System(sender), top.id);
        let make: Factory<Top> = Arc::new(Mutex::new(Box::new(|| Top)));
        let mut shell = Shell::new(Mailbox::new(top.clone()), make, link);
        let root = shell.cx.spawn_child(options.name, options.spec, factory);
        shell.start();
        SystemHandle { root, top, outcome }
    }
}

impl<M: Message> SystemHandle<M> {
    pub fn root(&self) -> ActorRef<M> {
        self.root.clone()
    }

    pub fn registry(&self) -> Registry {
        Registry::new(self.top.clone())
    }

    #[cfg(test)]
    pub(super) fn top_cell(&self) -> &ActorCell {
        &self.top
    }

    /// Stops all actors in order, youngest first, each within its own deadline and all within `deadline`.
    /// Returns the actors that did not stop in time.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.top.kernel.shutdown_begins();
        self.top.signal(Signal::Stop { within: deadline });
        let mut outcome = self.outcome.clone();
        let ended = tokio::time::timeout(deadline, outcome.wait_for(Option::is_some)).await;
        let mut abandoned = self.top.kernel.overdue_at_shutdown();
        if ended.is_err() {
            left_below(&self.top, &mut abandoned);
            self.top.kill();
        }
        ShutdownReport { abandoned }
    }

    /// Resolves with the reason when the root actor has ended and is not restarted, for example because its
    /// budget is used up. The process must then exit with a failure. Never resolves after a shutdown.
    pub async fn failed(&self) -> String {
        let mut outcome = self.outcome.clone();
        let failed = outcome.wait_for(|exit| exit.as_ref().is_some_and(Exit::is_abnormal)).await;
        match failed.ok().and_then(|exit| exit.as_ref().map(Exit::to_string)) {
            Some(reason) => reason,
            None => pending().await,
        }
    }
}

/// Adds the paths of all actors that remain below `cell` to `left`, the deepest first.
fn left_below(cell: &ActorCell, left: &mut Vec<String>) {
    for child in cell.children() {
        left_below(&child, left);
        if !left.contains(&child.path) {
            left.push(child.path.clone());
        }
    }
}

/// Parent of the root actor.
struct Top;

impl Behaviour for Top {
    const KIND: &'static str = "actor_system";
    type Msg = Infallible;

    fn handle(&mut self, msg: Infallible, _: &mut Cx<Self>) {
        match msg {}
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        if child.decision == Decision::Ended {
            cx.fail(format!("{} {}", child.name, child.exit));
        }
    }

    fn observe(&self) -> ActorState {
        ActorState::default()
    }
}
