//! Calls that HTTP requests make on a session, without frames and without JSON-RPC.
//!
//! Owns: the pending calls of one connection. Does not run a call.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::domain::client_session::{Answer, CallId};
use crate::domain::signalling::{CloseCode, Method, RpcError};

/// Call made by an HTTP request.
pub struct DirectCall {
    pub method: Method,
    pub reply: oneshot::Sender<Result<Answer, CallFailure>>,
}

/// Reason why a call made by an HTTP request failed.
#[derive(Debug, Clone, PartialEq)]
pub enum CallFailure {
    Refused(RpcError),
    /// The connection was closed before the call was answered.
    Closed(CloseCode),
}

/// Pending calls made by HTTP requests.
#[derive(Default)]
pub(super) struct DirectCalls(Vec<PendingCall>);

pub(super) struct PendingCall {
    id: CallId,
    pub method: &'static str,
    pub since: Instant,
    reply: oneshot::Sender<Result<Answer, CallFailure>>,
}

impl DirectCalls {
    /// Adds a call. Returns its method, to be passed to the session.
    pub fn begin(&mut self, id: CallId, DirectCall { method, reply }: DirectCall) -> Method {
        self.0.push(PendingCall { id, method: method.name(), since: Instant::now(), reply });
        method
    }

    /// Removes and returns the call with this id. Returns `None` if no HTTP request made it.
    pub fn end(&mut self, id: CallId) -> Option<PendingCall> {
        let index = self.0.iter().position(|call| call.id == id)?;
        Some(self.0.swap_remove(index))
    }

    /// Answers all pending calls with [`CallFailure::Closed`].
    pub fn close(&mut self, code: CloseCode) {
        self.0.drain(..).for_each(|call| call.answer(Err(CallFailure::Closed(code))));
    }
}

impl PendingCall {
    pub fn answer(self, outcome: Result<Answer, CallFailure>) {
        // Fails only if the HTTP client has disconnected.
        let _ = self.reply.send(outcome);
    }
}
