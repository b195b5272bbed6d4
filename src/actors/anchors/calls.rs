//! What a client asks of its session, and how each call is answered.
//!
//! Owns: the calls and the translation of Janus's errors. Never does: touch the session's state.

use tokio::sync::oneshot;

use super::session::Msg;
use super::{CallError, SessionStatus};
use crate::janus::{Candidate, CoreError, JanusError};

pub enum Call {
    Offer { sdp: String, reply: oneshot::Sender<Result<String, CallError>> },
    Candidate { candidate: Option<Candidate>, reply: oneshot::Sender<Result<(), CallError>> },
    Mute { muted: bool, reply: oneshot::Sender<Result<(), CallError>> },
    Status { reply: oneshot::Sender<Result<SessionStatus, CallError>> },
}

impl Call {
    pub fn refuse(self, error: CallError) {
        match self {
            Self::Offer { reply, .. } => drop(reply.send(Err(error))),
            Self::Candidate { reply, .. } | Self::Mute { reply, .. } => drop(reply.send(Err(error))),
            Self::Status { reply } => drop(reply.send(Err(error))),
        }
    }
}

/// Answers a call; gives its outcome as well, but no text of it.
pub async fn answered<T: Clone>(
    call: impl Future<Output = Result<T, JanusError>>,
    reply: oneshot::Sender<Result<T, CallError>>,
) -> Result<T, JanusError> {
    let outcome = call.await;
    let _ = reply.send(outcome.clone().map_err(|error| call_error(&error)));
    outcome
}

pub fn after<T>(done: impl FnOnce(T) -> Msg) -> impl FnOnce(Result<T, JanusError>) -> Msg {
    |outcome| match outcome {
        Ok(value) => done(value),
        Err(JanusError::Core(CoreError::NoSuchSession | CoreError::NoSuchHandle)) => Msg::SessionGone,
        Err(_) => Msg::Called,
    }
}

fn call_error(error: &JanusError) -> CallError {
    match error {
        JanusError::Core(CoreError::NoSuchSession | CoreError::NoSuchHandle | CoreError::Unauthorized) => {
            CallError::Unavailable
        }
        JanusError::Core(_) | JanusError::Plugin(_) => CallError::Refused,
        _ => CallError::Unavailable,
    }
}
