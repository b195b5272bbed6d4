//! Time from a change in the store until an actor's handler has it, next to a bare watch of the same store.
//!
//! Each put is seen twice. The baseline is a bare watch. The other observer is an actor at the end of the
//! node's own chain: reflector, directory, dirty rooms, mailbox. The writer and the bare watch run on a
//! separate thread, as the node's HTTP side does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use stentor::actors::context::{Context, LiveLimits};
use stentor::actors::kernel::{
    ActorState, ActorSystem, Behaviour, ChildSpec, Cx, Message, RootOptions, SystemHandle,
};
use stentor::actors::store_watch::StoreWatch;
use stentor::clock::Clock;
use stentor::config;
use stentor::domain::ids::{Epoch, ModuleId, Pin, RoomId, UnixMs};
use stentor::domain::keys::{self, RoomPart};
use stentor::domain::model::Meta;
use stentor::etcd::EtcdStore;
use stentor::rooms::Scope;
use stentor::rooms::dirty_set::DirtySet;
use stentor::store::Store;
use stentor::store::embedded::EmbeddedStore;
use stentor::telemetry::Metrics;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::house::Backend;
use super::support::etcd::Etcd;
use super::table::{Row, Times, short};

const PUTS: usize = 500;
const REQUEST: Duration = Duration::from_secs(5);

type Open = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Store>> + Send>;

pub async fn measure() -> Vec<Row> {
    let etcd = Etcd::start();
    let endpoints = vec![etcd.endpoint()];
    let connect: Open = Box::new(move || {
        let endpoints = endpoints.clone();
        Box::pin(
            async move { EtcdStore::connect(&endpoints, REQUEST).await.expect("etcd") as Arc<dyn Store> },
        )
    });
    let on_etcd = of(Backend::Etcd, connect).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = EmbeddedStore::open(&dir.path().join("store")).expect("a store");
    let share: Open = Box::new(move || {
        let store: Arc<dyn Store> = store.clone();
        Box::pin(async move { store })
    });
    vec![on_etcd, of(Backend::Embedded, share).await]
}

async fn of(backend: Backend, open: Open) -> Row {
    let (handled, mut handler) = unbounded_channel();
    let context = context(open().await);
    let make = move || Ear { context: context.clone(), handled: handled.clone(), news: None };
    let system: SystemHandle<Msg> = ActorSystem::start(make, RootOptions::default());
    // Skip the first list: it is reported as a state change too.
    handler.recv().await.expect("the actor lives");
    let (done, seen) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // If this fails, nothing waits for the result any more.
        let _ = done.send(runtime.block_on(write_and_watch(open, handler)));
    });
    let WatchTimes { bare, whole, added } = seen.await.expect("the writer ends");
    system.shutdown(REQUEST).await;
    let what = format!("watch event -> actor handler, {} (floor: put -> bare watch)", backend.name());
    let added = format!("(+{} / +{})", short(added.quantile(0.5)), short(added.quantile(0.99)));
    Row::new(what, bare.to_string(), format!("{whole} {added}"), "+1 ms p99")
}

#[derive(Default)]
struct WatchTimes {
    bare: Times,
    whole: Times,
    /// Delay of the handler after the bare watch, for the same put.
    added: Times,
}

async fn write_and_watch(open: Open, mut handler: UnboundedReceiver<Instant>) -> WatchTimes {
    let store = open().await;
    let revision = store.list(keys::ROOMS).await.expect("a list").revision;
    let mut watch = store.watch(keys::ROOMS, revision + 1).await.expect("a watch");
    let (note, mut bare) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(batch)) = watch.next().await {
            if !batch.events.is_empty() && note.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    let room = RoomId::new("watched").expect("a room id");
    let mut seen = WatchTimes::default();
    for n in 0..PUTS {
        let put = Instant::now();
        store.put(&keys::room(&room, RoomPart::Meta), meta(n).into()).await.expect("a put");
        let (raw, handled) = futures::join!(bare.recv(), handler.recv());
        let (raw, handled) = (raw.expect("the watch goes on"), handled.expect("the actor lives"));
        seen.bare.add(raw - put);
        seen.whole.add(handled - put);
        seen.added.add(handled.saturating_duration_since(raw));
    }
    seen
}

/// Returns a different value each time, so that each put is a change.
fn meta(n: usize) -> Vec<u8> {
    let meta = Meta {
        pin: Pin::new("abc123").expect("a pin"),
        max_anchors: 3,
        hls_path: "/hls/rooms/watched/index.m3u8".into(),
        created_at: UnixMs(n as u64),
        deleted_at: None,
        last_epoch: Epoch::default(),
        last_started_at: None,
        last_end: None,
        api_key: None,
        profile: Default::default(),
    };
    serde_json::to_vec(&meta).expect("JSON")
}

fn context(store: Arc<dyn Store>) -> Context {
    Context {
        incarnation: "bench".into(),
        me: ModuleId::new("bench").expect("a name"),
        limits: LiveLimits::new(&config::defaults()),
        config: Arc::new(config::defaults()),
        store,
        directory: Arc::default(),
        subscribers: Default::default(),
        store_up: Default::default(),
        relists: Default::default(),
        account: None,
        standing: Default::default(),
        clock: Clock::start(),
        metrics: Metrics::new(std::time::SystemTime::now()),
    }
}

/// An actor that subscribes to changes of rooms as the supervisors do, and reports when it handles them.
struct Ear {
    context: Context,
    handled: UnboundedSender<Instant>,
    news: Option<DirtySet>,
}

enum Msg {
    StateChanged,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        "state_changed"
    }
}

impl Behaviour for Ear {
    const KIND: &'static str = "ear";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        self.news = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        let context = self.context.clone();
        cx.spawn_child("watch", ChildSpec::worker(), move || StoreWatch::new(context.clone(), Scope::Rooms));
    }

    fn handle(&mut self, Msg::StateChanged: Msg, _: &mut Cx<Self>) {
        if self.news.as_ref().is_some_and(|news| !is_nothing(news)) {
            // The measurement may be over.
            let _ = self.handled.send(Instant::now());
        }
    }

    fn observe(&self) -> ActorState {
        ActorState::state("listening")
    }
}

fn is_nothing(news: &DirtySet) -> bool {
    let waiting = news.take();
    !waiting.relisted && waiting.rooms.is_empty()
}
