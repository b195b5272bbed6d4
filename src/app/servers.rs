//! The HTTP servers: one per address, with the services that are configured there.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use tokio::sync::mpsc;

use super::Addresses;
use super::certificates::LiveCertificates;
use super::delivery::{Delivery, outputs_side, sources_side};
use super::enabled_services::EnabledServices;
use super::measure::measure;
use super::operations::{self, Operations};
use super::origins::{hosts, speakers_origins};
use super::readiness::Readiness;
use super::reload::ReloadReply;
use crate::acme::Challenges;
use crate::actors::context::Context;
use crate::actors::gateway::acceptor::Acceptor;
use crate::actors::kernel::Registry;
use crate::auth::{FeedTokens, IdentityProvider, Secrets, Tokens};
use crate::config::{AuthMode, Config};
use crate::delivery::listener_counter::{ListenerCounter, Listeners};
use crate::delivery::{PcmFeeds, RecordingMedia, RelayMedia};
use crate::domain::client_address::TrustedProxies;
use crate::domain::descriptors::allot;
use crate::http::anchors::PresentUsers;
use crate::http::api_keys::LiveApiKeys;
use crate::http::audit::Auditor;
use crate::http::base_path::PublicBase;
use crate::http::channel::{self, ChannelSide};
use crate::http::cors::Origins;
use crate::http::dashboard::{self, Dashboard};
use crate::http::embedding::Embedding;
use crate::http::hls::{self, HlsSide};
use crate::http::hls_answer::Cors;
use crate::http::live::{self, LiveSide};
use crate::http::ops::OpsAccess;
use crate::http::pages::{self, People};
use crate::http::pages_api::{self, PagesSide};
use crate::http::previews::Previews;
use crate::http::redirect::{self, Redirect};
use crate::http::replay::{self, ReplaySide};
use crate::http::rest::{self, Api};
use crate::http::server::DetachedConnections;
use crate::http::tokens::NodeTokens;
use crate::http::{BodyLimit, base_path, error, ops, proxied, relay, server};
use crate::rooms::recordings::Recordings;
use crate::rooms::{AuditLog, Ledger, RoomService};
use crate::stage::StageHub;
use crate::telemetry::Metrics;
use crate::webhooks::Webhooks;
use crate::whip::{self, WhipSide};
use crate::ws::{self, WsSide};

/// Dependencies of the HTTP servers.
pub struct Services {
    pub context: Context,
    pub service: Arc<RoomService>,
    pub webhooks: Arc<Webhooks>,
    pub secrets: Arc<Secrets>,
    pub delivery: Delivery,
    pub recordings: Arc<Recordings>,
    pub replay: Arc<RecordingMedia>,
    pub acceptor: Arc<Acceptor>,
    pub registry: Registry,
    pub readiness: Arc<Readiness>,
    pub api_keys: Arc<LiveApiKeys>,
    /// Identity provider whose tokens are accepted.
    pub provider: Option<Arc<IdentityProvider>>,
    /// Query for the users in the rooms; `None` on a node without presence.
    pub anchors: Option<Arc<PresentUsers>>,
    pub counter: Arc<ListenerCounter>,
    /// `None`: no socket has TLS.
    pub certificates: Option<LiveCertificates>,
    pub hub: Arc<StageHub>,
    pub reloads: Arc<OnceLock<mpsc::Sender<ReloadReply>>>,
}

/// Grace period for requests in progress when a server stops.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Sockets that are bound before the actors start, so that the start fails immediately if a port is in use.
pub struct Sockets {
    listeners: Vec<(SocketAddr, TcpListener, EnabledServices)>,
    addresses: Addresses,
}

struct RunningServer {
    mounted: EnabledServices,
    handle: ServerHandle,
    detached: DetachedConnections,
}

pub struct Servers {
    running: Vec<RunningServer>,
    hub: Arc<StageHub>,
    feeds: Arc<PcmFeeds>,
    ledger: Arc<Ledger>,
    dashboard: Arc<Dashboard>,
}

/// Binds the sockets that this node's roles need. The returned configuration has the actual ports.
///
/// # Errors
/// Addresses cannot be bound; the message names all of them and their keys.
pub fn bind(mut config: Config) -> anyhow::Result<(Sockets, Config)> {
    let (roles, secure, relay) = (config.node.roles, config.secure(), config.peer_address());
    let proxied = config.http.proxy_protocol;
    let mut wanted: Vec<(SocketAddr, EnabledServices)> = Vec::new();
    let mut want = |address: SocketAddr, mount: &dyn Fn(&mut EnabledServices)| {
        let known = wanted.iter_mut().find(|(a, _)| *a == address && a.port() != 0);
        match known {
            Some((_, mounted)) => mount(mounted),
            None => {
                let mut mounted = EnabledServices::default();
                mount(&mut mounted);
                wanted.push((address, mounted));
            }
        }
    };
    if roles.rooms {
        want(config.listen.api, &|m| (m.api, m.tls, m.proxied) = (true, secure.api, proxied.api));
    }
    if roles.gateway {
        want(config.listen.ws, &|m| (m.ws, m.tls, m.proxied) = (true, secure.ws, proxied.ws));
    }
    // Without `listen.relay`, listeners and listener nodes use one socket, even if its port is 0 (any free
    // port).
    let together = relay.is_some() && config.listen.relay.is_none();
    if roles.hls || together {
        want(config.listen.hls, &|m| {
            (m.hls, m.relay, m.tls, m.proxied) = (roles.hls, together, secure.hls, proxied.hls);
        });
    }
    if let Some(relay) = relay.filter(|_| !together) {
        want(relay, &|m| m.own_relay = true);
    }
    if let Some(redirect) = config.listen.redirect {
        want(redirect, &|m| m.redirect = true);
    }
    want(config.listen.ops, &|m| m.ops = true);
    let (bound, failed): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .map(|(address, mounted)| match server::bind(address) {
            Ok(listener) => Ok((listener, mounted)),
            Err(e) => {
                Err(format!("cannot listen on {address}: {e}; change {} or free the port", mounted.key()))
            }
        })
        .partition(Result::is_ok);
    let failed: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
    anyhow::ensure!(failed.is_empty(), failed.join("\n"));
    let (mut listeners, mut addresses) = (Vec::new(), Addresses::new(config.listen.ops));
    for (listener, mounted) in bound.into_iter().flatten() {
        let bound = listener.local_addr()?;
        if mounted.api {
            config.listen.api = bound;
            addresses.api = Some(bound);
        }
        if mounted.ws {
            config.listen.ws = bound;
            addresses.ws = Some(bound);
        }
        if mounted.hls || mounted.relay {
            config.listen.hls = bound;
            addresses.hls = Some(bound);
        }
        if mounted.own_relay {
            config.listen.relay = Some(bound);
            addresses.relay = Some(bound);
        }
        if mounted.redirect {
            config.listen.redirect = Some(bound);
            addresses.redirect = Some(bound);
        }
        if mounted.ops {
            config.listen.ops = bound;
            addresses.ops = bound;
        }
        listeners.push((bound, listener, mounted));
    }
    Ok((Sockets { listeners, addresses }, config))
}

impl Sockets {
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Starts serving with at most `descriptors` open files. Workers run on their own threads: nothing here
    /// waits for an actor.
    pub fn serve(self, sides: Services, descriptors: u64) -> anyhow::Result<Servers> {
        let header_timeout = sides.context.config.http.header_timeout;
        let (hsts, http) = (sides.context.config.tls.hsts, &sides.context.config.http);
        let proxies = TrustedProxies::new(http.trusted_proxies.clone());
        let requests = sides.context.limits.requests.clone();
        let clients = server::Clients::new(proxies, requests, &sides.context.metrics);
        let tls = sides.certificates.as_ref().map(|live| live.certificates().server_config()).transpose()?;
        let (hub, ledger) = (sides.hub.clone(), sides.service.ledger().clone());
        let feeds = sides.delivery.feeds.clone();
        let sides = Mountable::new(sides);
        let dashboard = sides.dashboard.clone().into_inner();
        actix::spawn(dashboard.clone().run());
        let shares: Vec<_> = self.listeners.iter().map(|(_, _, mounted)| mounted.share()).collect();
        let allotments = allot(descriptors, server::processors() as u64, &shares);
        let mut running = Vec::new();
        for ((_, listener, mounted), allotment) in self.listeners.into_iter().zip(allotments) {
            let options = server::Options {
                name: mounted.name(),
                workers: mounted.is_ops_alone().then_some(1),
                allotment,
                header_timeout,
                tls: tls.clone().filter(|_| mounted.tls),
                hsts,
                clients: clients.clone(),
                proxy_protocol: mounted.proxied,
                shutdown_timeout: SHUTDOWN,
            };
            let (sides, readiness) = (sides.clone(), sides.readiness.clone());
            let metrics = sides.metrics.clone();
            let app = move || {
                let (metrics, open) = (sides.metrics.clone(), sides.pages.open);
                // The redirect server keeps the prefix, because its URLs contain the whole path.
                let prefix = if mounted.redirect { "".into() } else { sides.base_path.clone() };
                App::new()
                    .configure(|config| sides.mount(mounted, config))
                    .default_service(web::to(error::not_found))
                    .wrap(from_fn(move |request, next| proxied::refuse(open, request, next)))
                    .wrap(from_fn(move |request, next| measure(metrics.clone(), request, next)))
                    .wrap(from_fn(move |request, next| {
                        let prefix = prefix.clone();
                        async move { base_path::strip(&prefix, request, next).await }
                    }))
            };
            let (server, detached) = server::serve(listener, options, &metrics, app)?;
            running.push(RunningServer { mounted, handle: server.handle(), detached });
            readiness.serving(mounted, true);
            actix::spawn(async move {
                // The server ends when it is stopped, or when it cannot accept connections any more. In both
                // cases nothing is served.
                let _ = server.await;
                readiness.serving(mounted, false);
            });
        }
        Ok(Servers { running, hub, feeds, ledger, dashboard })
    }
}

impl Servers {
    /// Stops the servers that only answer requests, after their requests in progress. New clients must then
    /// go to another node, because the actors of this node stop next. The signalling server runs until its
    /// clients are notified, and the operations server until the end.
    pub async fn stop_answering(&mut self) {
        // Close endless responses and the WebSockets of listeners; otherwise the servers would wait for them.
        self.hub.close();
        self.feeds.close();
        self.ledger.close();
        let (last, first) =
            self.running.drain(..).partition(|server| server.mounted.ws || server.mounted.ops);
        self.running = last;
        stop(first).await;
    }

    pub async fn stop(self) {
        self.dashboard.close();
        stop(self.running).await;
    }
}

async fn stop(running: Vec<RunningServer>) {
    futures::future::join_all(running.iter().map(|server| async {
        server.detached.ended(SHUTDOWN).await;
        server.handle.stop(true).await;
    }))
    .await;
}

/// Services that every worker mounts.
#[derive(Clone)]
struct Mountable {
    metrics: Metrics,
    api: web::Data<Api>,
    ws: web::Data<WsSide>,
    whip: web::Data<WhipSide>,
    hls: web::Data<HlsSide>,
    live: web::Data<LiveSide>,
    replay: web::Data<ReplaySide>,
    channel: web::Data<ChannelSide>,
    relay: web::Data<relay::RelaySide>,
    secrets: web::Data<Arc<Secrets>>,
    pages: web::Data<PagesSide>,
    people: People,
    redirect: Redirect,
    /// `http.base_path`.
    base_path: Arc<str>,
    ops: Arc<dyn ops::OpsSource>,
    ops_access: OpsAccess,
    dashboard: web::Data<Dashboard>,
    readiness: Arc<Readiness>,
}

impl Mountable {
    fn new(sides: Services) -> Self {
        let (config, context) = (&sides.context.config, &sides.context);
        let listeners = Listeners {
            me: context.me.clone(),
            counter: sides.counter.clone(),
            directory: context.directory.clone(),
        };
        let ops: Arc<dyn ops::OpsSource> = Arc::new(Operations::of(&sides));
        let audit = Arc::new(Auditor::new(AuditLog::new(context.store.clone()), context.me.clone()));
        let dashboard = operations::dashboard(&sides, listeners.clone(), ops.clone(), audit.clone());
        let tokens = Tokens::new(&sides.secrets.jwt, &config.auth.issuer, config.auth.listener_token_ttl)
            .trusting(sides.provider);
        let own = |origins: &[String]| match config.auth.mode {
            AuthMode::Open => Origins::new(origins).only_at(hosts(config)),
            AuthMode::Keys => Origins::new(origins),
        };
        let ws = WsSide {
            tokens: tokens.clone(),
            clock: context.clock,
            origins: own(&speakers_origins(config)),
            acceptor: sides.acceptor,
            limits: context.limits.signalling.clone(),
        };
        let ws = web::Data::new(ws);
        let whip = WhipSide::new(ws.clone(), config);
        let tokens = Arc::new(NodeTokens {
            tokens,
            secrets: sides.secrets.clone(),
            anchor_ttl: config.auth.anchor_token_ttl,
            clock: context.clock,
            directory: context.directory.clone(),
        });
        let pages = PagesSide {
            open: config.auth.mode == AuthMode::Open,
            ws_url: config.ws_url(),
            rooms: sides.service.clone(),
            tokens: tokens.clone(),
            anchors: sides.anchors.clone(),
            listeners: listeners.clone(),
            origins: own(&config.http.allowed_origins),
            recording: config.recording.mode,
            consent: config.recording.asks_consent(),
            body_limit: BodyLimit::Live(context.limits.requests.clone()),
        };
        let channel = ChannelSide {
            hub: sides.hub.clone(),
            rooms: sides.service.clone(),
            tokens: tokens.clone(),
            ws_url: config.ws_url(),
            cors: Cors::new(config.http.allowed_origins.clone()),
            body_limit: BodyLimit::Live(context.limits.requests.clone()),
        };
        let ops_access = match config.listen.ops.ip().is_loopback() {
            true => OpsAccess::Local(hosts(config)),
            false => OpsAccess::Keys(sides.api_keys.clone()),
        };
        let api = Api {
            rooms: sides.service,
            auth: sides.api_keys,
            tokens: tokens.clone(),
            anchors: sides.anchors.clone(),
            listeners: listeners.clone(),
            origins: own(&config.http.allowed_origins),
            hls_base: config.hls_base_url(),
            // Every node that serves this API has a WebSocket URL.
            ws_url: config.ws_url().unwrap_or_default(),
            body_limit: BodyLimit::Live(context.limits.requests.clone()),
            recordings: sides.recordings.clone(),
            recording: config.recording.mode,
            rewind: config.hls.rewind,
            webhooks: sides.webhooks,
            audit,
            outputs: outputs_side(config, &sides.secrets),
            captions: sides.delivery.captions_side(context),
            stages: sides.hub.store().clone(),
            sources: sources_side(config, &sides.secrets),
            media: sides.replay.clone(),
        };
        let (delivery, counter) = (sides.delivery, sides.counter.clone());
        let replay = web::Data::new(ReplaySide {
            media: sides.replay.clone(),
            tokens: tokens.clone(),
            feeds: FeedTokens::new(&sides.secrets),
            base: config.hls_base_url(),
            cors: Cors::new(config.http.allowed_origins.clone()),
        });
        let (here, recordings) = (delivery.here.clone(), sides.replay);
        let relay: relay::RelaySide =
            Arc::new(RelayMedia { here, secrets: sides.secrets.clone(), counter, recordings });
        let hls = web::Data::new(HlsSide {
            media: delivery.media.clone(),
            tokens,
            replay: Some(replay.clone()),
            captions: sides.hub.captions.clone(),
            listeners,
            cors: Cors::new(config.http.allowed_origins.clone()),
        });
        let base = PublicBase {
            url: config.http.public_hls_url.clone(),
            path: config.http.base_path.clone(),
            secure: config.secure().hls,
        };
        let live = LiveSide { hls: hls.clone(), media: delivery.plain_listening(), base: base.clone() };
        let previews = Previews {
            open: config.auth.mode == AuthMode::Open,
            sources: Some((context.directory.clone(), sides.recordings)),
        };
        let people = People {
            ws_url: config.ws_url(),
            embedding: Embedding { origins: config.http.embed_origins.clone(), base },
            previews,
        };
        let (metrics, readiness) = (context.metrics.clone(), sides.readiness);
        Self {
            metrics,
            api: web::Data::new(api),
            ws,
            whip: web::Data::new(whip),
            hls,
            live: web::Data::new(live),
            replay,
            channel: web::Data::new(channel),
            relay: web::Data::new(relay),
            secrets: web::Data::new(sides.secrets),
            pages: web::Data::new(pages),
            people,
            redirect: Redirect {
                base: config.hls_origin(),
                challenges: Challenges::of(config, &context.store),
            },
            base_path: config.http.base_path.as_str().into(),
            ops,
            ops_access,
            dashboard: web::Data::new(dashboard),
            readiness,
        }
    }

    fn mount(&self, mounted: EnabledServices, config: &mut web::ServiceConfig) {
        if mounted.api {
            rest::configure(config, self.api.clone());
            pages::configure_reference(config, &self.base_path);
        }
        if mounted.ws {
            ws::configure(config, self.ws.clone());
            whip::configure(config, self.whip.clone());
        }
        if mounted.hls {
            hls::configure_files(config, self.hls.clone());
            channel::configure(config, self.channel.clone());
            // Register the recordings before the rooms, because the scope of the rooms covers all paths below
            // /hls.
            replay::configure(config, self.replay.clone());
            hls::configure(config, self.hls.clone());
            live::configure(config, self.live.clone());
            pages_api::configure(config, self.pages.clone());
            pages::configure_people(config, &self.people);
        }
        if mounted.relay || mounted.own_relay {
            relay::configure(config, self.relay.clone());
            dashboard::configure_peers(config, self.dashboard.clone(), self.secrets.clone());
        }
        if mounted.redirect {
            redirect::configure(config, &self.redirect);
        }
        if mounted.ops {
            let dashboard = Some(self.dashboard.clone());
            ops::configure(config, self.ops.clone(), self.ops_access.clone(), dashboard, &self.base_path);
        }
    }
}
