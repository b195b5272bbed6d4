//! Plain-RTP participants that talk. Their Janus is controlled with raw JSON, so that each setting can differ
//! from Stentor's.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use stentor::domain::mix::MixShare;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::house::{Gateway, room_secret};
use super::support::opus;

/// RTP payload type of the participants.
const PAYLOAD_TYPE: u8 = 100;
/// Number of samples at 48 kHz in one packet, and its duration.
const FRAME: (u32, Duration) = (960, Duration::from_millis(20));
/// Pitch in Hz and number of syllables per second, for each voice.
const VOICES: [(u32, f64); SPEAKERS] = [(110, 1.7), (150, 2.3), (210, 2.9)];
pub const SPEAKERS: usize = 3;

/// Opus packets of one voice, sent in a loop.
type Voice = Vec<Arc<[u8]>>;

/// A Janus session, and the participants that talk in rooms through it.
pub struct Bridge {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    api_secret: String,
    admin_key: String,
    session: u64,
    asked: u64,
    voices: Vec<Arc<Voice>>,
    talking: Vec<Arc<()>>,
}

impl Bridge {
    pub async fn open(gateway: &Gateway) -> Self {
        let mut request = gateway.janus.url().into_client_request().expect("a URL");
        let protocol = "janus-protocol".parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, _) = connect_async(request).await.expect("Janus answers");
        let (api_secret, admin_key) = (gateway.api_secret.clone(), gateway.admin_key.clone());
        let voices = VOICES.map(|(hz, rate)| Arc::new(opus::frames(&speech(hz, rate)))).into();
        let mut bridge =
            Self { socket, api_secret, admin_key, session: 0, asked: 0, voices, talking: Vec::new() };
        bridge.session = id(&bridge.ask(json!({ "janus": "create" })).await);
        bridge
    }

    /// Creates a room with the settings of Stentor, except for those in `settings`.
    pub async fn create(&mut self, room: u32, pin: &str, settings: &Value) {
        let mut body = json!({
            "request": "create", "room": room, "secret": room_secret().0, "pin": pin,
            "is_private": true, "permanent": false, "sampling_rate": 48_000, "audiolevel_event": true,
            "audio_active_packets": 25, "audio_level_average": 45, "allow_rtp_participants": true,
            "admin_key": self.admin_key,
        });
        merge(&mut body, settings);
        let handle = self.attach().await;
        self.message(handle, body).await;
    }

    /// Lets three participants join a room and talk. `settings` replace fields of their `join` requests.
    pub async fn talk(&mut self, room: u32, pin: &str, settings: &Value) {
        self.talk_as(room, pin, settings, SPEAKERS).await;
    }

    /// Lets `count` participants join a room and talk, each with one of the three voices.
    pub async fn talk_as(&mut self, room: u32, pin: &str, settings: &Value, count: usize) {
        let mut speakers = Vec::new();
        let voices: Vec<_> = self.voices.iter().cycle().take(count).cloned().collect();
        for voice in voices {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            let ours = socket.local_addr().expect("an address");
            // Offer forward error correction, as WebRTC clients do.
            let rtp =
                json!({ "ip": "127.0.0.1", "port": ours.port(), "payload_type": PAYLOAD_TYPE, "fec": true });
            let volume = MixShare::of(count as u8).volume();
            let mut body =
                json!({ "request": "join", "room": room, "pin": pin, "volume": volume, "rtp": rtp });
            merge(&mut body, settings);
            let handle = self.attach().await;
            let theirs = &self.message(handle, body).await["rtp"];
            let address = format!("{}:{}", theirs["ip"].as_str().expect("an address"), theirs["port"]);
            speakers.push((socket, address.parse().expect("an address"), voice));
        }
        let talking = Arc::new(());
        let while_held = Arc::downgrade(&talking);
        thread::Builder::new()
            .name("speech".into())
            .spawn(move || send(&speakers, &while_held))
            .expect("a thread");
        self.talking.push(talking);
    }

    /// Makes all participants leave.
    pub async fn empty(&mut self) {
        self.talking.clear();
        self.ask(json!({ "janus": "destroy", "session_id": self.session })).await;
        self.session = id(&self.ask(json!({ "janus": "create" })).await);
    }

    async fn attach(&mut self) -> u64 {
        let plugin = "janus.plugin.audiobridge";
        id(&self.ask(json!({ "janus": "attach", "plugin": plugin, "session_id": self.session })).await)
    }

    /// Sends a request to the plugin and returns its answer.
    async fn message(&mut self, handle: u64, body: Value) -> Value {
        let message =
            json!({ "janus": "message", "session_id": self.session, "handle_id": handle, "body": body });
        let data = self.ask(message).await["plugindata"]["data"].take();
        assert!(data["error_code"].is_null(), "{data}");
        data
    }

    /// Sends a request and returns the answer. The answer to a message comes after an `ack`, which is
    /// skipped.
    async fn ask(&mut self, mut request: Value) -> Value {
        self.asked += 1;
        let transaction = self.asked.to_string();
        request["transaction"] = transaction.clone().into();
        request["apisecret"] = self.api_secret.clone().into();
        self.socket.send(Message::text(request.to_string())).await.expect("Janus listens");
        loop {
            let message = self.socket.next().await.expect("Janus answers").expect("a message");
            let Message::Text(text) = message else { continue };
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["transaction"] == transaction && answer["janus"] != "ack" {
                return answer;
            }
        }
    }
}

fn id(answer: &Value) -> u64 {
    answer["data"]["id"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

fn merge(body: &mut Value, settings: &Value) {
    for (key, value) in settings.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
}

/// Sends the voices in a loop, one packet of each voice every 20 ms, as long as the caller holds a strong
/// reference for `while_held`.
#[expect(clippy::disallowed_methods, reason = "a thread of its own that keeps the pace of real time")]
fn send(speakers: &[(UdpSocket, SocketAddr, Arc<Voice>)], while_held: &Weak<()>) {
    let begin = Instant::now();
    let mut packet = Vec::new();
    for n in 0u32.. {
        if while_held.strong_count() == 0 {
            return;
        }
        for (ssrc, (socket, target, frames)) in (1u32..).zip(speakers) {
            packet.clear();
            // RFC 3550 section 5.1.
            packet.extend([0x80, PAYLOAD_TYPE]);
            packet.extend((n as u16).to_be_bytes());
            packet.extend(n.wrapping_mul(FRAME.0).to_be_bytes());
            packet.extend(ssrc.to_be_bytes());
            packet.extend_from_slice(&frames[n as usize % frames.len()]);
            // A packet that cannot be sent is lost, as on a real network.
            let _ = socket.send_to(&packet, target);
        }
        // Sleep: until the next packet is due.
        thread::sleep((FRAME.1 * (n + 1)).saturating_sub(begin.elapsed()));
    }
}

/// Returns a source that sounds like speech: ten harmonics of a moving pitch in syllables of this rate, with
/// noise between them.
fn speech(hz: u32, rate: f64) -> String {
    let phase = format!("(2*PI*{hz}*t+3*sin(2*PI*0.7*t))");
    let harmonics: Vec<_> = (1..=10).map(|n| format!("sin({n}*{phase})/{n}")).collect();
    let syllables = format!("pow(max(0,sin(2*PI*{rate}*t)),0.7)");
    let noise = format!("0.1*pow(max(0,sin(2*PI*{rate}*t+2.5)),3)*(2*random(0)-1)");
    format!("aevalsrc='0.4*{syllables}*({})/1.85+{noise}':s=48000", harmonics.join("+"))
}
