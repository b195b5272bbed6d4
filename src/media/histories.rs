//! Random histories of a room, held to what a listener may rely on, in every rendering there ever was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::m3u8::{self, Context, MediaPlaylist};
use super::*;
use crate::domain::ids::{Nonce, RoomId, UnixMs};

#[derive(Debug, Clone)]
enum Step {
    /// Fragments of so many AAC frames, read in chunks of so many bytes, each `late` ms after its time.
    Media {
        frames: Vec<u32>,
        chunk: usize,
        late: u64,
    },
    NewProcess,
    Garbage(Vec<u8>),
    /// Longer than any part may be.
    Stretched,
    /// The packager is dropped; another goes on, from the next numbers or (a crash) from reserved ones.
    Successor {
        reserved: u64,
    },
    /// The packager is lost in a panic; another goes on with the same stream.
    Resumed,
    /// Another node's packager goes on behind the window that this one leaves.
    HandedOver,
}

fn step() -> impl Strategy<Value = Step> {
    let frames = prop::collection::vec(prop_oneof![8 => Just(0u32), 1 => 1u32..9], 1..30);
    prop_oneof![
        8 => (frames, 200usize..9000, prop_oneof![9 => 0u64..200, 1 => 0u64..9000])
            .prop_map(|(frames, chunk, late)| Step::Media { frames, chunk, late }),
        3 => Just(Step::NewProcess),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Step::Garbage),
        1 => Just(Step::Stretched),
        1 => (0u64..1100).prop_map(|reserved| Step::Successor { reserved }),
        1 => Just(Step::Resumed),
        1 => Just(Step::HandedOver),
    ]
}

fn config() -> impl Strategy<Value = PackagerConfig> {
    (prop::sample::select(vec![100u64, 192, 200]), 500u64..4200, 1usize..9, 1u64..5).prop_map(
        |(part, segment, window, key_rotation)| PackagerConfig {
            part: Duration::from_millis(part),
            segment: Duration::from_millis(segment),
            window,
            key_rotation,
        },
    )
}

/// A room, who packages it, and what was seen of it so far.
struct Room {
    config: PackagerConfig,
    keys: ContentKeys,
    packager: Packager,
    stream: Arc<LiveStream>,
    wall: u64,
    /// Of the process that runs; `None` before its init section.
    base: Option<u64>,
    fill: u8,
    /// Every fragment that was taken, in order.
    taken: Vec<Vec<u8>>,
    seen: BTreeMap<u64, (Context, String)>,
    files: BTreeMap<String, Bytes>,
    plain: BTreeMap<String, Vec<u8>>,
    runtime: tokio::runtime::Runtime,
    last: Option<MediaPlaylist>,
    body: Bytes,
}

impl Room {
    fn new(config: PackagerConfig) -> Self {
        let keys = keys();
        let (mut packager, stream) = Packager::new(config, keys.clone(), SequenceStart::default());
        packager.begin_incarnation();
        let taken = Vec::new();
        let wall = 1_700_000_000_000;
        Self {
            config,
            keys,
            packager,
            stream,
            wall,
            base: None,
            fill: 0,
            taken,
            seen: BTreeMap::new(),
            files: BTreeMap::new(),
            plain: BTreeMap::new(),
            runtime: runtime(),
            last: None,
            body: Bytes::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Media { frames, chunk, late } => self.media(&frames, chunk, late),
            Step::NewProcess => self.new_process(),
            Step::Garbage(bytes) => {
                let _ = self.packager.push(&bytes, UnixMs(self.wall));
                self.new_process();
            }
            Step::Stretched => {
                let _ = self.packager.push(&synth::init(48_000), UnixMs(self.wall));
                let outcome =
                    self.packager.push(&synth::fragment(u64::MAX / 2, 12, 1024, 0), UnixMs(self.wall));
                assert!(outcome.is_err());
                self.new_process();
            }
            Step::Successor { reserved } => self.successor(reserved),
            Step::Resumed => self.resumed(),
            Step::HandedOver => self.handed_over(),
        }
        self.look();
    }

    fn media(&mut self, frames: &[u32], chunk: usize, late: u64) {
        let full = (self.config.part.as_micros() * 48).div_ceil(1_024_000) as u32;
        let mut bytes = Vec::new();
        if self.base.is_none() {
            self.base = Some(0);
            bytes = synth::init(48_000);
        }
        for frames in frames {
            let frames = if *frames == 0 { full } else { (*frames).min(full) };
            let base = self.base.unwrap_or(0);
            let fragment = synth::fragment(base, frames, 1024, self.fill);
            self.base = Some(base + u64::from(frames) * 1024);
            self.fill = self.fill.wrapping_add(1);
            self.wall += u64::from(frames) * 1024 / 48;
            bytes.extend(&fragment);
            self.taken.push(fragment);
            for chunk in std::mem::take(&mut bytes).chunks(chunk) {
                self.packager.push(chunk, UnixMs(self.wall + late)).unwrap();
                self.look();
            }
        }
    }

    fn new_process(&mut self) {
        self.packager.begin_incarnation();
        self.base = None;
    }

    fn successor(&mut self, reserved: u64) {
        let mut start = self.packager.next();
        start.media_sequence += reserved;
        start.discontinuity += reserved / 16;
        // Parts that no segment was made of in time are lost with their packager.
        let open = self.last.as_mut().and_then(|l| l.open.take()).map_or(0, |o| o.parts.len());
        self.taken.truncate(self.taken.len() - open);
        let (packager, stream) = Packager::new(self.config, self.keys.clone(), start);
        (self.packager, self.stream) = (packager, stream);
        self.new_process();
    }

    /// Nothing of what was published is lost, the parts of an open segment included.
    fn resumed(&mut self) {
        let next = self.packager.next();
        let nobody = Packager::new(self.config, self.keys.clone(), SequenceStart::default()).0;
        drop(std::mem::replace(&mut self.packager, nobody));
        self.packager = Packager::resume(self.config, self.keys.clone(), &self.stream).unwrap();
        assert_eq!(self.packager.next(), next);
        self.new_process();
    }

    /// Nothing of what was published is lost.
    fn handed_over(&mut self) {
        self.packager.begin_incarnation();
        self.look();
        let (next, left) = (self.packager.next(), self.stream.heritage());
        let behind = Packager::behind(self.config, self.keys.clone(), next, left);
        assert_eq!(behind.is_some(), self.stream.snapshot().has_playlist());
        let new = || Packager::new(self.config, self.keys.clone(), next);
        (self.packager, self.stream) = behind.unwrap_or_else(new);
        assert_eq!(self.packager.next(), next);
        if self.stream.snapshot().has_playlist() {
            assert_eq!(self.runtime.block_on(self.stream.playlist(None)).unwrap().text.plain(), &self.body);
        }
        self.new_process();
    }

    /// Everything a listener may rely on.
    fn look(&mut self) {
        if !self.stream.snapshot().has_playlist() {
            return;
        }
        let shown = self.runtime.block_on(self.stream.playlist(None)).unwrap();
        let body = shown.text.plain().clone();
        if self.body == body {
            return;
        }
        let next = (!shown.ended).then_some(shown.next);
        assert_eq!(relayed::refusal(&body, self.stream.hint(), next), None, "a listener node shows it");
        self.body = body.clone();
        let text = std::str::from_utf8(&body).unwrap();
        let now = m3u8::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        if let Some(before) = &self.last {
            assert_eq!(now.target_duration, before.target_duration);
            assert_eq!(now.part_target, before.part_target);
            assert!(now.media_sequence >= before.media_sequence);
            assert!(now.discontinuity_sequence >= before.discontinuity_sequence);
            let newest = |p: &MediaPlaylist| p.segments.last().map(|s| s.context.msn);
            assert!(newest(&now) >= newest(before));
        }
        self.names_stay(&now);
        self.media_is_what_was_taken(&now);
        self.last = Some(now);
    }

    fn names_stay(&mut self, now: &MediaPlaylist) {
        for segment in &now.segments {
            let said = (segment.context.clone(), segment.uri.clone());
            let msn = segment.context.msn;
            assert_eq!(self.seen.entry(msn).or_insert_with(|| said.clone()), &said, "segment {msn}");
            let key = format!("enc.key?n={}&k={}", self.keys.hint(), msn / self.config.key_rotation);
            assert_eq!(segment.context.key, key);
        }
        let contexts: Vec<_> = self.seen.values().map(|s| &s.0).collect();
        for pair in contexts.windows(2) {
            let new_process = pair[0].map != pair[1].map;
            let rise = pair[1].discontinuity_sequence - pair[0].discontinuity_sequence;
            assert_eq!(new_process, rise > 0, "{pair:?}");
        }
    }

    fn media_is_what_was_taken(&mut self, now: &MediaPlaylist) {
        let all = self.taken.concat();
        let mut heard = Vec::new();
        for segment in &now.segments {
            let msn = segment.context.msn;
            let whole = self.hear(msn, &segment.uri);
            if !segment.parts.is_empty() {
                let parts: Vec<_> = segment.parts.iter().map(|p| self.hear(msn, &p.uri)).collect();
                assert_eq!(parts.concat(), whole, "segment {msn}");
            }
            assert!(!self.fetch(&segment.context.map).is_empty());
            heard.extend(whole);
        }
        if let Some(open) = &now.open {
            open.parts.iter().for_each(|part| heard.extend(self.hear(open.context.msn, &part.uri)));
        }
        assert!(all.ends_with(&heard), "the newest media, in order, without a hole");
    }

    /// Plaintext of a segment or part.
    fn hear(&mut self, msn: u64, name: &str) -> Vec<u8> {
        let cipher = self.fetch(name);
        let key = || self.keys.key(msn / self.config.key_rotation);
        self.plain.entry(name.to_owned()).or_insert_with(|| decrypt(&key(), msn, &cipher).unwrap()).clone()
    }

    /// A name means the same bytes for ever.
    fn fetch(&mut self, name: &str) -> Bytes {
        let file = name.parse::<MediaFile>().unwrap();
        let answer = self.runtime.block_on(self.stream.file(&file));
        let bytes = answer.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(self.files.entry(name.to_owned()).or_insert_with(|| bytes.clone()), &bytes, "{name}");
        bytes
    }
}

fn keys() -> ContentKeys {
    ContentKeys::new(b"secret", &RoomId::new("demo").unwrap(), &Nonce("nonce".into()))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_listener_can_rely_on_every_rendering(config in config(), steps in prop::collection::vec(step(), 1..14)) {
        let mut room = Room::new(config);
        for step in steps {
            room.run(step);
        }
        room.packager.finish();
        room.look();
        if room.stream.snapshot().has_playlist() {
            prop_assert!(room.last.is_some_and(|last| last.ended && last.open.is_none()));
        }
    }
}

#[test]
fn what_was_left_elsewhere_is_taken_over_only_if_it_ends_where_these_numbers_begin() {
    let config = PackagerConfig {
        part: Duration::from_millis(192),
        segment: Duration::from_millis(2000),
        window: 6,
        key_rotation: 2,
    };
    let (mut packager, stream) = Packager::new(config, keys(), SequenceStart::default());
    packager.begin_incarnation();
    packager.push(&[synth::init(48_000), synth::fragment(0, 9, 1024, 0)].concat(), UnixMs(192)).unwrap();
    let (next, left) = (packager.next(), stream.heritage());
    let behind = |keys, next, left| Packager::behind(config, keys, next, left).is_some();
    assert!(behind(keys(), next, left.clone()));
    let further = SequenceStart { media_sequence: next.media_sequence + 1, ..next };
    assert!(!behind(keys(), further, left.clone()), "after a crash the numbers jump");
    let another = SequenceStart { discontinuity: next.discontinuity + 1, ..next };
    assert!(!behind(keys(), another, left.clone()));
    let of_another_live =
        ContentKeys::new(b"secret", &RoomId::new("demo").unwrap(), &Nonce("another".into()));
    assert!(!behind(of_another_live, next, left.clone()));
    for cut in 0..left.len() {
        assert!(!behind(keys(), next, left.slice(..cut)), "torn off after {cut} bytes");
    }
    assert!(!behind(keys(), next, [&left[..], b"more"].concat().into()));
}

#[test]
fn a_playlist_reads_as_it_should() {
    let config = PackagerConfig {
        part: Duration::from_millis(192),
        segment: Duration::from_millis(400),
        window: 6,
        key_rotation: 2,
    };
    let start = SequenceStart { media_sequence: 1025, discontinuity: 4 };
    let (mut packager, stream) = Packager::new(config, keys(), start);
    let media = |n: u64| synth::fragment(n * 9216, 9, 1024, 0);
    packager.begin_incarnation();
    packager.push(&[synth::init(48_000), media(0)].concat(), UnixMs(1_700_000_000_192)).unwrap();
    packager.push(&media(1), UnixMs(1_700_000_000_384)).unwrap();
    packager.begin_incarnation();
    packager.push(&[synth::init(48_000), media(0)].concat(), UnixMs(1_700_000_001_000)).unwrap();
    let text = runtime().block_on(stream.playlist(None)).unwrap().text.plain().clone();
    let h = keys().hint();
    let expected = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:1\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.57600\n\
         #EXT-X-PART-INF:PART-TARGET=0.19200\n\
         #EXT-X-MEDIA-SEQUENCE:1025\n#EXT-X-DISCONTINUITY-SEQUENCE:4\n\
         #EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"{h}-1025.init.mp4\"\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n={h}&k=512\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z\n\
         #EXT-X-PART:DURATION=0.19200,URI=\"{h}-1025.0.m4s\",INDEPENDENT=YES\n\
         #EXTINF:0.19200,\n{h}-1025.m4s\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n={h}&k=513\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.192Z\n\
         #EXT-X-PART:DURATION=0.19200,URI=\"{h}-1026.0.m4s\",INDEPENDENT=YES\n\
         #EXTINF:0.19200,\n{h}-1026.m4s\n\
         #EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"{h}-1027.init.mp4\"\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n={h}&k=513\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.808Z\n\
         #EXT-X-PART:DURATION=0.19200,URI=\"{h}-1027.0.m4s\",INDEPENDENT=YES\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{h}-1027.1.m4s\"\n"
    );
    assert_eq!(text, expected);
    assert_eq!(packager.next(), SequenceStart { media_sequence: 1028, discontinuity: 6 });
}
