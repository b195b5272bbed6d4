//! A room on a real Janus as the store describes it, and gateways that join anchors to it. A gateway here is
//! only the part of a node that handles the anchors' media sessions.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stentor::actors::context::{Context, LiveLimits};
use stentor::actors::gateway::media::supervisor::MediaSupervisor;
use stentor::actors::gateway::media::{
    AnchorParts, Januses, Join, JoinError, JoinedSession, LocalJanus, MediaSessions,
};
use stentor::actors::janus::JanusShared;
use stentor::actors::kernel::{ActorState, ActorSystem, Behaviour, ChildSpec, Cx, RootOptions, SystemHandle};
use stentor::actors::store_watch::StoreWatch;
use stentor::auth::{Seal, Secrets};
use stentor::clock::Clock;
use stentor::config::{self, Config};
use stentor::domain::ids::{Epoch, ModuleId, Nonce, RoomId, UnixMs, UserId};
use stentor::domain::keys::{self, ModuleKind, ModulePart, RoomPart};
use stentor::domain::media_session::Timing;
use stentor::domain::mix::MixShare;
use stentor::domain::model::{
    Health, Heartbeat, JanusState, JanusStatus, LiveMeta, LiveStatus, Meta, User, UserRole,
};
use stentor::domain::restart::Backoff;
use stentor::domain::signalling::methods::ResumeToken;
use stentor::janus::{
    AudioBridge, JanusClient, NewRoom, OwnershipTag, ParticipantInfo, PluginError, Quality, Secret,
};
use stentor::presence::embedded_stages::EmbeddedStages;
use stentor::rooms::{Directory, Scope};
use stentor::store::embedded::EmbeddedStore;
use stentor::store::{Store, Txn};
use stentor::telemetry::Metrics;

use super::janus::{TestJanus, pin};
use super::opus;
use super::tcp_proxy::TcpProxy;
use super::until;
use super::webrtc::WebRtcClient;

pub const ROOM: &str = "talk";
pub const JANUS_ROOM: u32 = 123_456;
pub const MAX_ANCHORS: u8 = 3;

pub struct Rig {
    pub janus: TestJanus,
    pub store: Arc<dyn Store>,
    pub secrets: Arc<Secrets>,
    grace: Duration,
    config: Arc<Config>,
    /// Connection for inspecting Janus, separate from the gateways.
    pub eyes: JanusClient,
    _dir: tempfile::TempDir,
}

/// One gateway, with its own store watch and connection to Janus.
pub struct Gateway {
    pub anchors: MediaSessions,
    _system: SystemHandle<Infallible>,
}

impl Rig {
    /// Starts Janus and puts the room on air. `grace`: the time that an anchor has to come back.
    pub async fn start(grace: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let janus = TestJanus::start_with(|options| options.session_timeout = grace).await;
        let mut config = config::defaults();
        config.node.data_dir = dir.path().to_owned();
        let secrets = Arc::new(Secrets::load_or_create(&config).unwrap());
        let store: Arc<dyn Store> = EmbeddedStore::open(&dir.path().join("store.redb")).unwrap();
        let eyes = janus.client().await.0;
        let rig = Self { janus, store, secrets, grace, config: Arc::new(config), eyes, _dir: dir };
        rig.announce_janus().await;
        rig.make_room(JANUS_ROOM, Epoch(1)).await;
        rig.on_air(JANUS_ROOM, Epoch(1)).await;
        rig
    }

    pub async fn gateway(&self) -> Gateway {
        self.gateway_through(None).await
    }

    /// Starts a gateway whose connection to Janus goes through a proxy.
    pub async fn gateway_behind(&self, proxy: &TcpProxy) -> Gateway {
        let url = format!("ws://{}", proxy.address());
        let link = JanusShared::new(self.secrets.clone(), Some(url));
        let options = self.janus.connect_options();
        self.gateway_through(Some(LocalJanus { id: janus_id(), link, options })).await
    }

    async fn gateway_through(&self, local: Option<LocalJanus>) -> Gateway {
        let context = Context {
            me: ModuleId::new("gateway").unwrap(),
            incarnation: "1".into(),
            limits: LiveLimits::new(&self.config),
            config: self.config.clone(),
            store: self.store.clone(),
            directory: Arc::new(Directory::default()),
            subscribers: Default::default(),
            store_up: Default::default(),
            relists: Default::default(),
            account: None,
            standing: Default::default(),
            clock: Clock::start(),
            metrics: Metrics::new(SystemTime::now()),
        };
        let backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_millis(500) };
        let parts = AnchorParts {
            januses: Januses::new(context.directory.clone(), local, self.janus.connect_options()),
            secrets: self.secrets.clone(),
            stages: EmbeddedStages::new(),
            seal: Seal::new(&self.secrets),
            timing: Timing { grace: self.grace, keep_alive: self.grace / 3, backoff },
            quality: Quality::ANCHORS,
            context: context.clone(),
        };
        let anchors = MediaSessions::default();
        let root = Root { context: context.clone(), parts, anchors: anchors.clone() };
        let system = ActorSystem::start(move || root.clone(), RootOptions::default());
        until("the store is listed", async || context.directory.is_listed()).await;
        Gateway { anchors, _system: system }
    }

    /// Writes a heartbeat with the current address of the rig's Janus.
    pub async fn announce_janus(&self) {
        let heartbeat = Heartbeat {
            status: Health::Healthy,
            host: "test".into(),
            url: self.janus.janus.url().to_owned(),
            capacity: 10,
            started_at: UnixMs(0),
            incarnation: "1".into(),
            version: "0".into(),
            rtp: None,
            machine_load: None,
            secret_fingerprint: None,
        };
        let key = keys::module(ModuleKind::Janus, &janus_id(), ModulePart::Heartbeat);
        self.store.put(&key, serde_json::to_vec(&heartbeat).unwrap().into()).await.unwrap();
    }

    pub async fn make_room(&self, janus_room_id: u32, epoch: Epoch) {
        let mark = OwnershipTag::new("test", room(), epoch).unwrap();
        let secret = self.room_secret();
        let new = NewRoom { janus_room_id, description: mark.to_string(), pin: pin(), secret };
        self.eyes.create_room(&new).await.unwrap();
    }

    pub fn room_secret(&self) -> Secret {
        Secret(self.secrets.of_janus_room(&room()))
    }

    pub async fn on_air(&self, janus_room_id: u32, epoch: Epoch) {
        let meta = Meta {
            pin: pin(),
            max_anchors: MAX_ANCHORS,
            hls_path: String::new(),
            created_at: UnixMs(0),
            deleted_at: None,
            last_epoch: epoch,
            last_started_at: None,
            last_end: None,
            api_key: None,
            profile: Default::default(),
        };
        let live = live(epoch, LiveStatus::OnAir);
        let key = JanusState {
            id: janus_id(),
            janus_room_id,
            status: JanusStatus::Forwarding,
            forwarder: None,
            timestamp: UnixMs(0),
            unheard: false,
            incarnation: None,
            epoch,
        };
        let json = |value: serde_json::Value| serde_json::to_vec(&value).unwrap();
        let txn = Txn::new()
            .put(keys::room(&room(), RoomPart::Meta), json(serde_json::to_value(meta).unwrap()))
            .put(keys::room(&room(), RoomPart::LiveMeta), json(serde_json::to_value(live).unwrap()))
            .put(keys::room(&room(), RoomPart::Janus), json(serde_json::to_value(key).unwrap()));
        self.store.txn(txn).await.unwrap();
    }

    pub async fn remove_room(&self) {
        let live = serde_json::to_vec(&live(Epoch(1), LiveStatus::Removing)).unwrap();
        self.store.put(&keys::room(&room(), RoomPart::LiveMeta), live.into()).await.unwrap();
    }

    /// Removes the user as the API does.
    pub async fn remove_user(&self, user: &str) {
        let removed = User { removed_at: Some(UnixMs(1)), ..User::invited(UserRole::Anchor, UnixMs(0)) };
        let key = keys::user(&room(), &UserId::new(user).unwrap());
        self.store.put(&key, serde_json::to_vec(&removed).unwrap().into()).await.unwrap();
    }

    /// Returns the participants of the Janus room.
    pub async fn participants(&self) -> Vec<ParticipantInfo> {
        match self.eyes.participants(JANUS_ROOM).await {
            Err(stentor::janus::JanusError::Plugin(PluginError::NoSuchRoom)) => Vec::new(),
            listed => listed.unwrap(),
        }
    }

    /// Waits until the Janus room has exactly `count` participants. Janus confirms the end of a session
    /// before its participant is gone.
    pub async fn until_participants(&self, count: usize) {
        let what = format!("the room has {count} participants");
        until(&what, async || self.participants().await.len() == count).await;
    }
}

impl Gateway {
    pub async fn join(&self, user: &str, token: Option<ResumeToken>) -> Result<JoinedSession, JoinError> {
        self.anchors.join(join(user, token)).await
    }

    /// Joins and establishes media.
    pub async fn speak(&self, user: &str, hz: u32) -> (JoinedSession, WebRtcClient) {
        let joined = self.join(user, None).await.unwrap();
        assert!(!joined.resume);
        let tone = if hz == 0 { Vec::new() } else { opus::tone(hz) };
        let mut media = WebRtcClient::new(tone).await;
        media.amplify(MixShare::of(MAX_ANCHORS).makeup_db());
        let answer = joined.line.offer(media.offer()).await.unwrap();
        media.answer(&answer);
        media.until("the connection", |p| p.connected).await;
        (joined, media)
    }
}

pub fn join(user: &str, resume_token: Option<ResumeToken>) -> Join {
    Join { room: room(), user: UserId::new(user).unwrap(), pin: None, muted: false, resume_token }
}

pub fn room() -> RoomId {
    RoomId::new(ROOM).unwrap()
}

fn janus_id() -> ModuleId {
    ModuleId::new("janus-1").unwrap()
}

fn live(epoch: Epoch, status: LiveStatus) -> LiveMeta {
    LiveMeta {
        status,
        mixer_id: ModuleId::new("mixer-1").unwrap(),
        janus_id: janus_id(),
        nonce: Nonce("n".into()),
        created_at: UnixMs(0),
        discard_at: None,
        epoch,
        handover: None,
        trace: None,
        placement_reasons: Default::default(),
    }
}

#[derive(Clone)]
struct Root {
    context: Context,
    parts: AnchorParts,
    anchors: MediaSessions,
}

impl Behaviour for Root {
    const KIND: &'static str = "test_root";
    type Msg = Infallible;

    fn started(&mut self, cx: &mut Cx<Self>) {
        for scope in Scope::ALL {
            let context = self.context.clone();
            let make = move || StoreWatch::new(context.clone(), scope);
            cx.spawn_child(format!("watch:{}", scope.prefix()), ChildSpec::worker(), make);
        }
        let (parts, anchors) = (self.parts.clone(), self.anchors.clone());
        let make = move || MediaSupervisor::new(parts.clone(), anchors.clone());
        cx.spawn_child("anchors", ChildSpec::supervisor(), make);
    }

    fn handle(&mut self, msg: Infallible, _: &mut Cx<Self>) {
        match msg {}
    }

    fn observe(&self) -> ActorState {
        ActorState::state("test")
    }
}
