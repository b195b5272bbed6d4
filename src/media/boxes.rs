//! Cuts FFmpeg's fragmented MP4 (ISO/IEC 14496-12) into an init section and fragments, as the bytes come.
//!
//! Owns: the buffer of what is not yet complete, bounded per box before anything of it is buffered.
//! Never does: decode audio, keep what it handed out.

use bytes::{Buf, Bytes, BytesMut};

use super::fragment::{self, Timing, Track};

/// What one box may weigh. One fragment of 192 ms of AAC is about 2 kB; an init section about 1 kB.
const MAX_META_BOX: u64 = 64 * 1024;
const MAX_MEDIA_BOX: u64 = 1024 * 1024;

/// Four-character code of a box.
pub type BoxKind = [u8; 4];

/// `ftyp` + `moov`: what a player needs before any fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    pub bytes: Bytes,
    pub track: Track,
}

/// `moof` + `mdat`: some whole AAC frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub bytes: Bytes,
    pub timing: Timing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Init(Init),
    Fragment(Fragment),
}

/// The bytes are not the fragmented MP4 we asked FFmpeg for. Final for the stream they came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    #[error("box {} of {size} bytes, at most {max} are taken", name(kind))]
    TooLarge { kind: BoxKind, size: u64, max: u64 },
    #[error("box {} claims {size} bytes, less than its own header", name(kind))]
    TooSmall { kind: BoxKind, size: u64 },
    #[error("box {} has no place here", name(kind))]
    Unexpected { kind: BoxKind },
    #[error("{what} is cut short or contradicts itself")]
    Malformed { what: &'static str },
}

fn name(kind: &BoxKind) -> String {
    kind.escape_ascii().to_string()
}

/// What the next top-level box may be.
///
/// ```text
/// Start -ftyp-> Ftyp -moov-> Between -moof-> Moof -mdat-> Between
/// ```
#[derive(Debug, Clone, Copy)]
enum Stage {
    Start,
    /// `ftyp` of this many bytes lies at the front of the buffer.
    Ftyp(usize),
    Between(Track),
    /// `moof` of this many bytes lies at the front of the buffer.
    Moof(usize, Track),
}

/// One FFmpeg process's output. Make a new one for a new process.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    stage: Stage,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), stage: Stage::Start }
    }
}

impl Splitter {
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next complete piece; `None` until more bytes are fed.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, BoxError> {
        loop {
            let held = self.held();
            let Some(head) = Header::read(&self.buffer[held..])? else { return Ok(None) };
            if self.buffer.len() - held < head.size {
                return Ok(None);
            }
            if let Some(piece) = self.take(head)? {
                return Ok(Some(piece));
            }
        }
    }

    /// What was fed and not handed out: the beginning of the next piece.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Bytes at the front that belong to a unit whose last box has not come yet.
    fn held(&self) -> usize {
        match self.stage {
            Stage::Start | Stage::Between(_) => 0,
            Stage::Ftyp(held) | Stage::Moof(held, _) => held,
        }
    }

    fn take(&mut self, head: Header) -> Result<Option<Piece>, BoxError> {
        match (self.stage, &head.kind) {
            (Stage::Start, b"ftyp") => self.stage = Stage::Ftyp(head.size),
            (Stage::Ftyp(held), b"moov") => {
                let track = fragment::read_moov(&self.buffer[held + head.length..held + head.size])?;
                self.stage = Stage::Between(track);
                // Kept as long as the process runs: a copy, so that it does not keep the whole buffer.
                let bytes = Bytes::copy_from_slice(&self.buffer[..held + head.size]);
                self.buffer.advance(held + head.size);
                return Ok(Some(Piece::Init(Init { bytes, track })));
            }
            (Stage::Between(track), b"moof") => self.stage = Stage::Moof(head.size, track),
            (Stage::Moof(held, track), b"mdat") => {
                let moof = Header::read(&self.buffer)?.map_or(8, |h| h.length);
                let timing = fragment::read_moof(&self.buffer[moof..held], track)?;
                self.stage = Stage::Between(track);
                let bytes = self.buffer.split_to(held + head.size).freeze();
                return Ok(Some(Piece::Fragment(Fragment { bytes, timing })));
            }
            // Indexes and padding around fragments: a player of ours never needs them.
            (Stage::Between(_), b"styp" | b"sidx" | b"prft" | b"free" | b"skip" | b"mfra") => {
                self.buffer.advance(head.size);
            }
            (_, kind) => return Err(BoxError::Unexpected { kind: *kind }),
        }
        Ok(None)
    }
}

/// A box header; `size` includes its `length` bytes.
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: BoxKind,
    size: usize,
    length: usize,
}

impl Header {
    /// `None` while the header itself is incomplete.
    fn read(bytes: &[u8]) -> Result<Option<Self>, BoxError> {
        let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
        let [a, b, c, d, kind @ ..] = *head;
        let (size, length) = match u32::from_be_bytes([a, b, c, d]) {
            1 => match rest.first_chunk::<8>() {
                Some(large) => (u64::from_be_bytes(*large), 16),
                None => return Ok(None),
            },
            size => (u64::from(size), 8),
        };
        // A size of 0 means "to the end of the file", which a live stream never reaches.
        if size < length {
            return Err(BoxError::TooSmall { kind, size });
        }
        let max = if &kind == b"mdat" { MAX_MEDIA_BOX } else { MAX_META_BOX };
        if size > max {
            return Err(BoxError::TooLarge { kind, size, max });
        }
        Ok(Some(Self { kind, size: size as usize, length: length as usize }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::synth;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Result<Vec<Piece>, BoxError> {
        let mut splitter = Splitter::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            splitter.feed(chunk);
            while let Some(piece) = splitter.next_piece()? {
                pieces.push(piece);
            }
        }
        Ok(pieces)
    }

    fn stream() -> Vec<u8> {
        let mut bytes = synth::init(48_000);
        for n in 0..4u64 {
            bytes.extend(synth::fragment(n * 9 * 1024, 9, 1024, n as u8));
        }
        bytes
    }

    proptest! {
        #[test]
        fn the_chunking_does_not_matter(mut cuts in prop::collection::vec(0usize..5000, 0..40)) {
            let bytes = stream();
            cuts.iter_mut().for_each(|c| *c %= bytes.len());
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts {
                chunks.push(&bytes[from..cut]);
                from = cut;
            }
            chunks.push(&bytes[from..]);
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }

        #[test]
        fn damaged_bytes_are_an_error_or_other_pieces_but_never_a_panic(at in 0usize..1200, to: u8) {
            let mut bytes = stream();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = split(&[&bytes]);
        }
    }

    #[test]
    fn pieces_carry_their_timing_and_all_their_bytes() {
        let bytes = stream();
        let pieces = split(&[&bytes]).unwrap();
        assert_eq!(pieces.len(), 5);
        let mut joined = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Init(init) => {
                    assert_eq!(init.track.timescale, 48_000);
                    joined.extend_from_slice(&init.bytes);
                }
                Piece::Fragment(f) => {
                    assert_eq!(f.timing.base, (n as u64 - 1) * 9216);
                    assert_eq!(f.timing.duration.as_micros(), 192_000);
                    joined.extend_from_slice(&f.bytes);
                }
            }
        }
        assert_eq!(joined, bytes);
    }

    #[test]
    fn a_box_too_large_is_refused_by_its_header_alone() {
        let mut bytes = synth::init(48_000);
        bytes.extend([0x7f, 0, 0, 0]);
        bytes.extend(b"moof");
        assert!(matches!(split(&[&bytes]), Err(BoxError::TooLarge { .. })));
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        assert!(matches!(split(&[b"\0\0\0\x08mdat"]), Err(BoxError::Unexpected { .. })));
        assert!(matches!(split(&[b"\0\0\0\0ftyp"]), Err(BoxError::TooSmall { .. })));
        let twice = [synth::init(48_000), synth::init(48_000)].concat();
        assert!(matches!(split(&[&twice]), Err(BoxError::Unexpected { .. })));
    }

    #[test]
    fn the_index_ffmpeg_writes_at_its_end_is_skipped() {
        let bytes = [stream(), b"\0\0\0\x0cmfra\0\0\0\0".to_vec()].concat();
        assert_eq!(split(&[&bytes]).unwrap().len(), 5);
    }
}
