//! A live room without Janus and packager: transport streams of FFmpeg's own muxer, staged against the clock.
//!
//! Written independently of the packager, so that listener, player page and HTTP side are tested with media
//! and a playlist that they were not developed with.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use async_trait::async_trait;
use bytes::Bytes;
use stentor::auth::{Secrets, Tokens};
use stentor::clock::Clock;
use stentor::config::{JwtSecret, Secret};
use stentor::delivery::LiveMedia;
use stentor::delivery::listener_counter::Listeners;
use stentor::domain::grant::Grant;
use stentor::domain::ids::{ModuleId, RoomId};
use stentor::http::hls::{self, HlsSide};
use stentor::http::tokens::NodeTokens;
use stentor::http::{hls_answer::Cors, pages};
use stentor::packager::{MediaError, PlaylistText};

pub const ROOM: &str = "staged";
/// Token of a listener of the room.
pub static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let NodeTokens { tokens, clock, .. } = node_tokens();
    tokens.issue_listener(&RoomId::new(ROOM).unwrap(), None, clock.wall()).token
});
const PART_MS: u64 = 192;
const PARTS: usize = 10;
const WINDOW: usize = 6;
const FIRST_SEQUENCE: u64 = 40;
const SEGMENTS_PER_KEY: usize = 2;
/// Number of segments that have already been on air when the server starts.
const PAST_SEGMENTS: usize = 3;

/// One run of FFmpeg: a tone, and its number of segments of 1.92 s.
#[derive(Clone, Copy)]
pub struct Take {
    pub hz: u32,
    pub segments: usize,
}

/// A server with one room, which has already been on air for 5.76 s when the server starts. Stops when
/// dropped.
pub struct Stage {
    pub address: SocketAddr,
    handle: ServerHandle,
}

struct Segment {
    take: usize,
    parts: Vec<Bytes>,
}

struct StagedRoom {
    segments: Vec<Segment>,
    began: Instant,
    /// Time of the first sample, in milliseconds since the Unix epoch.
    epoch: u64,
}

impl Stage {
    pub async fn open(takes: &[Take]) -> Self {
        let room = Arc::new(StagedRoom::record(takes));
        let data = web::Data::new(HlsSide {
            media: room,
            tokens: Arc::new(node_tokens()),
            replay: None,
            listeners: Listeners {
                me: ModuleId::new("one").unwrap(),
                counter: Arc::default(),
                directory: Arc::default(),
            },
            cors: Cors::default(),
            captions: Default::default(),
        });
        let app = move || {
            let data = data.clone();
            App::new().configure(|c| hls::configure(c, data)).configure(|c| {
                let ws_url = Some("ws://127.0.0.1/ws".to_owned());
                pages::configure_people(c, &pages::People { ws_url, ..Default::default() });
            })
        };
        let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);
        Self { address, handle }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        actix::spawn(self.handle.stop(false));
    }
}

impl StagedRoom {
    fn record(takes: &[Take]) -> Self {
        let mut room = Self { segments: vec![], began: Instant::now(), epoch: 0 };
        for (i, take) in takes.iter().enumerate() {
            let parts = parts_of(*take);
            let segments = parts.chunks_exact(PARTS).take(take.segments);
            room.segments.extend(segments.map(|parts| Segment { take: i, parts: parts.to_vec() }));
        }
        room.began = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        room.epoch = now - (PAST_SEGMENTS * PARTS) as u64 * PART_MS;
        room
    }

    fn published(&self) -> usize {
        let live = self.began.elapsed().as_millis() as u64 / PART_MS;
        (PAST_SEGMENTS * PARTS + live as usize).min(self.segments.len() * PARTS)
    }

    /// Waits for the clock to reach the part; `false` if the recording ends before it.
    async fn until(&self, part: usize) -> bool {
        let due = (part + 1).saturating_sub(PAST_SEGMENTS * PARTS) as u64 * PART_MS;
        // Sleep: acts as a live source, which is paced by the clock.
        tokio::time::sleep_until((self.began + Duration::from_millis(due)).into()).await;
        part < self.segments.len() * PARTS
    }

    fn render(&self) -> String {
        let published = self.published();
        let (complete, open) = (published / PARTS, published % PARTS);
        let first = complete.saturating_sub(WINDOW);
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
             #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6\n\
             #EXT-X-PART-INF:PART-TARGET=0.2\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            FIRST_SEQUENCE + first as u64,
            // The tag of the window's first segment is still listed, so it does not count as removed.
            self.segments[first].take - usize::from(self.starts_take(first)),
        );
        for index in first..complete + usize::from(open > 0) {
            self.render_segment(
                &mut text,
                index,
                index == first,
                if index < complete { PARTS } else { open },
            );
        }
        if complete == self.segments.len() {
            text.push_str("#EXT-X-ENDLIST\n");
        } else {
            let uri = part_name(complete, open);
            writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{uri}\"").unwrap();
        }
        text
    }

    fn render_segment(&self, text: &mut String, index: usize, first: bool, parts: usize) {
        if self.starts_take(index) {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if first || index.is_multiple_of(SEGMENTS_PER_KEY) {
            let key = index / SEGMENTS_PER_KEY;
            writeln!(text, "#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=staged&k={key}\"").unwrap();
        }
        writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", self.date(index)).unwrap();
        for part in 0..parts {
            let uri = part_name(index, part);
            writeln!(text, "#EXT-X-PART:DURATION=0.192,URI=\"{uri}\",INDEPENDENT=YES").unwrap();
        }
        if parts == PARTS {
            writeln!(text, "#EXTINF:1.92,\nseg-{index}.ts").unwrap();
        }
    }

    /// Returns true if a discontinuity precedes this segment.
    fn starts_take(&self, index: usize) -> bool {
        index > 0 && self.segments[index - 1].take != self.segments[index].take
    }

    /// Formats the start time of a segment for `EXT-X-PROGRAM-DATE-TIME` (ISO 8601, UTC).
    fn date(&self, index: usize) -> String {
        let ms = self.epoch + (index * PARTS) as u64 * PART_MS;
        let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
        let (y, m, d) = civil(days as i64);
        let (h, min, s) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
        format!("{y:04}-{m:02}-{d:02}T{h:02}:{min:02}:{s:02}.{:03}Z", of_day % 1000)
    }

    fn seal(&self, index: usize, clear: &[u8]) -> Bytes {
        let iv = u128::from(FIRST_SEQUENCE + index as u64).to_be_bytes();
        let key = key_bytes(index / SEGMENTS_PER_KEY);
        cbc::Encryptor::<aes::Aes128>::new(&key.into(), &iv.into()).encrypt_padded_vec::<Pkcs7>(clear).into()
    }
}

#[async_trait]
impl LiveMedia for StagedRoom {
    async fn playlist(&self, _: &RoomId, at: Option<(u64, Option<u32>)>) -> Result<PlaylistText, MediaError> {
        if let Some((msn, part)) = at {
            let index = (msn - FIRST_SEQUENCE) as usize;
            self.until(index * PARTS + part.map_or(PARTS - 1, |p| p as usize)).await;
        }
        Ok(Bytes::from(self.render()).into())
    }

    async fn file(&self, _: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaError> {
        let numbers: Vec<usize> = name.split(['-', '.']).filter_map(|n| n.parse().ok()).collect();
        let segment = |index: usize| self.segments.get(index).ok_or(MediaError::NoSuchFile);
        let body = match (name.split('-').next(), &numbers[..]) {
            (Some("seg"), [index]) => self.seal(*index, &segment(*index)?.parts.concat()),
            (Some("part"), [index, part]) => {
                let clear = &segment(*index)?.parts[*part];
                self.until(index * PARTS + part).await;
                self.seal(*index, clear)
            }
            _ => return Err(MediaError::NoSuchFile),
        };
        Ok((body, "video/mp2t"))
    }

    async fn key(&self, _: &RoomId, _: &Grant, _: &str, index: u64) -> Result<[u8; 16], MediaError> {
        Ok(key_bytes(index as usize))
    }
}

/// Returns tokens under a test secret.
fn node_tokens() -> NodeTokens {
    let (secret, hour) = (|| Secret(vec![1; 32]), Duration::from_secs(3600));
    let jwt = vec![JwtSecret { kid: "k".into(), secret: secret() }];
    let secrets = Arc::new(Secrets { jwt, hls: secret(), janus_room: secret() });
    let tokens = Tokens::new(&secrets.jwt, "staged", hour);
    NodeTokens { tokens, secrets, anchor_ttl: hour, clock: Clock::start(), directory: Arc::default() }
}

fn key_bytes(index: usize) -> [u8; 16] {
    [0x5a ^ index as u8; 16]
}

fn part_name(index: usize, part: usize) -> String {
    format!("part-{index}-{part}.ts")
}

/// Returns parts of nine AAC frames, each part preceded by the PAT and PMT. FFmpeg writes the tables once,
/// and each frame in its own PES packet.
fn parts_of(take: Take) -> Vec<Bytes> {
    const PACKET: usize = 188;
    const SERVICES: u16 = 0x11;
    const AUDIO: u16 = 0x100;
    let source = format!("sine=frequency={}:sample_rate=48000", take.hz);
    // Produce one more segment, because the last part of a stream is short.
    let seconds = ((take.segments + 1) * PARTS) as f64 * PART_MS as f64 / 1000.0;
    let output = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &source, "-t", &seconds.to_string()])
        .args(["-c:a", "aac", "-b:a", "64k", "-f", "mpegts", "-pes_payload_size", "0"])
        .args(["-pat_period", "1000", "-sdt_period", "1000", "pipe:1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (packets, _) = output.stdout.as_chunks::<PACKET>();
    let pid = |packet: &[u8; PACKET]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    let tables: Vec<_> = packets.iter().filter(|p| ![SERVICES, AUDIO].contains(&pid(p))).take(2).collect();
    let (mut parts, mut frames) = (Vec::new(), 0);
    for packet in packets.iter().filter(|packet| pid(packet) == AUDIO) {
        if packet[1] & 0x40 != 0 {
            if frames % 9 == 0 {
                let mut begun = tables.iter().copied().copied().collect::<Vec<_>>();
                // Continue the counters of the copied tables.
                begun.iter_mut().for_each(|table| table[3] = table[3] & 0xf0 | ((frames / 9) & 0x0f) as u8);
                parts.push(begun.concat());
            }
            frames += 1;
        }
        parts.last_mut().unwrap().extend_from_slice(packet);
    }
    parts.into_iter().map(Bytes::from).collect()
}

/// Returns year, month and day of a day since the Unix epoch, by walking the calendar.
fn civil(mut days: i64) -> (i64, usize, i64) {
    let leap = |y: i64| (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}
