//! Fuzz tests: the packager never panics if bytes from FFmpeg or from other nodes are changed at random
//! positions.

use std::time::Duration;

use bytes::Bytes;
use stentor_domain::ids::UnixMs;
use stentor_domain::recording_journal::JournalEntry;
use stentor_domain::timeline::{Junction, Moment, Timeline};
use stentor_fuzz::{Corpus, Mutations};

use super::adts::AdtsReader;
use super::histories::{keys, moment, runtime};
use super::packager::{Packager, PackagerConfig, SequenceStart};
use super::plain::PartList;
use super::synth;
use super::track::samples::{mjr, opus_packets};
use super::track::{MjrReader, TimeAxis, write_track};

fn ms(ms: u64) -> Moment {
    moment(Duration::from_millis(ms))
}

#[test]
fn fuzz_ffmpegs_adts_stream() {
    let corpus = Corpus::new([synth::frames(3, 1), synth::frames(9, 4)]);
    bolero::check!().with_type().for_each(|mutations: &Mutations| {
        let bytes = corpus.input(mutations);
        let (mut reader, mut taken) = (AdtsReader::default(), 0);
        reader.feed(&bytes);
        while let Ok(Some(frame)) = reader.next_frame() {
            taken += frame.len();
        }
        assert_eq!(taken + reader.rest().len(), bytes.len(), "no byte is lost");
    });
}

#[test]
fn fuzz_window_snapshots_of_nodes() {
    let config = PackagerConfig {
        part: Duration::from_millis(192),
        segment: Duration::from_secs(2),
        window: 6,
        key_rotation: 2,
    };
    let first = Junction::First(Timeline::default());
    let (mut packager, stream) = Packager::new(config, keys(), SequenceStart::default(), first, ms(0));
    packager.begin_incarnation(ms(0));
    packager.push(&synth::frames(9, 1), ms(192)).unwrap();
    let (next, snapshot) = (packager.next(), stream.window_snapshot(ms(192).wall));
    let corpus = Corpus::new([&snapshot]);
    assert!(Packager::behind(config, keys(), next, snapshot, ms(192)).is_some());
    bolero::check!().with_type().for_each(|mutations: &Mutations| {
        let snapshot = Bytes::from(corpus.input(mutations));
        if let Some((mut packager, stream)) = Packager::behind(config, keys(), next, snapshot, ms(192)) {
            packager.begin_incarnation(ms(200));
            packager.push(&synth::frames(20, 2), ms(700)).unwrap();
            stream.window_snapshot(ms(700).wall);
            runtime().block_on(stream.playlist(None)).unwrap();
        }
    });
}

#[test]
fn fuzz_recorded_rtp_of_janus() {
    let payloads: Vec<_> = (0..40u8).map(|n| [0xf8, n]).collect();
    let packets: Vec<_> =
        payloads.iter().zip(0u16..).map(|(payload, n)| (20 * u32::from(n), n, &payload[..])).collect();
    let corpus = Corpus::new([mjr(1_000_000, &packets), mjr(1_500_000, &packets[3..9])]);
    let segment = JournalEntry {
        sequence: 1,
        duration_us: 1_000_000,
        started_at: UnixMs(1_000),
        discontinuity: false,
        key_index: 0,
        bytes: 9,
        file: 1,
        offset: 0,
        lag_us: None,
        tick_us: None,
    };
    let axis = TimeAxis::new([&segment]).unwrap();
    bolero::check!().with_type().for_each(|mutations: &Mutations| {
        let file = corpus.input(mutations);
        let readers = MjrReader::open(&file[..]).unwrap();
        let readers = readers.into_iter().map(|reader| (reader, UnixMs(0))).collect();
        let (ogg, _) = write_track(&axis, readers, &[], Vec::new()).unwrap();
        let (packets, granule) = opus_packets(&ogg);
        assert_eq!((packets.len(), granule), (51, 48_312), "a track is as long as its recording");
    });
}

#[test]
fn fuzz_plain_streams_playlists() {
    let corpus = Corpus::new([include_str!("../../../tests/corpus/playlist.m3u8")]);
    bolero::check!().with_type().for_each(|mutations: &Mutations| {
        if let Some(list) = PartList::read(&corpus.input(mutations)) {
            let newest = list.newest(Some((7, 1)), Duration::from_secs(2));
            assert!(newest.len() <= list.newest(None, Duration::MAX).len());
        }
    });
}
