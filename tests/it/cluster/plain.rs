//! Plain streams of a listener node: heard across faults of FFmpeg and of mixers, ended with the room.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;
use stentor::probe::hearing::{decode, level};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use super::listening::House;
use super::{HZ, LONG, ROOM, within};
use crate::support::kept::KeptProcess;
use crate::support::node::{request, signal};
use crate::support::{report, until};

/// Bytes per second of FFmpeg's output: 16 bits, 48 kHz, mono.
const RATE: u64 = 96_000;

#[actix::test]
async fn plain_streams_outlive_ffmpeg_and_mixers() {
    let mut house = House::start(2).await;
    let _speaker = house.speaker().await;
    let folder = tempfile::tempdir().unwrap();
    let [saved, heard, opus] = ["saved.aac", "heard.pcm", "opus.pcm"].map(|name| folder.path().join(name));
    let curl =
        start(Command::new("curl").args(["-sS", "--fail", "-o"]).arg(&saved).arg(stream(&house).await));
    let ffmpeg = decoded(&playlist(&house, "m3u").await, &heard);
    let ogg = decoded(&playlist(&house, "opus.m3u").await, &opus);
    let stalled = stalled_client(&house).await;
    let tone_follows = async |what: &str| {
        for (form, file) in [("AAC", &heard), ("Opus", &opus)] {
            tone_follows(file, &format!("{what} ({form})")).await;
        }
    };
    tone_follows("the start").await;
    until("the listeners are counted", async || {
        house.cluster.room().await["listeners"].as_u64().is_some_and(|count| count >= 2)
    })
    .await;

    let owner = house.cluster.owner().await;
    signal(house.cluster.mixers[owner].children("ffmpeg")[0], Signal::KILL);
    tone_follows("the end of FFmpeg").await;

    let mark = format!("/api/modules/mixers/m{}/mark", owner + 1);
    assert_eq!(house.cluster.desk.put(&mark, json!({ "label": "draining" })).await.status, 200);
    within("the room moves", LONG, async || house.cluster.owner().await != owner).await;
    within("the old mixer is empty", LONG, async || {
        house.cluster.mixers[owner].children("ffmpeg").is_empty()
    })
    .await;
    tone_follows("a handover").await;

    assert_eq!(house.cluster.desk.delete(&mark).await.status, 200);
    house.cluster.mixers[1 - owner].kill();
    within("the room moves back", LONG, async || house.cluster.owner().await == owner).await;
    tone_follows("the end of a mixer").await;

    let cut = "stentor_connections_cut_total{reason=\"slow_reader\"}";
    within("the stalled client is dropped", LONG, async || {
        request("GET", &format!("{}/metrics", house.ear.ops), &[], None).await.text().contains(cut)
    })
    .await;
    drop(stalled);
    signal(house.ear.children("ffmpeg")[0], Signal::KILL);
    tone_follows("the end of the Opus encoder").await;
    assert!(!curl.has_ended() && !ffmpeg.has_ended() && !ogg.has_ended());

    let ended = house.cluster.desk.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await;
    assert_eq!(ended.status, 200);
    // curl fails with 18 if a chunked response has no last chunk.
    let ends = [curl, ffmpeg, ogg].map(|listener| listener.end(LONG).code());
    assert_eq!(ends, [Some(0); 3]);
    let bytes = std::fs::read(&saved).unwrap();
    let pcm = decode("ffmpeg".as_ref(), bytes).await.expect("whole frames, one after the other");
    report(format!("{:.1} s in one response", pcm.len() as f64 / 48_000.0));
    let refused = request("GET", &stream(&house).await, &[], None).await;
    assert_eq!((refused.status, refused.code()), (404, "room_not_on_air".into()));
    for kind in ["plain_room", "opus_room"] {
        within("nothing is produced", LONG, async || house.ear.states_of(kind).await.is_empty()).await;
    }
    assert_eq!(house.ear.children("ffmpeg"), [0; 0]);
}

#[actix::test]
async fn plain_streams_are_refused_like_keys() {
    let house = House::start(1).await;
    let _speaker = house.speaker().await;
    let at = |path: &str| format!("{}/live/{path}", house.ear.hls);
    let token = house.cluster.desk.token(ROOM).await;
    for (path, status, code) in [
        ("live.aac".to_owned(), 401, "token_missing"),
        ("live.aac?token=a.b.c".to_owned(), 401, "token_invalid"),
        (format!("other.aac?token={token}"), 403, "token_wrong_room"),
        (format!("live.ogg?token={token}"), 404, "not_found"),
        ("live.opus".to_owned(), 401, "token_missing"),
    ] {
        let refused = request("GET", &at(&path), &[], None).await;
        assert_eq!((refused.status, refused.code()), (status, code.into()), "{path}");
    }
    let head = request("HEAD", &at(&format!("live.aac?token={token}")), &[("icy-metadata", "1")], None).await;
    assert_eq!((head.status, head.header("icy-name"), head.body.len()), (200, Some(ROOM), 0));
    assert!(head.header("icy-metaint").is_some());
    let head = request("HEAD", &at(&format!("live.opus?token={token}")), &[], None).await;
    assert_eq!((head.status, head.header("content-type"), head.body.len()), (200, Some("audio/ogg"), 0));
}

fn start(command: &mut Command) -> KeptProcess {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    KeptProcess::start(std::mem::replace(command, Command::new("true")))
}

async fn stream(house: &House) -> String {
    format!("{}/live/{ROOM}.aac?token={}", house.ear.hls, house.cluster.desk.token(ROOM).await)
}

/// Starts FFmpeg, which plays the URL into the file.
fn decoded(url: &str, file: &Path) -> KeptProcess {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-i", url]);
    ffmpeg.args(["-ac", "1", "-ar", "48000", "-f", "s16le", "-flush_packets", "1"]).arg(file);
    start(&mut ffmpeg)
}

/// Returns the stream's URL from the playlist of the listener node with this extension, with its host
/// replaced by the node's own address.
async fn playlist(house: &House, extension: &str) -> String {
    let url = stream(house).await.replace(".aac?", &format!(".{extension}?"));
    let text = request("GET", &url, &[], None).await.text();
    let named = text.lines().last().expect("a URL").to_owned();
    let (_, path) = named.split_once("/live/").expect("the path of a stream");
    format!("{}/live/{path}", house.ear.hls)
}

/// Connects a client that requests the stream and reads nothing.
async fn stalled_client(house: &House) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = house.ear.hls.trim_start_matches("http://").parse().unwrap();
    let mut client = socket.connect(address).await.unwrap();
    let path = stream(house).await.replace(&house.ear.hls, "");
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: ear\r\n\r\n").as_bytes()).await.unwrap();
    client
}

/// Waits until more than three seconds have been added to the file, and its last second has the tone.
async fn tone_follows(file: &Path, what: &str) {
    let length = || std::fs::metadata(file).map_or(0, |file| file.len());
    let (from, since) = (length(), Instant::now());
    within(&format!("the tone after {what}"), LONG, async || {
        length() > from + 3 * RATE && level(&last_second(file), HZ) > 0.03
    })
    .await;
    report(format!("plain stream, after {what}: tone within {:?}", since.elapsed()));
}

fn last_second(file: &Path) -> Vec<f32> {
    let file = File::open(file).unwrap();
    let end = file.metadata().unwrap().len() / 2 * 2;
    let mut bytes = vec![0; RATE as usize];
    file.read_exact_at(&mut bytes, end - RATE).unwrap();
    let (samples, _) = bytes.as_chunks::<2>();
    samples.iter().map(|sample| f32::from(i16::from_le_bytes(*sample)) / 32_768.0).collect()
}
