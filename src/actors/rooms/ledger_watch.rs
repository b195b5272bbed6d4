//! Watch of the event ledger: keeps this node's copy of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message};
use crate::actors::store_watch::{Changes, next_batch};
use crate::domain::keys::EVENTS;
use crate::rooms::Ledger;
use crate::store::reflector::{ReflectorEvent, reflect};

/// Interval of repeated listings, in case the watch missed a change.
const RELIST_EVERY: Duration = Duration::from_secs(600);

pub struct LedgerWatch {
    context: Context,
    ledger: Arc<Ledger>,
    /// Number of keys that are not valid events, counted since the last list.
    invalid: usize,
    state: &'static str,
    reason: Option<String>,
}

pub enum Msg {
    /// Events up to the next one after which the copy is consistent, and the rest of the stream.
    Batch(Vec<ReflectorEvent>, Changes),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        "batch"
    }
}

impl LedgerWatch {
    pub fn new(context: Context, ledger: Arc<Ledger>) -> Self {
        Self { context, ledger, invalid: 0, state: "listing", reason: None }
    }

    fn apply(&mut self, event: ReflectorEvent) {
        match event {
            ReflectorEvent::InitStart => {
                self.invalid = 0;
                self.ledger.begin_list();
            }
            ReflectorEvent::InitApply(entry) | ReflectorEvent::Apply(entry) => {
                self.invalid += usize::from(!self.ledger.put(&entry));
            }
            ReflectorEvent::Delete { key } => self.ledger.delete(&key),
            ReflectorEvent::InitDone { revision } => {
                (self.state, self.reason) = ("following", None);
                self.ledger.end_list(revision);
            }
            ReflectorEvent::Progress { revision } => self.ledger.reached(revision),
            ReflectorEvent::Lost(error) => (self.state, self.reason) = ("lost", Some(error.to_string())),
        }
    }

    fn read_on(changes: Changes, cx: &mut Cx<Self>) {
        cx.run(next_batch(changes), |(batch, changes)| Msg::Batch(batch, changes));
    }
}

impl Behaviour for LedgerWatch {
    const KIND: &'static str = "ledger_watch";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let (store, backoff) = (self.context.store.clone(), self.context.backoff());
        Self::read_on(Box::pin(reflect(store, EVENTS.to_owned(), backoff, RELIST_EVERY)), cx);
    }

    fn handle(&mut self, Msg::Batch(batch, changes): Msg, cx: &mut Cx<Self>) {
        batch.into_iter().for_each(|event| self.apply(event));
        Self::read_on(changes, cx);
    }

    fn observe(&self) -> ActorState {
        ActorState {
            observed: json!({ "end": self.ledger.end().to_string(), "invalidKeys": self.invalid }),
            reason: self.reason.clone(),
            ..ActorState::state(self.state)
        }
    }
}
