//! Starts one [`WebhookActor`] per endpoint of `webhooks.endpoints`, on the leader.

use std::sync::Arc;

use serde_json::json;

use super::webhook::WebhookActor;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, ChildSpec, Cx, Message};
use crate::rooms::{LeaderGuard, Ledger};
use crate::webhooks::Webhooks;

pub struct WebhookSupervisor {
    context: Context,
    webhooks: Arc<Webhooks>,
    ledger: Arc<Ledger>,
    guard: LeaderGuard,
}

/// No message: this supervisor only starts its children.
pub enum Msg {}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match *self {}
    }
}

impl WebhookSupervisor {
    pub fn new(context: Context, webhooks: Arc<Webhooks>, ledger: Arc<Ledger>, guard: LeaderGuard) -> Self {
        Self { context, webhooks, ledger, guard }
    }
}

impl Behaviour for WebhookSupervisor {
    const KIND: &'static str = "webhook_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        for endpoint in self.webhooks.endpoints() {
            let (context, webhooks) = (self.context.clone(), self.webhooks.clone());
            let (ledger, guard, endpoint) = (self.ledger.clone(), self.guard.clone(), endpoint.clone());
            cx.spawn_child(format!("webhook:{}", endpoint.name), ChildSpec::member(), move || {
                let (webhooks, endpoint) = (webhooks.clone(), endpoint.clone());
                WebhookActor::new(context.clone(), webhooks, endpoint, ledger.clone(), guard.clone())
            });
        }
    }

    fn handle(&mut self, msg: Msg, _: &mut Cx<Self>) {
        match msg {}
    }

    fn observe(&self) -> ActorState {
        let observed = json!({ "endpoints": self.webhooks.endpoints().len() });
        ActorState { observed, ..ActorState::state("supervising") }
    }
}
