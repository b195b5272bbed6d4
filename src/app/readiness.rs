//! Readiness of this node: its store is listed, its own modules are registered and can be selected, and the
//! endpoints of its roles are served. Each failed check names the cause that an actor states, how long the
//! check has failed, and a remedy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::actors::context::Context;
use crate::actors::gateway::acceptor::Acceptor;
use crate::actors::kernel::{ActorView, Registry};
use crate::actors::registration::RegistrationState;
use crate::config::{JanusMode, StoreKind};
use crate::domain::keys::ModuleKind;
use crate::domain::model::Health;
use crate::http::ops;

use super::enabled_services::EnabledServices;

/// Poll interval while a caller waits. Polling is needed because readiness has several sources, and not all
/// of them signal their changes.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Interval at which failed checks are noted. It is the accuracy of the times in the reasons.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Actor that can state the cause of a failed check: its kind, and the state in which it is not the cause.
type Witness = (&'static str, &'static str);

const STORE: &[Witness] = &[("store_watch", "following")];
const GATEWAY: &[Witness] = &[("gateway_supervisor", "supervising")];
/// The process is before the connection, which only waits for it.
const JANUS: &[Witness] = &[("janus_process", "running"), ("janus_connection", "up")];
const MIXER: &[Witness] = &[("mixer_supervisor", "ready")];
const HEARTBEAT: &[Witness] = &[("heartbeat", "beating")];

/// Failed check.
struct Lack {
    text: String,
    witnesses: &'static [Witness],
    remedy: &'static str,
}

type Check = (&'static str, Result<(), Lack>);

pub struct Readiness {
    context: Context,
    acceptor: Arc<Acceptor>,
    registry: Registry,
    stopping: AtomicBool,
    api: AtomicBool,
    hls: AtomicBool,
    /// Failed checks, and since when they fail.
    failing: Mutex<BTreeMap<&'static str, Instant>>,
}

impl Lack {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), witnesses: &[], remedy: "" }
    }

    fn by(text: &str, witnesses: &'static [Witness], remedy: &'static str) -> Self {
        Self { text: text.into(), witnesses, remedy }
    }

    fn told(&self, since: Duration, tree: Option<&ActorView>) -> String {
        let cause = tree.and_then(|tree| self.witnesses.iter().find_map(|witness| cause(tree, *witness)));
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{} for {}{cause}{remedy}", self.text, span(since))
    }
}

/// Returns what the first actor of this kind waits for, or its latest failure, unless it is in its good
/// state.
fn cause(actor: &ActorView, witness: Witness) -> Option<String> {
    let (kind, good) = witness;
    if actor.kind != kind {
        return actor.children.iter().find_map(|child| cause(child, witness));
    }
    let failure = || actor.last_failure.as_ref().map(|failure| failure.text.clone());
    if actor.state == good { None } else { actor.reason.clone().or_else(failure) }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

impl Readiness {
    pub fn new(context: Context, acceptor: Arc<Acceptor>, registry: Registry) -> Self {
        let off = AtomicBool::default;
        Self {
            context,
            acceptor,
            registry,
            stopping: off(),
            api: off(),
            hls: off(),
            failing: Mutex::default(),
        }
    }

    /// Notes since when checks fail, until dropped.
    pub async fn watch(self: Arc<Self>) {
        loop {
            self.note(&self.checks());
            tokio::time::sleep(NOTE_EVERY).await;
        }
    }

    /// Returns the checks that fail, and since when.
    fn note(&self, checks: &[Check]) -> BTreeMap<&'static str, Instant> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.retain(|known, _| checks.iter().any(|(name, check)| name == known && check.is_err()));
        for (name, _) in checks.iter().filter(|(_, check)| check.is_err()) {
            failing.entry(name).or_insert_with(Instant::now);
        }
        failing.clone()
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
        let ready = is_ready(&checks);
        let since = self.note(&checks);
        let tree = if ready { None } else { self.registry.snapshot() };
        let told = |(name, check): Check| {
            let failing = since.get(name).map_or(Duration::ZERO, Instant::elapsed);
            (name.to_owned(), check.map_err(|lack| lack.told(failing, tree.as_ref())))
        };
        ops::Readiness { ready, checks: checks.into_iter().map(told).collect() }
    }

    pub fn missing(&self) -> impl Iterator<Item = String> {
        let missing = |(name, ok): (String, Result<(), String>)| ok.err().map(|why| format!("{name}: {why}"));
        self.get().checks.into_iter().filter_map(missing)
    }

    pub async fn reached(&self) {
        while !is_ready(&self.checks()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn checks(&self) -> Vec<Check> {
        let roles = self.context.config.node.roles;
        let mut checks = vec![("node", self.running()), ("store", self.store())];
        if roles.rooms {
            checks.push(("api", served(&self.api)));
        }
        if roles.janus {
            checks.push(("janus", self.module(ModuleKind::Janus)));
        }
        if roles.mixer {
            checks.push(("ffmpeg", self.module(ModuleKind::Mixer)));
        }
        if roles.gateway {
            checks.push(("gateway", self.gateway()));
        }
        if roles.hls || roles.mixer {
            checks.push(("hls", served(&self.hls)));
        }
        checks
    }

    fn gateway(&self) -> Result<(), Lack> {
        let closed = || Lack::by("has accepted no clients", GATEWAY, "it starts again by itself");
        self.acceptor.is_open().then_some(()).ok_or_else(closed)
    }

    fn running(&self) -> Result<(), Lack> {
        match &*self.context.standing.borrow() {
            _ if self.stopping.load(Relaxed) => Err(Lack::new("has been stopping")),
            RegistrationState::Registered => Ok(()),
            RegistrationState::Waiting(why) | RegistrationState::Refused(why) => {
                Err(Lack::new(format!("has not been registered ({why})")))
            }
        }
    }

    fn store(&self) -> Result<(), Lack> {
        let remedy = match self.context.config.store.kind {
            StoreKind::Etcd => "check that etcd runs, and store.etcd.endpoints",
            StoreKind::Embedded => "see the log",
        };
        if !self.context.directory.is_listed() {
            return Err(Lack::by("has not been listed", STORE, remedy));
        }
        // A node that only serves listeners can work while the store is unavailable. If a load balancer
        // removed all listener nodes during such an outage, listeners could not hear any room.
        let roles = self.context.config.node.roles;
        let listens_only = roles.hls && !(roles.rooms || roles.janus || roles.mixer || roles.gateway);
        if listens_only || self.context.store_up.load(Relaxed) {
            return Ok(());
        }
        Err(Lack::by("has not answered", STORE, remedy))
    }

    fn module(&self, kind: ModuleKind) -> Result<(), Lack> {
        let view = self.context.directory.module(kind, &self.context.me);
        let heartbeat = view.as_ref().and_then(|v| v.heartbeat.as_ref());
        // The store may still have a heartbeat of the previous run of this node.
        let heartbeat = heartbeat.filter(|h| *h.incarnation == *self.context.incarnation);
        let (witnesses, remedy) = match kind {
            ModuleKind::Janus if self.context.config.janus.mode == JanusMode::External => {
                (JANUS, "check that this Janus runs, and janus.url")
            }
            // The texts of a managed Janus and of FFmpeg name their remedies.
            ModuleKind::Janus => (JANUS, ""),
            ModuleKind::Mixer => (MIXER, ""),
        };
        match heartbeat.map(|h| h.status) {
            None => Err(Lack::by("this node's heartbeat has not been in the store", HEARTBEAT, "")),
            Some(Health::Unhealthy) => Err(Lack::by("has not worked", witnesses, remedy)),
            Some(Health::Healthy) => Ok(()),
        }
    }
}

fn is_ready(checks: &[Check]) -> bool {
    checks.iter().all(|(_, check)| check.is_ok())
}

fn served(side: &AtomicBool) -> Result<(), Lack> {
    let stopped = || Lack::new("its server has not run (see the log)");
    side.load(Relaxed).then_some(()).ok_or_else(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_name_time_and_remedy() {
        let lack = Lack::by("has not answered", STORE, "check that etcd runs");
        assert_eq!(lack.told(Duration::from_secs(7), None), "has not answered for 7 s; check that etcd runs");
        assert_eq!(Lack::new("has been stopping").told(Duration::ZERO, None), "has been stopping for 0 s");
        let spans = [119, 120, 7199, 7200].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["119 s", "2 min", "119 min", "2 h"]);
    }
}
