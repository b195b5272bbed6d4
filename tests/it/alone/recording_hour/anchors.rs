//! Anchors that always send: each tone shows the time at which it was sent. They reconnect like an app.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use stentor::probe::listener::Target;

use super::sound::{PAUSE_EVERY, SentTones, TONES};
use crate::support::caller::Caller;
use crate::support::opus;
use crate::support::webrtc::{Delivery, Uplink, WebRtcClient};

/// Interval between keepalives. After each keepalive, the client checks whether it must reconnect.
const ALIVE_EVERY: Duration = Duration::from_millis(200);
/// Interval between attempts to return.
const RETRY_AFTER: Duration = Duration::from_millis(300);
/// Time limit for the connection of the media.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// True while the network of the anchors loses packets.
pub static LOSSY: AtomicBool = AtomicBool::new(false);

/// State shared with the anchors and the listener.
pub struct HourState {
    /// Target of the listener, without its node.
    pub target: Target,
    /// Addresses of the listener nodes, which change at each restart.
    pub listener_nodes: Mutex<Vec<String>>,
    /// Index of the node that the listener uses.
    pub listener_node: AtomicUsize,
    /// Addresses of the gateways, which change at each restart.
    pub gateways: Mutex<Vec<String>>,
    pub over: AtomicBool,
    /// Number of established media sessions.
    pub sessions: AtomicUsize,
}

impl HourState {
    pub fn new(target: Target) -> Self {
        Self {
            target,
            listener_nodes: Mutex::default(),
            listener_node: AtomicUsize::new(0),
            gateways: Mutex::default(),
            over: AtomicBool::new(false),
            sessions: AtomicUsize::new(0),
        }
    }
}

pub struct Anchor {
    token: String,
    sent: SentTones,
    frames: Vec<Arc<[u8]>>,
    shared: Arc<HourState>,
    jtoken: Value,
    media: Option<WebRtcClient>,
    /// Index of the gateway to try next.
    gateway: usize,
}

impl Anchor {
    /// Creates the anchor that sends the tones of `anchor`.
    pub fn new(anchor: usize, token: String, sent: SentTones, shared: &Arc<HourState>) -> Self {
        let (frames, shared) = (loop_of(anchor, sent), shared.clone());
        Self { token, sent, frames, shared, jtoken: Value::Null, media: None, gateway: 0 }
    }

    /// Stays in the room until the end, on a thread that nothing else delays.
    pub fn send(self) -> JoinHandle<()> {
        std::thread::spawn(|| actix::System::new().block_on(self.stay()))
    }

    async fn stay(mut self) {
        while !self.shared.over.load(Relaxed) {
            match self.enter().await {
                Ok(mut caller) => {
                    while !self.shared.over.load(Relaxed) && follows(&mut caller).await {
                        // Sleep: the pace of a client.
                        tokio::time::sleep(ALIVE_EVERY).await;
                    }
                }
                Err(_) => {
                    self.gateway += 1;
                    // Sleep: the pace of a client.
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Joins. The media continue if their session was found, and are negotiated otherwise.
    async fn enter(&mut self) -> Result<Caller, Value> {
        let gateways = self.shared.gateways.lock().unwrap().clone();
        let gateway = &gateways[self.gateway % gateways.len()];
        let opened = Caller::try_connect(gateway, &self.token, "&clientId=a").await;
        let mut caller = opened.map_err(|error| json!(error.to_string()))?;
        let params = if self.jtoken.is_null() { json!({}) } else { json!({ "jtoken": self.jtoken }) };
        let joined = caller.call("join", params).await?;
        self.jtoken = joined["jtoken"].clone();
        if joined["resume"] == true && self.media.is_some() {
            return Ok(caller);
        }
        let uplink = Uplink { network, ..Uplink::default() };
        let media = WebRtcClient::in_step(uplink, self.frames.clone(), self.sent.since).await;
        caller.try_negotiate(&media, media.offer()).await?;
        let connected = media.until("the connection", |p| p.connected);
        tokio::time::timeout(CONNECTED_WITHIN, connected).await.map_err(|_| json!("no media"))?;
        self.media = Some(media);
        self.shared.sessions.fetch_add(1, Relaxed);
        Ok(caller)
    }
}

/// Returns false once the client must reconnect.
async fn follows(caller: &mut Caller) -> bool {
    let alive = caller.call("keepalive", json!({ "status": "onair" })).await;
    let closed = alive.is_err_and(|error| !error["closed"].is_null());
    !closed && caller.noted("reconnect").is_none()
}

fn network(packet: u64) -> Delivery {
    // One packet in five is lost: single packets and pairs.
    if LOSSY.load(Relaxed) && matches!(packet % 15, 3 | 7 | 8) { Delivery::Lost } else { Delivery::InOrder }
}

/// Returns the frames of all tones, to be sent in a loop from the start of the clock on.
fn loop_of(anchor: usize, sent: SentTones) -> Vec<Arc<[u8]>> {
    let per_second = Duration::from_secs(1).as_millis() as u64 / 20;
    let mut frames = Vec::new();
    for tone in 0..TONES {
        let gate = format!("not(between(mod(t\\,{PAUSE_EVERY})\\,0\\,0.0999))");
        let hz = sent.hz(anchor, tone as i64);
        let source = format!("aevalsrc=0.25*sin(2*PI*{hz}*t)*{gate}:s=48000");
        let four_seconds = opus::frames(&source);
        let four_seconds = &four_seconds[..4 * per_second as usize];
        frames.extend(
            (0..sent.slot * per_second).map(|n| four_seconds[n as usize % four_seconds.len()].clone()),
        );
    }
    frames
}
