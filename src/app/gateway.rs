//! Assembly of the `gateway` role: presence, media sessions, and the signalling methods between them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::source_members::SourceMembers;
use crate::actors::context::Context;
use crate::actors::gateway::acceptor::Acceptor;
use crate::actors::gateway::media::{AnchorParts, Januses, LocalJanus, MediaSessions};
use crate::actors::gateway::{GatewayParts, SessionManager};
use crate::actors::node::GatewayRole;
use crate::auth::{Seal, Secrets};
use crate::config::{Config, PresenceConfig, PresenceKind};
use crate::delivery::listener_counter::{ListenerCounter, Listeners};
use crate::domain::connection::{
    Duplicate, FencingToken, GatewayIncarnation, Holder, JoinOutcome, Lifetimes, LockKey, ReleaseOutcome,
    UpdateOutcome,
};
use crate::domain::ids::RoomId;
use crate::domain::media_session::Timing;
use crate::janus::{ConnectOptions, Quality};
use crate::presence::embedded::EmbeddedPresence;
use crate::presence::embedded_stages::EmbeddedStages;
use crate::presence::redis::{RedisOptions, RedisPresence};
use crate::presence::stage::StageStore;
use crate::presence::{
    Acquisition, ConnectionLock, EventStream, HeartbeatOutcome, LockReplaced, MembersChanged, Presence,
    PresenceEntry, PresenceError, PresenceParts, RenewOutcome,
};
use crate::rooms::RoomService;
use crate::stage::{Dependencies, StageHub};
use crate::telemetry::Metrics;
use crate::telemetry::metered::{MeteredBackend, RequestError, ok};
use crate::webhooks::admission::Admission;

/// One presence backend, as an implementation of each trait.
#[derive(Clone)]
pub struct Backend {
    pub lock: Arc<dyn ConnectionLock>,
    pub presence: Arc<dyn Presence>,
    pub stages: Arc<dyn StageStore>,
}

impl Backend {
    pub fn presence_parts(&self) -> PresenceParts {
        PresenceParts { presence: self.presence.clone(), stages: self.stages.clone() }
    }
}

/// Dependencies of the gateway role, besides the node's context.
pub struct Needs {
    pub service: Arc<RoomService>,
    pub secrets: Arc<Secrets>,
    pub backend: Backend,
    pub acceptor: Arc<Acceptor>,
    /// This node's own Janus instance.
    pub local: Option<LocalJanus>,
    /// Options for connections to the Janus instances of other nodes.
    pub janus: ConnectOptions,
}

/// Assembles the role.
///
/// # Errors
/// The certificate authorities that verify the admitting application (`admission.url`) cannot be read.
pub fn role(context: &Context, needs: Needs) -> anyhow::Result<GatewayRole> {
    let Needs { service, secrets, backend, acceptor, local, janus } = needs;
    let grace = context.config.janus.session_timeout;
    let parts = AnchorParts {
        context: context.clone(),
        januses: Januses::new(context.directory.clone(), local, janus),
        seal: Seal::new(&secrets),
        secrets: secrets.clone(),
        stages: backend.stages,
        timing: Timing { grace, keep_alive: grace / 3, backoff: context.backoff() },
        quality: Quality::ANCHORS,
    };
    let anchors = MediaSessions::default();
    let admission = Admission::new(&context.config.admission, context.metrics.clone());
    let admission = admission.map_err(anyhow::Error::msg)?;
    let sessions = SessionManager::new(
        context.clone(),
        service,
        secrets,
        admission,
        anchors.clone(),
        backend.lock,
        backend.presence,
    );
    let (signalling, limits) = (Arc::new(sessions.clone()), context.limits.signalling.clone());
    let metrics = context.metrics.clone();
    let clients = Arc::new(GatewayParts::new(signalling, &context.config, limits, context.clock, metrics));
    Ok(GatewayRole { parts: clients, acceptor, sessions, anchors: (parts, anchors) })
}

/// Creates the presence backend. It lists the sources of rooms as members.
///
/// # Errors
/// The settings of Redis cannot be used.
pub fn backend(context: &Context) -> anyhow::Result<Backend> {
    let backend = plain_backend(&context.config, &context.metrics)?;
    let (inner, directory) = (backend.presence, context.directory.clone());
    Ok(Backend { presence: Arc::new(SourceMembers { inner, directory }), ..backend })
}

/// Creates the presence backend without the sources of rooms.
///
/// # Errors
/// The settings of Redis cannot be used.
pub fn plain_backend(config: &Config, metrics: &Metrics) -> anyhow::Result<Backend> {
    let PresenceConfig { timeout, lock_ttl, gateway_ttl, .. } = config.presence;
    let lifetimes = Lifetimes { lock: lock_ttl, gateway: gateway_ttl, member: timeout };
    Ok(match config.presence.kind {
        PresenceKind::Embedded => metered(EmbeddedPresence::new(lifetimes), EmbeddedStages::new(), metrics),
        PresenceKind::Redis => {
            let redis = RedisPresence::new(redis(&config.presence, lifetimes)?)?;
            metered(redis.clone(), redis, metrics)
        }
    })
}

fn redis(config: &PresenceConfig, lifetimes: Lifetimes) -> anyhow::Result<RedisOptions> {
    // The URL is set and valid: the configuration was validated.
    let mut url = url::Url::parse(config.redis_url.as_deref().unwrap_or_default())?;
    if let Some(user) = &config.redis_user {
        url.set_username(user).map_err(|()| anyhow::anyhow!("presence.redis.url takes no user"))?;
    }
    if let Some(password) = &config.redis_password {
        let password = std::str::from_utf8(&password.0)?;
        url.set_password(Some(password))
            .map_err(|()| anyhow::anyhow!("presence.redis.url takes no password"))?;
    }
    Ok(RedisOptions {
        url: url.to_string(),
        ca: config.redis_ca.clone(),
        request_timeout: config.request_timeout,
        lifetimes,
    })
}

fn metered<B: ConnectionLock + Presence>(
    inner: Arc<B>,
    stages: Arc<dyn StageStore>,
    metrics: &Metrics,
) -> Backend {
    let metered = Arc::new(MeteredBackend { inner, metrics: metrics.clone() });
    Backend { lock: metered.clone(), presence: metered, stages }
}

/// Creates the listener channels of this node. On a node without presence, their stages are local to this
/// node.
pub fn channels(
    context: &Context,
    secrets: &Arc<Secrets>,
    counter: &Arc<ListenerCounter>,
    backend: Option<&Backend>,
) -> Arc<StageHub> {
    let directory = context.directory.clone();
    let listeners =
        Listeners { me: context.me.clone(), counter: counter.clone(), directory: directory.clone() };
    Arc::new(StageHub::new(Dependencies {
        store: backend.map_or_else(|| EmbeddedStages::new() as Arc<dyn StageStore>, |b| b.stages.clone()),
        presence: backend.map(|backend| backend.presence.clone()),
        directory,
        listeners,
        secrets: secrets.clone(),
        metrics: context.metrics.clone(),
        rewind: context.config.hls.rewind,
    }))
}

impl RequestError for PresenceError {
    const RECORD: fn(&Metrics, &'static str, &'static str, Duration) = Metrics::presence_request;

    fn outcome(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Rejected(_) => "rejected",
        }
    }
}

fn acquired(acquisition: &Acquisition) -> &'static str {
    match acquisition {
        Acquisition::Acquired { replaced: None, .. } => "acquired",
        Acquisition::Acquired { replaced: Some(_), .. } => "replaced",
        Acquisition::Held { .. } => "held",
    }
}

fn joined(joined: &JoinOutcome) -> &'static str {
    match joined {
        JoinOutcome::Ok => "ok",
        JoinOutcome::Full => "full",
        JoinOutcome::Fenced => "fenced",
    }
}

fn written(written: &UpdateOutcome) -> &'static str {
    match written {
        UpdateOutcome::Ok => "ok",
        UpdateOutcome::Absent => "absent",
        UpdateOutcome::Fenced => "fenced",
    }
}

#[async_trait]
impl<B: ConnectionLock> ConnectionLock for MeteredBackend<Arc<B>> {
    async fn acquire(
        &self,
        key: &LockKey,
        holder: &Holder,
        policy: Duplicate,
    ) -> Result<Acquisition, PresenceError> {
        self.timed("acquire", self.inner.acquire(key, holder, policy), acquired).await
    }

    async fn renew(
        &self,
        key: &LockKey,
        holder: &Holder,
        token: FencingToken,
    ) -> Result<RenewOutcome, PresenceError> {
        let outcome = |renewed: &RenewOutcome| match renewed {
            RenewOutcome::StillOurs => "ok",
            RenewOutcome::Lost => "lost",
        };
        self.timed("renew", self.inner.renew(key, holder, token), outcome).await
    }

    async fn release(&self, key: &LockKey, token: FencingToken) -> Result<ReleaseOutcome, PresenceError> {
        let outcome = |released: &ReleaseOutcome| match released {
            ReleaseOutcome::Freed => "ok",
            ReleaseOutcome::NotOurs => "not_ours",
        };
        self.timed("release", self.inner.release(key, token), outcome).await
    }

    async fn gateway_alive(&self, gateway: &GatewayIncarnation) -> Result<HeartbeatOutcome, PresenceError> {
        self.timed("gateway_alive", self.inner.gateway_alive(gateway), ok).await
    }

    fn replacements(&self, gateway: &GatewayIncarnation) -> EventStream<LockReplaced> {
        self.inner.replacements(gateway)
    }
}

#[async_trait]
impl<B: Presence> Presence for MeteredBackend<Arc<B>> {
    async fn join(
        &self,
        room: &RoomId,
        member: &PresenceEntry,
        max_anchors: usize,
    ) -> Result<JoinOutcome, PresenceError> {
        self.timed("join", self.inner.join(room, member, max_anchors), joined).await
    }

    async fn update(&self, room: &RoomId, member: &PresenceEntry) -> Result<UpdateOutcome, PresenceError> {
        self.timed("update", self.inner.update(room, member), written).await
    }

    async fn leave(&self, key: &LockKey, token: FencingToken) -> Result<UpdateOutcome, PresenceError> {
        self.timed("leave", self.inner.leave(key, token), written).await
    }

    async fn forget(&self, key: &LockKey) -> Result<(), PresenceError> {
        self.timed("forget", self.inner.forget(key), ok).await
    }

    async fn list(&self, room: &RoomId) -> Result<Vec<PresenceEntry>, PresenceError> {
        self.timed("list", self.inner.list(room), ok).await
    }

    async fn remove_room(&self, room: &RoomId) -> Result<(), PresenceError> {
        self.timed("remove_room", self.inner.remove_room(room), ok).await
    }

    fn subscribe(&self) -> EventStream<MembersChanged> {
        self.inner.subscribe()
    }
}
