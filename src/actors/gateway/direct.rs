//! Calls that HTTP requests make on a session, without frames and without JSON-RPC.
//!
//! Owns: the pending calls of one connection. Does not run a call.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::domain::client_session::{Answer, CallId};
use crate::domain::signalling::{CloseCode, Method, RpcError};
use crate::domain::trace_context::TraceContext;
use crate::telemetry::trace::Span;

/// Call made by an HTTP request.
pub struct DirectCall {
    pub method: Method,
    /// Span of the HTTP request, if it is recorded.
    pub trace: Option<TraceContext>,
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
    pub span: Span,
    reply: oneshot::Sender<Result<Answer, CallFailure>>,
}

impl DirectCalls {
    /// Adds a call. Returns its method, to be passed to the session.
    pub fn begin(&mut self, id: CallId, DirectCall { method, trace, reply }: DirectCall) -> Method {
        let name = method.name();
        let mut span = Span::child_of(trace, name);
        span.set(|span| {
            span.attribute("rpc.method", name);
        });
        self.0.push(PendingCall { id, method: name, since: Instant::now(), span, reply });
        method
    }

    /// Returns the recorded span of the call with this id.
    pub fn span(&self, id: CallId) -> Option<TraceContext> {
        self.0.iter().find(|call| call.id == id)?.span.context()
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
