//! Supervisor of the clients of the role `gateway`.

use std::sync::Arc;

use serde_json::json;

use super::GatewayParts;
use super::acceptor::{Acceptor, NewConnection};
use super::client::WsClient;
use super::outbound::QueueGuard;
use crate::actors::kernel::{
    ActorState, Behaviour, ChildDown, ChildSpec, Cx, Message, RestartPolicy, StopAnswer,
};

/// Supervisor of the clients of a gateway.
pub struct GatewaySupervisor {
    parts: Arc<GatewayParts>,
    acceptor: Arc<Acceptor>,
    clients: usize,
}

pub enum Msg {
    Arrived(Box<NewConnection>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Arrived(_) => "arrived",
        }
    }
}

impl GatewaySupervisor {
    pub fn new(parts: Arc<GatewayParts>, acceptor: Arc<Acceptor>) -> Self {
        Self { parts, acceptor, clients: 0 }
    }

    /// Starts the actor of a client. The actor is never restarted: when it ends, it releases the lock and the
    /// presence entry of its user.
    fn admit(&mut self, arrival: NewConnection, cx: &mut Cx<Self>) {
        let NewConnection { peer, queue, admitted } = arrival;
        let peer = Arc::new(peer);
        let spec = ChildSpec { restart: RestartPolicy::Temporary, ..ChildSpec::member() };
        let (name, parts) = (peer.connection.0.clone(), self.parts.clone());
        let of_client = QueueGuard(queue.clone());
        let make = move || WsClient::new(parts.clone(), peer.clone(), of_client.0.clone());
        let client = cx.spawn_child(name, spec, make);
        queue.attach(client.clone());
        self.count(self.clients + 1);
        // If the caller is gone, it has dropped the writer of the queue, which ends the client.
        let _ = admitted.send(client);
    }

    fn count(&mut self, clients: usize) {
        self.clients = clients;
        self.parts.metrics.set_ws_connections(clients);
    }
}

impl Behaviour for GatewaySupervisor {
    const KIND: &'static str = "gateway_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.count(0);
        self.acceptor.open(cx.me());
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Arrived(arrival) => self.admit(*arrival, cx),
        }
    }

    fn child_down(&mut self, _: &ChildDown, _: &mut Cx<Self>) {
        self.count(self.clients.saturating_sub(1));
    }

    fn stopping(&mut self, _: &mut Cx<Self>) -> StopAnswer {
        self.acceptor.close();
        StopAnswer::Now
    }

    fn observe(&self) -> ActorState {
        ActorState { observed: json!({ "clients": self.clients }), ..ActorState::state("supervising") }
    }
}

/// Closes the acceptor, even after a failure: no client is admitted until the next incarnation opens the
/// acceptor.
impl Drop for GatewaySupervisor {
    fn drop(&mut self) {
        self.acceptor.close();
    }
}
