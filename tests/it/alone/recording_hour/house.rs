//! The cluster whose parts fail: two nodes with Janus and gateway, two mixers, and one node for listeners.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::anchors::{HourState, LOSSY};
use crate::rooms::node_on_etcd;
use crate::support::etcd::Etcd;
use crate::support::moto::{BUCKET, Moto};
use crate::support::node::{Node, is_alive, signal};
use crate::support::redis::Redis;
use crate::support::{pause_async, until};

pub const ROOM: &str = "hour";
/// Duration of each outage of etcd or Redis, and of the packet loss.
const AWAY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    FfmpegKilled,
    FfmpegStalled,
    JanusKilled,
    JanusHung,
    MixerNodeKilled,
    GatewayNodeKilled,
    EtcdAway,
    RedisAway,
    StorageAway,
    PacketsLost,
}

pub const FAULTS: [Fault; 10] = [
    Fault::FfmpegKilled,
    Fault::JanusKilled,
    Fault::MixerNodeKilled,
    Fault::RedisAway,
    Fault::FfmpegStalled,
    Fault::JanusHung,
    Fault::EtcdAway,
    Fault::PacketsLost,
    Fault::GatewayNodeKilled,
    Fault::StorageAway,
];

/// The nodes and services, in the order in which they are dropped.
pub struct House {
    pub desk: Node,
    pub mixers: Vec<Node>,
    pub januses: Vec<Node>,
    pub shared: Arc<HourState>,
    pub moto: Option<Moto>,
    redis: Redis,
    etcd: Etcd,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::FfmpegKilled => "FFmpeg killed",
            Self::FfmpegStalled => "FFmpeg stalled",
            Self::JanusKilled => "Janus killed",
            Self::JanusHung => "Janus hung",
            Self::MixerNodeKilled => "mixer node killed",
            Self::GatewayNodeKilled => "gateway node killed, with its Janus",
            Self::EtcdAway => "etcd away for 5 s",
            Self::RedisAway => "Redis away for 5 s",
            Self::StorageAway => "object storage away",
            Self::PacketsLost => "20 % of UDP lost for 5 s",
        }
    }

    /// Returns how many seconds of sound from before the fault may be missing in the recording. A killed
    /// mixer has not recorded its open segment, whose parts listeners have already heard.
    pub fn unwritten(self) -> f64 {
        if self == Self::MixerNodeKilled { 2.2 } else { 0.0 }
    }

    /// Returns by how many seconds the gap in the recording may be longer than the gap that listeners heard.
    pub fn tolerated(self) -> f64 {
        self.unwritten() + 0.3
    }
}

impl House {
    /// Starts everything and puts the room on air.
    pub async fn start() -> Self {
        let (etcd, redis) = (Etcd::start(), Redis::start());
        let mut moto = Moto::prepare();
        if let Some(moto) = &mut moto {
            moto.run().await;
        }
        let (url, bucket) = (redis.url(), format!("s3://{BUCKET}/hour"));
        let endpoint = moto.as_ref().map(|moto| format!("http://{}", moto.address()));
        let member = async |id: &str, roles: &str| {
            let mut settings = vec![
                ("node.id", id),
                ("node.roles", roles),
                ("rooms.heartbeat_ttl", "3s"),
                ("presence.kind", "redis"),
                ("presence.redis.url", &url),
                ("recording.mode", "always"),
            ];
            if roles.contains("janus") {
                settings.push(("recording.tracks", "true"));
            }
            if let Some(endpoint) = &endpoint {
                settings.extend([
                    ("recording.storage.url", bucket.as_str()),
                    ("recording.storage.endpoint", endpoint),
                    ("recording.storage.access_key", "key"),
                    ("recording.storage.secret_key", "secret"),
                ]);
            }
            node_on_etcd(&etcd, &settings).await
        };
        let desk = member("desk", "rooms,hls").await;
        let mixers = vec![member("m1", "mixer").await, member("m2", "mixer").await];
        let roles = "janus,gateway,rooms";
        let januses = vec![member("j1", roles).await, member("j2", roles).await];
        desk.room_on_air(ROOM).await;
        let shared = Arc::new(HourState::default());
        let house = Self { desk, mixers, januses, shared, moto, redis, etcd };
        house.announce();
        until("Janus records the anchors", async || {
            let rooms = house.januses[house.janus().await].states_of("janus_room").await;
            rooms.iter().any(|room| room["observed"]["tracks"].is_string())
        })
        .await;
        house
    }

    /// Passes the addresses of the gateways to the anchors.
    fn announce(&self) {
        let gateways = self.januses.iter().map(|node| node.ws.clone()).collect();
        *self.shared.gateways.lock().unwrap() = gateways;
    }

    pub async fn room(&self) -> Value {
        self.desk.get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone()
    }

    async fn mixer(&self) -> usize {
        usize::from(self.room().await["mixer"]["id"] == "m2")
    }

    async fn janus(&self) -> usize {
        usize::from(self.room().await["janus"]["id"] == "j2")
    }

    pub async fn token(&self, user: &str) -> String {
        let wanted = json!({ "role": "anchor", "userId": user });
        let made = self.desk.post(&format!("/api/rooms/{ROOM}/users"), wanted).await;
        made.json()["token"].as_str().expect("a token").to_owned()
    }

    /// Causes a fault, and repairs what an operator or a service manager would repair.
    pub async fn suffer(&mut self, fault: Fault) {
        let (mixer, janus) = (self.mixer().await, self.janus().await);
        match fault {
            Fault::FfmpegKilled => signal(self.mixers[mixer].ffmpeg().await, Signal::KILL),
            Fault::FfmpegStalled => {
                let ffmpeg = self.mixers[mixer].ffmpeg().await;
                signal(ffmpeg, Signal::STOP);
                until("the stalled FFmpeg is replaced", async || !is_alive(ffmpeg)).await;
            }
            Fault::JanusKilled => signal(self.januses[janus].children("janus")[0], Signal::KILL),
            Fault::JanusHung => {
                let hung = self.januses[janus].children("janus")[0];
                signal(hung, Signal::STOP);
                until("the hung Janus is replaced", async || !is_alive(hung) || self.janus().await != janus)
                    .await;
            }
            Fault::MixerNodeKilled => {
                self.mixers[mixer].kill();
                until("another mixer has the room", async || self.mixer().await != mixer).await;
                self.mixers[mixer].run();
                self.mixers[mixer].ready().await;
            }
            Fault::GatewayNodeKilled => {
                self.januses[janus].kill();
                until("another Janus has the room", async || self.janus().await != janus).await;
                self.januses[janus].run();
                self.januses[janus].ready().await;
                self.announce();
            }
            Fault::EtcdAway => {
                self.etcd.stop();
                pass(AWAY).await;
                self.etcd.run();
            }
            Fault::RedisAway => {
                self.redis.stop();
                pass(AWAY).await;
                self.redis.run();
            }
            Fault::StorageAway => {
                if let Some(moto) = &mut self.moto {
                    moto.stop();
                }
            }
            Fault::PacketsLost => {
                LOSSY.store(true, Relaxed);
                pass(AWAY).await;
                LOSSY.store(false, Relaxed);
            }
        }
    }
}

/// Waits until this time has passed.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        pause_async().await;
    }
}
