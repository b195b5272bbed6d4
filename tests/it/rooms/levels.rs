//! Tests that the mix of a room is clean at every level: AudioBridge adds participants into 16 bits without
//! saturation.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde_json::json;
use stentor::probe::hearing::beside;
use stentor::probe::{HeardAudio, Listener, Mode};

use crate::support::PATIENCE;
use crate::support::caller::Caller;
use crate::support::node::Node;
use crate::support::opus;
use crate::support::studio::Studio;
use crate::support::until;

const TONES: [u32; 5] = [440, 1_000, 1_700, 2_600, 3_700];
/// Tones of the anchors. Janus sends Opus in SILK mode to anchors, because of forward error correction. Even
/// without a mix, SILK distorts some pairs of tones at some phases, but no pair of these tones. For 1,000 and
/// 1,700 Hz the residual is -16 dB instead of -38 dB (libopus 1.3.1).
const ANCHOR_TONES: [u32; 3] = [440, 660, 880];
const QUIET: f64 = 0.06;
/// Amplitude of loud tones. Opus overshoots its source, and the decoder clips what exceeds full scale.
const LOUD: f64 = 0.9;
/// Allowed increase of the residual from quiet to loud sound, in dB relative to the sound.
const MORE_DB: f64 = 3.0;
/// Largest residual, in dB relative to the sound, that two Opus encoders and one AAC encoder leave outside
/// the bands of the tones. It depends on the phases of the tones. A sum that wraps leaves more than 0 dB.
const CODECS_DB: f64 = -34.0;
const SECOND: u64 = 50;

#[actix::test]
async fn full_scale_tones_do_not_wrap() {
    let node = Node::start(&[]).await;
    let studio = Studio::managed(&node).await;
    for anchors in [2, 3, 5] {
        let tones = &TONES[..anchors];
        let at = async |room: &str, amplitude| {
            let sources: Vec<_> = tones.iter().map(|hz| sine(*hz, amplitude)).collect();
            let all_heard = |heard: &HeardAudio| hears_all(heard, tones);
            heard_beside(&node, &studio, &format!("{room}{anchors}"), &sources, &around(tones), all_heard)
                .await
        };
        assert_as_clean(&format!("{anchors} tones"), at("loud", LOUD).await, at("quiet", QUIET).await);
    }
}

#[actix::test]
async fn full_scale_voices_do_not_wrap() {
    let node = Node::start(&[]).await;
    let studio = Studio::managed(&node).await;
    let at = async |room: &str, amplitude| {
        let sources = [(110, 1.7), (150, 2.3), (210, 2.9)].map(|(hz, rate)| voice(hz, rate, amplitude));
        // The highest harmonic is far below 6 kHz; a sum that wraps has energy at all frequencies.
        let talk = |heard: &HeardAudio| heard.pcm.iter().any(|sample| f64::from(sample.abs()) > QUIET / 2.0);
        heard_beside(&node, &studio, room, &sources, &[0.0..=6_000.0], talk).await
    };
    assert_as_clean("voices", at("loud", LOUD).await, at("quiet", QUIET).await);
}

#[actix::test]
async fn full_scale_webrtc_anchors_do_not_wrap() {
    let node = Node::start(&[]).await;
    let quiet = beside_three_anchors(&node, "quiet", QUIET).await;
    let loud = beside_three_anchors(&node, "loud", LOUD).await;
    assert_as_clean("at a listener", loud.0, quiet.0);
    assert_as_clean("at an anchor", loud.1, quiet.1);
}

fn assert_as_clean(what: &str, loud: f64, quiet: f64) {
    let said = format!("{what}: {loud:.1} dB beside loud sound, {quiet:.1} dB beside quiet sound");
    assert!(loud < quiet.max(CODECS_DB) + MORE_DB, "{said}");
    eprintln!("{said}");
}

/// Returns the level outside the bands at a listener, in dB relative to the sound, while each source plays as
/// an anchor of the room.
async fn heard_beside(
    node: &Node,
    studio: &Studio,
    room: &str,
    sources: &[String],
    bands: &[RangeInclusive<f64>],
    audible: impl Fn(&HeardAudio) -> bool,
) -> f64 {
    on_air(node, room, sources.len()).await;
    let mut speakers = Vec::new();
    for source in sources {
        speakers.push(studio.play(node, room, source).await);
    }
    let mut listener = tuned_in(node, room, audible).await;
    let heard = listener.hear(Duration::from_secs(3)).await.unwrap();
    node.post(&format!("/api/rooms/{room}/stop"), json!({})).await;
    beside(&heard.pcm, bands)
}

/// Returns the levels outside the tones' bands, in dB relative to the sound: at a listener, and at the first
/// of three anchors.
async fn beside_three_anchors(node: &Node, room: &str, amplitude: f64) -> (f64, f64) {
    let tones = &ANCHOR_TONES;
    on_air(node, room, tones.len()).await;
    let mut anchors = Vec::new();
    for hz in tones {
        let user = json!({ "role": "anchor", "userId": format!("user{hz}") });
        let invited = node.post(&format!("/api/rooms/{room}/users"), user).await.json();
        let mut caller = Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "").await;
        let media = caller.play(opus::frames(&sine(*hz, amplitude))).await;
        anchors.push((caller, media));
    }
    let mut listener = tuned_in(node, room, |heard| hears_all(heard, tones)).await;
    let at_anchor = &anchors[0].1;
    at_anchor.hear(SECOND).await;
    let (listened, heard) = futures::join!(listener.hear(Duration::from_secs(4)), at_anchor.hear(4 * SECOND));
    (beside(&listened.unwrap().pcm, &around(tones)), beside(&heard, &around(&tones[1..])))
}

/// Returns the loudness in LUFS and the true peak in dBTP at a listener of a room with one voice. `room`: id
/// and `maxAnchors`.
async fn speech(node: &Node, studio: &Studio, room: (&str, usize), amplitude: f64) -> (f64, f64) {
    let (room, anchors) = room;
    on_air(node, room, anchors).await;
    let _speaker = studio.play(node, room, &voice(150, 2.3, amplitude)).await;
    let talk = |heard: &HeardAudio| heard.pcm.iter().any(|sample| sample.abs() > 0.02);
    let mut listener = tuned_in(node, room, talk).await;
    // The leveller reaches its gain within two seconds.
    listener.hear(Duration::from_secs(2)).await.unwrap();
    let heard = listener.hear(Duration::from_secs(6)).await.unwrap();
    node.post(&format!("/api/rooms/{room}/stop"), json!({})).await;
    opus::loudness(&heard.pcm)
}

/// Opens a listener and waits until it hears audio that satisfies the condition.
pub(super) async fn tuned_in(node: &Node, room: &str, audible: impl Fn(&HeardAudio) -> bool) -> Listener {
    let deadline = Instant::now() + PATIENCE;
    let mut listener = Listener::open_by(&node.target(room).await, Mode::Parts, deadline).await.unwrap();
    while !audible(&listener.hear(Duration::from_millis(600)).await.unwrap()) {
        assert!(Instant::now() < deadline, "nothing is heard in {room}");
    }
    listener
}

pub(super) fn hears_all(heard: &HeardAudio, tones: &[u32]) -> bool {
    tones.iter().all(|hz| heard.level(f64::from(*hz)) > QUIET / 4.0)
}

pub(super) async fn on_air(node: &Node, room: &str, anchors: usize) {
    let wanted = json!({ "roomId": room, "maxAnchors": anchors, "start": true });
    node.post("/api/rooms", wanted).await;
}

/// Returns a sine source; `amplitude` 1 is full scale.
pub(super) fn sine(hz: u32, amplitude: f64) -> String {
    format!("aevalsrc={amplitude}*sin(2*PI*{hz}*t):s=48000")
}

/// Returns a source similar to a voice: ten harmonics of a moving pitch, in `rate` syllables per second, with
/// a peak of about `amplitude`.
fn voice(hz: u32, rate: f64, amplitude: f64) -> String {
    let phase = format!("(2*PI*{hz}*t+3*sin(2*PI*0.7*t))");
    let harmonics: Vec<_> = (1..=10).map(|n| format!("sin({n}*{phase})/{n}")).collect();
    let syllables = format!("pow(max(0,sin(2*PI*{rate}*t)),0.7)");
    format!("aevalsrc='{amplitude}*{syllables}*({})/1.85':s=48000", harmonics.join("+"))
}

pub(super) fn around(tones: &[u32]) -> Vec<RangeInclusive<f64>> {
    tones.iter().map(|hz| f64::from(*hz) - 100.0..=f64::from(*hz) + 100.0).collect()
}

#[actix::test]
async fn levelled_speech_reaches_its_target() {
    let node = Node::start(&[]).await;
    let studio = Studio::managed(&node).await;
    for (room, amplitude) in [(("soft", 3), 0.2), (("loud", 3), LOUD), (("large", 20), 0.2)] {
        let (loudness, peak) = speech(&node, &studio, room, amplitude).await;
        assert!((loudness + 18.0).abs() < 2.0, "{room:?}: {loudness} LUFS");
        assert!(peak <= -1.0, "{room:?}: {peak} dBTP");
    }
    // Noise of -66 dBFS, like that of an open microphone in a quiet room.
    on_air(&node, "noise", 3).await;
    let _noise = studio.play(&node, "noise", "anoisesrc=a=0.0005:r=48000").await;
    let mut listener = tuned_in(&node, "noise", |heard| heard.pcm.iter().any(|s| *s != 0.0)).await;
    let heard = listener.hear(Duration::from_secs(3)).await.unwrap();
    let loudest = heard.pcm.iter().fold(0f32, |max, s| max.max(s.abs()));
    assert!(loudest < 0.002, "noise of 0.0005 is heard as {loudest}");

    until("the silence is counted", async || silent_seconds(&node).await > 0).await;
}

/// Returns the silent seconds of all rooms together.
async fn silent_seconds(node: &Node) -> u64 {
    let rooms = node.states_of("mixer_room").await;
    rooms.iter().filter_map(|room| room["observed"]["mix"]["silentSeconds"].as_u64()).sum()
}

#[actix::test]
async fn unlevelled_speech_keeps_its_loudness() {
    let node = Node::start(&[("mixer.loudness.enabled", "false")]).await;
    let studio = Studio::managed(&node).await;
    for (room, amplitude) in [("soft", 0.1), ("medium", 0.5)] {
        let source = voice(150, 2.3, amplitude);
        let spoken = opus::loudness(&opus::samples(&source)).0;
        let heard = speech(&node, &studio, (room, 3), amplitude).await.0;
        // FFmpeg's mono mix of two equal channels is 3 dB louder than either, as it was before levelling
        // existed.
        assert!((heard - spoken - 3.0).abs() < 1.0, "{room}: spoken at {spoken} LUFS, heard at {heard} LUFS");
    }
}
