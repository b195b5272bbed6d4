//! What people implement. Owns no logic.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::cx::Cx;
use super::spec::ChildDown;

/// What an actor is told.
pub trait Message: Send + 'static {
    /// Name of the variant: a metric label and the cause of a transition, so from a small fixed set.
    fn kind(&self) -> &'static str;
}

/// An actor that is never told anything (a pure supervisor) uses this as its message.
impl Message for std::convert::Infallible {
    fn kind(&self) -> &'static str {
        match *self {}
    }
}

/// One actor. Made on its arbiter by the factory, so it need not be `Send`; every call into it is contained:
/// a panic ends this incarnation and nothing else.
pub trait Behaviour: Sized + 'static {
    /// Kind of actor, e.g. `janus_room`: metric label and `/actors`.
    const KIND: &'static str;
    type Msg: Message;

    /// First call of every incarnation. A failure here counts as a crash.
    fn started(&mut self, cx: &mut Cx<Self>) {
        let _ = cx;
    }

    /// One message. Never blocks: what takes time goes through [`Cx::run`].
    fn handle(&mut self, msg: Self::Msg, cx: &mut Cx<Self>);

    /// A child ended; the kernel has already decided, see [`ChildDown::decision`].
    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        let _ = (child, cx);
    }

    /// The parent asks to stop. The children are still there and are stopped afterwards.
    fn stopping(&mut self, cx: &mut Cx<Self>) -> Stopping {
        let _ = cx;
        Stopping::Now
    }

    /// What `/actors` shows. Called after every message, so cheap.
    fn observe(&self) -> Observed;
}

/// Answer to the request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    Now,
    /// Messages and completions go on being handled until [`Cx::exit`] or the stop deadline.
    Wait,
}

/// What an actor shows of itself.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Name of its state; a change is recorded as a transition.
    pub state: Cow<'static, str>,
    pub desired: Value,
    pub observed: Value,
    /// Why it waits, when it does.
    pub reason: Option<String>,
    /// Tries so far of what it is trying; 0 when it is not.
    pub attempt: u32,
    pub next_retry_in: Option<Duration>,
}

impl Observed {
    /// Just a state.
    pub fn state(state: impl Into<Cow<'static, str>>) -> Self {
        Self { state: state.into(), ..Self::default() }
    }
}
