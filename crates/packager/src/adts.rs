//! Splits FFmpeg's ADTS stream (ISO/IEC 14496-3 section 1.A.2.2) into AAC frames as the bytes arrive.
//!
//! Owns: the bytes of an incomplete frame, and the check that each frame has the requested format: AAC-LC, 48
//! kHz, mono, one block, no CRC. Does not decode audio, or keep a frame that it returned.

use bytes::{Bytes, BytesMut};

/// Size in bytes of a header without CRC.
pub(super) const HEADER: usize = 7;
/// Maximum frame size: one channel of AAC-LC has at most 6144 bits per frame (ISO/IEC 14496-3 section
/// 4.5.3.1).
const LONGEST: usize = HEADER + 768;

/// Frame of silence as written by FFmpeg's encoder for mono, header included.
pub(super) const SILENCE: [u8; 11] = [0xff, 0xf1, 0x4c, 0x40, 0x01, 0x7f, 0xfc, 0x01, 0x18, 0x20, 0x07];

/// Error for bytes that are not the requested ADTS stream. The process that wrote them must be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdtsError {
    #[error("no ADTS frame begins with {0:02x} {1:02x}")]
    NoSync(u8, u8),
    #[error("a frame with header {:02x?}, which is not AAC-LC at 48 kHz with one channel", .0)]
    Format([u8; HEADER]),
    #[error("a frame of {0} bytes; 8 to {LONGEST} are valid")]
    Length(usize),
}

/// Reader of one FFmpeg process's output. A new process needs a new reader.
#[derive(Debug, Default)]
pub(super) struct AdtsReader {
    buffer: BytesMut,
}

impl AdtsReader {
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Removes and returns the next complete frame, header included; `None` until more bytes are fed.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, AdtsError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let length = frame_length(header)?;
        Ok((self.buffer.len() >= length).then(|| self.buffer.split_to(length).freeze()))
    }

    /// Returns the bytes of the incomplete frame.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

/// Returns the number of ADTS frames in `bytes`, which must end at a frame boundary.
pub(super) fn count(bytes: &[u8]) -> Result<u64, AdtsError> {
    Ok(payloads(bytes)?.len() as u64)
}

/// Returns the ADTS frames in `bytes` without their headers. `bytes` must end at a frame boundary.
pub(super) fn payloads(mut bytes: &[u8]) -> Result<Vec<&[u8]>, AdtsError> {
    let mut frames = Vec::new();
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let length = frame_length(header)?;
        let (frame, rest) = bytes.split_at_checked(length).ok_or(AdtsError::Length(length))?;
        frames.push(&frame[HEADER..]);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(frames) } else { Err(AdtsError::Length(bytes.len())) }
}

fn frame_length(header: &[u8; HEADER]) -> Result<usize, AdtsError> {
    let [a, b, c, d, e, f, g] = *header;
    // Twelve sync bits, MPEG-4, layer 0, no CRC.
    if (a, b) != (0xff, 0xf1) {
        return Err(AdtsError::NoSync(a, b));
    }
    // LC, frequency index 3, channel configuration 1, no private or copyright bits; one block.
    if c != 0x4c || d & 0xfc != 0x40 || g & 0x03 != 0 {
        return Err(AdtsError::Format(*header));
    }
    let length = usize::from(d & 0x03) << 11 | usize::from(e) << 3 | usize::from(f) >> 5;
    if (HEADER + 1..=LONGEST).contains(&length) { Ok(length) } else { Err(AdtsError::Length(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth;
    use proptest::prelude::*;

    fn read(chunks: &[&[u8]]) -> Result<Vec<Bytes>, AdtsError> {
        let mut reader = AdtsReader::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            reader.feed(chunk);
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn stream() -> Vec<u8> {
        (1..30).flat_map(synth::frame).collect()
    }

    proptest! {
        #[test]
        fn adts_chunking_does_not_matter(size in 1usize..500) {
            let bytes = stream();
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            let frames = read(&chunks).unwrap();
            prop_assert_eq!(frames.len(), 29);
            prop_assert_eq!(frames.concat(), bytes);
        }

        #[test]
        fn damaged_adts_never_panics(at in 0usize..4000, to: u8) {
            let mut bytes = stream();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = read(&[&bytes]);
        }
    }

    #[test]
    fn wrong_adts_frames_are_refused() {
        let broken = |at: usize, to: u8| {
            let mut frame = synth::frame(1);
            frame[at] = to;
            read(&[&frame]).unwrap_err()
        };
        assert_eq!(broken(0, 0), AdtsError::NoSync(0, 0xf1));
        assert_eq!(broken(1, 0xf0), AdtsError::NoSync(0xff, 0xf0), "with CRC");
        for (at, to) in [(2, 0x50), (2, 0x8c), (3, 0x80), (6, 0xfd)] {
            assert!(matches!(broken(at, to), AdtsError::Format(_)), "44.1 kHz, HE, stereo, two blocks");
        }
        assert_eq!(broken(4, 0), AdtsError::Length(synth::frame(1).len() & 7));
        assert!(matches!(broken(3, 0x43), AdtsError::Length(6144..)));
    }

    #[test]
    fn frames_of_complete_bytes_are_counted() {
        let bytes = stream();
        assert_eq!((count(&bytes), count(&[])), (Ok(29), Ok(0)));
        assert!(count(&bytes[..bytes.len() - 1]).is_err() && count(&bytes[1..]).is_err());
    }

    #[test]
    fn silence_frame_is_valid_adts() {
        assert_eq!(read(&[&SILENCE]).unwrap(), [Bytes::from_static(&SILENCE)]);
    }
}
