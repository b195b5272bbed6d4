//! A gateway on a free port, with a script in place of media sessions.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use actix_web::{App, web};
use async_trait::async_trait;
use serde_json::{Value, json};
use stentor::actors::context::Clock;
use stentor::actors::gateway::acceptor::Acceptor;
use stentor::actors::gateway::supervisor::{self, GatewaySupervisor};
use stentor::actors::gateway::{ConnectionInfo, EncodedNotification, GatewayParts, Session, Signalling};
use stentor::actors::kernel::{ActorSystem, RootOptions, SystemHandle};
use stentor::auth::{Role, Tokens};
use stentor::config::{Config, JwtSecret, Secret, WsConfig, defaults};
use stentor::domain::client_address::TrustedProxies;
use stentor::domain::descriptors::Allotment;
use stentor::domain::ids::RoomId;
use stentor::domain::signalling::notifications::Notification;
use stentor::domain::signalling::{CloseCode, ErrorCode, Method, RpcError};
use stentor::http::cors::Origins;
use stentor::http::server;
use stentor::telemetry::Metrics;
use stentor::ws::{self, WsSide};
use tokio::sync::Notify;

use crate::support::{pause_async, until};

pub struct Gateway {
    pub address: SocketAddr,
    pub tokens: Tokens,
    pub script: Arc<Script>,
    pub metrics: Metrics,
    pub clock: Clock,
    system: SystemHandle<supervisor::Msg>,
    server: ServerHandle,
    arbiter: Arbiter,
}

/// Control and record of the scripted sessions.
#[derive(Default)]
pub struct Script {
    /// Releases `slow` calls and connection attempts.
    pub gate: Notify,
    pub connected: Mutex<Vec<ConnectionInfo>>,
    /// Close codes in the order in which the sessions were closed.
    pub closed: Mutex<Vec<(String, CloseCode)>>,
    pub running: AtomicUsize,
}

impl Script {
    pub fn close_of(&self, user: &str) -> Option<CloseCode> {
        let closed = self.closed.lock().unwrap();
        closed.iter().find(|(name, _)| name == user).map(|(_, code)| *code)
    }
}

impl Gateway {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(settings: impl FnOnce(&mut WsConfig)) -> Self {
        let mut config: Config = defaults();
        settings(&mut config.ws);
        let (script, metrics, clock) =
            (Arc::new(Script::default()), Metrics::new(SystemTime::now()), Clock::start());
        let door = Arc::new(Acceptor::default());
        let parts = GatewayParts::new(Arc::new(Scripted(script.clone())), &config.ws, clock, metrics.clone());
        let (system, arbiter) = Self::actors(Arc::new(parts), door.clone());
        until("the gateway accepts connections", async || door.is_open()).await;
        let tokens = tokens("k1", 1);
        let side = web::Data::new(WsSide {
            tokens: tokens.clone(),
            clock,
            origins: Origins::new(&["https://app.example.org".to_owned()]),
            door,
            frame_limit: config.ws.frame_limit,
            queue_limit: config.ws.queue_limit,
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let options = server::Options {
            name: "ws",
            workers: Some(1),
            allotment: Allotment { served: 1000, accepted: 1010 },
            header_timeout: config.http.header_timeout,
            tls: None,
            hsts: None,
            clients: server::Clients::new(TrustedProxies::default(), 10_000, 4096, &metrics),
            proxy_protocol: false,
            shutdown_timeout: Duration::from_secs(5),
        };
        let app = move || App::new().configure(|c| ws::configure(c, side.clone()));
        let server = server::serve(listener, options, &metrics, app).unwrap();
        let handle = server.handle();
        actix::spawn(server);
        Self { address, tokens, script, metrics, clock, system, server: handle, arbiter }
    }

    /// Starts only the gateway's actors, on a separate arbiter as in a node.
    fn actors(parts: Arc<GatewayParts>, door: Arc<Acceptor>) -> (SystemHandle<supervisor::Msg>, Arbiter) {
        let arbiter = Arbiter::new();
        let mut options = RootOptions::default();
        options.spec.arbiter = Some(arbiter.handle());
        let make = move || GatewaySupervisor::new(parts.clone(), door.clone());
        (ActorSystem::start(make, options), arbiter)
    }

    pub fn token(&self, user: &str) -> String {
        let room = RoomId::new("demo").unwrap();
        self.tokens.issue(Role::Anchor, user, &room, None, Duration::from_secs(60), self.clock.wall()).token
    }

    /// Stops the actors in order, as when a node stops.
    pub async fn shut_down(&self) {
        let report = self.system.shutdown(Duration::from_secs(10)).await;
        assert!(report.abandoned.is_empty(), "{report:?}");
    }

    /// Stops everything. Times out unless every connection has been freed.
    pub async fn stop(self) {
        self.shut_down().await;
        let stopped = tokio::time::timeout(Duration::from_secs(30), self.server.stop(true)).await;
        stopped.expect("the server lets go of its connections");
        self.arbiter.stop();
    }

    /// Waits until the session of `user` has been closed, and returns the code.
    pub async fn closed(&self, user: &str) -> CloseCode {
        self.until(&format!("the end of {user}"), || self.script.close_of(user)).await
    }

    pub async fn connections(&self, count: usize) {
        let line = format!("stentor_ws_connections {count}\n");
        self.until(&line, || self.metrics.render().contains(&line).then_some(())).await;
    }

    pub async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "still waiting: {what}");
            pause_async().await;
        }
    }
}

/// Returns tokens signed with a secret of `byte`s.
pub fn tokens(kid: &str, byte: u8) -> Tokens {
    let secret = JwtSecret { kid: kid.to_owned(), secret: Secret(vec![byte; 32]) };
    Tokens::new(&[secret], "stentor", Duration::from_secs(60))
}

/// Signalling that behaves as the user's name says.
struct Scripted(Arc<Script>);

#[async_trait]
impl Signalling for Scripted {
    async fn connected(&self, peer: ConnectionInfo) -> Result<Arc<dyn Session>, CloseCode> {
        self.0.connected.lock().unwrap().push(peer.clone());
        match peer.user.as_str() {
            "stranger" => return Err(CloseCode::RoomGone),
            "patient" => self.0.gate.notified().await,
            _ => {}
        }
        Ok(Arc::new(ScriptedSession { peer, script: self.0.clone() }))
    }
}

struct ScriptedSession {
    peer: ConnectionInfo,
    script: Arc<Script>,
}

/// A session that behaves as the display name of a `join` says.
#[async_trait]
impl Session for ScriptedSession {
    async fn call(&self, method: Method) -> Result<Value, RpcError> {
        let Method::Join(join) = &method else { return Ok(json!({ "did": method.name() })) };
        match join.display_name.as_ref().map_or("", |name| name.as_str()) {
            "slow" => {
                self.script.running.fetch_add(1, Relaxed);
                self.script.gate.notified().await;
                Ok(json!("at last"))
            }
            "full" => Err(RpcError::from(ErrorCode::RoomFull).retry_after(Duration::from_secs(2))),
            "panic" => panic!("as the script says"),
            "closed" => {
                self.peer
                    .out
                    .notify(&Notification::RoomClosed { room_id: self.peer.room.clone(), reason: "stopped" });
                self.peer.out.close(CloseCode::RoomClosed);
                Ok(json!({}))
            }
            "flood" => {
                let (out, script, user) =
                    (self.peer.out.clone(), self.script.clone(), self.peer.user.clone());
                tokio::spawn(async move {
                    let line = EncodedNotification::from(&long_notification());
                    while script.close_of(user.as_str()).is_none() {
                        out.send(&line);
                        tokio::task::yield_now().await;
                    }
                });
                Ok(json!({}))
            }
            _ => Ok(json!({ "user": self.peer.user })),
        }
    }

    fn closed(&self, code: CloseCode, _: bool) {
        self.script.closed.lock().unwrap().push((self.peer.user.to_string(), code));
    }
}

/// Returns a notification of about a kilobyte.
fn long_notification() -> Notification {
    Notification::Reconnect { reason: "x".repeat(1000), retry_after_ms: 1 }
}
