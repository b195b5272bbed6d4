//! Runs one [`WebhookActor`] per endpoint of `webhooks.endpoints`, on the leader.
//!
//! After a reload of the configuration, the actors of removed and changed endpoints stop. A changed endpoint
//! gets a new actor, which continues from the progress in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;

use super::webhook::WebhookActor;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, ChildSpec, Cx, Decision, Message};
use crate::rooms::{LeaderGuard, Ledger};
use crate::webhooks::{Endpoint, Webhooks};

/// Prefix of the children's names.
const PREFIX: &str = "webhook:";

type Endpoints = watch::Receiver<Vec<Arc<Endpoint>>>;

pub struct WebhookSupervisor {
    context: Context,
    webhooks: Arc<Webhooks>,
    ledger: Arc<Ledger>,
    guard: LeaderGuard,
    /// Endpoints that have an actor, by name. While its actor is stopping, an endpoint stays in the map.
    running: BTreeMap<String, Arc<Endpoint>>,
}

pub enum Msg {
    Reloaded(Endpoints),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        "reloaded"
    }
}

impl WebhookSupervisor {
    pub fn new(context: Context, webhooks: Arc<Webhooks>, ledger: Arc<Ledger>, guard: LeaderGuard) -> Self {
        Self { context, webhooks, ledger, guard, running: BTreeMap::new() }
    }

    /// Stops the actors of endpoints that were removed or changed, and starts the actors that are missing.
    fn align(&mut self, cx: &mut Cx<Self>) {
        let wanted = self.webhooks.endpoints();
        for (name, endpoint) in &self.running {
            if !wanted.iter().any(|wanted| Arc::ptr_eq(wanted, endpoint)) {
                cx.stop_child(&format!("{PREFIX}{name}"));
            }
        }
        for endpoint in wanted {
            if !self.running.contains_key(&endpoint.name) {
                self.start(endpoint, cx);
            }
        }
    }

    fn start(&mut self, endpoint: Arc<Endpoint>, cx: &mut Cx<Self>) {
        let (context, webhooks) = (self.context.clone(), self.webhooks.clone());
        let (ledger, guard, served) = (self.ledger.clone(), self.guard.clone(), endpoint.clone());
        cx.spawn_child(format!("{PREFIX}{}", endpoint.name), ChildSpec::member(), move || {
            let (webhooks, endpoint) = (webhooks.clone(), served.clone());
            WebhookActor::new(context.clone(), webhooks, endpoint, ledger.clone(), guard.clone())
        });
        self.running.insert(endpoint.name.clone(), endpoint);
    }

    fn listen(mut endpoints: Endpoints, cx: &mut Cx<Self>) {
        let changed = async move {
            if endpoints.changed().await.is_err() {
                // The sender was dropped, so the node has ended, and this supervisor ends with it.
                std::future::pending::<()>().await;
            }
            endpoints
        };
        cx.run(changed, Msg::Reloaded);
    }
}

impl Behaviour for WebhookSupervisor {
    const KIND: &'static str = "webhook_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        Self::listen(self.webhooks.changes(), cx);
        self.align(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        let Msg::Reloaded(endpoints) = msg;
        Self::listen(endpoints, cx);
        self.align(cx);
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        if !matches!(child.decision, Decision::Stopped | Decision::Ended) {
            return;
        }
        if let Some(name) = child.name.strip_prefix(PREFIX) {
            self.running.remove(name);
            self.align(cx);
        }
    }

    fn observe(&self) -> ActorState {
        let observed = json!({ "endpoints": self.running.len() });
        ActorState { observed, ..ActorState::state("supervising") }
    }
}
