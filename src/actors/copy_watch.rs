//! Watch of one prefix of the store: keeps this node's copy of the keys below it up to date.

use std::sync::Arc;

use serde_json::Value;

use super::context::Context;
use super::kernel::{ActorState, Behaviour, Cx, Message};
use super::store_watch::{Changes, next_batch};
use crate::rooms::{ApiKeyRegistry, Ledger, StoreCopy};
use crate::store::reflector::{ReflectorEvent, reflect};

/// Watch of the API keys.
pub type ApiKeyWatch = CopyWatch<ApiKeyRegistry>;

/// Watch of the event ledger.
pub type LedgerWatch = CopyWatch<Ledger>;

pub struct CopyWatch<C> {
    context: Context,
    copy: Arc<C>,
    /// Number of invalid values that were read since the last list began.
    invalid: usize,
    state: &'static str,
    reason: Option<String>,
}

pub enum Msg {
    /// Events up to and including the next one that makes the copy consistent, and the rest of the stream.
    Batch(Vec<ReflectorEvent>, Changes),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        "batch"
    }
}

impl<C: StoreCopy> CopyWatch<C> {
    pub fn new(context: Context, copy: Arc<C>) -> Self {
        Self { context, copy, invalid: 0, state: "listing", reason: None }
    }

    fn apply(&mut self, event: ReflectorEvent) {
        match event {
            ReflectorEvent::InitStart => {
                self.invalid = 0;
                self.copy.begin_list();
            }
            ReflectorEvent::InitApply(entry) | ReflectorEvent::Apply(entry) => {
                self.invalid += usize::from(!self.copy.put(&entry));
            }
            ReflectorEvent::Delete { key } => self.copy.delete(&key),
            ReflectorEvent::InitDone { revision } => {
                (self.state, self.reason) = ("following", None);
                self.copy.end_list(revision);
            }
            ReflectorEvent::Progress { revision } => self.copy.reached(revision),
            ReflectorEvent::Lost(error) => (self.state, self.reason) = ("lost", Some(error.to_string())),
        }
    }

    fn read_on(changes: Changes, cx: &mut Cx<Self>) {
        cx.run(next_batch(changes), |(batch, changes)| Msg::Batch(batch, changes));
    }
}

impl<C: StoreCopy> Behaviour for CopyWatch<C> {
    const KIND: &'static str = C::WATCH;
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let (store, backoff) = (self.context.store.clone(), self.context.backoff());
        Self::read_on(Box::pin(reflect(store, C::PREFIX.to_owned(), backoff, C::RELIST_EVERY)), cx);
    }

    fn handle(&mut self, Msg::Batch(batch, changes): Msg, cx: &mut Cx<Self>) {
        batch.into_iter().for_each(|event| self.apply(event));
        Self::read_on(changes, cx);
    }

    fn observe(&self) -> ActorState {
        let mut observed = self.copy.observed();
        observed.insert("invalidKeys".into(), self.invalid.into());
        ActorState {
            observed: Value::Object(observed),
            reason: self.reason.clone(),
            ..ActorState::state(self.state)
        }
    }
}
