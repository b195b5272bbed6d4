//! Tests that a new incarnation of the connection corrects the heartbeat of the previous one.

use std::net::TcpListener;
use std::time::{Instant, SystemTime};

use super::*;
use crate::actors::context::LiveLimits;
use crate::actors::kernel::{ActorSystem, RootOptions};
use crate::auth::Secrets;
use crate::clock::Clock;
use crate::config;
use crate::domain::ids::{ModuleId, UnixMs};
use crate::rooms::FakeStore;
use crate::telemetry::Metrics;

const DEADLINE: Duration = Duration::from_secs(30);

/// Starts a connection to this URL with a healthy heartbeat, and waits until the heartbeat is unhealthy.
async fn becomes_unhealthy(url: Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let store = FakeStore::new();
    let mut config = config::defaults();
    config.node.data_dir = folder.path().to_owned();
    let secrets = Arc::new(Secrets::load_or_create(&config).unwrap());
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
    let heartbeats = Arc::new(watch::Sender::new(Heartbeat {
        status: Health::Healthy,
        host: "h".into(),
        url: String::new(),
        capacity: 1,
        started_at: UnixMs(1),
        incarnation: "i".into(),
        version: "0".into(),
        rtp: None,
        machine_load: None,
        secret_fingerprint: None,
    }));
    let options = ConnectOptions {
        url: String::new(),
        api_secret: None,
        admin_key: None,
        request_timeout: DEADLINE,
        keep_alive: DEADLINE,
    };
    let (link, beats) = (JanusShared::new(secrets, url), heartbeats.clone());
    let connection =
        move || JanusConnection::new(context.clone(), options.clone(), link.clone(), beats.clone());
    let _system = ActorSystem::start(connection, RootOptions::default());
    let deadline = Instant::now() + DEADLINE;
    while heartbeats.borrow().status == Health::Healthy {
        assert!(Instant::now() < deadline, "the heartbeat stays healthy");
        // Sleep: the interval between two polls.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[actix::test]
async fn restart_without_janus_is_unhealthy() {
    becomes_unhealthy(None).await;
}

#[actix::test]
async fn restart_before_unreachable_janus_is_unhealthy() {
    // The listener is dropped at once, so nothing listens at this address.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    becomes_unhealthy(Some(format!("ws://{address}"))).await;
}
