//! Tests that a module's state reaches the store even if a single write fails.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::*;
use crate::actors::context::LiveLimits;
use crate::actors::kernel::{ActorSystem, RootOptions, SystemHandle};
use crate::clock::Clock;
use crate::config;
use crate::domain::ids::{ModuleId, RoomId, UnixMs};
use crate::rooms::{FakeStore, Fault};
use crate::telemetry::Metrics;

const DEADLINE: Duration = Duration::from_secs(10);
/// Lifetime so short that renewals are due every few milliseconds.
const TTL: Duration = Duration::from_millis(30);

struct House {
    store: Arc<FakeStore>,
    heartbeats: watch::Sender<Heartbeat>,
    counts: watch::Sender<ListenerCounts>,
    _system: SystemHandle<Msg>,
}

impl House {
    async fn new() -> Self {
        let store = FakeStore::new();
        let mut config = config::defaults();
        config.rooms.heartbeat_ttl = TTL;
        let context = Context {
            me: ModuleId::new("one").unwrap(),
            incarnation: "i".into(),
            limits: LiveLimits::new(&config),
            config: Arc::new(config),
            store: store.clone(),
            directory: store.directory(),
            subscribers: Default::default(),
            store_up: Default::default(),
            relists: Default::default(),
            account: None,
            standing: Default::default(),
            clock: Clock::start(),
            metrics: Metrics::new(SystemTime::now()),
        };
        let heartbeats = watch::Sender::new(Heartbeat {
            status: Health::Healthy,
            host: "h".into(),
            url: "u".into(),
            capacity: 1,
            started_at: UnixMs(1),
            incarnation: "i".into(),
            version: "0".into(),
            rtp: None,
            machine_load: None,
            secret_fingerprint: None,
        });
        let counts = watch::Sender::new(ListenerCounts::default());
        let (listener, counted) = (heartbeats.subscribe(), counts.subscribe());
        let heartbeat = move || {
            HeartbeatActor::new(
                ModuleKind::Janus,
                context.clone(),
                listener.clone(),
                Some(counted.clone()),
                None,
            )
        };
        let house = Self {
            store,
            heartbeats,
            counts,
            _system: ActorSystem::start(heartbeat, RootOptions::default()),
        };
        house.until_told(Health::Healthy).await;
        house
    }

    async fn until_told(&self, status: Health) {
        let deadline = Instant::now() + DEADLINE;
        let me = ModuleId::new("one").unwrap();
        let told = || {
            let view = self.store.directory().module(ModuleKind::Janus, &me)?;
            Some(view.heartbeat.as_ref()?.status)
        };
        while told() != Some(status) {
            assert!(Instant::now() < deadline, "the store never shows {status:?}");
            // Sleep: the interval between two polls.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[actix::test]
async fn failed_heartbeat_write_is_retried() {
    for fault in [Fault::Unavailable, Fault::AnswerLost] {
        let house = House::new().await;
        house.store.fail_next(fault);
        house.heartbeats.send_modify(|heartbeat| heartbeat.status = Health::Unhealthy);
        house.until_told(Health::Unhealthy).await;
    }
}

#[actix::test]
async fn count_changes_do_not_write_heartbeat() {
    let house = House::new().await;
    let me = ModuleId::new("one").unwrap();
    let view = || house.store.directory().module(ModuleKind::Janus, &me).unwrap();
    let before = view().heartbeat.clone();
    for count in 1..4 {
        let counts = ListenerCounts([(RoomId::new("demo").unwrap(), count)].into());
        if count == 2 {
            house.store.fail_next(Fault::Unavailable);
        }
        house.counts.send_replace(counts.clone());
        let deadline = Instant::now() + DEADLINE;
        while view().listeners.as_ref().is_none_or(|told| told.value != counts) {
            assert!(Instant::now() < deadline, "the count {count} is never written");
            // Sleep: the interval between two polls.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!(view().heartbeat, before, "not rewritten");
}

#[actix::test]
async fn deleted_heartbeat_key_is_rewritten() {
    let house = House::new().await;
    house.store.delete_now("/januses/one/heartbeat");
    house.until_told(Health::Healthy).await;
}
