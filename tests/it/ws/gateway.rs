//! A gateway on a free port, with a script in place of presence, Janus and the store.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use actix::{Arbiter, ArbiterHandle};
use actix_web::dev::ServerHandle;
use actix_web::{App, web};
use serde_json::{Value, json};
use stentor::actors::context::LiveLimits;
use stentor::actors::gateway::acceptor::Acceptor;
use stentor::actors::gateway::client;
use stentor::actors::gateway::effects::{SessionEffects, StartedEffect};
use stentor::actors::gateway::outbound::{Outbound, OutboundQueue};
use stentor::actors::gateway::supervisor::{self, GatewaySupervisor};
use stentor::actors::gateway::{ConnectionInfo, EncodedNotification, GatewayParts, Signalling};
use stentor::actors::kernel::{ActorRef, ActorSystem, RootOptions, SystemHandle};
use stentor::auth::{Role, Tokens};
use stentor::clock::Clock;
use stentor::config::{Config, JwtSecret, Secret, defaults};
use stentor::domain::client_address::TrustedProxies;
use stentor::domain::client_session::{
    Answer, Effect, Input, JoinedMedia, LockOutcome, MediaCall, Surroundings,
};
use stentor::domain::connection::{ConnectionId, FencingToken, JoinOutcome, RenewOutcome, UpdateOutcome};
use stentor::domain::connection_limits::SignallingLimits;
use stentor::domain::descriptors::Allotment;
use stentor::domain::grant::Grant;
use stentor::domain::ids::{RoomId, UnixMs, UserId};
use stentor::domain::keys::parse_room;
use stentor::domain::presence_entry::{PresenceEntry, Source};
use stentor::domain::signalling::CloseCode;
use stentor::domain::signalling::methods::ResumeToken;
use stentor::domain::signalling::notifications::Notification;
use stentor::domain::view::RoomView;
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

/// Control and record of the scripted effects.
#[derive(Default)]
pub struct Script {
    /// Each notification releases one `slow` join, mute or connection attempt.
    pub gate: Notify,
    pub connected: Mutex<Vec<Arc<ConnectionInfo>>>,
    /// Users whose locks were released.
    departed: Mutex<Vec<String>>,
    pub running: AtomicUsize,
}

impl Script {
    pub fn has_departed(&self, user: &str) -> bool {
        self.departed.lock().unwrap().iter().any(|departed| departed == user)
    }

    /// Waits for the gate.
    async fn wait(&self) {
        self.running.fetch_add(1, Relaxed);
        self.gate.notified().await;
    }
}

impl Gateway {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(settings: impl FnOnce(&mut SignallingLimits)) -> Self {
        let mut config: Config = defaults();
        settings(&mut config.ws);
        let (script, metrics, clock) =
            (Arc::new(Script::default()), Metrics::new(SystemTime::now()), Clock::start());
        let arbiter = Arbiter::new();
        let limits = LiveLimits::new(&config);
        let parts = parts(script.clone(), &config, clock, &metrics);
        let (system, acceptor) = actors(parts, Some(arbiter.handle())).await;
        let tokens = tokens("k1", 1);
        let side = web::Data::new(WsSide {
            tokens: tokens.clone(),
            clock,
            origins: Origins::new(&["https://app.example.org".to_owned()]),
            acceptor,
            limits: limits.signalling,
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
            clients: server::Clients::new(TrustedProxies::default(), limits.requests, &metrics),
            proxy_protocol: false,
            shutdown_timeout: Duration::from_secs(5),
        };
        let app = move || App::new().configure(|c| ws::configure(c, side.clone()));
        let (server, _) = server::serve(listener, options, &metrics, app).unwrap();
        let handle = server.handle();
        actix::spawn(server);
        Self { address, tokens, script, metrics, clock, system, server: handle, arbiter }
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
        let none = "stentor_connections{listener=\"ws\"} 0\n";
        self.until("the server closes its connections", || {
            self.metrics.render().contains(none).then_some(())
        })
        .await;
        let stopped = tokio::time::timeout(Duration::from_secs(30), self.server.stop(true)).await;
        stopped.expect("the server stops");
        self.arbiter.stop();
    }

    /// Waits until the lock of `user` is released and a connection was closed with this code.
    pub async fn closed(&self, user: &str, code: CloseCode) {
        let line = format!("stentor_ws_closed_total{{reason=\"{}\"}} ", code.reason());
        let over = || self.script.has_departed(user) && self.metrics.render().contains(&line);
        self.until(&format!("the end of {user}: {line}"), || over().then_some(())).await;
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

fn parts(script: Arc<Script>, config: &Config, clock: Clock, metrics: &Metrics) -> Arc<GatewayParts> {
    let limits = LiveLimits::new(config).signalling;
    Arc::new(GatewayParts::new(
        Arc::new(ScriptedSignalling(script, clock)),
        config,
        limits,
        clock,
        metrics.clone(),
    ))
}

/// Starts only the gateway's actors. `None`: on the arbiter of the test.
async fn actors(
    parts: Arc<GatewayParts>,
    arbiter: Option<ArbiterHandle>,
) -> (SystemHandle<supervisor::Msg>, Arc<Acceptor>) {
    let acceptor = Arc::new(Acceptor::default());
    let mut options = RootOptions::default();
    options.spec.arbiter = arbiter;
    let entrance = acceptor.clone();
    let system = ActorSystem::start(move || GatewaySupervisor::new(parts.clone(), entrance.clone()), options);
    until("the gateway accepts connections", async || acceptor.is_open()).await;
    (system, acceptor)
}

/// Starts a gateway, and stops it while a client arrives, before the actor of this client runs. Returns the
/// client's queue and the number of actors that were made.
pub async fn stopped_on_arrival() -> (Arc<OutboundQueue>, usize) {
    let (script, metrics) = (Arc::new(Script::default()), Metrics::new(SystemTime::now()));
    let parts = parts(script.clone(), &defaults(), Clock::start(), &metrics);
    let (system, acceptor) = actors(parts, None).await;
    let queue = OutboundQueue::new(1000);
    let peer = ConnectionInfo {
        user: UserId::new("early").unwrap(),
        room: RoomId::new("demo").unwrap(),
        role: Role::Anchor,
        grant: Grant { issued_at: UnixMs(0), expires_at: UnixMs(u64::MAX), room_created_at: None },
        connection: ConnectionId("early".to_owned()),
        client_id: None,
        source: Source::Signalling,
        address: Ipv4Addr::LOCALHOST.into(),
        out: Outbound::new(queue.clone()),
    };
    // On one thread, the steps of both futures alternate: the supervisor is stopped right after it has taken
    // the client.
    let (_, report) =
        tokio::join!(acceptor.enter(peer, queue.clone()), system.shutdown(Duration::from_secs(10)));
    assert!(report.abandoned.is_empty(), "{report:?}");
    let made = script.connected.lock().unwrap().len();
    (queue, made)
}

/// Returns tokens signed with a secret of `byte`s.
pub fn tokens(kid: &str, byte: u8) -> Tokens {
    let secret = JwtSecret { kid: kid.to_owned(), secret: Secret(vec![byte; 32]) };
    Tokens::new(&[secret], "stentor", Duration::from_secs(60))
}

struct ScriptedSignalling(Arc<Script>, Clock);

impl Signalling for ScriptedSignalling {
    fn effects(&self, peer: Arc<ConnectionInfo>) -> Box<dyn SessionEffects> {
        self.0.connected.lock().unwrap().push(peer.clone());
        // The room of the user `stranger` does not exist.
        let room = if peer.user.as_str() == "stranger" { RoomView::default() } else { room_on_air() };
        Box::new(ScriptedEffects {
            peer,
            script: self.0.clone(),
            clock: self.1,
            room: Arc::new(room),
            actor: None,
        })
    }
}

/// Effects that succeed, unless the name of the user or the display name of a `join` says otherwise.
struct ScriptedEffects {
    peer: Arc<ConnectionInfo>,
    script: Arc<Script>,
    clock: Clock,
    room: Arc<RoomView>,
    actor: Option<ActorRef<client::Msg>>,
}

impl SessionEffects for ScriptedEffects {
    fn opened(&mut self, actor: ActorRef<client::Msg>) {
        self.actor = Some(actor);
    }

    fn surroundings(&self) -> Surroundings {
        let (now, wall, room) = (self.clock.now(), self.clock.wall(), Some(self.room.clone()));
        Surroundings { now, wall, room, random: 0.5 }
    }

    fn run(&mut self, effect: Effect) -> StartedEffect {
        let script = self.script.clone();
        match effect {
            Effect::Acquire { .. } => {
                let acquired = Input::Acquired(Ok(LockOutcome::Ours(FencingToken(1))));
                match self.peer.user.as_str() {
                    "patient" => after_gate(script, acquired),
                    _ => StartedEffect::Now(acquired),
                }
            }
            Effect::Renew { token, .. } => {
                StartedEffect::Now(Input::Renewed { token, outcome: Ok(RenewOutcome::StillOurs) })
            }
            Effect::LeavePresence { release, .. } => {
                let user = release.then(|| self.peer.user.to_string());
                script.departed.lock().unwrap().extend(user);
                StartedEffect::Done
            }
            Effect::ListMembers(waiter) => StartedEffect::Now(Input::Listed(waiter, Ok(Vec::new()))),
            Effect::Enter { entry, .. } => self.enter(&entry),
            Effect::Update(_) => StartedEffect::Now(Input::Updated(Ok(UpdateOutcome::Ok))),
            Effect::JoinMedia { .. } => {
                let resume_token = ResumeToken::issued("sealed".into());
                let media = JoinedMedia { resume_token, resume: false, muted: false };
                StartedEffect::Now(Input::MediaJoined(Ok(media)))
            }
            Effect::CallMedia(id, MediaCall::Mute(true)) => {
                after_gate(script, Input::Finished(id, Ok(Answer::Done)))
            }
            Effect::CallMedia(id, _) => StartedEffect::Now(Input::Finished(id, Ok(Answer::Done))),
            _ => StartedEffect::Done,
        }
    }

    fn render(&self, answer: Answer) -> Value {
        match answer {
            Answer::Joined { .. } => json!({ "user": self.peer.user }),
            _ => json!({}),
        }
    }
}

impl ScriptedEffects {
    fn enter(&mut self, entry: &PresenceEntry) -> StartedEffect {
        let entered = Input::Entered(Ok(JoinOutcome::Ok));
        match entry.display_name.as_deref().unwrap_or_default() {
            "slow" => return after_gate(self.script.clone(), entered),
            "full" => return StartedEffect::Now(Input::Entered(Ok(JoinOutcome::Full))),
            "panic" => return StartedEffect::Later(Box::pin(async { panic!("as the script says") })),
            "closed" => {
                self.room = Arc::default();
                let told =
                    self.actor.as_ref().map(|actor| actor.tell_latest("room", client::Msg::RoomChanged));
                assert_eq!(told, Some(Ok(())));
            }
            "flood" => self.flood(),
            _ => {}
        }
        StartedEffect::Now(entered)
    }

    fn flood(&self) {
        let (peer, script) = (self.peer.clone(), self.script.clone());
        tokio::spawn(async move {
            let line = EncodedNotification::from(&long_notification());
            while !script.has_departed(peer.user.as_str()) {
                peer.out.send(&line);
                tokio::task::yield_now().await;
            }
        });
    }
}

fn after_gate(script: Arc<Script>, input: Input) -> StartedEffect {
    StartedEffect::Later(Box::pin(async move {
        script.wait().await;
        input
    }))
}

fn room_on_air() -> RoomView {
    let mut view = RoomView::default();
    for (part, value) in [
        ("meta", r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":0}"#),
        (
            "livemeta",
            r#"{"status":"onair","mixerId":"mixer","janusId":"janus","nonce":"n","createdAt":0,"epoch":1}"#,
        ),
        ("janus", r#"{"id":"janus","janusRoomId":123456,"status":"forwarding","timestamp":0,"epoch":1}"#),
    ] {
        let (_, key) = parse_room(&format!("/rooms/demo/{part}")).unwrap();
        view.apply(key, Some((value.as_bytes(), 1))).unwrap();
    }
    view
}

/// Returns a notification of about a kilobyte.
fn long_notification() -> Notification {
    Notification::Reconnect { reason: "x".repeat(1000), retry_after_ms: 1 }
}
