//! Positions of decoded audio: which position on the stream's clock each sample has.
//!
//! An AAC frame has 1,024 samples. The decoder returns them in order and without timestamps, resampled to
//! [`PCM_RATE`]. So the position of a sample follows from the position of the part that contains its frame.
//! This module is pure.
//!
//! Owns: the parts that the decoder has not returned yet, and the cut into chunks. Does not decode.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use stentor_domain::ids::UnixMs;
use stentor_domain::relay_room::Position;
use stentor_domain::timeline::{FRAME_SAMPLES, SAMPLE_RATE};

/// Samples per second of the decoded audio.
pub const PCM_RATE: u32 = 16_000;
/// Bytes of one sample: 16 bits, one channel.
const SAMPLE: usize = 2;
/// Samples of a chunk of 100 ms.
const CHUNK: usize = PCM_RATE as usize / 10;
/// Decoded samples per millisecond.
const PER_MS: u64 = PCM_RATE as u64 / 1000;
/// Samples of the stream per decoded sample.
const RATIO: u64 = SAMPLE_RATE / PCM_RATE as u64;
/// Difference between two positions, in milliseconds, up to which audio counts as continuous. Positions are
/// rounded to milliseconds.
const TOLERANCE: u64 = 2;

/// Decoded audio without a gap: signed 16-bit samples, little endian, one channel, [`PCM_RATE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcmChunk {
    /// Position of the first sample.
    pub at: UnixMs,
    pub samples: Bytes,
}

impl PcmChunk {
    /// Returns the position after the last sample.
    pub fn end(&self) -> UnixMs {
        UnixMs(self.at.0.saturating_add((self.samples.len() / SAMPLE) as u64 / PER_MS))
    }
}

/// Positions of the output of one decoder.
#[derive(Debug, Default)]
pub struct PcmClock {
    /// Parts that the decoder got and has not returned completely, oldest first.
    parts: VecDeque<DecodedPart>,
    /// Number of samples of the stream that the decoder got.
    written: u64,
    /// Number of decoded samples that were returned.
    read: u64,
    /// Bytes that are not a whole chunk yet.
    held: BytesMut,
    /// Samples before this position were returned by an earlier decoder.
    until: UnixMs,
}

#[derive(Debug, Clone, Copy)]
struct DecodedPart {
    position: Position,
    at: UnixMs,
    /// Numbers of its first sample and of the sample after its last one, counted in samples of the stream.
    first: u64,
    end: u64,
}

impl PcmClock {
    /// Creates the clock of a new decoder. Samples before `until` are left out.
    pub fn new(until: UnixMs) -> Self {
        Self { until, ..Self::default() }
    }

    /// Records a part that the decoder gets next. `at`: position of its first sample.
    pub fn written(&mut self, position: Position, at: UnixMs, frames: u64) {
        let first = self.written;
        self.written += frames * FRAME_SAMPLES;
        self.parts.push_back(DecodedPart { position, at, first, end: self.written });
    }

    /// Returns the position of the oldest part that the decoder has not returned completely. A new decoder
    /// begins with this part.
    pub fn pending(&self) -> Option<Position> {
        self.parts.front().map(|part| part.position)
    }

    /// Returns the duration of the audio that the decoder has not returned yet, in milliseconds.
    pub fn behind_ms(&self) -> u64 {
        (self.written / RATIO).saturating_sub(self.read) / PER_MS
    }

    /// Takes output of the decoder and returns the chunks that this output completes.
    pub fn decoded(&mut self, output: &[u8]) -> Vec<PcmChunk> {
        self.held.extend_from_slice(output);
        let mut chunks = Vec::new();
        while self.held.len() >= CHUNK * SAMPLE {
            chunks.extend(self.take(CHUNK));
        }
        chunks
    }

    /// Removes and returns the rest after the last whole chunk, at the end of the stream.
    pub fn rest(&mut self) -> Vec<PcmChunk> {
        let mut chunks = Vec::new();
        while self.held.len() >= SAMPLE {
            chunks.extend(self.take(self.held.len() / SAMPLE));
        }
        chunks
    }

    /// Takes at most `most` samples, up to the next gap. Leaves out samples before `until`; returns `None` if
    /// no others remain.
    fn take(&mut self, most: usize) -> Option<PcmChunk> {
        let at = self.position();
        let count = self.continuous().map_or(most, |samples| most.min(samples.max(1)));
        let samples = self.held.split_to(count * SAMPLE).freeze();
        self.read += count as u64;
        let read = self.read * RATIO;
        while self.parts.front().is_some_and(|part| part.end <= read) {
            self.parts.pop_front();
        }
        let early = self.until.0.saturating_sub(at?.0).saturating_mul(PER_MS);
        let early = usize::try_from(early).unwrap_or(usize::MAX).min(count);
        let at = UnixMs(at?.0 + early as u64 / PER_MS);
        (early < count).then(|| PcmChunk { at, samples: samples.slice(early * SAMPLE..) })
    }

    /// Returns the position of the next sample; `None` if the decoder returned more than it got.
    fn position(&self) -> Option<UnixMs> {
        let part = self.parts.front()?;
        let into = (self.read * RATIO).saturating_sub(part.first);
        Some(UnixMs(part.at.0.saturating_add(into / RATIO / PER_MS)))
    }

    /// Returns the number of decoded samples up to the next gap; `None` if none is known.
    fn continuous(&self) -> Option<usize> {
        let follows = |(before, after): (&DecodedPart, &DecodedPart)| {
            let expected = before.at.0.saturating_add((before.end - before.first) * 1000 / SAMPLE_RATE);
            (expected.abs_diff(after.at.0) > TOLERANCE).then_some(before.end)
        };
        let end = self.parts.iter().zip(self.parts.iter().skip(1)).find_map(follows)?;
        usize::try_from(end.div_ceil(RATIO).saturating_sub(self.read)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;
    /// Frames that last 1,024 ms: 48 of 1,024 samples.
    const FRAMES: u64 = 48;

    fn clock(parts: &[(u64, u64)]) -> PcmClock {
        let mut clock = PcmClock::default();
        for (index, at) in parts {
            clock.written((7, *index as u32), UnixMs(START + at), FRAMES);
        }
        clock
    }

    /// Returns the offset and the length of chunks, in milliseconds and samples.
    fn shown(chunks: &[PcmChunk]) -> Vec<(u64, usize)> {
        chunks.iter().map(|chunk| (chunk.at.0 - START, chunk.samples.len() / 2)).collect()
    }

    #[test]
    fn chunks_have_the_position_of_their_samples() {
        let mut clock = clock(&[(0, 0), (1, 1024)]);
        let chunks = clock.decoded(&vec![0; 16_000 * 2]);
        let expected: Vec<_> = (0..10).map(|chunk| (chunk * 100, 1600)).collect();
        assert_eq!(shown(&chunks), expected);
        assert_eq!((chunks[9].end().0 - START, clock.behind_ms()), (1000, 1048));
        assert_eq!(clock.pending(), Some((7, 0)));
        assert_eq!(shown(&clock.decoded(&vec![0; 1600 * 2])), [(1000, 1600)], "across two parts");
        assert_eq!(clock.pending(), Some((7, 1)));
        assert_eq!(shown(&clock.decoded(&[0; 100])), [], "not a whole chunk");
        assert_eq!(shown(&clock.rest()), [(1100, 50)]);
    }

    #[test]
    fn chunks_end_at_gaps() {
        let mut clock = clock(&[(0, 0), (3, 5000)]);
        let chunks = clock.decoded(&vec![0; 18_000 * 2]);
        let tail = &shown(&chunks)[9..];
        assert_eq!(tail, [(900, 1600), (1000, 384), (5000, 1600)]);
    }

    #[test]
    fn new_decoders_repeat_nothing() {
        let mut clock = PcmClock::new(UnixMs(START + 250));
        clock.written((7, 0), UnixMs(START), FRAMES);
        let chunks = clock.decoded(&vec![0; 8_000 * 2]);
        assert_eq!(shown(&chunks), [(250, 800), (300, 1600), (400, 1600)]);
    }

    #[test]
    fn rounded_positions_are_no_gaps() {
        // Parts of nine frames last 192 ms; positions of segments are rounded.
        let mut clock = PcmClock::default();
        for part in 0..20 {
            clock.written((1, part), UnixMs(START + u64::from(part) * 192 + u64::from(part % 2)), 9);
        }
        let chunks = clock.decoded(&vec![0; 16_000 * 2 * 3]);
        assert!(shown(&chunks).iter().all(|(_, samples)| *samples == 1600));
        assert_eq!(chunks.len(), 30);
        assert!(shown(&chunks).iter().zip(0..).all(|((at, _), chunk)| at.abs_diff(chunk * 100) <= 1));
    }

    #[test]
    fn output_without_input_has_no_position() {
        assert_eq!(PcmClock::default().decoded(&[0; 8000]), []);
    }
}
