//! Tests of a mixer's actors in this process, on a store that panics on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use stentor::actors::context::{Context, LiveLimits};
use stentor::actors::kernel::{ActorSystem, ActorView, RootOptions};
use stentor::actors::mixer::MixerShared;
use stentor::actors::mixer::supervisor::MixerParts;
use stentor::actors::node::NodeActor;
use stentor::auth::Secrets;
use stentor::clock::Clock;
use stentor::config;
use stentor::delivery::{MixerClient, Streams};
use stentor::domain::ids::{Epoch, MediaAddr, ModuleId, Nonce, Pin, RoomId, UnixMs};
use stentor::domain::keys::{self, RoomPart};
use stentor::domain::model::{Health, Heartbeat, LiveMeta, LiveStatus, Meta, MixerState};
use stentor::domain::ports::PortPool;
use stentor::janus::FORWARD_PAYLOAD_TYPE;
use stentor::packager::LiveStream;
use stentor::probe::m3u8::Playlist;
use stentor::store::embedded::EmbeddedStore;
use stentor::store::{
    KeyValue, LeaseId, Listing, Op, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream,
};
use stentor::telemetry::Metrics;
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};

use crate::support::{PATIENCE, srtp, until};

#[actix::test]
async fn mixer_room_panic_loses_no_segment() {
    let house = House::open();
    let system = ActorSystem::start(house.root(), RootOptions::default());
    house.assign().await;
    let rtp = house.rtp().await;
    let srtp_key = house.parts.shared.secrets.srtp_key(&room(), &nonce(), Epoch(1), rtp);
    let _tone = srtp::tone(rtp, &srtp_key, FORWARD_PAYLOAD_TYPE, 440);
    until("three segments", async || house.playlist().await.complete().count() >= 3).await;
    let before = house.playlist().await;

    house.store.fuse.store(true, Relaxed);
    house.store.delete(&key(RoomPart::Mixer)).await.unwrap();
    until("the actor panics", async || !house.store.fuse.load(Relaxed)).await;
    let discontinuities = |list: &Playlist| list.complete().next_back().unwrap().discontinuity;
    let panicked = house.context.clock.wall();
    // Only media from FFmpeg count, not the silence that the packager inserts meanwhile.
    until("another FFmpeg writes", async || house.last_part_at().await > Some(UnixMs(panicked.0 + 100)))
        .await;
    let after = house.playlist().await;
    assert_eq!(discontinuities(&after), discontinuities(&before));
    let numbers: Vec<u64> = after.complete().map(|s| s.sequence).collect();
    assert_eq!(after.media_sequence, before.media_sequence, "the window is kept");
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
    assert_eq!(house.rtp().await, rtp, "nobody has to be told of another port");
    let actor = find(&system.registry().snapshot().unwrap(), "mixer_room").unwrap();
    assert_eq!(actor.restarts.into_iter().collect::<Vec<_>>(), [("panic", 1)]);
    assert!(system.shutdown(PATIENCE).await.abandoned.is_empty());
}

/// Mixer without a Janus: the test sends the RTP.
struct House {
    _dir: TempDir,
    store: Arc<FusedStore>,
    context: Context,
    parts: MixerParts,
}

impl House {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config::defaults();
        config.node.data_dir = dir.path().to_owned();
        config.hls.segment = Duration::from_millis(600);
        let inner = EmbeddedStore::open(&dir.path().join("store.redb")).unwrap();
        let store = Arc::new(FusedStore { inner, fuse: AtomicBool::new(false) });
        let secrets = Arc::new(Secrets::load_or_create(&config).unwrap());
        let context = Context {
            me: me(),
            incarnation: "this".into(),
            limits: LiveLimits::new(&config),
            config: Arc::new(config),
            store: store.clone(),
            directory: Arc::default(),
            subscribers: Default::default(),
            store_up: Default::default(),
            relists: Default::default(),
            account: None,
            standing: Default::default(),
            clock: Clock::start(),
            metrics: Metrics::new(SystemTime::now()),
        };
        let shared = MixerShared {
            ports: Arc::new(std::sync::Mutex::new(PortPool::new(32_700, 32_766, 0.5))),
            starts: Arc::new(Semaphore::new(1)),
            counter: Arc::default(),
            streams: Arc::new(Streams::default()),
            fetcher: MixerClient::new(
                secrets.clone(),
                PATIENCE,
                actix::Arbiter::current(),
                Metrics::new(SystemTime::now()),
            ),
            secrets,
        };
        let heartbeats = Arc::new(watch::Sender::new(heartbeat()));
        Self { _dir: dir, store, context, parts: MixerParts { shared, heartbeats } }
    }

    fn root(&self) -> impl Fn() -> NodeActor + Send + 'static {
        let (context, parts) = (self.context.clone(), self.parts.clone());
        // Run the actors on the test's own arbiter.
        let arbiter = actix::Arbiter::current();
        move || NodeActor {
            acme: None,
            gateway: None,
            context: context.clone(),
            api_keys: Arc::new(stentor::rooms::ApiKeyRegistry::new(context.store.clone())),
            record: None,
            rooms: None,
            mixer: Some((parts.clone(), arbiter.clone())),
            janus: None,
            channels: None,
            relays: None,
            plain: None,
            opus: None,
            recordings: None,
            rewinds: None,
            outputs: None,
            captions: None,
        }
    }

    /// Puts the room on air on this mixer.
    async fn assign(&self) {
        let meta = Meta {
            pin: Pin::new("abc123").unwrap(),
            max_anchors: 3,
            hls_path: String::new(),
            created_at: UnixMs(1),
            deleted_at: None,
            last_epoch: Epoch(1),
            last_started_at: Some(UnixMs(1)),
            last_end: None,
            api_key: None,
            profile: Default::default(),
        };
        let live = LiveMeta {
            status: LiveStatus::OnAir,
            mixer_id: me(),
            janus_id: ModuleId::new("elsewhere").unwrap(),
            nonce: nonce(),
            created_at: UnixMs(1),
            discard_at: None,
            handover: None,
            epoch: Epoch(1),
            trace: None,
            placement_reasons: Default::default(),
        };
        let txn = Txn::new()
            .put(key(RoomPart::Meta), serde_json::to_vec(&meta).unwrap())
            .put(key(RoomPart::LiveMeta), serde_json::to_vec(&live).unwrap());
        self.store.txn(txn).await.unwrap();
    }

    /// Waits until the store has the address where FFmpeg receives RTP, and returns it.
    async fn rtp(&self) -> MediaAddr {
        let stored = async || self.store.get(&key(RoomPart::Mixer)).await.unwrap();
        until("the mixer says where it waits", async || stored().await.is_some()).await;
        serde_json::from_slice::<MixerState>(&stored().await.unwrap().value).unwrap().rtp
    }

    async fn stream(&self) -> Arc<LiveStream> {
        let stream = async || self.parts.shared.streams.of_live(&room(), &nonce());
        until("the stream is open", async || stream().await.is_some()).await;
        stream().await.unwrap()
    }

    async fn last_part_at(&self) -> Option<UnixMs> {
        self.stream().await.stats().last_part_at
    }

    async fn playlist(&self) -> Playlist {
        let body = self.stream().await.playlist(None).await.unwrap();
        Playlist::parse_strictly(std::str::from_utf8(body.text.plain()).unwrap()).unwrap()
    }
}

/// Store that panics once, at a transaction that concerns the mixer's key, while its fuse is set.
struct FusedStore {
    inner: Arc<EmbeddedStore>,
    fuse: AtomicBool,
}

#[async_trait]
impl Store for FusedStore {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.inner.list(prefix).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        self.inner.watch(prefix, from).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let claims = |op: &Op| matches!(op, Op::Put { key: put, .. } if *put == key(RoomPart::Mixer));
        if txn.ops.iter().any(claims) && self.fuse.swap(false, Relaxed) {
            panic!("the fuse is blown");
        }
        self.inner.txn(txn).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.revoke(lease).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<Revision, StoreError> {
        self.inner.put(key, value).await
    }
}

fn find(view: &ActorView, kind: &str) -> Option<ActorView> {
    if view.kind == kind {
        return Some(view.clone());
    }
    view.children.iter().find_map(|child| find(child, kind))
}

fn me() -> ModuleId {
    ModuleId::new("here").unwrap()
}

fn room() -> RoomId {
    RoomId::new("live").unwrap()
}

fn nonce() -> Nonce {
    Nonce("n".into())
}

fn key(part: RoomPart) -> String {
    keys::room(&room(), part)
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        status: Health::Unhealthy,
        host: "here".into(),
        url: String::new(),
        capacity: 1,
        started_at: UnixMs(1),
        incarnation: "this".into(),
        version: "0".into(),
        rtp: None,
        machine_load: None,
        secret_fingerprint: None,
    }
}
