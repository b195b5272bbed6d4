//! Text messages of a client that contain unanswered calls, and the answers to these calls.
//!
//! Owns: the order of the answers in a batch. Never does: run a call.

use std::time::Instant;

use serde_json::Value;

use crate::domain::client_session::CallId;
use crate::domain::rpc::{self, Id, Response};
use crate::domain::signalling::{Method, RpcError};

/// Texts with unanswered calls.
#[derive(Default)]
pub(super) struct PendingTexts {
    texts: Vec<PendingText>,
    next: u64,
}

/// Calls of one text. Their numbers are consecutive.
struct PendingText {
    first: u64,
    batch: bool,
    calls: Vec<PendingCall>,
    /// Number of calls to run.
    run: usize,
}

struct PendingCall {
    /// `None`: a notification, which is not answered.
    id: Option<Id>,
    /// Name of the method and time of its start; `None` if the call was refused before.
    started: Option<(&'static str, Instant)>,
    outcome: Option<Result<Value, RpcError>>,
}

/// Answer of a call that has run.
pub(super) struct Answered {
    pub method: &'static str,
    pub since: Instant,
    /// The text whose last call this was.
    pub text: Option<AnsweredText>,
}

/// Text whose calls are all answered.
pub(super) struct AnsweredText {
    /// Number of its calls that have run.
    pub run: usize,
    /// Response; `None` if none of the calls expects one.
    pub response: Option<String>,
}

impl PendingTexts {
    /// Adds the calls of one text, including the refused ones. Returns the calls to run. If there are none,
    /// also returns the text, because all of its calls are answered.
    pub fn begin(
        &mut self,
        entries: Vec<(Option<Id>, Result<Method, RpcError>)>,
        batch: bool,
    ) -> (Vec<(CallId, Method)>, Option<AnsweredText>) {
        let (first, now) = (self.next, Instant::now());
        let mut methods = Vec::new();
        let mut calls = Vec::with_capacity(entries.len());
        for (number, (id, method)) in (first..).zip(entries) {
            calls.push(match method {
                Ok(method) => {
                    let started = Some((method.name(), now));
                    methods.push((CallId(number), method));
                    PendingCall { id, started, outcome: None }
                }
                Err(refused) => PendingCall { id, started: None, outcome: Some(Err(refused)) },
            });
        }
        self.next += calls.len() as u64;
        let text = PendingText { first, batch, calls, run: methods.len() };
        if methods.is_empty() {
            return (methods, Some(text.answered()));
        }
        self.texts.push(text);
        (methods, None)
    }

    /// Takes the outcome of a call. Returns `None` for a call that is not known.
    pub fn answer(&mut self, id: CallId, outcome: Result<Value, RpcError>) -> Option<Answered> {
        let index = self.texts.iter().position(|text| text.has(id))?;
        let text = &mut self.texts[index];
        let call = &mut text.calls[(id.0 - text.first) as usize];
        let (method, since) = call.started?;
        call.outcome = Some(outcome);
        let complete = text.calls.iter().all(|call| call.outcome.is_some());
        let text = complete.then(|| self.texts.remove(index).answered());
        Some(Answered { method, since, text })
    }
}

impl PendingText {
    fn has(&self, id: CallId) -> bool {
        (self.first..self.first + self.calls.len() as u64).contains(&id.0)
    }

    fn answered(self) -> AnsweredText {
        let response = |call: PendingCall| Some(Response { id: call.id?, outcome: call.outcome? });
        let responses: Vec<_> = self.calls.into_iter().filter_map(response).collect();
        AnsweredText { run: self.run, response: rpc::write(&responses, self.batch) }
    }
}
