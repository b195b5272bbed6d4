//! Direct access to a node's Janus, and anchors in its rooms.
//!
//! Owns: a connection of its own, separate from the node's. Does not change the node's rooms.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Instant;

use stentor::auth::Secrets;
use stentor::domain::ids::{MediaAddr, Pin, RoomId};
use stentor::domain::mix::MixShare;
use stentor::janus::{
    AudioBridge, ConnectOptions, ForwarderInfo, JanusClient, LinkEvent, OwnershipTag, RoomInfo,
    RtpParticipant, Secret,
};
use stentor::probe::ToneSender;
use tokio::sync::mpsc::UnboundedReceiver;

use super::janus::{MOMENT, connect};
use super::node::Node;
use super::{PATIENCE, pause_async};

pub struct Studio {
    pub client: JanusClient,
    secrets: Secrets,
    _events: UnboundedReceiver<LinkEvent>,
}

/// An anchor that speaks until dropped.
pub struct Speaker {
    _tone: ToneSender,
    _participant: RtpParticipant,
}

impl Studio {
    /// Connects to the node's managed Janus, in its current run.
    pub async fn managed(node: &Node) -> Self {
        Self::at(&managed(&node.data_dir().join("janus")), node).await
    }

    pub async fn at(options: &ConnectOptions, node: &Node) -> Self {
        let (client, events) = connect(options).await;
        let secrets = Secrets::load_or_create(&node.config()).unwrap();
        Self { client, secrets, _events: events }
    }

    /// Returns the secret that this node gives its Janus rooms.
    pub fn secret_of(&self, room: &str) -> Secret {
        Secret(self.secrets.of_janus_room(&RoomId::new(room).unwrap()))
    }

    /// Returns the Janus rooms whose ownership tag names this room.
    pub async fn rooms_of(&self, room: &str) -> Vec<RoomInfo> {
        let all = self.client.list_rooms().await.unwrap();
        all.into_iter().filter(|r| marked(r).is_some_and(|id| id == room)).collect()
    }

    /// Returns the rooms named by ownership tags in this Janus, once per Janus room.
    pub async fn marked_rooms(&self) -> Vec<String> {
        let mut all: Vec<_> = self.client.list_rooms().await.unwrap().iter().filter_map(marked).collect();
        all.sort();
        all
    }

    pub async fn forwarders(&self, room: &str) -> Vec<ForwarderInfo> {
        let mut all = Vec::new();
        for info in self.rooms_of(room).await {
            // The room may disappear between the two requests.
            all.extend(self.client.list_forwarders(info.id, &self.secret_of(room)).await.unwrap_or_default());
        }
        all
    }

    /// Joins the room over plain RTP and sends a sine of `hz`.
    pub async fn speak(&self, node: &Node, room: &str, hz: u32) -> Speaker {
        self.play(node, room, &sine(hz)).await
    }

    /// Joins the room over plain RTP and plays an FFmpeg lavfi source.
    pub async fn play(&self, node: &Node, room: &str, source: &str) -> Speaker {
        let answer = node.get(&format!("/api/rooms/{room}")).await.json();
        let max_anchors = answer["room"]["maxAnchors"].as_u64().unwrap();
        let share = MixShare::of(u8::try_from(max_anchors).unwrap());
        self.play_with(answer["room"]["pin"].as_str().unwrap(), share, room, source).await
    }

    /// Speaks like [`speak`](Self::speak), for a node without an API to ask for the PIN, in a room of three.
    pub async fn speak_with(&self, pin: &str, room: &str, hz: u32) -> Speaker {
        self.play_with(pin, MixShare::of(3), room, &sine(hz)).await
    }

    async fn play_with(&self, pin: &str, share: MixShare, room: &str, source: &str) -> Speaker {
        let pin = Pin::new(pin).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let ours = MediaAddr { ip: address.ip(), port: address.port() };
        let janus_room_id = self.the_room(room).await.id;
        let joined = self.client.join_rtp(janus_room_id, &pin, "speaker", ours, share);
        let participant = tokio::time::timeout(PATIENCE, joined).await.unwrap().unwrap();
        let theirs = MediaAddr { ip: participant.ip, port: participant.port };
        let payload_type = participant.payload_type;
        let tone = ToneSender::play(Path::new("ffmpeg"), socket, theirs, payload_type, source).unwrap();
        Speaker { _tone: tone, _participant: participant }
    }

    /// Waits until the room exists exactly once.
    async fn the_room(&self, room: &str) -> RoomInfo {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match &self.rooms_of(room).await[..] {
                [one] => return one.clone(),
                other => assert!(Instant::now() < deadline, "{other:?}"),
            }
            pause_async().await;
        }
    }
}

fn sine(hz: u32) -> String {
    format!("sine=frequency={hz}:sample_rate=48000")
}

/// Returns the id of the room that the description names.
fn marked(info: &RoomInfo) -> Option<String> {
    OwnershipTag::parse(&info.description).map(|mark| mark.room.to_string())
}

/// Returns the options with which the node reaches its Janus, read from its configuration files.
fn managed(folder: &Path) -> ConnectOptions {
    let port = setting(folder, "janus.transport.websockets.jcfg", "ws_port");
    ConnectOptions {
        url: format!("ws://127.0.0.1:{port}"),
        api_secret: Some(Secret(setting(folder, "janus.jcfg", "api_secret"))),
        admin_key: Some(Secret(setting(folder, "janus.plugin.audiobridge.jcfg", "admin_key"))),
        request_timeout: MOMENT,
        keep_alive: MOMENT,
    }
}

/// Reads a value from a file that the node wrote: a number, or a text of hexadecimal digits.
pub fn setting(folder: &Path, file: &str, key: &str) -> String {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let (_, value) = text.split_once(&format!("{key} = ")).unwrap();
    value.split(';').next().unwrap().trim_matches('"').to_owned()
}
