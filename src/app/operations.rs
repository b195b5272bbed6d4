//! Data behind `/metrics`, `/actors`, `/readyz` and `/reload` of this node.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::readiness::Readiness;
use super::reload::ReloadReply;
use crate::actors::kernel::Registry;
use crate::delivery::listener_counter::ListenerCounter;
use crate::http::ops;
use crate::telemetry::Metrics;

pub struct Operations {
    pub metrics: Metrics,
    pub registry: Registry,
    pub readiness: Arc<Readiness>,
    pub audience: Arc<ListenerCounter>,
    /// Empty if the node cannot read its configuration again.
    pub reloads: Arc<OnceLock<mpsc::Sender<ReloadReply>>>,
}

impl ops::OpsSource for Operations {
    fn metrics(&self) -> String {
        self.metrics.set_listeners(self.audience.total(Instant::now()));
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
