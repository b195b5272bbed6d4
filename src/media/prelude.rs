//! FFmpeg's output while nobody publishes it: what a packager needs to begin in the midst of it.
//!
//! Owns: the init section, and the fragment that is not complete. Never does: keep a whole fragment.

use bytes::{Bytes, BytesMut};

use super::boxes::{BoxError, Piece, Splitter};

#[derive(Debug, Default)]
pub struct Prelude {
    splitter: Splitter,
    init: Option<Bytes>,
}

impl Prelude {
    /// How many fragments became whole with these bytes, and were dropped.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, BoxError> {
        self.splitter.feed(bytes);
        let mut dropped = 0;
        while let Some(piece) = self.splitter.next_piece()? {
            match piece {
                Piece::Init(init) => self.init = Some(init.bytes),
                Piece::Fragment(_) => dropped += 1,
            }
        }
        Ok(dropped)
    }

    /// The bytes that a packager is to be given before those that follow.
    pub fn into_bytes(self) -> Bytes {
        let mut bytes = BytesMut::from(self.init.unwrap_or_default());
        bytes.extend_from_slice(self.splitter.rest());
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::synth;

    #[test]
    fn a_packager_may_begin_anywhere() {
        let init = synth::init(48_000);
        let fragments: Vec<_> = (0..3).map(|n| synth::fragment(n * 9216, 9, 1024, 0)).collect();
        let stream = [&init[..], &fragments[0][..], &fragments[1][..], &fragments[2][..]].concat();
        let second_ends = init.len() + fragments[0].len() + fragments[1].len();
        for (cut, dropped, from) in [
            (10, 0, 0),
            (init.len() + 5, 0, init.len()),
            (second_ends, 2, second_ends),
            (second_ends + 7, 2, second_ends),
        ] {
            let mut prelude = Prelude::default();
            let fed: usize = stream[..cut].chunks(100).map(|c| prelude.push(c).unwrap()).sum();
            assert_eq!(fed, dropped, "cut at {cut}");
            let begin = prelude.into_bytes();
            let expected =
                if from == 0 { stream[..cut].to_vec() } else { [&init[..], &stream[from..cut]].concat() };
            assert_eq!(&begin[..], &expected[..], "cut at {cut}");
        }
    }
}
