//! Operations available to a behaviour: effects, timers, children, and ending itself.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use actix::Arbiter;
use futures::future::{AbortHandle, Abortable};
use futures::stream::FuturesUnordered;

use super::behaviour::{Behaviour, Message};
use super::cell::ActorCell;
use super::children::{Children, Link, Row};
use super::mailbox::{ActorRef, Mailbox};
use super::panics::contain;
use super::shell::{Factory, Shell};
use super::spec::{ChildSpec, Exit};

/// Name shown as the current message while an effect is polled.
const EFFECT: &str = "effect";

/// Context of one incarnation. Everything started through it ends with it.
pub struct Cx<B: Behaviour> {
    me: ActorRef<B::Msg>,
    cell: Arc<ActorCell>,
    pub(super) effects: FuturesUnordered<Effect<B::Msg>>,
    pub(super) children: Children,
    pub(super) verdict: Option<Exit>,
    pub(super) released: bool,
    pub(super) quiet: bool,
    pub(super) cause: Option<Cow<'static, str>>,
}

/// Message scheduled for later. Dropping the timer cancels it: after that the message never arrives.
#[derive(Debug)]
#[must_use = "dropping the timer cancels it"]
pub struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<B: Behaviour> Cx<B> {
    pub(super) fn new(mailbox: Arc<Mailbox<B::Msg>>) -> Self {
        let cell = mailbox.cell.clone();
        Self {
            me: ActorRef::new(mailbox),
            effects: FuturesUnordered::new(),
            children: Children::new(cell.clone()),
            verdict: None,
            released: false,
            quiet: false,
            cause: None,
            cell,
        }
    }

    /// Returns a reference to this actor; it stays valid across restarts.
    pub fn me(&self) -> ActorRef<B::Msg> {
        self.me.clone()
    }

    /// Returns the path in the supervision tree, for logs.
    pub fn path(&self) -> &str {
        &self.cell.path
    }

    /// Runs an async effect on this actor's arbiter. Its result arrives as a message that a full mailbox
    /// cannot refuse. The effect is dropped with this incarnation; a panic in it counts as this actor's
    /// panic.
    pub fn run<F>(&mut self, future: F, map: impl FnOnce(F::Output) -> B::Msg + 'static)
    where
        F: Future + 'static,
    {
        self.effect(async move { Some(map(future.await)) });
    }

    /// Delivers `msg` to this incarnation after `delay`, unless the returned timer is dropped before.
    pub fn after(&mut self, delay: Duration, msg: B::Msg) -> Timer {
        let (handle, registration) = AbortHandle::new_pair();
        let sleep = async move {
            tokio::time::sleep(delay).await;
            msg
        };
        let sleep = Abortable::new(sleep, registration);
        self.effect(async move { sleep.await.ok() });
        Timer(handle)
    }

    fn effect(&mut self, future: impl Future<Output = Option<B::Msg>> + 'static) {
        self.effects.push(Effect { future: Some(Box::pin(future)), cell: self.cell.clone() });
    }

    /// Sets the cause of the transition that this message leads to. By default, the cause is the message's
    /// kind.
    pub fn cause(&mut self, text: impl Into<Cow<'static, str>>) {
        self.cause = Some(text.into());
    }

    /// Marks the current message as one that changed nothing shown by [`Behaviour::observe`], so `observe` is
    /// not called. Meant for messages that arrive many times a second.
    pub fn quiet(&mut self) {
        self.quiet = true;
    }

    /// Ends this incarnation normally once the current call returns. A `Permanent` child is restarted.
    pub fn stop(&mut self) {
        self.verdict.get_or_insert(Exit::Normal);
    }

    /// Fails this incarnation once the current call returns. The parent decides as after a panic.
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.verdict.get_or_insert(Exit::Failed(reason.into()));
    }

    /// Ends the wait begun with [`StopAnswer::Wait`](super::StopAnswer::Wait); has no effect otherwise.
    pub fn exit(&mut self) {
        self.released = true;
    }

    /// Starts a child. The factory makes each of its incarnations, on the child's arbiter.
    ///
    /// # Panics
    /// Panics if a child of that name exists, even one that is still stopping: wait for its `child_down`.
    /// The panic is contained like any other: it fails this actor.
    pub fn spawn_child<C: Behaviour>(
        &mut self,
        name: impl Into<Arc<str>>,
        spec: ChildSpec,
        factory: impl Fn() -> C + Send + 'static,
    ) -> ActorRef<C::Msg> {
        let name = name.into();
        assert!(!self.children.contains(&name), "a child named {name} exists");
        let kernel = self.cell.kernel.clone();
        let cell = ActorCell::new(kernel, Some(&self.cell), name, C::KIND, spec.mailbox);
        let mailbox = Mailbox::<C::Msg>::new(cell.clone());
        let child = ActorRef::new(mailbox.clone());
        let factory: Factory<C> = Arc::new(Mutex::new(Box::new(factory)));
        let arbiter = spec.arbiter.clone().unwrap_or_else(Arbiter::current);
        let launch = Box::new({
            let mailbox = mailbox.clone();
            move |link: Link| {
                let (mailbox, factory) = (mailbox.clone(), factory.clone());
                // If the arbiter is dead, the closure is dropped, and the link in it reports the end.
                arbiter.spawn_fn(move || Shell::launch(mailbox, factory, link));
            }
        });
        self.children.add(Row::new(cell, mailbox, Box::new(child.clone()), launch, spec));
        child
    }

    /// Asks a child to stop within its deadline. The child stops its own children first. The end of the child
    /// arrives as `child_down`. Returns false if there is no such child.
    pub fn stop_child(&mut self, name: &str) -> bool {
        self.children.stop(name)
    }

    /// Returns the names of the children, ordered by first start, including those that wait for a restart or
    /// are stopping.
    pub fn children(&self) -> Vec<Arc<str>> {
        self.children.names()
    }

    /// Returns true if a child has this name.
    pub fn has_child(&self, name: &str) -> bool {
        self.children.contains(name)
    }

    /// Returns a child by name; `None` if there is none or its message type differs.
    pub fn child_ref<M: Message>(&self, name: &str) -> Option<ActorRef<M>> {
        self.children.reference(name)?.downcast_ref().cloned()
    }
}

/// Async effect with its panics contained. Yields a message, nothing (cancelled), or the panic's text.
pub(super) struct Effect<M> {
    future: Option<Pin<Box<dyn Future<Output = Option<M>>>>>,
    cell: Arc<ActorCell>,
}

impl<M> Future for Effect<M> {
    type Output = Result<Option<M>, String>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut future) = self.future.take() else { return Poll::Ready(Ok(None)) };
        self.cell.begin_message(EFFECT);
        let polled = contain(|| future.as_mut().poll(task));
        self.cell.end_message();
        self.future = Some(future);
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl<M> Drop for Effect<M> {
    fn drop(&mut self) {
        let future = self.future.take();
        if let Err(panic) = contain(|| drop(future)) {
            tracing::error!(actor = %self.cell.path, panic, "effect panicked when dropped");
        }
    }
}
