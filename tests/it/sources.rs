//! Sources on a real node: URLs and files that are played in a room as anchors, and their recovery after the
//! death of an input, of FFmpeg and of Janus.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use stentor::ffmpeg::{FfmpegProgram, SourceCommand, SourceInput};
use stentor::probe::{Listener, Mode};

use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::fault_table::recovered;
use crate::support::node::{Node, signal};
use crate::support::{PATIENCE, free_ports, until};

const ROOM: &str = "radio";
/// Loopback is not public, so it must be permitted for these tests.
const LOOPBACK: (&str, &str) = ("sources.networks", "127.0.0.0/8");
const SCHEMES: (&str, &str) = ("sources.schemes", "http,rtmp,srt");
const SHORT_RETRY: (&str, &str) = ("supervision.retry_max", "1s");

/// FFmpeg that serves an endless tone, like a radio station, to one client at a time.
struct Radio {
    is_over: Arc<AtomicBool>,
    /// Process id of the FFmpeg that serves now.
    pid: Arc<AtomicI32>,
}

impl Radio {
    fn start(hz: u32, format: &str, url: &str, options: &[&str]) -> Self {
        let input = format!("sine=frequency={hz}:sample_rate=48000");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "quiet", "-re", "-f", "lavfi", "-i", &input, "-b:a", "128k"]);
        ffmpeg.args(["-f", format]).args(options).arg(url).stdin(Stdio::null());
        let radio = Self { is_over: Arc::default(), pid: Arc::default() };
        let (is_over, pid) = (radio.is_over.clone(), radio.pid.clone());
        std::thread::spawn(move || {
            while !is_over.load(SeqCst) {
                let mut serving = ffmpeg.spawn().unwrap();
                pid.store(serving.id().try_into().unwrap(), SeqCst);
                if is_over.load(SeqCst) {
                    let _ = serving.kill();
                }
                let _ = serving.wait();
            }
        });
        radio
    }

    fn http(hz: u32, port: u16) -> Self {
        let url = format!("http://127.0.0.1:{port}/live.mp3");
        Self::start(hz, "mp3", &url, &["-listen", "1", "-content_type", "audio/mpeg"])
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        self.is_over.store(true, SeqCst);
        // Fails if the process has just ended.
        let _ = Pid::from_raw(self.pid.load(SeqCst)).map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Writes a file with a tone of `seconds`.
fn tone(folder: &tempfile::TempDir, name: &str, hz: u32, seconds: u32) {
    let input = format!("sine=frequency={hz}:sample_rate=48000:duration={seconds}");
    let path = folder.path().join(name);
    let made = Command::new("ffmpeg").args(["-v", "error", "-f", "lavfi", "-i", &input]).arg(path).status();
    assert!(made.unwrap().success());
}

async fn add(node: &Node, source: Value) -> String {
    let added = node.post(&format!("/api/rooms/{ROOM}/sources"), source).await;
    assert_eq!(added.status, 201, "{}", added.text());
    added.json()["source"]["sourceId"].as_str().unwrap().to_owned()
}

async fn source(node: &Node, id: &str) -> Value {
    let all = node.get(&format!("/api/rooms/{ROOM}/sources")).await.json();
    all["sources"].as_array().unwrap().iter().find(|source| source["sourceId"] == id).unwrap().clone()
}

async fn until_state(node: &Node, id: &str, status: &str) {
    until(status, async || source(node, id).await["status"] == status).await;
}

async fn remove(node: &Node, id: &str) -> u16 {
    node.delete(&format!("/api/rooms/{ROOM}/sources/{id}")).await.status
}

async fn host(node: &Node) -> Caller {
    let user = json!({ "role": "host", "userId": "hera" });
    let made = node.post(&format!("/api/rooms/{ROOM}/users"), user).await.json();
    let mut host = Caller::connect(&node.ws, made["token"].as_str().unwrap(), "").await;
    host.call("join", json!({})).await.unwrap();
    host
}

async fn listen(node: &Node) -> Listener {
    Listener::open_by(&node.target(ROOM).await, Mode::Parts, Instant::now() + PATIENCE).await.unwrap()
}

async fn hear(listener: &mut Listener, hz: f64) {
    listener.hear_until(hz, Instant::now() + PATIENCE).await.unwrap();
}

/// Returns the pid of the FFmpeg that plays a source: the one that encodes Opus.
fn playing(node: &Node) -> Option<i32> {
    let is_source = |pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("libopus")
    };
    node.children("ffmpeg").into_iter().find(is_source)
}

#[actix::test]
async fn played_file_is_an_anchor() {
    let folder = tempfile::tempdir().unwrap();
    tone(&folder, "long.ogg", 440, 600);
    tone(&folder, "short.wav", 880, 2);
    let node = Node::start(&[("sources.folder", folder.path().to_str().unwrap())]).await;
    node.room_on_air(ROOM).await;
    let mut host = host(&node).await;
    let at_host = host.offer(0).await;
    let mut listener = listen(&node).await;

    let id = add(&node, json!({ "file": "long.ogg", "title": "Tone" })).await;
    let shown = |status: &'static str, muted: bool| {
        move |params: &Value| {
            params["members"].as_array().unwrap().iter().any(|member| {
                member["source"] == "file"
                    && member["displayName"] == "Tone"
                    && member["status"] == status
                    && member["muted"] == muted
            })
        }
    };
    host.note("roomStatus", shown("onair", false)).await;
    at_host.until_hears(&[440.0], &[]).await;
    hear(&mut listener, 440.0).await;
    let actor = node.state_of("source").await;
    assert_eq!((&actor["state"], &actor["desired"]["kind"]), (&json!("playing"), &json!("file")), "{actor}");

    // The host mutes it like any other anchor; the mute survives the death of FFmpeg.
    host.call("mute", json!({ "userId": id })).await.unwrap();
    host.note("roomStatus", shown("onair", true)).await;
    at_host.until_hears(&[], &[440.0]).await;
    signal(playing(&node).unwrap(), Signal::KILL);
    host.note("roomStatus", shown("idle", true)).await;
    host.note("roomStatus", shown("onair", true)).await;
    host.call("unmute", json!({ "userId": id })).await.unwrap();
    at_host.until_hears(&[440.0], &[]).await;

    // The room permits three anchors: the host, this source, and one more.
    let short = add(&node, json!({ "file": "short.wav" })).await;
    let full = node.post(&format!("/api/rooms/{ROOM}/sources"), json!({ "file": "short.wav" })).await;
    assert_eq!((full.status, full.code().as_str()), (409, "room_full"));
    until_state(&node, &short, "ended").await;
    let looping = add(&node, json!({ "file": "short.wav", "loop": true })).await;
    at_host.until_hears(&[440.0, 880.0], &[]).await;

    assert_eq!(remove(&node, &id).await, 200);
    at_host.until_hears(&[880.0], &[440.0]).await;
    assert_eq!(remove(&node, &id).await, 404);
    host.call("kick", json!({ "userId": looping })).await.unwrap();
    at_host.until_hears(&[], &[880.0]).await;
    until("no process is left", async || playing(&node).is_none()).await;
    assert_eq!(node.get(&format!("/api/rooms/{ROOM}/sources")).await.json()["sources"], json!([]));
}

#[actix::test]
async fn source_survives_deaths_around_it() {
    let node = Node::start(&[LOOPBACK, SCHEMES, SHORT_RETRY]).await;
    node.room_on_air(ROOM).await;
    let mut listener = listen(&node).await;
    let [port] = free_ports();
    let mut radio = Some(Radio::http(440, port));
    let id = add(&node, json!({ "url": format!("http://127.0.0.1:{port}/live.mp3?key=geheim") })).await;
    hear(&mut listener, 440.0).await;
    until_state(&node, &id, "playing").await;
    assert_eq!(source(&node, &id).await["url"], format!("http://127.0.0.1:{port}/…"));

    radio.take();
    until_state(&node, &id, "waiting").await;
    let silent = source(&node, &id).await;
    assert!(silent["reason"].is_string(), "{silent}");
    let actor = node.state_of("source").await;
    assert!(actor["reason"].as_str().unwrap().starts_with("tries again after"), "{actor}");

    for (fault, hz) in [("a source's server", 660), ("FFmpeg of a source", 770), ("Janus of a source", 880)] {
        let since = Instant::now();
        match fault {
            "FFmpeg of a source" => signal(playing(&node).unwrap(), Signal::KILL),
            "Janus of a source" => signal(node.children("janus")[0], Signal::KILL),
            _ => {}
        }
        radio.take();
        radio = Some(Radio::http(hz, port));
        hear(&mut listener, f64::from(hz)).await;
        recovered(&format!("{fault} dies"), "the source", since.elapsed(), Duration::from_secs(5));
        until_state(&node, &id, "playing").await;
    }
    assert!(!node.output().contains("geheim"), "the URL may hold a secret");
}

#[actix::test]
async fn stream_protocols_are_played() {
    let node = Node::start(&[LOOPBACK, SCHEMES, SHORT_RETRY]).await;
    node.room_on_air(ROOM).await;
    let mut listener = listen(&node).await;
    let [srt, rtmp] = free_ports();
    let _srt = Radio::start(440, "mpegts", &format!("srt://127.0.0.1:{srt}?mode=listener"), &[]);
    let id = add(&node, json!({ "url": format!("srt://127.0.0.1:{srt}?streamid=a") })).await;
    hear(&mut listener, 440.0).await;
    assert_eq!(remove(&node, &id).await, 200);
    let url = format!("rtmp://127.0.0.1:{rtmp}/live/geheim");
    let _rtmp = Radio::start(660, "flv", &url, &["-c:a", "aac", "-listen", "1"]);
    let id = add(&node, json!({ "url": url })).await;
    hear(&mut listener, 660.0).await;
    let shown = format!("rtmp://127.0.0.1:{rtmp}/live/…");
    assert_eq!(source(&node, &id).await["url"], shown);
    let actor = node.state_of("source").await;
    assert_eq!(actor["desired"]["input"], shown);
    assert!(!actor.to_string().contains("geheim") && !node.output().contains("geheim"), "{actor}");
}

/// By default, FFmpeg sends RTCP to the next port. That may be the port of another source, where the packets
/// would count as sound.
#[actix::test]
async fn sources_send_to_their_port_only() {
    let folder = tempfile::tempdir().unwrap();
    tone(&folder, "short.wav", 440, 2);
    let bind = |port: u16| std::net::UdpSocket::bind(("127.0.0.1", port));
    let pair = || {
        let own = bind(0).ok()?;
        let next = bind(own.local_addr().ok()?.port().checked_add(1)?).ok()?;
        Some((own, next))
    };
    let (own, next) = (0..1_000).find_map(|_| pair()).expect("two free ports");
    let command = SourceCommand {
        program: FfmpegProgram { binary: "ffmpeg".into(), account: None },
        input: SourceInput::File { path: folder.path().join("short.wav"), repeats: false },
        to: own.local_addr().unwrap(),
        payload_type: 100,
    };
    let mut playing = command.spawn().unwrap();
    assert!(playing.child.wait().await.unwrap().success());
    let received = |socket: &std::net::UdpSocket| {
        socket.set_nonblocking(true).unwrap();
        socket.recv(&mut [0; 1500]).is_ok()
    };
    assert_eq!((received(&own), received(&next)), (true, false));
}

#[actix::test]
async fn node_refuses_forbidden_sources() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("list.m3u8"), "#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n").unwrap();
    std::fs::write(folder.path().join("list.txt"), "ffconcat version 1.0\nfile /etc/hostname\n").unwrap();
    let settings = [("sources.folder", folder.path().to_str().unwrap()), ("sources.schemes", "http")];
    let node = Node::start(&settings).await;
    node.room_on_air(ROOM).await;
    let path = format!("/api/rooms/{ROOM}/sources");
    for (body, status, code) in [
        (json!({}), 400, "invalid_source"),
        (json!({ "url": "http://a.example/", "file": "a.mp3" }), 400, "invalid_source"),
        (json!({ "url": "file:///etc/passwd" }), 400, "invalid_source"),
        (json!({ "url": "http://user:pass@a.example/" }), 400, "invalid_source"),
        (json!({ "file": "../secrets.json" }), 400, "invalid_source"),
        (json!({ "file": "/etc/passwd" }), 400, "invalid_source"),
        (json!({ "file": "a.mp3", "title": "a\u{202e}b" }), 400, "invalid_name"),
        (json!({ "file": "a.mp3", "volume": 3 }), 400, "invalid_body"),
        (json!({ "url": "https://a.example/" }), 403, "source_not_permitted"),
        (json!({ "url": "srt://a.example:1" }), 403, "source_not_permitted"),
    ] {
        let refused = node.post(&path, body.clone()).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{body}");
    }
    let absent = node.delete(&format!("{path}/absent")).await;
    assert_eq!((absent.status, absent.code().as_str()), (404, "source_not_found"));

    // These are accepted, because only the node that plays them can check them. None of them plays.
    for (body, reason) in [
        (json!({ "url": format!("{}/readyz", node.ops) }), "no public address"),
        (json!({ "url": "http://169.254.169.254/latest/meta-data" }), "no public address"),
        (json!({ "file": "list.m3u8" }), "FFmpeg: "),
        (json!({ "file": "list.txt" }), "FFmpeg: "),
        (json!({ "file": "absent.mp3" }), "cannot be read"),
    ] {
        let id = add(&node, body.clone()).await;
        let refused =
            async || source(&node, &id).await["reason"].as_str().is_some_and(|why| why.contains(reason));
        until(reason, refused).await;
        assert_eq!(remove(&node, &id).await, 200);
    }
    withstood(
        "sources: files outside the folder, playlists and concatenations, URLs of the node and of the cloud",
        "refused, or waiting with the reason",
        "the room is on air",
    );
    node.until_status(ROOM, "onair").await;
}
