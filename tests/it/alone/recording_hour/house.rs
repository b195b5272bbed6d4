//! The cluster whose parts fail: two nodes with Janus and gateway, two mixers, and two nodes for listeners
//! and the API.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::anchors::{HourState, LOSSY};
use crate::faults::disk::SmallDisk;
use crate::rooms::on_etcd;
use crate::support::etcd::Etcd;
use crate::support::moto::{BUCKET, Moto};
use crate::support::node::{Node, is_alive, signal};
use crate::support::redis::Redis;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{pause_async, until};

pub const ROOM: &str = "hour";
/// Duration of each outage of etcd or Redis, and of the packet loss.
const AWAY: Duration = Duration::from_secs(5);
/// Time for which the disk is full: less than the live window, from which the recorder then continues.
const FULL: Duration = Duration::from_secs(3);
/// Size of the disk of a mixer's recordings: 64 MiB stay free, and an hour needs 34 MB.
const DISK_MB: u32 = 160;
/// Number of mixers, of nodes with Janus, and of nodes for listeners.
const PAIR: usize = 2;

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
    MixerDrained,
    JanusDrained,
    DiskFull,
    MixerCutOff,
    ListenerNodeKilled,
    LeaderKilled,
}

pub const FAULTS: [Fault; 16] = [
    Fault::FfmpegKilled,
    Fault::JanusKilled,
    Fault::MixerNodeKilled,
    Fault::MixerDrained,
    Fault::RedisAway,
    Fault::FfmpegStalled,
    Fault::ListenerNodeKilled,
    Fault::JanusDrained,
    Fault::DiskFull,
    Fault::JanusHung,
    Fault::EtcdAway,
    Fault::LeaderKilled,
    Fault::PacketsLost,
    Fault::MixerCutOff,
    Fault::GatewayNodeKilled,
    Fault::StorageAway,
];

/// The nodes and services, in the order in which they are dropped.
pub struct House {
    desks: Vec<Node>,
    /// Index of the node that is asked for everything but sound.
    desk: usize,
    pub mixers: Vec<Node>,
    pub januses: Vec<Node>,
    pub shared: Arc<HourState>,
    pub moto: Option<Moto>,
    redis: Redis,
    /// Path of each mixer to etcd.
    links: Vec<TcpProxy>,
    etcd: Etcd,
    /// Disk of each mixer's recordings.
    disks: Vec<SmallDisk>,
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
            Self::MixerDrained => "mixer drained",
            Self::JanusDrained => "Janus drained",
            Self::DiskFull => "disk of the recordings full for 3 s",
            Self::MixerCutOff => "mixer cut off from etcd",
            Self::ListenerNodeKilled => "listener node killed",
            Self::LeaderKilled => "leader killed",
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
        let disks: Vec<_> = (0..PAIR).map(|_| SmallDisk::mount(DISK_MB)).collect();
        let links: Vec<_> = (0..PAIR).map(|_| link(etcd.address())).collect();
        let (url, bucket) = (redis.url(), format!("s3://{BUCKET}/hour"));
        let endpoint = moto.as_ref().map(|moto| format!("http://{}", moto.address()));
        let member = async |id: &str, roles: &str, store: &str, more: &[(&str, &str)]| {
            let mut settings = vec![
                ("node.id", id),
                ("node.roles", roles),
                ("rooms.heartbeat_ttl", "3s"),
                ("presence.kind", "redis"),
                ("presence.redis.url", &url),
                ("recording.mode", "always"),
            ];
            settings.extend_from_slice(more);
            if let Some(endpoint) = &endpoint {
                settings.extend([
                    ("recording.storage.url", bucket.as_str()),
                    ("recording.storage.endpoint", endpoint),
                    ("recording.storage.access_key", "key"),
                    ("recording.storage.secret_key", "secret"),
                ]);
            }
            Node::start(&on_etcd(store, &settings)).await
        };
        let (direct, mut desks, mut mixers, mut januses) = (etcd.endpoint(), vec![], vec![], vec![]);
        for n in 0..PAIR {
            desks.push(member(&format!("d{}", n + 1), "rooms,hls", &direct, &[]).await);
        }
        for (n, (link, disk)) in links.iter().zip(&disks).enumerate() {
            let (store, folder) = (format!("http://{}", link.address()), folder(disk));
            let dir = [("recording.dir", folder.to_str().unwrap())];
            mixers.push(member(&format!("m{}", n + 1), "mixer", &store, &dir).await);
        }
        for n in 0..PAIR {
            let tracks = [("recording.tracks", "true")];
            januses.push(member(&format!("j{}", n + 1), "janus,gateway,rooms", &direct, &tracks).await);
        }
        desks[0].room_on_air(ROOM).await;
        let target = desks[0].target(ROOM).await;
        let shared = Arc::new(HourState::new(target));
        let house = Self { desks, desk: 0, mixers, januses, shared, moto, redis, links, etcd, disks };
        house.announce();
        until("Janus records the anchors", async || {
            let rooms = house.januses[house.janus().await].states_of("janus_room").await;
            rooms.iter().any(|room| room["observed"]["tracks"].is_string())
        })
        .await;
        house
    }

    /// Returns the node that is asked for everything but sound.
    pub fn desk(&self) -> &Node {
        &self.desks[self.desk]
    }

    /// Returns the folders of the mixers' recordings.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.disks.iter().map(folder)
    }

    /// Passes the addresses of the gateways to the anchors, and those of the listener nodes to the listener.
    fn announce(&self) {
        let gateways = self.januses.iter().map(|node| node.ws.clone()).collect();
        *self.shared.gateways.lock().unwrap() = gateways;
        let listening = self.desks.iter().map(|node| node.hls.clone()).collect();
        *self.shared.listener_nodes.lock().unwrap() = listening;
    }

    pub async fn room(&self) -> Value {
        self.desk().get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone()
    }

    async fn mixer(&self) -> usize {
        usize::from(self.room().await["mixer"]["id"] == "m2")
    }

    async fn janus(&self) -> usize {
        usize::from(self.room().await["janus"]["id"] == "j2")
    }

    pub async fn token(&self, user: &str) -> String {
        let wanted = json!({ "role": "anchor", "userId": user });
        let made = self.desk().post(&format!("/api/rooms/{ROOM}/users"), wanted).await;
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
            Fault::GatewayNodeKilled => self.kill_gateway(janus).await,
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
            Fault::MixerDrained => {
                let mark = format!("/api/modules/mixers/m{}/mark", mixer + 1);
                self.drain(&mark, async || self.mixer().await != mixer).await;
            }
            Fault::JanusDrained => {
                let mark = format!("/api/modules/januses/j{}/mark", janus + 1);
                self.drain(&mark, async || self.janus().await != janus).await;
            }
            Fault::DiskFull => {
                let recorder = async || self.mixers[mixer].states_of("recorder").await.pop();
                let is = async |state| recorder().await.is_some_and(|recorder| recorder["state"] == state);
                let filler = self.disks[mixer].fill();
                until("the recorder fails", async || is("failing").await).await;
                pass(FULL).await;
                std::fs::remove_file(filler).unwrap();
                until("the recorder writes again", async || is("recording").await).await;
            }
            Fault::MixerCutOff => {
                self.links[mixer].freeze();
                until("another mixer has the room", async || self.mixer().await != mixer).await;
                self.links[mixer].heal();
                let cut_off = &self.mixers[mixer];
                until("the mixer leaves the room", async || cut_off.children("ffmpeg").is_empty()).await;
            }
            Fault::ListenerNodeKilled => self.kill_desk(self.shared.listener_node.load(Relaxed)).await,
            Fault::LeaderKilled => match self.leader(None).await {
                desk if desk < PAIR => self.kill_desk(desk).await,
                gateway => self.kill_gateway(gateway - PAIR).await,
            },
        }
    }

    /// Sets the label `draining` until the room has moved.
    async fn drain(&self, mark: &str, moved: impl AsyncFn() -> bool) {
        assert_eq!(self.desk().put(mark, json!({ "label": "draining" })).await.status, 200);
        until("the room has moved", async || moved().await).await;
        assert!(self.desk().delete(mark).await.status < 300);
    }

    /// Kills a node for listeners and the API, and starts it again once another node is the leader.
    async fn kill_desk(&mut self, killed: usize) {
        self.desks[killed].kill();
        self.desk = 1 - killed;
        self.leader(Some(killed)).await;
        self.desks[killed].run();
        self.desks[killed].ready().await;
        self.announce();
    }

    /// Kills a node with Janus and gateway, and starts it again once another node has its tasks.
    async fn kill_gateway(&mut self, killed: usize) {
        self.januses[killed].kill();
        until("another Janus has the room", async || self.janus().await != killed).await;
        self.leader(Some(PAIR + killed)).await;
        self.januses[killed].run();
        self.januses[killed].ready().await;
        self.announce();
    }

    /// Waits for a leader, and returns its index among the nodes for listeners and then those with Janus.
    /// `killed`: node that is not asked.
    async fn leader(&self, killed: Option<usize>) -> usize {
        let found = Cell::new(0);
        until("there is a leader", async || {
            for (n, node) in self.desks.iter().chain(&self.januses).enumerate() {
                if Some(n) != killed && node.state_of("elector").await["state"] == "leading" {
                    found.set(n);
                    return true;
                }
            }
            false
        })
        .await;
        found.get()
    }
}

fn folder(disk: &SmallDisk) -> PathBuf {
    disk.path().join("recordings")
}

/// Starts a proxy to etcd on a thread of its own, because the test blocks its thread while it decodes.
fn link(etcd: SocketAddr) -> TcpProxy {
    let (started, proxy) = std::sync::mpsc::channel();
    let serve = async move {
        started.send(TcpProxy::start(etcd).await).unwrap();
        std::future::pending::<()>().await;
    };
    std::thread::spawn(|| actix::System::new().block_on(serve));
    proxy.recv().unwrap()
}

/// Waits until this time has passed.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        pause_async().await;
    }
}
