//! Watch of the API keys: keeps this node's copy of them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::context::Context;
use super::kernel::{ActorState, Behaviour, Cx, Message};
use super::store_watch::{Changes, next_batch};
use crate::domain::keys::API_KEYS;
use crate::rooms::ApiKeyRegistry;
use crate::store::reflector::{ReflectorEvent, reflect};

/// Interval of repeated listings, in case the watch missed a change.
const RELIST_EVERY: Duration = Duration::from_secs(60);

pub struct ApiKeyWatch {
    context: Context,
    registry: Arc<ApiKeyRegistry>,
    /// Number of keys that are not valid API keys, counted since the last list.
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

impl ApiKeyWatch {
    pub fn new(context: Context, registry: Arc<ApiKeyRegistry>) -> Self {
        Self { context, registry, invalid: 0, state: "listing", reason: None }
    }

    fn apply(&mut self, event: ReflectorEvent) {
        match event {
            ReflectorEvent::InitStart => {
                self.invalid = 0;
                self.registry.begin_list();
            }
            ReflectorEvent::InitApply(entry) | ReflectorEvent::Apply(entry) => {
                self.invalid += usize::from(!self.registry.put(&entry));
            }
            ReflectorEvent::Delete { key } => self.registry.delete(&key),
            ReflectorEvent::InitDone { .. } => {
                (self.state, self.reason) = ("following", None);
                self.registry.end_list();
            }
            ReflectorEvent::Progress { .. } => {}
            ReflectorEvent::Lost(error) => (self.state, self.reason) = ("lost", Some(error.to_string())),
        }
    }

    fn read_on(changes: Changes, cx: &mut Cx<Self>) {
        cx.run(next_batch(changes), |(batch, changes)| Msg::Batch(batch, changes));
    }
}

impl Behaviour for ApiKeyWatch {
    const KIND: &'static str = "api_key_watch";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let (store, backoff) = (self.context.store.clone(), self.context.backoff());
        Self::read_on(Box::pin(reflect(store, API_KEYS.to_owned(), backoff, RELIST_EVERY)), cx);
    }

    fn handle(&mut self, Msg::Batch(batch, changes): Msg, cx: &mut Cx<Self>) {
        batch.into_iter().for_each(|event| self.apply(event));
        Self::read_on(changes, cx);
    }

    fn observe(&self) -> ActorState {
        ActorState {
            observed: json!({ "keys": self.registry.all().len(), "invalidKeys": self.invalid }),
            reason: self.reason.clone(),
            ..ActorState::state(self.state)
        }
    }
}
