//! Buffer for FFmpeg's output while another mixer still publishes the room. A packager begins with these
//! bytes, so that it continues the media without a gap.
//!
//! Owns: the newest whole frames, bounded, and the beginning of the next frame. Does not publish.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::adts::{AdtsError, AdtsReader};
use super::pace::AHEAD;
use stentor_domain::timeline::whole_frames;

#[derive(Debug, Default)]
pub struct StandbyBuffer {
    reader: AdtsReader,
    frames: VecDeque<Bytes>,
}

impl StandbyBuffer {
    /// Takes bytes and returns the number of frames that they completed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, AdtsError> {
        self.reader.feed(bytes);
        let mut whole = 0;
        while let Some(frame) = self.reader.next_frame()? {
            // Copy the frame, so that it does not keep the whole read buffer alive.
            self.frames.push_back(Bytes::copy_from_slice(&frame));
            whole += 1;
        }
        // Keep only as many frames as a packager accepts at once.
        let most = whole_frames(AHEAD) as usize;
        self.frames.drain(..self.frames.len().saturating_sub(most));
        Ok(whole)
    }

    /// Returns the bytes to give to a packager first: the last `frames` frames and the beginning of the next
    /// one.
    pub fn into_bytes(self, frames: usize) -> Bytes {
        let mut bytes = BytesMut::new();
        let skipped = self.frames.len().saturating_sub(frames);
        self.frames.iter().skip(skipped).for_each(|frame| bytes.extend_from_slice(frame));
        bytes.extend_from_slice(self.reader.rest());
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth;

    #[test]
    fn packager_gets_the_newest_frames() {
        let stream: Vec<u8> = (0..120).flat_map(synth::frame).collect();
        let cut = stream.len() - 50;
        let mut standby = StandbyBuffer::default();
        let whole: usize = stream[..cut].chunks(100).map(|c| standby.push(c).unwrap()).sum();
        assert_eq!(whole, 119);
        let last = synth::frame(119);
        let begun = &last[..last.len() - 50];
        let newest: Vec<u8> = (117..119).flat_map(synth::frame).collect();
        assert_eq!(standby.into_bytes(2), [&newest, begun].concat());
    }

    #[test]
    fn standby_buffer_is_bounded() {
        let mut standby = StandbyBuffer::default();
        assert_eq!(standby.push(&synth::frames(500, 1)).unwrap(), 500);
        assert_eq!(standby.into_bytes(usize::MAX), synth::frames(93, 1));
        assert!(StandbyBuffer::default().push(b"no ADTS").is_err());
    }
}
