//! Time from `POST start` until a listener has decrypted its first segment, with no anchor, next to the same
//! time for FFmpeg alone.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use stentor::domain::ids::{MediaAddr, Nonce, RoomId, UnixMs};
use stentor::domain::mix::MixShare;
use stentor::domain::timeline::{Junction, Moment, Timeline};
use stentor::ffmpeg::{Ffmpeg, FfmpegCommand, FfmpegProgram, Loudness};
use stentor::janus::FORWARD_PAYLOAD_TYPE;
use stentor::packager::{ContentKeys, Packager, PackagerConfig, SequenceStart};
use stentor::probe::ProbeError;
use stentor::probe::fetch::Fetch;
use stentor::probe::m3u8::Playlist;
use tokio::io::AsyncReadExt;

use super::house::{Backend, House, srtp_key};
use super::support::pause_async;
use super::table::{Row, Times};

const STARTS: u16 = 20;
/// First port of the bare FFmpeg processes, above the node's ports.
const BARE_PORTS: u16 = 32_000;
const PART: Duration = Duration::from_millis(192);

pub async fn measure() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[]).await;
    let (mut floor, mut starts) = (Times::default(), Times::default());
    for n in 0..STARTS {
        floor.add(bare(&house, n).await);
        starts.add(start(&house, &format!("segment-{n}")).await);
    }
    vec![Row::new(
        "POST start -> first segment decrypted, nobody speaking (floor: FFmpeg to its first part)",
        floor.to_string(),
        starts.to_string(),
        "p50 ≤ 600 ms",
    )]
}

/// Measures the time from FFmpeg's spawn to its first complete part, while RTP already arrives.
async fn bare(house: &House, n: u16) -> Duration {
    let number = 200_000 + u32::from(n);
    let rtp = MediaAddr { ip: [127, 0, 0, 1].into(), port: BARE_PORTS + 2 * n };
    house.gateway.room_with_forwarder(number, rtp).await;
    let command = FfmpegCommand {
        program: FfmpegProgram { binary: "ffmpeg".into(), account: None },
        rtp,
        bitrate: 64_000,
        payload_type: FORWARD_PAYLOAD_TYPE,
        loudness: Loudness::new(MixShare::of(3), Some(-18), -1),
        srtp: srtp_key(),
    };
    let begin = Instant::now();
    let mut ffmpeg = Ffmpeg::spawn(&command).expect("FFmpeg starts");
    let mut packager = packager();
    loop {
        let mut bytes = BytesMut::with_capacity(4096);
        assert!(ffmpeg.stdout.read_buf(&mut bytes).await.expect("output") > 0, "FFmpeg ended");
        let at = Moment { now: begin.elapsed(), wall: UnixMs(0) };
        if packager.push(&bytes, at).expect("frames").parts > 0 {
            break;
        }
    }
    let took = begin.elapsed();
    ffmpeg.process.stop(Duration::ZERO).await.expect("FFmpeg ends");
    house.gateway.destroy(number).await;
    took
}

async fn start(house: &House, room: &str) -> Duration {
    house.create(room).await;
    let target = house.node.target(room).await;
    let url = format!("{}/hls/rooms/{room}/index.m3u8", house.node.hls).parse().expect("a URL");
    let mut fetch = Fetch::new(url, target.token);
    let begin = Instant::now();
    house.start(room).await;
    let playlist = loop {
        match fetch.playlist(None).await {
            Ok(file) => break Playlist::parse(&String::from_utf8_lossy(&file.body)).expect("a playlist"),
            Err(ProbeError::Refused { .. }) => pause_async().await,
            Err(error) => panic!("{error}"),
        }
    };
    let first = playlist.segments.first().expect("a segment");
    let media = fetch.media(first.uri.as_deref().expect("a whole one")).await.expect("media");
    let clear = fetch.open(media, first.key.as_ref(), first.sequence).await.expect("it decrypts");
    let took = begin.elapsed();
    assert_eq!(clear[0], 0x47, "it is a transport stream");
    house.remove(room).await;
    took
}

fn packager() -> Packager {
    let room = RoomId::new("bench").expect("a room id");
    let keys = ContentKeys::new(b"server secret", &room, &Nonce("nonce".into()));
    let config = PackagerConfig { part: PART, segment: Duration::from_secs(2), window: 6, key_rotation: 30 };
    let junction = Junction::First(Timeline::default());
    let (mut packager, _) =
        Packager::new(config, keys, SequenceStart::default(), junction, Moment::default());
    packager.begin_incarnation(Moment::default());
    packager
}
