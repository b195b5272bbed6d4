//! Data behind `/metrics`, `/actors`, `/readyz`, `/reload` and the dashboard of this node.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::readiness::Readiness;
use super::reload::ReloadReply;
use super::servers::Services;
use crate::actors::kernel::{ActorView, Behaviour as _, Registry, RestartRefused};
use crate::actors::mixer::room::MixerRoomActor;
use crate::auth::OperatorSessions;
use crate::config::StoreKind;
use crate::delivery::Peers;
use crate::delivery::listener_counter::{ListenerCounter, Listeners};
use crate::domain::ids::{RoomId, UserId};
use crate::http::audit::Auditor;
use crate::http::dashboard::{Dashboard, Operators, OverviewSources};
use crate::http::ops;
use crate::rooms::nodes::Nodes;
use crate::telemetry::Metrics;

/// Minimum age at which an operator may restart an actor. Because of this limit, operators alone cannot use
/// up an actor's restart budget (5 in 30 s).
const RESTART_AGE: Duration = Duration::from_secs(10);

pub struct Operations {
    metrics: Metrics,
    registry: Registry,
    readiness: Arc<Readiness>,
    counter: Arc<ListenerCounter>,
    /// Counter of the requests to list the store again. Each request increments it.
    relists: Arc<watch::Sender<u64>>,
    /// Sender of requests to read the configuration again; empty if the node cannot do this.
    reloads: Arc<OnceLock<mpsc::Sender<ReloadReply>>>,
}

impl Operations {
    pub fn of(sides: &Services) -> Self {
        Self {
            metrics: sides.context.metrics.clone(),
            registry: sides.registry.clone(),
            readiness: sides.readiness.clone(),
            counter: sides.counter.clone(),
            relists: sides.context.relists.clone(),
            reloads: sides.reloads.clone(),
        }
    }
}

/// Assembles the dashboard of this node.
pub fn dashboard(
    sides: &Services,
    listeners: Listeners,
    node: Arc<dyn ops::OpsSource>,
    audit: Arc<Auditor>,
) -> Dashboard {
    let (context, hub) = (&sides.context, sides.hub.clone());
    let sources = OverviewSources {
        me: context.me.clone(),
        started_at: context.clock.wall(),
        rooms: sides.service.clone(),
        listeners,
        streams: sides.delivery.here.streams.clone(),
        anchors: sides.anchors.clone(),
        talking: Box::new(move |room: &RoomId, users: &[UserId]| hub.talking_among(room, users)),
        heartbeats: Default::default(),
        peers: peers(sides),
        remote: Default::default(),
    };
    let operators = Operators {
        auth: sides.api_keys.clone(),
        sessions: OperatorSessions::new(&sides.secrets, context.me.clone()),
        audit,
    };
    Dashboard::new(sources, node, operators, context.metrics.clone())
}

/// Returns the client of the other nodes; `None` if this node is alone.
fn peers(sides: &Services) -> Option<Peers> {
    let (context, client) = (&sides.context, sides.replay.fetcher.clone());
    let shared = context.config.store.kind != StoreKind::Embedded;
    let networks = context.config.node.networks.clone();
    shared.then(|| Peers {
        me: context.me.clone(),
        nodes: Nodes::new(context.store.clone()),
        networks,
        client,
    })
}

impl ops::OpsSource for Operations {
    fn metrics(&self) -> String {
        self.metrics.set_listeners(self.counter.total(Instant::now()));
        self.metrics.render()
    }

    #[cfg(debug_assertions)]
    fn panic(&self, path: &str) -> bool {
        self.registry.panic(path)
    }

    fn actors(&self) -> Value {
        serde_json::to_value(self.registry.snapshot()).unwrap_or_default()
    }

    fn ready(&self) -> ops::Readiness {
        self.readiness.get()
    }

    fn mixes(&self) -> HashMap<String, Value> {
        let mut mixes = HashMap::new();
        if let Some(tree) = self.registry.snapshot() {
            collect_mixes(tree, &mut mixes);
        }
        mixes
    }

    fn restart(&self, path: &str) -> Result<(), ops::RestartError> {
        let restarted = self.registry.restart(path, "restarted by an operator", RESTART_AGE);
        restarted.map_err(|refused| match refused {
            RestartRefused::NotFound => ops::RestartError::NotFound,
            RestartRefused::Root => {
                ops::RestartError::Refused("the root actor is the node itself: restart the process instead")
            }
            RestartRefused::NotRunning => {
                ops::RestartError::Refused("the actor is not running; it starts again by itself")
            }
            RestartRefused::TooYoung => {
                ops::RestartError::Refused("the actor started less than 10 s ago; try again later")
            }
        })
    }

    fn reconcile(&self) {
        self.relists.send_modify(|count| *count += 1);
    }

    fn reload(&self) -> BoxFuture<'static, Result<ops::ReloadOutcome, ops::ReloadError>> {
        let reloads = self.reloads.get().cloned();
        async move {
            let (reply, outcome) = oneshot::channel();
            let sent = match reloads {
                Some(reloads) => reloads.send(reply).await.is_ok(),
                None => false,
            };
            if !sent {
                return Err(ops::ReloadError::NotRead);
            }
            outcome.await.unwrap_or(Err(ops::ReloadError::NotRead))
        }
        .boxed()
    }
}

/// Collects the mix figures of the mixer rooms at or below `actor`, by room.
fn collect_mixes(actor: ActorView, mixes: &mut HashMap<String, Value>) {
    if actor.kind == MixerRoomActor::KIND {
        let (mut observed, room) = (actor.observed, actor.name.trim_start_matches("room:").to_owned());
        mixes.insert(room, observed["mix"].take());
    }
    actor.children.into_iter().for_each(|child| collect_mixes(child, mixes));
}
