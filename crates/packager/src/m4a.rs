//! A recording, or a clip of one, as one M4A file (ISO/IEC 14496-12, 14496-14): an index, then the AAC
//! frames of all segments. Players can seek in it, and an interrupted download can continue.
//!
//! A gap between two segments becomes frames of silence, so a position in the file is the time since its
//! start. Owns: the layout of the file. Does not read a segment, or decrypt.

use std::ops::Range;

use bytes::Bytes;
use mp4_atom::{
    Audio, Co64, Codec, Dinf, Dref, DrefEntry, Encode, Error, Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mp4a, Mvhd,
    Smhd, Stbl, Stsc, StscEntry, Stsd, Stsz, StszSamples, Stts, SttsEntry, Tkhd, Trak, Url, esds,
};

use super::adts::{self, AdtsError, SILENCE};
use super::m4a_tags::M4aTags;
use stentor_domain::ids::{RoomId, UnixMs};

/// Samples per second of the packager's audio.
pub(super) const RATE: u32 = 48_000;
/// Samples per frame of the packager's audio.
pub(super) const FRAME: u32 = 1_024;
/// Seconds from 1904, the epoch of the format, to 1970.
const EPOCH: u64 = 2_082_844_800;
/// Length in bytes of an `mdat` header with a 64-bit size.
const MDAT_HEADER: u64 = 16;

/// M4A file of a recording.
#[derive(Debug)]
pub struct RecordedM4a {
    pub room: RoomId,
    /// Time at which the first frame was recorded.
    pub started: UnixMs,
    /// `ETag` of the file's current content. Without a copy in object storage, it changes when a mixer that
    /// has a part of the recording becomes available or unavailable.
    pub etag: String,
    /// False if a mixer with a part of the recording did not answer.
    pub complete: bool,
    pub file: M4aFile,
}

/// Layout of a file.
#[derive(Debug)]
pub struct M4aFile {
    head: Bytes,
    chunks: Vec<Chunk>,
    length: u64,
}

/// Range of a file's bytes that has one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub source: Source,
    /// Bytes of the source that belong to the piece.
    pub range: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Bytes held in memory, such as an index or silence.
    Known(Bytes),
    /// Segment with this media sequence number. An M4A file contains its frames without ADTS headers; a copy
    /// in object storage contains the encrypted segment.
    Segment(u64),
}

/// Collector of the frames of a recording, in order.
#[derive(Debug, Default)]
pub struct M4aBuilder {
    sizes: Vec<u32>,
    chunks: Vec<Chunk>,
    length: u64,
}

#[derive(Debug)]
struct Chunk {
    /// Media sequence number; `None`: silence.
    segment: Option<u64>,
    frames: u32,
    /// Number of bytes of the segment before the first frame of the chunk, not counting ADTS headers.
    skipped: u64,
    /// Position in the media data.
    offset: u64,
    bytes: u64,
}

/// Returns complete frames without their ADTS headers.
pub fn without_headers(adts: &[u8]) -> Result<Bytes, AdtsError> {
    Ok(adts::payloads(adts)?.concat().into())
}

impl M4aBuilder {
    /// Adds frames of a segment. `adts`: all frames of the segment with their ADTS headers; `frames`: range
    /// of the frames to add, limited to the frames of the segment.
    pub fn segment(&mut self, sequence: u64, adts: &[u8], frames: Range<u64>) -> Result<(), AdtsError> {
        let sizes: Vec<_> = adts::payloads(adts)?.into_iter().map(|frame| frame.len() as u32).collect();
        let count = |frames: u64| usize::try_from(frames).map_or(sizes.len(), |n| n.min(sizes.len()));
        let (from, to) = (count(frames.start), count(frames.end));
        self.chunk(Some(sequence), bytes(&sizes[..from]), &sizes[from..to.max(from)]);
        Ok(())
    }

    /// Adds silent frames.
    pub fn silence(&mut self, frames: u64) {
        self.chunk(None, 0, &vec![silence().len() as u32; frames as usize]);
    }

    fn chunk(&mut self, segment: Option<u64>, skipped: u64, sizes: &[u32]) {
        if sizes.is_empty() {
            return;
        }
        self.sizes.extend(sizes);
        let (frames, bytes) = (sizes.len() as u32, bytes(sizes));
        self.chunks.push(Chunk { segment, frames, skipped, offset: self.length, bytes });
        self.length += bytes;
    }

    /// Returns the layout of the file. `started`: time at which the first frame was recorded.
    ///
    /// # Errors
    /// The index cannot be encoded in its format.
    pub fn finish(self, started: UnixMs, tags: &M4aTags) -> Result<M4aFile, Error> {
        let mut head = Vec::new();
        let ftyp = Ftyp {
            major_brand: b"M4A ".into(),
            minor_version: 0x200,
            compatible_brands: vec![b"M4A ".into(), b"mp42".into(), b"isom".into()],
        };
        ftyp.encode(&mut head)?;
        // The size of the index does not depend on the positions in it.
        let size = self.index(started, tags, 0)?.len();
        let media = (head.len() + size) as u64 + MDAT_HEADER;
        head.extend(self.index(started, tags, media)?);
        head.extend(1u32.to_be_bytes());
        head.extend(b"mdat");
        head.extend((self.length + MDAT_HEADER).to_be_bytes());
        Ok(M4aFile { length: media + self.length, head: head.into(), chunks: self.chunks })
    }

    /// Returns the index of a file whose media data begins at this position, with the description.
    fn index(&self, started: UnixMs, tags: &M4aTags, media: u64) -> Result<Vec<u8>, Error> {
        let mut index = Vec::new();
        self.moov(started, media).encode(&mut index)?;
        index.extend(tags.udta(started));
        // The description is the last box in the index.
        let size = (index.len() as u32).to_be_bytes();
        index[..size.len()].copy_from_slice(&size);
        Ok(index)
    }

    fn moov(&self, started: UnixMs, media: u64) -> Moov {
        let created = started.0 / 1_000 + EPOCH;
        let duration = self.sizes.len() as u64 * u64::from(FRAME);
        let minf = Minf {
            smhd: Some(Smhd::default()),
            dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
            stbl: self.samples(media),
            ..Minf::default()
        };
        let track = Trak {
            tkhd: Tkhd {
                creation_time: created,
                modification_time: created,
                track_id: 1,
                duration,
                enabled: true,
                in_movie: true,
                volume: 1.into(),
                ..Tkhd::default()
            },
            mdia: Mdia {
                mdhd: Mdhd {
                    creation_time: created,
                    modification_time: created,
                    timescale: RATE,
                    duration,
                    language: "und".into(),
                },
                hdlr: Hdlr { handler: b"soun".into(), name: "SoundHandler".into() },
                minf,
            },
            ..Trak::default()
        };
        let mvhd = Mvhd {
            creation_time: created,
            modification_time: created,
            timescale: RATE,
            duration,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: 2,
            ..Mvhd::default()
        };
        Moov { mvhd, trak: vec![track], ..Moov::default() }
    }

    fn samples(&self, media: u64) -> Stbl {
        let in_chunk = |(n, chunk): (usize, &Chunk)| StscEntry {
            first_chunk: n as u32 + 1,
            samples_per_chunk: chunk.frames,
            sample_description_index: 1,
        };
        let mut entries: Vec<_> = self.chunks.iter().enumerate().map(in_chunk).collect();
        // An entry applies to the chunks up to the next entry.
        entries.dedup_by_key(|entry| entry.samples_per_chunk);
        let frames = SttsEntry { sample_count: self.sizes.len() as u32, sample_delta: FRAME };
        Stbl {
            stsd: Stsd { codecs: vec![Codec::Mp4a(aac())] },
            stts: Stts { entries: vec![frames] },
            stsc: Stsc { entries },
            stsz: Stsz { samples: StszSamples::Different { sizes: self.sizes.clone() } },
            co64: Some(Co64 { entries: self.chunks.iter().map(|chunk| media + chunk.offset).collect() }),
            ..Stbl::default()
        }
    }
}

impl M4aFile {
    pub const CONTENT_TYPE: &str = "audio/mp4";

    /// Returns the size of the file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the pieces of a byte range, in order. Bytes beyond the end are left out.
    pub fn pieces(&self, range: Range<u64>) -> Vec<Piece> {
        let head = self.head.len() as u64;
        let mut pieces = Vec::new();
        // `skipped`: number of bytes at the start of the source that the file does not contain. `at`:
        // position in the file of the first byte that the file contains.
        let mut push = |source: Source, skipped: u64, at: u64, bytes: u64| {
            let (from, to) = (range.start.max(at), range.end.min(at + bytes));
            if from < to {
                let of_source = |position: u64| (position - at + skipped) as usize;
                pieces.push(Piece { source, range: of_source(from)..of_source(to) });
            }
        };
        push(Source::Known(self.head.clone()), 0, 0, head);
        let begin = range.start.saturating_sub(head);
        let first = self.chunks.partition_point(|chunk| chunk.offset + chunk.bytes <= begin);
        for chunk in self.chunks[first..].iter().take_while(|chunk| head + chunk.offset < range.end) {
            let silent = || Source::Known(silence().repeat(chunk.frames as usize).into());
            let source = chunk.segment.map_or_else(silent, Source::Segment);
            push(source, chunk.skipped, head + chunk.offset, chunk.bytes);
        }
        pieces
    }
}

fn bytes(sizes: &[u32]) -> u64 {
    sizes.iter().map(|size| u64::from(*size)).sum()
}

/// Returns a frame of silence without its header.
fn silence() -> &'static [u8] {
    &SILENCE[adts::HEADER..]
}

/// Returns the description of the packager's frames: AAC-LC, 48 kHz, mono.
fn aac() -> Mp4a {
    let config = esds::DecoderConfig {
        // Audio of ISO/IEC 14496-3, an audio stream (ISO/IEC 14496-1 section 7.2.6.6).
        object_type_indication: 0x40,
        stream_type: 5,
        dec_specific: Some(esds::DecoderSpecific {
            profile: 2,
            freq_index: 3,
            chan_conf: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    let es_desc = esds::EsDescriptor { dec_config: config, ..Default::default() };
    Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: 1,
            sample_size: 16,
            sample_rate: (RATE as u16).into(),
        },
        esds: esds::Esds { es_desc },
        btrt: None,
        taic: None,
    }
}

#[cfg(test)]
mod tests {
    use mp4_atom::Decode;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::synth;

    const STARTED: UnixMs = UnixMs(1_790_000_000_000);
    const SILENT: u64 = 94;

    /// Returns three segments: their sequence numbers and their frames.
    fn segments() -> [(u64, Vec<u8>); 3] {
        [7, 8, 30].map(|sequence: u8| (u64::from(sequence), synth::frames(90, sequence)))
    }

    /// Returns a file of the three segments, with a gap before the last one.
    fn file() -> M4aFile {
        let mut builder = M4aBuilder::default();
        for (sequence, adts) in segments() {
            if sequence == 30 {
                builder.silence(SILENT);
            }
            builder.segment(sequence, &adts, 0..u64::MAX).unwrap();
        }
        let chapters = vec![(Duration::ZERO, "Ann".into()), (Duration::from_secs(3), "Ann and Bob".into())];
        builder.finish(STARTED, &M4aTags { title: Some("Tea & talk".into()), chapters }).unwrap()
    }

    fn read(file: &M4aFile, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Piece { source, range } in file.pieces(range) {
            let whole = match source {
                Source::Known(known) => known,
                Source::Segment(sequence) => {
                    let (_, adts) = segments().into_iter().find(|(known, _)| *known == sequence).unwrap();
                    without_headers(&adts).unwrap()
                }
            };
            bytes.extend_from_slice(&whole[range]);
        }
        bytes
    }

    #[test]
    fn index_locates_every_frame() {
        let file = file();
        let bytes = read(&file, 0..file.length());
        assert_eq!(bytes.len() as u64, file.length());
        let mut rest = &bytes[..];
        assert_eq!(Ftyp::decode(&mut rest).unwrap().major_brand, b"M4A ".into());
        let moov = Moov::decode(&mut rest).unwrap();
        assert_eq!(moov.mvhd.duration, (3 * 90 + SILENT) * 1_024);
        let stbl = &moov.trak[0].mdia.minf.stbl;
        let StszSamples::Different { sizes } = &stbl.stsz.samples else { panic!("sizes differ") };
        let mut sizes = sizes.iter().map(|size| *size as usize);
        let mut frames = Vec::new();
        let per_chunk = |chunk: u32| {
            let entries = stbl.stsc.entries.iter().rev();
            entries.into_iter().find(|entry| entry.first_chunk <= chunk).unwrap().samples_per_chunk
        };
        for (chunk, offset) in (1..).zip(&stbl.co64.as_ref().unwrap().entries) {
            let mut at = *offset as usize;
            for size in sizes.by_ref().take(per_chunk(chunk) as usize) {
                frames.push(bytes[at..at + size].to_vec());
                at += size;
            }
        }
        let of = |adts: &[u8]| adts::payloads(adts).unwrap().iter().map(|f| f.to_vec()).collect::<Vec<_>>();
        let [(_, a), (_, b), (_, c)] = segments();
        let gap = vec![silence().to_vec(); SILENT as usize];
        assert_eq!(frames, [of(&a), of(&b), gap, of(&c)].concat());
    }

    #[test]
    fn ffprobe_reads_title_and_chapters() {
        let file = file();
        let mut ffprobe = Command::new("ffprobe")
            .args(["-v", "error", "-show_chapters", "-show_format", "-of", "compact", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Less than the buffer of a pipe, so the write does not wait.
        ffprobe.stdin.take().unwrap().write_all(&read(&file, 0..60_000)).unwrap();
        let told = String::from_utf8(ffprobe.wait_with_output().unwrap().stdout).unwrap();
        let of = |line: &str| told.lines().find(|known| known.contains(line)).map(str::to_owned);
        let second = of("tag:title=Ann and Bob").unwrap_or_else(|| panic!("{told}"));
        assert!(second.contains("start_time=3.000000"), "{told}");
        let first = of("start_time=0.000000|").unwrap_or_else(|| panic!("{told}"));
        assert!(first.contains("end_time=3.000000") && first.ends_with("tag:title=Ann"), "{told}");
        let format = of("tag:title=Tea & talk").unwrap_or_else(|| panic!("{told}"));
        assert!(format.contains("tag:date=2026-09-2"), "{told}");
    }

    #[test]
    fn clip_has_frames_of_its_range() {
        let [(_, a), (_, b), _] = segments();
        let mut builder = M4aBuilder::default();
        builder.segment(7, &a, 80..u64::MAX).unwrap();
        builder.silence(0);
        builder.segment(8, &b, 0..3).unwrap();
        builder.segment(30, &b, 200..u64::MAX).unwrap();
        let file = builder.finish(STARTED, &M4aTags::default()).unwrap();
        let frames =
            [&adts::payloads(&a).unwrap()[80..], &adts::payloads(&b).unwrap()[..3]].concat().concat();
        let whole = read(&file, 0..file.length());
        assert!(whole.ends_with(&frames), "{} bytes", whole.len());
        assert_eq!(file.chunks.len(), 2);
        assert_eq!(read(&file, file.length() - 5..file.length()), frames[frames.len() - 5..]);
    }

    proptest! {
        #[test]
        fn ranges_are_bytes_of_the_file(from in 0u64..40_000, length in 0u64..40_000) {
            let file = file();
            let whole = read(&file, 0..file.length());
            let to = (from + length).min(file.length());
            let from = from.min(to);
            prop_assert_eq!(&read(&file, from..from + length)[..], &whole[from as usize..to as usize]);
        }
    }
}
