//! Traits that actors implement, and the types they use. Owns no logic.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::cx::Cx;
use super::spec::ChildDown;

/// Message type of an actor.
pub trait Message: Send + 'static {
    /// Returns the name of the variant. It is a metric label and the cause of a transition, so it must come
    /// from a small fixed set.
    fn kind(&self) -> &'static str;
}

/// Message type of an actor that receives no messages (a pure supervisor).
impl Message for std::convert::Infallible {
    fn kind(&self) -> &'static str {
        match *self {}
    }
}

/// Logic of one actor. Each value serves one incarnation, which is one run of the actor from its start to its
/// end. The factory creates the value on the actor's arbiter, so it need not be `Send`. Every call into it is
/// contained: a panic ends this incarnation and nothing else.
pub trait Behaviour: Sized + 'static {
    /// Kind of actor, e.g. `janus_room`: a metric label, also shown in `/actors`.
    const KIND: &'static str;
    type Msg: Message;

    /// Starts the incarnation; always the first call. A failure here counts as a crash.
    fn started(&mut self, cx: &mut Cx<Self>) {
        let _ = cx;
    }

    /// Handles one message. Must not block: long-running work goes through [`Cx::run`].
    fn handle(&mut self, msg: Self::Msg, cx: &mut Cx<Self>);

    /// Handles the end of an incarnation of a child. The kernel has already decided what happens next, see
    /// [`ChildDown::decision`].
    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        let _ = (child, cx);
    }

    /// Answers the parent's request to stop. The children are still running and are stopped afterwards.
    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        let _ = cx;
        StopAnswer::Now
    }

    /// Returns the state shown in `/actors`. Called after every other call into the behaviour, except those
    /// that called [`Cx::quiet`], so it must be cheap.
    fn observe(&self) -> ActorState;
}

/// Answer to the request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAnswer {
    Now,
    /// Keep handling messages and completions until [`Cx::exit`] or the stop deadline.
    Wait,
}

/// State that an actor publishes about itself.
#[derive(Debug, Clone, Default)]
pub struct ActorState {
    /// Name of the state; a change is recorded as a transition.
    pub state: Cow<'static, str>,
    pub desired: Value,
    pub observed: Value,
    /// Reason for waiting, if the actor waits.
    pub reason: Option<String>,
    /// Attempts so far at the current operation; 0 if there is none.
    pub attempt: u32,
    pub next_retry_in: Option<Duration>,
}

impl ActorState {
    /// Returns an observation with a state name only.
    pub fn state(state: impl Into<Cow<'static, str>>) -> Self {
        Self { state: state.into(), ..Self::default() }
    }
}
