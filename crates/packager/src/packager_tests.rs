//! Tests of the packager: restarts, gaps, handovers, media faster than real time.

use std::time::Duration;

use super::histories::{EPOCH, keys, moment, runtime};
use super::*;
use stentor_domain::ids::{Nonce, RoomId, UnixMs};
use stentor_domain::timeline::{Junction, Moment, Timeline};
use stentor_probe::m3u8::Playlist;

fn ms(ms: u64) -> Moment {
    moment(Duration::from_millis(ms))
}

fn small() -> PackagerConfig {
    PackagerConfig {
        part: Duration::from_millis(192),
        segment: Duration::from_millis(400),
        window: 6,
        key_rotation: 2,
    }
}

fn first() -> Junction {
    Junction::First(Timeline::default())
}

#[test]
fn window_snapshot_must_match_sequence_start() {
    let config = PackagerConfig { segment: Duration::from_secs(2), ..small() };
    let (mut packager, stream) = Packager::new(config, keys(), SequenceStart::default(), first(), ms(0));
    packager.begin_incarnation(ms(0));
    packager.push(&synth::frames(9, 1), ms(192)).unwrap();
    let (next, left) = (packager.next(), stream.window_snapshot(ms(192).wall));
    let behind = |keys, next, left| Packager::behind(config, keys, next, left, ms(192)).is_some();
    assert!(behind(keys(), next, left.clone()));
    let further = SequenceStart { media_sequence: next.media_sequence + 1, ..next };
    assert!(!behind(keys(), further, left.clone()), "after a crash the numbers jump");
    let another = SequenceStart { discontinuity: next.discontinuity + 1, ..next };
    assert!(!behind(keys(), another, left.clone()));
    let of_another_live =
        ContentKeys::new(b"secret", &RoomId::new("demo").unwrap(), &Nonce("another".into()));
    assert!(!behind(of_another_live, next, left.clone()));
    for cut in 0..left.len() {
        assert!(!behind(keys(), next, left.slice(..cut)), "cut off after {cut} bytes");
    }
    assert!(!behind(keys(), next, [&left[..], b"more"].concat().into()));
}

#[test]
fn handover_fills_the_hole_with_buffered_media() {
    let (mut before, stream) = Packager::new(small(), keys(), SequenceStart::default(), first(), ms(0));
    before.begin_incarnation(ms(0));
    before.push(&synth::frames(9, 1), ms(192)).unwrap();
    before.leave();
    let (next, left) = (before.next(), stream.window_snapshot(ms(512).wall));
    // The successor has another clock.
    let at = Moment { now: Duration::from_secs(1000), wall: UnixMs(5) };
    let (mut after, _) = Packager::behind(small(), keys(), next, left, at).unwrap();
    assert_eq!(after.missing(at.now), 15, "320 ms");
    after.begin_incarnation(at);
    let progress = after.push(&synth::frames(15, 2), at).unwrap();
    assert_eq!((progress.silent_frames, progress.parts, after.missing(at.now)), (0, 1, 0));
}

#[test]
fn ffmpeg_restart_gap_is_filled_exactly() {
    let (mut packager, stream) = Packager::new(small(), keys(), SequenceStart::default(), first(), ms(0));
    packager.begin_incarnation(ms(0));
    packager.push(&synth::frames(13, 1), ms(1000)).unwrap();
    packager.begin_incarnation(ms(1100));
    assert_eq!(packager.push(&synth::frames(5, 2), ms(1300)).unwrap().parts, 0, "held back");
    let progress = packager.push(&synth::frames(5, 2), ms(1448)).unwrap();
    assert_eq!(progress.silent_frames, 21 - 10, "448 ms less ten frames");
    assert_eq!(packager.missing(Duration::from_millis(1448)), 0);
    let text = runtime().block_on(stream.playlist(None)).unwrap().text.plain().clone();
    assert!(!String::from_utf8_lossy(&text).contains("EXT-X-DISCONTINUITY\n"));
}

#[test]
fn media_faster_than_real_time_are_refused() {
    let (mut packager, stream) = Packager::new(small(), keys(), SequenceStart::default(), first(), ms(0));
    packager.begin_incarnation(ms(0));
    packager.push(&synth::frames(9, 1), ms(192)).unwrap();
    // Twice as fast as the clock.
    let refused =
        (1..100).find_map(|n| packager.push(&synth::frames(2, 1), ms(192 + n * 21)).err().map(|e| (n, e)));
    let (n, error) = refused.unwrap();
    assert_eq!(error, PackageError::AheadOfTime);
    assert!((90..100).contains(&n), "after about two seconds: {n}");
    let end = stream.snapshot().end().0 - EPOCH;
    assert!(end <= 192 + n * 21 + 2100, "{end}");
    assert!(packager.push(&synth::frames(9, 1), ms(9000)).is_err(), "a refused process stays refused");
    packager.begin_incarnation(ms(9000));
    assert!(packager.push(&synth::frames(9, 1), ms(9192)).is_ok());
}

#[test]
fn hole_beyond_the_window_is_a_discontinuity() {
    let (mut packager, stream) = Packager::new(small(), keys(), SequenceStart::default(), first(), ms(0));
    packager.begin_incarnation(ms(0));
    packager.push(&synth::frames(9, 1), ms(192)).unwrap();
    let (mut silent, mut now) = (0, 192);
    while let Some(due) = packager.fill_at() {
        now = due.as_millis() as u64 + 1;
        silent += packager.fill(ms(now)).silent_frames;
    }
    let window = u64::from(silent) * 64 / 3;
    assert!((2900..=3200).contains(&window), "eight segments of 0.4 s: {window} ms");
    packager.begin_incarnation(ms(now));
    packager.push(&synth::frames(9, 1), ms(now + 3000)).unwrap();
    assert_eq!(packager.next().discontinuity, 1);
    let text = runtime().block_on(stream.playlist(None)).unwrap().text.plain().clone();
    let list = Playlist::parse_strictly(std::str::from_utf8(&text).unwrap()).unwrap();
    assert_eq!(list.open().unwrap().discontinuity, 1);
}

#[test]
fn media_resume_after_a_long_hole() {
    let (mut packager, _) = Packager::new(small(), keys(), SequenceStart::default(), first(), ms(0));
    packager.begin_incarnation(ms(0));
    packager.push(&synth::frames(9, 1), ms(192)).unwrap();
    while let Some(due) = packager.fill_at() {
        packager.fill(moment(due));
    }
    let progress = packager.push(&synth::frames(9, 1), ms(20_000)).unwrap();
    assert_eq!(
        (progress.parts, packager.next().discontinuity),
        (1, 1),
        "the gap is within the output of one process"
    );
}

#[test]
fn process_pause_inserts_no_silence() {
    let (mut packager, _) = Packager::new(small(), keys(), SequenceStart::default(), first(), ms(0));
    packager.begin_incarnation(ms(0));
    packager.push(&synth::frames(9, 1), ms(192)).unwrap();
    assert_eq!(packager.fill(ms(2192)).silent_frames, 0, "the node itself was paused");
    packager.push(&synth::frames(90, 1), ms(2195)).unwrap();
    assert_eq!(packager.fill(ms(2200)).silent_frames, 0);
    assert!(packager.missing(Duration::from_millis(2200)) < 5);
}

#[test]
fn packager_renders_expected_playlist() {
    let start = SequenceStart { media_sequence: 1025, discontinuity: 4 };
    let (mut packager, stream) = Packager::new(small(), keys(), start, first(), ms(0));
    packager.begin_incarnation(ms(0));
    packager.push(&synth::frames(9, 1), ms(192)).unwrap();
    packager.push(&synth::frames(9, 1), ms(384)).unwrap();
    packager.begin_incarnation(ms(384));
    packager.push(&synth::frames(9, 1), ms(768)).unwrap();
    packager.push(&synth::frames(9, 1), ms(960)).unwrap();
    let text = runtime().block_on(stream.playlist(None)).unwrap().text.plain().clone();
    let h = keys().hint();
    let expected = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:1\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.57600\n\
         #EXT-X-PART-INF:PART-TARGET=0.19200\n\
         #EXT-X-MEDIA-SEQUENCE:1025\n#EXT-X-DISCONTINUITY-SEQUENCE:4\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n={h}&k=512\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z\n\
         #EXT-X-PART:DURATION=0.19200,URI=\"{h}-1025.0.ts\",INDEPENDENT=YES\n\
         #EXTINF:0.19200,\n{h}-1025.ts\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n={h}&k=513\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.192Z\n\
         #EXT-X-PART:DURATION=0.19200,URI=\"{h}-1026.0.ts\",INDEPENDENT=YES\n\
         #EXT-X-PART:DURATION=0.19200,URI=\"{h}-1026.1.ts\",INDEPENDENT=YES\n\
         #EXTINF:0.38400,\n{h}-1026.ts\n\
         #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.576Z\n\
         #EXT-X-PART:DURATION=0.19200,URI=\"{h}-1027.0.ts\",INDEPENDENT=YES\n\
         #EXT-X-PART:DURATION=0.19200,URI=\"{h}-1027.1.ts\",INDEPENDENT=YES\n\
         #EXTINF:0.38400,\n{h}-1027.ts\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{h}-1028.0.ts\"\n"
    );
    assert_eq!(text, expected);
    assert_eq!(packager.next(), SequenceStart { media_sequence: 1028, discontinuity: 4 });
}
