//! Calls of a client to its session, and the answers to them.
//!
//! Owns: the calls and the translation of Janus's errors. Never does: change the session's state.

use tokio::sync::oneshot;

use super::session::Msg;
use super::{CallError, SessionStatus};
use crate::domain::media_session::JanusEvent;
use crate::janus::{Candidate, CoreError, JanusError, PluginError};

/// Error codes of Janus's `apierror.h`: a mandatory element is missing, a candidate belongs to no stream, an
/// element has the wrong type.
const MALFORMED: [u32; 3] = [456, 466, 467];

/// Call of a client, with the channel for its answer.
pub enum Call {
    Offer { sdp: String, reply: oneshot::Sender<Result<String, CallError>> },
    Candidate { candidate: Option<Candidate>, reply: oneshot::Sender<Result<(), CallError>> },
    Mute { muted: bool, reply: oneshot::Sender<Result<(), CallError>> },
    Status { reply: oneshot::Sender<Result<SessionStatus, CallError>> },
}

impl Call {
    /// Answers the call with an error.
    pub fn refuse(self, error: CallError) {
        match self {
            Self::Offer { reply, .. } => drop(reply.send(Err(error))),
            Self::Candidate { reply, .. } | Self::Mute { reply, .. } => drop(reply.send(Err(error))),
            Self::Status { reply } => drop(reply.send(Err(error))),
        }
    }
}

/// Runs a call, sends its result to the client, and returns it as well.
pub async fn answered<T: Clone>(
    call: impl Future<Output = Result<T, JanusError>>,
    reply: oneshot::Sender<Result<T, CallError>>,
) -> Result<T, JanusError> {
    let outcome = call.await;
    let _ = reply.send(outcome.clone().map_err(|error| call_error(&error)));
    outcome
}

/// Maps the outcome of a call to the session's next message.
pub fn after<T>(done: impl FnOnce(T) -> Msg) -> impl FnOnce(Result<T, JanusError>) -> Msg {
    |outcome| match outcome {
        Ok(value) => done(value),
        Err(error) => lost(&error).map_or(Msg::Called, Msg::Lost),
    }
}

/// Returns the event that an error implies for the session as a whole, if any.
fn lost(error: &JanusError) -> Option<JanusEvent> {
    match error {
        JanusError::Core(CoreError::NoSuchSession | CoreError::NoSuchHandle) => Some(JanusEvent::SessionOver),
        JanusError::Plugin(PluginError::NoSuchRoom) => Some(JanusEvent::RoomDestroyed),
        JanusError::Plugin(PluginError::NotInRoom) => Some(JanusEvent::NotInRoom),
        _ => None,
    }
}

/// Maps an error of Janus to the client's error. Only a request that would be refused again, such as an
/// invalid SDP or candidate, is `Refused`: the client then gives up on it.
fn call_error(error: &JanusError) -> CallError {
    match error {
        JanusError::Plugin(PluginError::NoSuchRoom | PluginError::NotInRoom) => CallError::NotJoined,
        JanusError::Core(CoreError::InvalidSdp)
        | JanusError::Plugin(PluginError::InvalidSdp | PluginError::MissingElement(_)) => CallError::Refused,
        JanusError::Core(CoreError::Other { code, .. }) if MALFORMED.contains(code) => CallError::Refused,
        _ => CallError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_error_refuses_only_permanent_errors() {
        let other = |code| CoreError::Other { code, text: String::new() }.into();
        for (error, wanted) in [
            (CoreError::InvalidSdp.into(), CallError::Refused),
            (PluginError::InvalidSdp.into(), CallError::Refused),
            (PluginError::MissingElement("jsep".into()).into(), CallError::Refused),
            (other(466), CallError::Refused),
            (PluginError::NotInRoom.into(), CallError::NotJoined),
            (PluginError::NoSuchRoom.into(), CallError::NotJoined),
            (other(490), CallError::Unavailable),
            (PluginError::OpusFailure.into(), CallError::Unavailable),
            (CoreError::NoSuchSession.into(), CallError::Unavailable),
            (JanusError::Disconnected, CallError::Unavailable),
        ] {
            assert_eq!(call_error(&error), wanted, "{error}");
        }
        assert_eq!(lost(&PluginError::NotInRoom.into()), Some(JanusEvent::NotInRoom));
        assert_eq!(lost(&JanusError::Disconnected), None);
    }
}
