//! Data behind `/metrics`, `/actors` and `/readyz` of this node.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::readiness::Readiness;
use crate::actors::kernel::Registry;
use crate::http::ops;
use crate::rooms::listener_counter::ListenerCounter;
use crate::telemetry::Metrics;

pub struct Operations {
    pub metrics: Metrics,
    pub registry: Registry,
    pub readiness: Arc<Readiness>,
    pub audience: Arc<ListenerCounter>,
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
}
