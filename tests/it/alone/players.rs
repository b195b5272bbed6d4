//! Tests of a live room in common players, over HLS and as a plain stream, across key changes and a killed
//! FFmpeg, in the long run twice. Each player plays the right tone, is silent for at most half a second
//! longer than the fault lasts, and does not stop. `docs/players.md` lists the results.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use stentor::probe::hearing::strongest_hz;
use tempfile::TempDir;

use crate::support::kept::KeptProcess;
use crate::support::node::{Node, request, signal};
use crate::support::studio::Studio;
use crate::support::{report, skipped, until, wait_until};

const ROOM: &str = "live";
const HZ: u32 = 440;
/// Bytes per second of the players' output: 16 bits, 48 kHz, mono.
const RATE: u64 = 96_000;
/// Longest tolerated silence, in seconds: the downtime of FFmpeg plus half a second.
const LONGEST_SILENCE: f64 = 0.9;
/// Amplitude below which a sample is silent.
const QUIET: f32 = 0.005;
/// Time limit from a player's start to the end of its output, beyond the duration it plays.
pub(super) const SLACK: Duration = Duration::from_secs(60);
/// User and group `nobody`: VLC refuses to run as root.
const NOBODY: &str = "65534";

const PLAYERS: [(&str, Start); 7] = [
    ("FFmpeg", ffmpeg),
    ("streamlink 6", |url, file, seconds| streamlink("6.11.0", url, file, seconds)),
    ("streamlink 8", |url, file, seconds| streamlink("8.6.3", url, file, seconds)),
    ("mpv", mpv),
    ("VLC 3", vlc),
    ("GStreamer playbin", |url, file, seconds| gstreamer("playbin", url, file, seconds)),
    ("GStreamer playbin3", |url, file, seconds| gstreamer("playbin3", url, file, seconds)),
];

/// Players that run in a browser, each with the kind of stream that it plays. `make test` skips them, because
/// so many browsers need more resources than a small machine has.
const WEB_PLAYERS: [(&str, &str, Start); 8] = [
    ("HLS", "hls.js in Chromium", |url, file, seconds| chromium("hls.js", url, file, seconds)),
    ("HLS", "hls.js in Firefox", |url, file, seconds| browser("hls.js", "firefox", url, file, seconds)),
    ("HLS", "Shaka Player in Chromium", |url, file, seconds| chromium("shaka", url, file, seconds)),
    ("HLS", "video.js in Chromium", |url, file, seconds| chromium("video.js", url, file, seconds)),
    ("HLS", "hls.js in WebKitGTK", |url, file, seconds| webkit("hls.js", url, file, seconds)),
    ("HLS", "WebKitGTK", |url, file, seconds| webkit("audio", url, file, seconds)),
    ("plain stream", "<audio> in Chromium", |url, file, seconds| chromium("audio", url, file, seconds)),
    ("plain stream", "<audio> in WebKitGTK", |url, file, seconds| webkit("audio", url, file, seconds)),
];

/// Builds the command that plays a URL for some seconds into a WAV file. `None`: the player is not available.
pub(super) type Start = fn(&str, &Path, u32) -> Option<Command>;

#[actix::test]
async fn players_play_across_keys_and_restarts() {
    let wanted: Option<u32> =
        std::env::var("STENTOR_TEST_PLAY_SECONDS").ok().map(|text| text.parse().unwrap());
    let seconds = wanted.unwrap_or(40);
    let node = Node::start(&[("hls.key_rotation", "8")]).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.speak(&node, ROOM, HZ).await;
    let token = node.token(ROOM).await;
    let url = format!("{}/hls/rooms/{ROOM}/index.m3u8?token={token}", node.hls);
    let plain = format!("{}/live/{ROOM}.aac?token={token}", node.hls);
    // GStreamer's playbin3 stays silent if it starts within the first segments of a broadcast.
    let listed = async || request("GET", &url, &[], None).await.text().matches("#EXTINF").count();
    until("five segments are listed", async || listed().await >= 5).await;
    let folder = open_folder();
    let cases = [("HLS", &url), ("plain stream", &plain)].into_iter().flat_map(|(format, url)| {
        let web = WEB_PLAYERS.into_iter().filter(move |(of, ..)| wanted.is_some() && *of == format);
        let all = PLAYERS.into_iter().chain(web.map(|(_, player, command)| (player, command)));
        all.map(move |(player, command)| (format!("{player}, {format}"), url, command))
    });
    let playing: Vec<_> = cases
        .enumerate()
        .filter_map(|(n, (name, url, command))| {
            let file = folder.path().join(format!("{n}.wav"));
            let Some(command) = command(url, &file, seconds) else {
                skipped(format!("{name} is not available here"));
                return None;
            };
            Some((name, start(command), file))
        })
        .collect();

    for (name, _, file) in &playing {
        wait_until(&format!("{name} plays"), SLACK, || length(file) > 6 * RATE);
    }
    let killed = node.children("ffmpeg");
    signal(killed[0], Signal::KILL);
    if wanted.is_some() {
        // The second one comes when every player has played as much again.
        wait_until("another FFmpeg runs", SLACK, || {
            node.children("ffmpeg").iter().any(|pid| *pid != killed[0])
        });
        let lengths: Vec<_> = playing.iter().map(|(.., file)| length(file)).collect();
        for ((name, _, file), before) in playing.iter().zip(lengths) {
            wait_until(&format!("{name} plays on"), SLACK, || length(file) > before + 6 * RATE);
        }
        signal(node.children("ffmpeg")[0], Signal::KILL);
    }
    let mut faults = Vec::new();
    for (name, player, file) in playing {
        player.end(Duration::from_secs(seconds.into()) + SLACK);
        let pcm = decode(&file);
        let (heard, silence) = (pcm.len() as f64 / 48_000.0, longest_silence(&pcm));
        let tone = strongest_hz(&pcm);
        report(format!(
            "{name}: {heard:.1} s heard of {seconds}, {tone:?} Hz, longest silence {silence:.2} s"
        ));
        // Players begin some segments behind live, and some players count that distance as played time.
        let whole = heard > f64::from(seconds) - 10.0;
        let right = tone.is_some_and(|tone| (tone - f64::from(HZ)).abs() <= 20.0);
        if !whole || !right || silence > LONGEST_SILENCE {
            faults.push(name);
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}

/// Returns the number of bytes that a player has written so far.
fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}

/// Creates a folder in which players can write that run as another user.
pub(super) fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    folder
}

pub(super) fn start(mut command: Command) -> KeptProcess {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    KeptProcess::start(command)
}

pub(super) fn ffmpeg(url: &str, file: &Path, seconds: u32) -> Option<Command> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-t", &seconds.to_string(), "-i", url]);
    command.args(["-ac", "1", "-ar", "48000", "-flush_packets", "1"]).arg(file);
    Some(command)
}

pub(super) fn mpv(url: &str, file: &Path, seconds: u32) -> Option<Command> {
    let mut command = Command::new("mpv");
    command.args([
        "--no-config",
        "--really-quiet",
        "--ao=pcm",
        "--audio-format=s16",
        "--audio-channels=mono",
    ]);
    command.arg(format!("--ao-pcm-file={}", file.display())).arg(format!("--length={seconds}")).arg(url);
    Some(command)
}

pub(super) fn vlc(url: &str, file: &Path, seconds: u32) -> Option<Command> {
    let output = format!(
        "#transcode{{acodec=s16l,samplerate=48000,channels=1}}:std{{access=file,mux=wav,dst={}}}",
        file.display()
    );
    let mut command = Command::new("vlc");
    if rustix::process::getuid().is_root() {
        command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "vlc"]);
    }
    command.env("HOME", file.parent().unwrap());
    command.args(["-I", "dummy", "--quiet", "--no-video", "--run-time", &seconds.to_string()]);
    command.args(["--sout", &output, url, "vlc://quit"]);
    Some(command)
}

fn gstreamer(element: &str, url: &str, file: &Path, seconds: u32) -> Option<Command> {
    // GStreamer has no time limit of its own. INT makes it finish the file. On a live stream it may never
    // finish, so it is killed ten seconds later.
    let mut command = Command::new("timeout");
    command
        .args(["-s", "INT", "-k", "10", &seconds.to_string(), "gst-launch-1.0", "-e", element])
        .arg(format!("uri={url}"));
    command.arg(format!(
        "audio-sink=audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=1,format=S16LE ! wavenc ! \
         filesink location={}",
        file.display()
    ));
    Some(command)
}

/// Plays with a version of streamlink from PyPI. FFmpeg decodes its output.
fn streamlink(version: &str, url: &str, file: &Path, seconds: u32) -> Option<Command> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/streamlink.sh");
    let installed =
        Command::new(script).arg(version).stderr(Stdio::inherit()).output().expect("the script runs");
    let program = String::from_utf8(installed.stdout).expect("a path");
    let kind = if url.contains("index.m3u8") { "hls" } else { "httpstream" };
    let play = r#"timeout -s INT -k 10 "$2" "$0" --quiet --stdout "$1" best |
        ffmpeg -nostdin -loglevel error -i - -ac 1 -ar 48000 -flush_packets 1 "$3""#;
    let mut command = Command::new("sh");
    command.args(["-c", play, program.trim(), &format!("{kind}://{url}"), &seconds.to_string()]).arg(file);
    installed.status.success().then_some(command)
}

const WEB_PLAYER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/player.mjs");

fn chromium(player: &str, url: &str, file: &Path, seconds: u32) -> Option<Command> {
    browser(player, "chromium", url, file, seconds)
}

fn browser(player: &str, browser: &str, url: &str, file: &Path, seconds: u32) -> Option<Command> {
    let mut command = Command::new("node");
    command.args([WEB_PLAYER, player, browser, url, &seconds.to_string()]).arg(file);
    Some(command)
}

/// Plays in WebKitGTK, which needs a display.
fn webkit(player: &str, url: &str, file: &Path, seconds: u32) -> Option<Command> {
    let mut command = Command::new("xvfb-run");
    command.args(["-a", "node", WEB_PLAYER, player, "webkit", url, &seconds.to_string()]).arg(file);
    Some(command)
}

/// Reads a file of any format as mono samples.
pub(super) fn decode(file: &Path) -> Vec<f32> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-i"]).arg(file);
    let output = command.args(["-ac", "1", "-ar", "48000", "-f", "f32le", "pipe:1"]).output().unwrap();
    let (samples, _) = output.stdout.as_chunks::<4>();
    samples.iter().map(|sample| f32::from_le_bytes(*sample)).collect()
}

/// Returns the longest silence between sounds in seconds, in steps of 10 ms.
pub(super) fn longest_silence(pcm: &[f32]) -> f64 {
    let quiet = |block: &[f32]| block.iter().all(|sample| sample.abs() < QUIET);
    let blocks: Vec<bool> = pcm.chunks(480).map(quiet).collect();
    let first = blocks.iter().position(|quiet| !quiet).unwrap_or(blocks.len());
    let last = blocks.iter().rposition(|quiet| !quiet).map_or(first, |at| at + 1);
    blocks[first..last].split(|quiet| !quiet).map(<[bool]>::len).max().unwrap_or(0) as f64 / 100.0
}
