//! Readiness of this node: its store is listed, its own modules are registered and can be selected, and the
//! endpoints of its roles are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::actors::context::Context;
use crate::actors::gateway::acceptor::Acceptor;
use crate::actors::registration::RegistrationState;
use crate::domain::keys::ModuleKind;
use crate::domain::model::Health;
use crate::http::ops;

use super::enabled_services::EnabledServices;

/// Poll interval while a caller waits. Polling is needed because readiness has several sources, and not all
/// of them signal their changes.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub struct Readiness {
    context: Context,
    acceptor: Arc<Acceptor>,
    stopping: AtomicBool,
    api: AtomicBool,
    hls: AtomicBool,
}

impl Readiness {
    pub fn new(context: Context, acceptor: Arc<Acceptor>) -> Self {
        let off = AtomicBool::default;
        Self { context, acceptor, stopping: off(), api: off(), hls: off() }
    }

    /// Reports the node as not ready from now on, permanently.
    pub fn stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Records whether the server with these mounted services is running.
    pub fn serving(&self, mounted: EnabledServices, serves: bool) {
        if mounted.api {
            self.api.store(serves, Relaxed);
        }
        if mounted.hls || mounted.relay {
            self.hls.store(serves, Relaxed);
        }
    }

    pub fn get(&self) -> ops::Readiness {
        let checks = self.checks();
        ops::Readiness { ready: checks.iter().all(|(_, ok)| ok.is_ok()), checks }
    }

    pub fn missing(&self) -> impl Iterator<Item = String> {
        let missing = |(name, ok): (String, Result<(), String>)| ok.err().map(|why| format!("{name}: {why}"));
        self.checks().into_iter().filter_map(missing)
    }

    pub async fn reached(&self) {
        while !self.get().ready {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn checks(&self) -> Vec<(String, Result<(), String>)> {
        let roles = self.context.config.node.roles;
        let mut checks = vec![("node".to_owned(), self.running()), ("store".to_owned(), self.store())];
        if roles.rooms {
            checks.push(("api".into(), served(&self.api)));
        }
        if roles.janus {
            checks.push(("janus".into(), self.module(ModuleKind::Janus)));
        }
        if roles.mixer {
            checks.push(("ffmpeg".into(), self.module(ModuleKind::Mixer)));
        }
        if roles.gateway {
            checks.push(("gateway".into(), self.gateway()));
        }
        if roles.hls || roles.mixer {
            checks.push(("hls".into(), served(&self.hls)));
        }
        checks
    }

    fn gateway(&self) -> Result<(), String> {
        if self.acceptor.is_open() { Ok(()) } else { Err("accepts no clients; see /actors".into()) }
    }

    fn running(&self) -> Result<(), String> {
        match &*self.context.standing.borrow() {
            _ if self.stopping.load(Relaxed) => Err("is stopping".into()),
            RegistrationState::Registered => Ok(()),
            RegistrationState::Waiting(why) | RegistrationState::Refused(why) => Err(why.clone()),
        }
    }

    fn store(&self) -> Result<(), String> {
        if !self.context.directory.is_listed() {
            return Err("has not been listed yet".into());
        }
        // A node that only serves listeners can work while the store is unavailable. If a load balancer
        // removed all listener nodes during such an outage, listeners could not hear any room.
        let roles = self.context.config.node.roles;
        let listens_only = roles.hls && !(roles.rooms || roles.janus || roles.mixer || roles.gateway);
        if listens_only || self.context.store_up.load(Relaxed) {
            return Ok(());
        }
        Err("does not answer".into())
    }

    fn module(&self, kind: ModuleKind) -> Result<(), String> {
        let view = self.context.directory.module(kind, &self.context.me);
        let heartbeat = view.as_ref().and_then(|v| v.heartbeat.as_ref());
        // The store may still have a heartbeat of the previous run of this node.
        let heartbeat = heartbeat.filter(|h| *h.incarnation == *self.context.incarnation);
        match heartbeat.map(|h| h.status) {
            None => Err("this node's heartbeat is not in the store".into()),
            Some(Health::Unhealthy) => Err("does not work; see /actors".into()),
            Some(Health::Healthy) => Ok(()),
        }
    }
}

fn served(side: &AtomicBool) -> Result<(), String> {
    if side.load(Relaxed) { Ok(()) } else { Err("its server is not running; see the log".into()) }
}
