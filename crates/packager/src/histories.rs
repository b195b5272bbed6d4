//! Property tests: random histories of a room, with every rendering checked for the guarantees given to
//! listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use stentor_domain::ids::{Nonce, RoomId, UnixMs};
use stentor_domain::timeline::{Junction, Moment, Timeline};
use stentor_probe::m3u8::{Playlist, Segment};
use stentor_probe::transport::Demuxer;

/// Wall-clock time at which the monotonic clock is zero, in milliseconds.
pub(super) const EPOCH: u64 = 1_700_000_000_000;

/// Number of frames in a burst: more than fit into any gap before it, so the packager must refuse the burst.
const BURST: u32 = 3000;

#[derive(Debug, Clone)]
enum Step {
    /// `frames` AAC frames that arrive evenly or all at the end, read in chunks of `chunk` bytes.
    Media {
        frames: u64,
        chunk: usize,
        stalled: bool,
    },
    /// No input for this many milliseconds.
    Silence(u64),
    NewProcess,
    Garbage(Vec<u8>),
    /// Far more frames than the elapsed time allows.
    Burst,
    /// The packager is dropped. Another packager continues from its numbers or, after a crash, from the
    /// reserved numbers.
    Successor {
        reserved: Option<u64>,
    },
    /// The packager is lost in a panic. Another packager continues the same stream.
    Resumed,
    /// The packager of another node continues after the window that this one leaves.
    HandedOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u64..90, 20usize..9000, prop::bool::weighted(0.2))
            .prop_map(|(frames, chunk, stalled)| Step::Media { frames, chunk, stalled }),
        3 => prop_oneof![9 => 0u64..1500, 1 => 0u64..40_000].prop_map(Step::Silence),
        3 => Just(Step::NewProcess),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Step::Garbage),
        1 => Just(Step::Burst),
        1 => prop::option::of(0u64..1100).prop_map(|reserved| Step::Successor { reserved }),
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

/// Room with its packager, and everything that listeners have seen of it.
struct Room {
    config: PackagerConfig,
    keys: ContentKeys,
    packager: Packager,
    stream: Arc<LiveStream>,
    now: Duration,
    /// Number of FFmpeg's next frame.
    frame: u32,
    heard: BTreeSet<u32>,
    /// Frames that need not be heard: those replaced by silence or lost with a packager or process.
    excused: u64,
    /// Time at which audio from FFmpeg was last published, by any packager.
    last_media: UnixMs,
    /// Number of discontinuities allowed so far, independent of the packager.
    discontinuities: u64,
    /// Complete segments of all playlists so far, by media sequence number and without their parts.
    seen: BTreeMap<u64, Segment>,
    files: BTreeMap<String, Bytes>,
    plain: BTreeMap<String, Vec<u8>>,
    runtime: tokio::runtime::Runtime,
    last: Option<Playlist>,
    body: Bytes,
}

impl Room {
    fn new(config: PackagerConfig) -> Self {
        let keys = keys();
        let first = Junction::First(Timeline::default());
        let start = SequenceStart::default();
        let (mut packager, stream) =
            Packager::new(config, keys.clone(), start, first, moment(Duration::ZERO));
        packager.begin_incarnation(moment(Duration::ZERO));
        Self {
            config,
            keys,
            packager,
            stream,
            now: Duration::ZERO,
            frame: 0,
            heard: BTreeSet::new(),
            excused: 0,
            last_media: UnixMs(EPOCH),
            discontinuities: 0,
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
            Step::Media { frames, chunk, stalled } => self.media(frames, chunk, stalled),
            Step::Silence(ms) => self.pass(Duration::from_millis(ms)),
            Step::NewProcess => self.new_process(),
            Step::Garbage(bytes) => {
                let _ = self.packager.push(&bytes, moment(self.now));
                self.new_process();
            }
            Step::Burst => self.burst(),
            Step::Successor { reserved } => self.successor(reserved),
            Step::Resumed => self.resumed(),
            Step::HandedOver => self.handed_over(),
        }
        self.look();
        let most = 3 * self.part_frames();
        assert!(self.packager.missing(self.now) as u64 <= most, "the media are more than three parts late");
    }

    fn part_frames(&self) -> u64 {
        self.stream.limits().frames
    }

    /// Lets time pass and writes silence when it is due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.packager.fill_at().filter(|due| *due <= until) {
            self.now = due.max(self.now + Duration::from_millis(10));
            if self.now > until {
                break;
            }
            self.excused += u64::from(self.packager.fill(moment(self.now)).silent_frames);
            self.look();
        }
        self.now = until;
        self.last_media = self.last_media.max(self.stream.stats().last_part_at.unwrap_or_default());
        let quiet = moment(self.now).wall.0 - self.last_media.0;
        let longest = self.stream.limits().longest_silence() - 3 * self.config.part;
        self.discontinuities += u64::from(u128::from(quiet) > longest.as_millis());
    }

    fn media(&mut self, frames: u64, chunk: usize, stalled: bool) {
        let mut bytes = Vec::new();
        for _ in 0..frames {
            bytes.extend(self.next_frame());
            self.pass(Duration::from_nanos(21_333_334));
            if !stalled {
                self.push(&std::mem::take(&mut bytes), chunk);
            }
        }
        self.push(&bytes, chunk);
    }

    fn push(&mut self, bytes: &[u8], chunk: usize) {
        for chunk in bytes.chunks(chunk) {
            let progress = self.packager.push(chunk, moment(self.now)).unwrap();
            self.excused += u64::from(progress.silent_frames);
            self.look();
        }
    }

    fn next_frame(&mut self) -> Vec<u8> {
        let mut frame = synth::frame(self.frame as u8);
        frame[7..11].copy_from_slice(&self.frame.to_be_bytes());
        self.frame += 1;
        frame
    }

    fn burst(&mut self) {
        let bytes: Vec<u8> = (0..BURST).flat_map(|_| self.next_frame()).collect();
        let before = self.stream.snapshot().end();
        assert_eq!(self.packager.push(&bytes, moment(self.now)), Err(PackageError::AheadOfTime));
        let published = self.stream.snapshot().end().0 - before.0;
        assert!(before.0 == 0 || published < 3000 + 2 * 12_000, "{published} ms at once");
        self.excused += u64::from(BURST);
        self.new_process();
    }

    fn new_process(&mut self) {
        self.packager.begin_incarnation(moment(self.now));
        self.excused += self.part_frames();
    }

    fn successor(&mut self, reserved: Option<u64>) {
        let at = moment(self.now);
        self.packager.leave();
        self.look();
        let mut start = self.packager.next();
        let junction = match (self.packager.media_end(), reserved) {
            (Some(end), None) if end.at > UnixMs(0) => {
                let ago = Duration::from_millis(at.wall.0.saturating_sub(end.at.0));
                Junction::After { timeline: end.timeline, ago }
            }
            (Some(end), None) => Junction::First(end.timeline),
            _ => Junction::Unknown,
        };
        start.media_sequence += reserved.unwrap_or(0);
        start.discontinuity += reserved.unwrap_or(0) / 16;
        self.discontinuities += reserved.unwrap_or(0) / 16 + u64::from(junction == Junction::Unknown);
        let (packager, stream) = Packager::new(self.config, self.keys.clone(), start, junction, at);
        (self.packager, self.stream) = (packager, stream);
        self.new_process();
        self.pass(Duration::from_millis(10));
    }

    /// Resumes the stream and checks that no published media are lost, including the parts of an open
    /// segment.
    fn resumed(&mut self) {
        let next = self.packager.next();
        let nobody = Room::new(self.config).packager;
        drop(std::mem::replace(&mut self.packager, nobody));
        let at = moment(self.now);
        self.packager = Packager::resume(self.config, self.keys.clone(), &self.stream, at).unwrap();
        assert_eq!(self.packager.next(), next);
        self.excused += 2 * self.part_frames();
        self.new_process();
        self.pass(Duration::from_millis(10));
    }

    /// Hands the room over and checks that no published media are lost.
    fn handed_over(&mut self) {
        self.packager.leave();
        self.look();
        let at = moment(self.now);
        let (next, left) = (self.packager.next(), self.stream.window_snapshot(at.wall));
        let behind = Packager::behind(self.config, self.keys.clone(), next, left, at);
        assert_eq!(behind.is_some(), self.stream.snapshot().has_playlist());
        let first = Junction::First(Timeline::default());
        let new = || Packager::new(self.config, self.keys.clone(), next, first, at);
        (self.packager, self.stream) = behind.unwrap_or_else(new);
        assert_eq!(self.packager.next(), next);
        if self.stream.snapshot().has_playlist() {
            assert_eq!(self.runtime.block_on(self.stream.playlist(None)).unwrap().text.plain(), &self.body);
        }
        self.new_process();
        self.pass(Duration::from_millis(10));
    }

    /// Checks every guarantee given to listeners.
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
        let now = Playlist::parse_strictly(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        if let Some(before) = &self.last {
            assert_eq!(now.target_duration, before.target_duration);
            assert_eq!(now.part_target, before.part_target);
            assert!(now.media_sequence >= before.media_sequence);
            assert!(now.discontinuity_sequence >= before.discontinuity_sequence);
            let newest = |p: &Playlist| p.complete().next_back().map(|s| s.sequence);
            assert!(newest(&now) >= newest(before));
        }
        self.names_stay(&now);
        self.media_are_continuous(&now);
        self.last = Some(now);
    }

    fn names_stay(&mut self, now: &Playlist) {
        for segment in now.complete() {
            let said = Segment { parts: Vec::new(), ..segment.clone() };
            let msn = segment.sequence;
            assert_eq!(self.seen.entry(msn).or_insert_with(|| said.clone()), &said, "segment {msn}");
            let key = format!("enc.key?n={}&k={}", self.keys.hint(), msn / self.config.key_rotation);
            assert_eq!(segment.key.as_ref().unwrap().uri, key);
            assert!(segment.discontinuity <= self.discontinuities, "needless discontinuity");
        }
    }

    /// Checks that timestamps and counters continue except at a discontinuity, and that FFmpeg's frames are
    /// heard once and in order.
    fn media_are_continuous(&mut self, now: &Playlist) {
        let mut demuxer = Demuxer::default();
        let mut discontinuity = None;
        let mut frames = Vec::new();
        let mut hear = |segment: &Segment, bytes: &[u8]| {
            if discontinuity.replace(segment.discontinuity) != Some(segment.discontinuity) {
                demuxer.reset();
            }
            let audio = demuxer.read(bytes).unwrap_or_else(|why| panic!("{why}: {segment:?}"));
            frames.extend(audio.frames);
        };
        for segment in now.complete() {
            let msn = segment.sequence;
            let whole = self.fetch_plain(msn, segment.uri.as_ref().unwrap());
            if !segment.parts.is_empty() {
                let parts: Vec<_> = segment.parts.iter().map(|p| self.fetch_plain(msn, &p.uri)).collect();
                assert_eq!(parts.concat(), whole, "segment {msn}");
            }
            hear(segment, &whole);
        }
        if let Some(open) = now.open() {
            for part in &open.parts {
                let plain = self.fetch_plain(open.sequence, &part.uri);
                hear(open, &plain);
            }
        }
        let numbers = frames.iter().filter(|frame| frame[..] != adts::SILENCE);
        let numbers: Vec<u32> = numbers.map(|f| u32::from_be_bytes(f[7..11].try_into().unwrap())).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        self.heard.extend(numbers);
    }

    /// Returns the plaintext of a segment or part.
    fn fetch_plain(&mut self, msn: u64, name: &str) -> Vec<u8> {
        let cipher = self.fetch(name);
        let key = || self.keys.key(msn / self.config.key_rotation);
        self.plain.entry(name.to_owned()).or_insert_with(|| decrypt(&key(), msn, &cipher).unwrap()).clone()
    }

    /// Fetches a file and checks that a name always returns the same bytes.
    fn fetch(&mut self, name: &str) -> Bytes {
        let file = name.parse::<MediaFile>().unwrap();
        let answer = self.runtime.block_on(self.stream.file(&file));
        let bytes = answer.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(self.files.entry(name.to_owned()).or_insert_with(|| bytes.clone()), &bytes, "{name}");
        bytes
    }
}

pub(super) fn keys() -> ContentKeys {
    ContentKeys::new(b"secret", &RoomId::new("demo").unwrap(), &Nonce("nonce".into()))
}

pub(super) fn moment(now: Duration) -> Moment {
    Moment { now, wall: UnixMs(EPOCH + now.as_millis() as u64) }
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_histories_render_valid_playlists(
        config in config(),
        steps in prop::collection::vec(step(), 1..14),
    ) {
        let mut room = Room::new(config);
        for step in steps {
            room.run(step);
        }
        room.packager.finish();
        room.look();
        let lost = u64::from(room.frame) - room.heard.len() as u64;
        let excused = room.excused;
        prop_assert!(lost <= excused + room.part_frames(), "{lost} frames lost, {excused} excused");
        if room.stream.snapshot().has_playlist() {
            prop_assert!(room.last.is_some_and(|last| last.ended && last.open().is_none()));
        }
    }
}
