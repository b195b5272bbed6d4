//! Tests of anchors on imperfect networks and with unusual encoders: they are heard, and others are not
//! disturbed.

use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::join;
use serde_json::json;
use stentor::probe::HeardAudio;
use stentor::probe::hearing::{beside, level};

use super::levels::{around, hears_all, on_air, sine, tuned_in};
use crate::support::PATIENCE;
use crate::support::caller::Caller;
use crate::support::node::Node;
use crate::support::opus;
use crate::support::webrtc::{Delivery, Network, Uplink, WebRtcClient};

const HZ: u32 = 440;
/// Tone of another anchor in the same room.
const OTHER_HZ: u32 = 1_000;
const AMPLITUDE: f64 = 0.25;
const HEARD: Duration = Duration::from_secs(4);
/// Samples in 50 ms at 48 kHz, the shortest time for which `level` has a value.
const BLOCK: usize = 2_400;
/// Tolerated share of blocks without the tone: none is missing on an idle machine, but on a busy one frames
/// are late.
const MISSING: f64 = 0.2;
/// Highest level beside a tone, in dB relative to the tone, that the codecs alone cause.
const NOISE_DB: f64 = -34.0;

#[actix::test]
async fn lossy_uplinks_are_heard() {
    let node = Node::start(&[]).await;
    join_all(NETWORKS.map(async |(room, network)| {
        let media = WebRtcClient::over(Uplink { network, ..Uplink::default() }, tone(HZ)).await;
        on_air(&node, room, 1).await;
        let _caller = join(&node, room, &media, media.offer()).await;
        until_heard(&node, room, &[HZ], |heard| match room {
            "outages" => missing(heard, HZ) > 0.3,
            _ => missing(heard, HZ) <= MISSING && noise(heard) < NOISE_DB,
        })
        .await;
    }))
    .await;
}

/// Networks of anchors. The last one loses half a second of every second, which no decoder conceals.
const NETWORKS: [(&str, Network); 4] = [
    ("random_loss", |n| lost_if(n * 61 % 100 < 5)),
    ("bursts", |n| lost_if(n % 60 < 3)),
    ("reordering", |n| if n % 20 == 0 { Delivery::Late } else { Delivery::InOrder }),
    ("outages", |n| lost_if(n % 50 < 25)),
];

fn lost_if(lost: bool) -> Delivery {
    if lost { Delivery::Lost } else { Delivery::InOrder }
}

#[actix::test]
async fn unusual_encoders_are_heard() {
    let node = Node::start(&[]).await;
    join!(stereo_is_mixed_to_mono(&node), redundancy_is_declined(&node), pauses_stay_silent(&node));
}

async fn stereo_is_mixed_to_mono(node: &Node) {
    let [left, right] = [HZ, OTHER_HZ].map(|hz| format!("{AMPLITUDE}*sin(2*PI*{hz}*t)"));
    let stereo = opus::frames(&format!("aevalsrc=exprs={left}|{right}:s=48000"));
    let media = WebRtcClient::over(Uplink::default(), stereo).await;
    on_air(node, "stereo", 1).await;
    let offer = media.offer().replace("useinbandfec=1", "useinbandfec=1;stereo=1;sprop-stereo=1");
    let _caller = join(node, "stereo", &media, offer).await;
    let both = [HZ, OTHER_HZ];
    until_heard(node, "stereo", &both, |heard| both.iter().all(|hz| missing(heard, *hz) <= MISSING)).await;
}

/// Offers redundant audio (RED, RFC 2198) first. AudioBridge cannot decode it, so the answer must not select
/// it.
async fn redundancy_is_declined(node: &Node) {
    let media = WebRtcClient::over(Uplink::default(), tone(HZ)).await;
    on_air(node, "red", 1).await;
    let offer = media
        .offer()
        .replace("SAVPF 111", "SAVPF 63 111")
        .replace("a=rtpmap:111 ", "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:111 ");
    assert!(offer.contains("a=rtpmap:63"), "{offer}");
    let (answer, _caller) = join(node, "red", &media, offer).await;
    assert!(answer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), "{answer}");
    until_heard(node, "red", &[HZ], |heard| missing(heard, HZ) <= MISSING).await;
}

/// Speaks every other second, with discontinuous transmission.
async fn pauses_stay_silent(node: &Node) {
    let uplink = Uplink { sends: |n| n % 100 < 50 || n % 20 == 0, ..Uplink::default() };
    let source = format!("aevalsrc={AMPLITUDE}*sin(2*PI*{HZ}*t)*lt(mod(t\\,2)\\,1):s=48000");
    let media = WebRtcClient::over(uplink, opus::frames(&source)).await;
    on_air(node, "pauses", 1).await;
    let _caller = join(node, "pauses", &media, media.offer()).await;
    until_heard(node, "pauses", &[HZ], |heard| {
        (0.3..0.7).contains(&missing(heard, HZ)) && noise(heard) < NOISE_DB
    })
    .await;
}

/// AudioBridge garbles frames that do not last 20 ms. The answer asks for 20 ms, and a client that sends
/// other frames nevertheless garbles only its own voice.
#[actix::test]
async fn other_frame_durations_disturb_nobody() {
    let node = Node::start(&[]).await;
    join_all([10, 40, 60].map(async |millis: u64| {
        let room = format!("frames{millis}");
        on_air(&node, &room, 2).await;
        let usual = WebRtcClient::over(Uplink::default(), tone(OTHER_HZ)).await;
        let _usual = join(&node, &room, &usual, usual.offer()).await;
        let uplink = Uplink { frame_samples: millis * 48, ..Uplink::default() };
        let frames = opus::frames_of(&sine(HZ, AMPLITUDE), millis as usize);
        let other = WebRtcClient::over(uplink, frames).await;
        let (answer, _other) = join(&node, &room, &other, other.offer()).await;
        assert!(answer.contains("\r\na=ptime:20\r\na=maxptime:20\r\n"), "{answer}");
        until_heard(&node, &room, &[OTHER_HZ], |heard| missing(heard, OTHER_HZ) <= MISSING).await;
    }))
    .await;
}

fn tone(hz: u32) -> Vec<std::sync::Arc<[u8]>> {
    opus::frames(&sine(hz, AMPLITUDE))
}

/// Joins as an anchor with this offer. Returns the answer, and the connection, which must be kept.
async fn join(node: &Node, room: &str, media: &WebRtcClient, offer: String) -> (String, Caller) {
    let user = json!({ "role": "anchor" });
    let invited = node.post(&format!("/api/rooms/{room}/users"), user).await.json();
    let mut caller = Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "").await;
    caller.call("join", json!({})).await.unwrap();
    let answer = caller.negotiate(media, offer).await;
    media.until("the connection", |p| p.connected).await;
    (answer, caller)
}

/// Waits until a listener hears the tones, and then until what it hears satisfies the condition: on a busy
/// machine, frames may be late for a while.
async fn until_heard(node: &Node, room: &str, tones: &[u32], fits: impl Fn(&HeardAudio) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut listener = tuned_in(node, room, |heard| hears_all(heard, tones)).await;
    // The leveller reaches its gain within two seconds.
    listener.hear(Duration::from_secs(2)).await.unwrap();
    loop {
        let heard = listener.hear(HEARD).await.unwrap();
        if fits(&heard) {
            return;
        }
        let missing: Vec<_> = tones.iter().map(|hz| missing(&heard, *hz)).collect();
        let said = format!("{room}: {missing:?} of {tones:?} Hz is missing, {} dB beside", noise(&heard));
        assert!(Instant::now() < deadline, "{said}");
    }
}

/// Returns the share of blocks in which the tone has less than half of its level in the loudest blocks.
fn missing(heard: &HeardAudio, hz: u32) -> f64 {
    let blocks = heard.pcm.chunks_exact(BLOCK);
    let mut levels: Vec<f64> = blocks.map(|block| level(block, f64::from(hz))).collect();
    levels.sort_by(f64::total_cmp);
    let usual = levels[levels.len() * 9 / 10];
    levels.iter().filter(|level| **level < usual / 2.0).count() as f64 / levels.len() as f64
}

fn noise(heard: &HeardAudio) -> f64 {
    beside(&heard.pcm, &around(&[HZ]))
}
