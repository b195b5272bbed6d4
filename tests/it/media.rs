//! The media path on a real FFmpeg: RTP in, and what a listener decrypts and decodes out.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stentor::domain::ids::{MediaAddr, Nonce, RoomId, UnixMs};
use stentor::domain::mix::MixShare;
use stentor::media::m3u8::{self, MediaPlaylist};
use stentor::media::{
    ContentKeys, ExitReason, Ffmpeg, FfmpegCommand, LiveStream, Loudness, MediaFile, Packager,
    PackagerConfig, SequenceStart, decrypt,
};
use stentor::probe::hearing::{level, strongest_hz};
use stentor::process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::{Instant, timeout};

use crate::support::srtp;

const DEADLINE: Duration = Duration::from_secs(30);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ROTATION: u64 = 2;

#[actix::test]
async fn the_tone_that_comes_in_is_heard_through_segments_and_through_parts() {
    let mut room = Room::start(free_port());
    let mut speaker = speak(room.port, 440);
    room.pump_until(|list| list.segments.len() >= 3).await;
    let list = room.playlist().await;
    assert_eq!(list.part_target, Duration::from_millis(192));
    assert!(list.segments[0].duration < Duration::from_millis(200), "the first closes at its first part");
    let keys: Vec<_> = list.segments.iter().map(|s| &s.context.key).collect();
    assert!(keys.first() != keys.last(), "heard across a change of key");

    for pcm in [room.hear_segments(&list).await, room.hear_parts(&list).await] {
        assert!(pcm.len() > 48_000, "{} samples", pcm.len());
        let steady = &pcm[9_600..];
        assert_eq!(strongest_hz(steady), Some(440.0));
        assert!(level(steady, 440.0) > 0.01, "{}", level(steady, 440.0));
    }
    speaker.kill().await.unwrap();
    room.stop().await;
}

#[actix::test]
async fn a_killed_ffmpeg_is_followed_by_another_behind_a_discontinuity() {
    let mut room = Room::start(free_port());
    let mut speaker = speak(room.port, 440);
    room.pump_until(|list| list.segments.len() == 2).await;
    let before = room.playlist().await;

    let status = room.ffmpeg.process.stop(Duration::ZERO).await.unwrap();
    assert_eq!(ExitReason::from(status, &[]), ExitReason::Signal(9));
    room.restart();
    room.pump_until(|list| list.segments.len() >= 4).await;

    let after = room.playlist().await;
    assert_eq!(after.media_sequence, before.media_sequence, "the window is kept");
    let maps: std::collections::BTreeSet<_> = after.segments.iter().map(|s| &s.context.map).collect();
    assert_eq!(maps.len(), 2, "an init section per process");
    let last = &after.segments.last().unwrap().context;
    assert_eq!(last.discontinuity_sequence, after.segments[0].context.discontinuity_sequence + 1);
    speaker.kill().await.unwrap();
    room.stop().await;
}

#[actix::test]
async fn lost_packets_stretch_no_part() {
    let mut room = Room::start(free_port());
    let relay = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    relay.set_nonblocking(true).unwrap();
    let relay = tokio::net::UdpSocket::from_std(relay).unwrap();
    let mut speaker = speak(relay.local_addr().unwrap().port(), 440);
    let target = (LOCALHOST, room.port);
    let losing = actix::spawn(async move {
        let mut packet = [0; 1500];
        for n in 0u64.. {
            let length = relay.recv(&mut packet).await.unwrap();
            if n % 40 != 7 && !(100..115).contains(&n) {
                // Nobody listens yet, or no longer: the kernel says so at the next send.
                let _ = relay.send_to(&packet[..length], target).await;
            }
        }
    });
    room.pump_until(|list| list.segments.len() >= 4).await;
    losing.abort();
    speaker.kill().await.unwrap();
    room.stop().await;
}

#[actix::test]
async fn a_port_that_is_taken_is_told_as_such() {
    let port = free_port();
    for taken in [port, port + 1] {
        let _holder = UdpSocket::bind((LOCALHOST, taken)).unwrap();
        let mut ffmpeg = Ffmpeg::spawn(&command(port)).unwrap();
        let mut lines = Vec::new();
        while let Some(line) = timeout(DEADLINE, ffmpeg.log.next()).await.unwrap() {
            lines.push(line);
        }
        let status = timeout(DEADLINE, ffmpeg.process.wait()).await.unwrap().unwrap();
        assert_eq!(ExitReason::from(status, &lines), ExitReason::BindFailed, "{lines:?}");
    }
}

#[actix::test]
async fn it_listens_on_the_media_address_only() {
    let mut room = Room::start(free_port());
    let mut speaker = speak(room.port, 440);
    room.pump_until(|list| !list.segments.is_empty()).await;
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    assert!(UdpSocket::bind((elsewhere, room.port)).is_ok(), "the port is free on another address");
    assert!(UdpSocket::bind((LOCALHOST, room.port)).is_err());
    speaker.kill().await.unwrap();
    room.stop().await;
}

/// RFC 3550 section 6.6 lets a BYE end the reception of its source, and FFmpeg takes it from anybody.
#[actix::test]
async fn forged_rtp_and_rtcp_have_no_effect() {
    let mut room = Room::start(free_port());
    let mut speaker = speak(room.port, 440);
    room.pump_until(|list| list.segments.len() >= 2).await;
    let begun = room.playlist().await.edge_msn();
    let forger = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    for n in 0u16..500 {
        for packet in srtp::forged(n, 111) {
            for port in [room.port, room.port + 1] {
                forger.send_to(&packet, (LOCALHOST, port)).unwrap();
            }
        }
    }
    let since = Instant::now();
    room.pump_until(|list| list.edge_msn() >= begun + 4).await;
    let list = room.playlist().await;
    let heard = room.hear_segments(&list).await;
    assert_eq!(strongest_hz(&heard[heard.len() - 96_000..]), Some(440.0));
    // 1,500 forged packets of 20 ms are 30 s of sound, which would have been published at once.
    assert!(since.elapsed() > Duration::from_secs(2), "production keeps to real time: {:?}", since.elapsed());
    speaker.kill().await.unwrap();
    room.stop().await;
}

trait Edge {
    /// Media sequence number after that of the newest segment.
    fn edge_msn(&self) -> u64;
}

impl Edge for MediaPlaylist {
    fn edge_msn(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.context.msn + 1)
    }
}

struct Room {
    port: u16,
    ffmpeg: Ffmpeg,
    packager: Packager,
    stream: Arc<LiveStream>,
    keys: ContentKeys,
}

impl Room {
    fn start(port: u16) -> Self {
        let keys = ContentKeys::new(b"server secret", &RoomId::new("demo").unwrap(), &Nonce("n".into()));
        let config = PackagerConfig {
            part: Duration::from_millis(192),
            segment: Duration::from_secs(1),
            window: 6,
            key_rotation: ROTATION,
        };
        let start = SequenceStart { media_sequence: 1024, discontinuity: 0 };
        let (mut packager, stream) = Packager::new(config, keys.clone(), start);
        packager.begin_incarnation();
        Self { port, ffmpeg: Ffmpeg::spawn(&command(port)).unwrap(), packager, stream, keys }
    }

    fn restart(&mut self) {
        self.packager.begin_incarnation();
        self.ffmpeg = Ffmpeg::spawn(&command(self.port)).unwrap();
    }

    /// Feeds the packager from FFmpeg until its playlist is as wanted.
    async fn pump_until(&mut self, wanted: impl Fn(&MediaPlaylist) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut buffer = vec![0; 64 * 1024];
        while self.stream.stats().last_sequence.is_none() || !wanted(&self.playlist().await) {
            let left = deadline.saturating_duration_since(Instant::now());
            let length = timeout(left, self.ffmpeg.stdout.read(&mut buffer)).await.unwrap().unwrap();
            assert!(length > 0, "FFmpeg ended: {:?}", self.ffmpeg.log.next().await);
            self.packager.push(&buffer[..length], now()).unwrap();
        }
    }

    async fn playlist(&self) -> MediaPlaylist {
        let body = self.stream.playlist(None).await.unwrap();
        m3u8::parse(std::str::from_utf8(body.text.plain()).unwrap()).unwrap()
    }

    async fn fetch(&self, name: &str) -> Vec<u8> {
        self.stream.file(&name.parse::<MediaFile>().unwrap()).await.unwrap().to_vec()
    }

    async fn fetch_plain(&self, msn: u64, name: &str) -> Vec<u8> {
        decrypt(&self.keys.key(msn / ROTATION), msn, &self.fetch(name).await).unwrap()
    }

    async fn hear_segments(&self, list: &MediaPlaylist) -> Vec<f32> {
        let mut mp4 = self.fetch(&list.segments[0].context.map).await;
        for segment in &list.segments {
            mp4.extend(self.fetch_plain(segment.context.msn, &segment.uri).await);
        }
        decode(mp4).await
    }

    async fn hear_parts(&self, list: &MediaPlaylist) -> Vec<f32> {
        let mut mp4 = self.fetch(&list.segments[0].context.map).await;
        for segment in &list.segments {
            for part in &segment.parts {
                mp4.extend(self.fetch_plain(segment.context.msn, &part.uri).await);
            }
        }
        decode(mp4).await
    }

    async fn stop(mut self) {
        self.packager.finish();
        assert!(self.playlist().await.ended);
        self.ffmpeg.process.stop(Duration::from_millis(300)).await.unwrap();
    }
}

fn command(port: u16) -> FfmpegCommand {
    FfmpegCommand {
        binary: "ffmpeg".into(),
        rtp: MediaAddr { ip: LOCALHOST, port },
        part: Duration::from_millis(192),
        bitrate: 64_000,
        payload_type: 111,
        loudness: Loudness::new(MixShare::of(3), Some(-18), -1),
        srtp: srtp::key(),
    }
}

/// A tone as Janus would forward it: Opus in SRTP.
fn speak(port: u16, hz: u32) -> Child {
    srtp::tone(MediaAddr { ip: LOCALHOST, port }, &srtp::key(), 111, hz)
}

async fn decode(mp4: Vec<u8>) -> Vec<f32> {
    let args = ["-hide_banner", "-loglevel", "error", "-i", "pipe:0", "-f", "f32le", "-ac", "1", "pipe:1"];
    let mut child = process::command("ffmpeg", args).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async move { stdin.write_all(&mp4).await.unwrap() };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output.unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.chunks_exact(4).map(|s| f32::from_le_bytes([s[0], s[1], s[2], s[3]])).collect()
}

/// An even port that is free together with the one above it, as far as one can know.
fn free_port() -> u16 {
    loop {
        let probe = UdpSocket::bind((LOCALHOST, 0)).unwrap();
        let port = probe.local_addr().unwrap().port() & !1;
        drop(probe);
        let pair = [port, port + 1].map(|p| UdpSocket::bind((LOCALHOST, p)));
        if pair.iter().all(Result::is_ok) {
            return port;
        }
    }
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    UnixMs(since.as_millis() as u64)
}
