//! The composition root: the only place that names concrete backends. Contains the start, the readiness and
//! the ordered shutdown of a node.
//!
//! Start order: secrets and identity, store, actors, HTTP servers. Stop order: report not ready, drain the
//! rooms, stop the servers that only answer requests, stop the actors, stop the remaining servers. Owns only
//! this order.

mod addresses;
mod backends;
mod certificates;
mod child_account;
mod data_dir;
mod data_dir_lock;
mod delivery;
pub mod doctor;
mod drain;
mod enabled_services;
mod gateway;
mod identity_provider;
mod janus_options;
mod limits;
mod measure;
mod modules;
mod operations;
mod origins;
mod readiness;
pub mod reload;
mod secret_check;
mod servers;
pub mod service_manager;
pub mod signals;
mod source_members;

use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use actix::{Arbiter, ArbiterHandle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::acme::Acme;
use crate::actors::context::{Context, LiveLimits};
use crate::actors::gateway::acceptor::Acceptor;
use crate::actors::gateway::media::LocalJanus;
use crate::actors::janus::JanusShared;
use crate::actors::kernel::{ActorSystem, ActorView, RootOptions, SystemHandle};
use crate::actors::node::{NodeActor, NodeRegistered, RoomsRole};
use crate::actors::registration::RegistrationState;
use crate::auth::{ApiKeys, Secrets, node_id};
use crate::clock::Clock;
use crate::config::{Config, ConfigErrors, EffectiveKey, PresenceKind, StoreKind};
use crate::delivery::listener_counter::ListenerCounter;
use crate::delivery::{EdgeCache, MixerClient, Rewinds, Streams};
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::registration::NodeRecord;
use crate::http::anchors::PresentUsers;
use crate::http::api_keys::LiveApiKeys;
use crate::janus::ConnectOptions;
use crate::rooms::recordings::Recordings;
use crate::rooms::{Directory, RoomService};
use crate::telemetry::events::{Event, NodeReady, NodeStopping};
use crate::telemetry::otlp::{self, Exporter};
use crate::telemetry::{Metrics, logging};
pub use addresses::Addresses;
use certificates::LiveCertificates;
use child_account::child_account;
use data_dir_lock::DataDirLock;
use delivery::Delivery;
use drain::DrainLabels;
use janus_options::external;
use modules::{janus, mixer};
use readiness::Readiness;
use reload::{LiveParts, Reload, ReloadReply};
use servers::Servers;
use service_manager::ServiceManager;

/// Time after the start at which the log names the conditions that are still missing. Also the interval of
/// this message.
const READY_REMINDER: Duration = Duration::from_secs(10);

/// Maximum number of waiting requests to reload the configuration.
const RELOADS_QUEUED: usize = 4;

/// A running node.
pub struct Node {
    pub id: ModuleId,
    pub addresses: Addresses,
    pub link: JanusShared,
    /// Connection options of this node's Janus instance, except for the current address of a managed one.
    janus: Option<ConnectOptions>,
    context: Context,
    service: Arc<RoomService>,
    system: SystemHandle<NodeRegistered>,
    /// Lock of the data directory, if the store is shared.
    _place: Option<DataDirLock>,
    readiness: Arc<Readiness>,
    rewinds: Arc<Rewinds>,
    parts: LiveParts,
    /// Sender of requests to reload the configuration; set if the node was started by [`run`].
    reloads: Arc<OnceLock<mpsc::Sender<ReloadReply>>>,
    servers: Servers,
    arbiters: Vec<Arbiter>,
    /// Export of traces and metrics, if it is configured.
    exporter: Option<Exporter>,
}

/// Implements `stentor serve`: runs a node until a signal arrives, or until the node fails. `keys` are the
/// settings from which `config` was made; each reload calls `read`, which returns new ones. `manager` has the
/// values that the service manager passed.
///
/// # Errors
/// The node cannot be started, its supervision gave up, or another process has the node's id.
pub async fn run(
    config: Config,
    keys: Vec<EffectiveKey>,
    read: impl Fn() -> Result<(Config, Vec<EffectiveKey>), ConfigErrors> + Send + Sync + 'static,
    manager: service_manager::Environment,
) -> anyhow::Result<()> {
    logging::init(&config.log)?;
    let manager = Rc::new(ServiceManager::connect(manager));
    let mut signals = signals::Signals::listen()?;
    // From here on, SIGHUP does not end the process.
    let hangups = signal(SignalKind::hangup())?;
    let node = Node::start(config).await?;
    let reload = Reload::new(node.config(), keys, Arc::new(read), node.parts.clone());
    let (reloads, requests) = mpsc::channel(RELOADS_QUEUED);
    // The value cannot be set already: this function runs once per node.
    let _ = node.reloads.set(reloads);
    actix::spawn(reload.at_each(hangups, requests, manager.clone()));
    let loops: Vec<_> = node.arbiters.iter().map(Arbiter::handle).collect();
    let reason = tokio::select! {
        reason = signals.next() => Ok(reason),
        why = node.failed() => Err(why),
        never = async {
            node.announce().await;
            manager.ready().await;
            std::future::pending().await
        } => never,
        never = manager.watch(&loops, || node.missing()) => match never {},
    };
    let deadlines = &node.config().supervision;
    manager.stopping(deadlines.drain_deadline + deadlines.shutdown_deadline).await;
    let drained = match &reason {
        Ok(_) => tokio::select! {
            drained = node.drain() => drained,
            // A second signal skips the drain.
            _ = signals.next() => DrainLabels::default(),
        },
        Err(_) => DrainLabels::default(),
    };
    node.end(reason.as_ref().copied().unwrap_or("failed"), drained).await;
    reason.map(|_| ())
}

impl Node {
    /// Binds the addresses and starts the actors. Call it inside an actix system. The node becomes ready
    /// later.
    ///
    /// # Errors
    /// A program that this node needs to start child processes is missing or too old. Or the data directory,
    /// the secrets, the store, the presence backend or an address cannot be used.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let account = child_account(&config).map_err(anyhow::Error::msg)?;
        data_dir::prepare(&config.node.data_dir)?;
        let (secrets, id) = (Arc::new(Secrets::load_or_create(&config)?), node_id(&config)?);
        let metrics = Metrics::new(SystemTime::now());
        let shared = config.store.kind == StoreKind::Etcd;
        let place = shared.then(|| DataDirLock::take(&config.node.data_dir)).transpose()?;
        let store = backends::store(&config, &metrics).await?;
        let (sockets, config) = servers::bind(config)?;
        // Log warnings only after the addresses were bound, so that a node that cannot bind them logs only
        // this error.
        for remark in config.warnings() {
            tracing::warn!("{remark}");
        }
        let descriptors = limits::apply();
        let context = Context {
            me: id.clone(),
            incarnation: uuid::Uuid::new_v4().to_string().into(),
            store,
            directory: Arc::new(Directory::default()),
            subscribers: Default::default(),
            clock: Clock::start(),
            metrics,
            store_up: Default::default(),
            relists: Default::default(),
            account,
            standing: Arc::new(watch::Sender::new(match &place {
                Some(_) => RegistrationState::Waiting("the node is not registered yet".into()),
                None => RegistrationState::Registered,
            })),
            limits: LiveLimits::new(&config),
            config: Arc::new(config),
        };
        let roles = context.config.node.roles;
        let (service, webhooks) = (room_service(&context), backends::webhooks(&context)?);
        let streams = Arc::new(Streams::default());
        let acceptor = Arc::new(Acceptor::default());
        let counter = Arc::<ListenerCounter>::default();
        let addresses = sockets.addresses();
        let mut arbiters = Vec::new();
        let mut arbiter = || -> ArbiterHandle {
            let arbiter = Arbiter::new();
            let handle = arbiter.handle();
            arbiters.push(arbiter);
            handle
        };
        let link = JanusShared::new(secrets.clone(), context.config.janus.url.clone());
        let januses = roles.janus.then(|| janus(&context, &link)).transpose()?;
        let janus = januses.as_ref().map(|januses| januses.options.clone());
        // Embedded presence covers only this node's gateway.
        let presence = roles.gateway || context.config.presence.kind == PresenceKind::Redis;
        let backend = if presence { Some(gateway::backend(&context)?) } else { None };
        let presence = backend.as_ref().map(gateway::Backend::presence_parts);
        let present = |presence| PresentUsers { presence, directory: context.directory.clone() };
        let anchors = presence.clone().map(|parts| Arc::new(present(parts.presence)));
        let hub = gateway::channels(&context, &secrets, &counter, backend.as_ref());
        let gateway = if let Some(backend) = backend.filter(|_| roles.gateway) {
            let local =
                janus.clone().map(|options| LocalJanus { id: id.clone(), link: link.clone(), options });
            let needs = gateway::Needs {
                service: service.clone(),
                secrets: secrets.clone(),
                backend,
                acceptor: acceptor.clone(),
                local,
                janus: external(&context.config),
            };
            Some((gateway::role(&context, needs)?, arbiter()))
        } else {
            None
        };
        let (relaying, hls) = (arbiter(), &context.config.hls);
        let metrics = context.metrics.clone();
        let fetcher = MixerClient::new(secrets.clone(), hls.patience(), relaying.clone(), metrics);
        let recordings = Arc::new(Recordings::new(context.store.clone(), context.directory.clone()));
        let storage = delivery::storage(&context)?;
        let replay = delivery::replay(&context, &recordings, fetcher.clone(), &secrets, storage.clone());
        let relays = Arc::new(EdgeCache::new(fetcher.clone(), counter.clone(), hls, context.clock));
        let delivery = Delivery::new(&context, secrets.clone(), streams.clone(), relays.clone());
        let rewinds = delivery.here.rewinds.clone();
        let recorded = delivery::recording_parts(&context, &recordings, &streams, &replay, storage);
        let root = NodeActor {
            plain: (roles.hls || roles.mixer).then(|| (delivery.plain.clone(), relaying.clone())),
            opus: (roles.hls || roles.mixer).then(|| (delivery.opus(), relaying.clone())),
            channels: roles.hls.then(|| (hub.clone(), relaying.clone())),
            relays: (roles.hls || roles.rooms).then_some((relays, relaying)),
            rooms: roles.rooms.then(|| {
                let (webhooks, recordings) = (webhooks.clone(), recordings.clone());
                (RoomsRole { service: service.clone(), presence, webhooks, recordings }, arbiter())
            }),
            mixer: roles.mixer.then(|| (mixer(&context, &secrets, &streams, &counter, fetcher), arbiter())),
            janus: januses.map(|januses| (januses, arbiter())),
            gateway,
            recordings: Some((recorded, arbiter())),
            rewinds: roles.mixer.then(|| (delivery.rewinds(), arbiter())),
            outputs: roles.mixer.then(|| (delivery.outputs(&secrets), arbiter())),
            captions: roles.rooms.then(|| (delivery.captions(), arbiter())),
            acme: Acme::new(&context.config, &id, context.store.clone(), &secrets),
            record: place.as_ref().map(|place| Arc::new(record(&context, place))),
            context: context.clone(),
            api_keys: service.api_keys().clone(),
        };
        let system = ActorSystem::start(move || root.clone(), RootOptions::default());
        // Only a second registration could fail, but each node has its own registry.
        context.metrics.registry().register(Box::new(system.registry()))?;
        let identity = otlp::Identity { node: id.to_string(), cluster: context.config.node.cluster.clone() };
        let exporter = otlp::start(&context.config.otlp, identity, context.metrics.registry())?;
        let readiness = Arc::new(Readiness::new(context.clone(), acceptor.clone(), system.registry()));
        actix::spawn(readiness.clone().watch());
        actix::spawn(secret_check::watch(context.directory.clone(), secrets.fingerprint()));
        let (reloads, limits) = (Arc::<OnceLock<_>>::default(), context.limits.clone());
        let (configured, stored) = (ApiKeys::new(&context.config.auth), service.api_keys().clone());
        let api_keys = Arc::new(LiveApiKeys::new(configured, stored, limits.requests.clone()));
        let certificates = LiveCertificates::new(&context.config, &context.metrics)?;
        if let Some(certificates) = certificates.clone() {
            actix::spawn(certificates.watch());
        }
        let provider = identity_provider::start(&context.config.auth.jwks)?;
        let sides = servers::Services {
            context: context.clone(),
            service: service.clone(),
            webhooks: webhooks.clone(),
            secrets,
            delivery,
            recordings,
            replay,
            acceptor,
            registry: system.registry(),
            readiness: readiness.clone(),
            api_keys: api_keys.clone(),
            provider,
            anchors,
            counter,
            certificates: certificates.clone(),
            hub,
            reloads: reloads.clone(),
        };
        let servers = sockets.serve(sides, descriptors)?;
        Ok(Self {
            id,
            addresses,
            link,
            janus,
            context,
            service,
            system,
            _place: place,
            readiness,
            rewinds,
            parts: LiveParts { api_keys, certificates, webhooks, limits },
            reloads,
            servers,
            arbiters,
            exporter,
        })
    }

    /// Waits until the node is ready to take rooms, and logs that it is ready.
    pub async fn announce(&self) {
        while tokio::time::timeout(READY_REMINDER, self.readiness.reached()).await.is_err() {
            let missing: Vec<_> = self.readiness.missing().collect();
            tracing::warn!(missing = missing.join("; "), "not ready yet");
        }
        let Addresses { api, ws, hls, ops, .. } = self.addresses;
        NodeReady { node: &self.id, api, ws, hls, ops }.emit(&self.context.metrics);
    }

    pub async fn ready(&self) {
        self.readiness.reached().await;
    }

    /// Returns the conditions that the node still waits for; empty once it is ready.
    pub fn missing(&self) -> Vec<String> {
        self.readiness.missing().collect()
    }

    /// Resolves when supervision gives up, or when another process has the node's id. The process must then
    /// end.
    pub async fn failed(&self) -> anyhow::Error {
        tokio::select! {
            why = self.system.failed() => anyhow::anyhow!("the node's supervision gave up: {why}"),
            why = self.refused() => anyhow::anyhow!(why),
        }
    }

    async fn refused(&self) -> String {
        let mut standing = self.context.standing.subscribe();
        let refused = standing.wait_for(|standing| matches!(standing, RegistrationState::Refused(_))).await;
        match refused.as_deref() {
            Ok(RegistrationState::Refused(why)) => why.clone(),
            _ => std::future::pending().await,
        }
    }

    /// Returns the active configuration, with the addresses that were actually bound.
    pub fn config(&self) -> &Config {
        &self.context.config
    }

    /// Returns the supervision tree, as `/actors` shows it.
    pub fn actors(&self) -> Option<ActorView> {
        self.system.registry().snapshot()
    }

    /// Returns the connection options of this node's Janus instance; `None` while there is none.
    pub fn janus(&self) -> Option<ConnectOptions> {
        Some(ConnectOptions { url: self.link.url()?, ..self.janus.clone()? })
    }

    /// Returns the room's number in its Janus instance; `None` while the room has none.
    pub fn janus_room(&self, room: &RoomId) -> Option<u32> {
        Some(self.context.directory.room(room)?.janus.as_ref()?.janus_room_id)
    }

    /// Reports not ready to load balancers, and waits until the rooms have moved or the deadline has passed.
    async fn drain(&self) -> DrainLabels {
        self.readiness.stopping();
        drain::drain(&self.context, &self.service, &self.rewinds).await
    }

    /// Stops everything in order, within the configured deadline.
    pub async fn stop(self, reason: &'static str) {
        self.end(reason, DrainLabels::default()).await;
    }

    async fn end(mut self, reason: &'static str, drained: DrainLabels) {
        NodeStopping { node: &self.id, reason }.emit(&self.context.metrics);
        self.readiness.stopping();
        self.servers.stop_answering().await;
        let report = self.system.shutdown(self.context.config.supervision.shutdown_deadline).await;
        for actor in report.abandoned {
            tracing::warn!(actor, "actor did not stop in time and was abandoned");
        }
        drained.unmark(&self.context).await;
        self.servers.stop().await;
        for arbiter in self.arbiters {
            arbiter.stop();
        }
        if let Some(exporter) = self.exporter {
            exporter.stop();
        }
    }
}

fn record(context: &Context, place: &DataDirLock) -> NodeRecord {
    NodeRecord {
        host: context.config.node.advertise.clone(),
        started_at: context.clock.wall(),
        incarnation: context.incarnation.to_string(),
        place: place.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        port: context.config.peer_address().map(|address| address.port()),
    }
}

fn room_service(context: &Context) -> Arc<RoomService> {
    let grace = context.config.rooms.removing_grace;
    let (store, directory) = (context.store.clone(), context.directory.clone());
    Arc::new(RoomService::new(store, directory, grace, context.metrics.clone()))
}
