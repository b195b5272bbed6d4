//! Tests of the media path on a real FFmpeg, from RTP to decrypted and decoded media.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stentor::domain::ids::{MediaAddr, Nonce, RoomId, UnixMs};
use stentor::domain::mix::MixShare;
use stentor::domain::timeline::{Junction, Moment, Timeline};
use stentor::ffmpeg::{ExitReason, Ffmpeg, FfmpegCommand, FfmpegProgram, Loudness, MUXER};
use stentor::packager::{
    ContentKeys, LiveStream, MediaFile, Packager, PackagerConfig, SequenceStart, decrypt,
};
use stentor::probe::HeardAudio;
use stentor::probe::hearing::{decode, level, strongest_hz};
use stentor::probe::m3u8::Playlist;
use stentor::probe::transport::Demuxer;
use stentor::process;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::time::{Instant, timeout};

use crate::support::srtp;

const DEADLINE: Duration = Duration::from_secs(30);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ROTATION: u64 = 2;

#[actix::test]
async fn rtp_tone_reaches_segments_and_parts() {
    let mut room = Room::start(free_port());
    let mut speaker = speak(room.port, 440);
    room.pump_until(|list| list.complete().count() >= 3).await;
    let list = room.playlist().await;
    assert_eq!(list.part_target, Some(0.192));
    assert!(list.segments[0].duration < 0.2, "the first closes at its first part");
    let keys: Vec<_> = list.complete().map(|s| s.key.clone()).collect();
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
async fn killed_ffmpeg_leaves_one_timeline() {
    let mut room = Room::start(free_port());
    let mut speaker = speak(room.port, 440);
    room.pump_until(|list| list.complete().count() == 2).await;
    let before = room.playlist().await;

    let status = room.ffmpeg.process.stop(Duration::ZERO).await.unwrap();
    assert_eq!(ExitReason::from(status, &[]), ExitReason::Signal(9));
    room.restart();
    room.pump_until(|list| list.complete().count() >= 4).await;

    let after = room.playlist().await;
    assert_eq!(after.media_sequence, before.media_sequence, "the window is kept");
    let last = after.complete().next_back().unwrap();
    assert_eq!(last.discontinuity, after.segments[0].discontinuity);
    let heard = HeardAudio { pcm: room.hear_segments(&after).await, ..HeardAudio::default() };
    let silence = heard.longest_silence();
    assert!((0.02..3.0).contains(&silence), "{silence} s are filled");
    let last = heard.pcm.len() - 48_000;
    assert_eq!(strongest_hz(&heard.pcm[last..]), Some(440.0));
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
                // Perhaps the target has no open socket yet, or has closed it; the kernel reports that at the
                // next send.
                let _ = relay.send_to(&packet[..length], target).await;
            }
        }
    });
    room.pump_until(|list| list.complete().count() >= 4).await;
    losing.abort();
    speaker.kill().await.unwrap();
    room.stop().await;
}

/// FFmpeg's mp4 muxer would keep an index of all fragments, 17 MB per day, and write it at the end.
#[actix::test]
async fn ffmpegs_memory_stays_flat_over_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.aac");
    let made = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", "60"])
        .args(["-c:a", "aac", "-b:a", "8k"])
        .arg(&sample)
        .status();
    assert!(made.unwrap().success());
    let day = "-nostdin -v error -stream_loop -1 -t 86400 -i".split(' ').chain([sample.to_str().unwrap()]);
    let copied = day.chain(["-c", "copy"]).chain(MUXER);
    let mut child = process::command("ffmpeg", copied).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let resident = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
        line.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let (mut read, mut buffer, mut after_an_hour, mut last) = (0, vec![0; 1 << 20], None, 0);
    // The output is about 1.2 kB per second. Memory is measured while FFmpeg runs, because `/proc` does not
    // show that of an ended process.
    let mut stdout = child.stdout.take().unwrap();
    while let length @ 1.. = stdout.read(&mut buffer).await.unwrap() {
        read += length;
        if read > 60 * 60 * 1200 {
            last = resident();
            after_an_hour.get_or_insert(last);
        }
        if read > 24 * 60 * 60 * 1000 {
            break;
        }
    }
    let growth = last.saturating_sub(after_an_hour.expect("an hour of audio"));
    assert!(growth < 4 * 1024, "{growth} kB more at the end of the day");
    child.kill().await.unwrap();
}

#[actix::test]
async fn ffmpeg_reports_taken_port() {
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
async fn ffmpeg_listens_on_media_address_only() {
    let mut room = Room::start(free_port());
    let mut speaker = speak(room.port, 440);
    room.pump_until(|list| list.complete().next().is_some()).await;
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    assert!(UdpSocket::bind((elsewhere, room.port)).is_ok(), "the port is free on another address");
    assert!(UdpSocket::bind((LOCALHOST, room.port)).is_err());
    speaker.kill().await.unwrap();
    room.stop().await;
}

/// RFC 3550 section 6.6 lets a BYE end the reception of its source, and FFmpeg accepts it from anyone.
#[actix::test]
async fn forged_rtp_and_rtcp_have_no_effect() {
    let mut room = Room::start(free_port());
    let mut speaker = speak(room.port, 440);
    room.pump_until(|list| list.complete().count() >= 2).await;
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
    // 1,500 forged packets of 20 ms are 30 s of audio, which would have been published immediately.
    assert!(since.elapsed() > Duration::from_secs(2), "production keeps to real time: {:?}", since.elapsed());
    speaker.kill().await.unwrap();
    room.stop().await;
}

trait Edge {
    /// Returns the media sequence number after that of the newest segment.
    fn edge_msn(&self) -> u64;
}

impl Edge for Playlist {
    fn edge_msn(&self) -> u64 {
        self.complete().next_back().map_or(0, |segment| segment.sequence + 1)
    }
}

struct Room {
    port: u16,
    ffmpeg: Ffmpeg,
    packager: Packager,
    stream: Arc<LiveStream>,
    keys: ContentKeys,
    began: Instant,
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
        let (began, first) = (Instant::now(), Junction::First(Timeline::default()));
        let (mut packager, stream) = Packager::new(config, keys.clone(), start, first, moment(began));
        packager.begin_incarnation(moment(began));
        Self { port, ffmpeg: Ffmpeg::spawn(&command(port)).unwrap(), packager, stream, keys, began }
    }

    fn restart(&mut self) {
        self.packager.begin_incarnation(moment(self.began));
        self.ffmpeg = Ffmpeg::spawn(&command(self.port)).unwrap();
    }

    /// Feeds the packager from FFmpeg until its playlist satisfies `wanted`.
    async fn pump_until(&mut self, wanted: impl Fn(&Playlist) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut buffer = vec![0; 64 * 1024];
        while self.stream.stats().last_sequence.is_none() || !wanted(&self.playlist().await) {
            let left = deadline.saturating_duration_since(Instant::now());
            let length = timeout(left, self.ffmpeg.stdout.read(&mut buffer)).await.unwrap().unwrap();
            assert!(length > 0, "FFmpeg ended: {:?}", self.ffmpeg.log.next().await);
            self.packager.push(&buffer[..length], moment(self.began)).unwrap();
        }
    }

    async fn playlist(&self) -> Playlist {
        let body = self.stream.playlist(None).await.unwrap();
        Playlist::parse_strictly(std::str::from_utf8(body.text.plain()).unwrap()).unwrap()
    }

    async fn fetch(&self, name: &str) -> Vec<u8> {
        self.stream.file(&name.parse::<MediaFile>().unwrap()).await.unwrap().to_vec()
    }

    async fn fetch_plain(&self, msn: u64, name: &str) -> Vec<u8> {
        decrypt(&self.keys.key(msn / ROTATION), msn, &self.fetch(name).await).unwrap()
    }

    async fn hear_segments(&self, list: &Playlist) -> Vec<f32> {
        let (mut demuxer, mut audio) = (Demuxer::default(), Vec::new());
        for segment in list.complete() {
            let plain = self.fetch_plain(segment.sequence, segment.uri.as_ref().unwrap()).await;
            audio.extend(demuxer.read(&plain).unwrap().frames.concat());
        }
        decode(Path::new("ffmpeg"), audio).await.unwrap()
    }

    async fn hear_parts(&self, list: &Playlist) -> Vec<f32> {
        let (mut demuxer, mut audio) = (Demuxer::default(), Vec::new());
        for segment in list.complete() {
            for part in &segment.parts {
                let plain = self.fetch_plain(segment.sequence, &part.uri).await;
                audio.extend(demuxer.read(&plain).unwrap().frames.concat());
            }
        }
        decode(Path::new("ffmpeg"), audio).await.unwrap()
    }

    async fn stop(mut self) {
        self.packager.finish();
        assert!(self.playlist().await.ended);
        self.ffmpeg.process.stop(Duration::from_millis(300)).await.unwrap();
    }
}

fn command(port: u16) -> FfmpegCommand {
    FfmpegCommand {
        program: FfmpegProgram { binary: "ffmpeg".into(), account: None },
        rtp: MediaAddr { ip: LOCALHOST, port },
        bitrate: 64_000,
        payload_type: 111,
        loudness: Loudness::new(MixShare::of(3), Some(-18), -1),
        srtp: srtp::key(),
    }
}

/// Sends a tone as Janus would forward it: Opus in SRTP.
fn speak(port: u16, hz: u32) -> Child {
    srtp::tone(MediaAddr { ip: LOCALHOST, port }, &srtp::key(), 111, hz)
}

/// Returns an even port that was free together with the next one at the time of the check.
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

fn moment(began: Instant) -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Moment { now: began.elapsed(), wall: UnixMs(since.as_millis() as u64) }
}
