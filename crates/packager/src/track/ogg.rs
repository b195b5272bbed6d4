//! Writer of Ogg Opus files (RFC 3533, RFC 7845): mono, one logical stream, packets of 20 ms.

use std::io::{self, Write};

use super::playout::MixedSound;
use crate::ogg;

/// Samples per packet at 48 kHz.
pub(super) const SAMPLES: u64 = 960;
/// Samples that a decoder drops at the start: the look-ahead of libopus.
pub(super) const PRE_SKIP: u16 = 312;
/// Silence of 20 ms: CELT, fullband, mono, with a frame that codes no sound.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// Packets per page: one second.
const PAGE_PACKETS: usize = 50;
/// Serial number of the only stream.
const SERIAL: u32 = 1;

/// Writer of one file.
#[derive(Debug)]
pub struct OpusFile<W> {
    output: W,
    page: u32,
    /// Packets of the current page.
    packets: Vec<Vec<u8>>,
    /// Segments of the current page.
    segments: usize,
    /// Samples of the packets so far.
    samples: u64,
    /// Packet without sound that has the configuration of the previous packet; `None` after silence.
    concealed: Option<Vec<u8>>,
    /// Samples at the end of the file, including those that a decoder drops.
    end: u64,
    bytes: u64,
}

impl<W: Write> OpusFile<W> {
    /// Writes the headers of a file of this many samples at 48 kHz. `skipped`: samples of the first packet
    /// that are before the start of the file.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn create(output: W, samples: u64, skipped: u16) -> io::Result<Self> {
        let pre_skip = PRE_SKIP + skipped;
        let end = samples + u64::from(pre_skip);
        let packets = Vec::new();
        let mut file =
            Self { output, page: 0, packets, segments: 0, samples: 0, concealed: None, end, bytes: 0 };
        // Version 1, one channel, input at 48 kHz, no gain, channel mapping 0.
        let [low, high] = pre_skip.to_le_bytes();
        let head = [&b"OpusHead\x01\x01"[..], &[low, high, 0x80, 0xbb, 0, 0, 0, 0, 0]].concat();
        file.append(&head);
        file.flush(0x02, 0)?;
        file.append(b"OpusTags\x07\0\0\0Stentor\0\0\0\0");
        file.flush(0, 0)?;
        Ok(file)
    }

    /// Returns the number of packets that the file needs.
    pub fn packets(&self) -> u64 {
        self.end.div_ceil(SAMPLES)
    }

    /// Writes 20 ms of sound. A packet of another duration becomes silence. For a concealed packet, the file
    /// asks its decoder to conceal it, too (RFC 7845 section 4.1). Silence in its place would also damage the
    /// sound of the following packets, because Opus predicts each frame from the previous one.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn sound(&mut self, mixed: &MixedSound) -> io::Result<()> {
        match mixed {
            MixedSound::Packet(opus) if lasts_20_ms(opus) && opus.len() / 255 < ogg::MOST_SEGMENTS => {
                self.concealed = Some(without_sound(opus));
                self.packet(opus)
            }
            MixedSound::Concealed if self.concealed.is_some() => {
                let concealed = self.concealed.clone().unwrap_or_default();
                self.packet(&concealed)
            }
            _ => {
                self.concealed = None;
                self.packet(&SILENCE)
            }
        }
    }

    fn packet(&mut self, opus: &[u8]) -> io::Result<()> {
        let is_full = self.segments + opus.len() / 255 + 1 > ogg::MOST_SEGMENTS;
        if self.packets.len() >= PAGE_PACKETS || is_full {
            self.flush(0, self.samples)?;
        }
        self.append(opus);
        self.samples += SAMPLES;
        Ok(())
    }

    /// Writes the last page and returns the size of the file.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        // A last page whose granule position is before the end of its packets trims the end of the file
        // (RFC 7845 section 4.4).
        self.flush(ogg::LAST, self.end.min(self.samples))?;
        self.output.flush()?;
        Ok((self.output, self.bytes))
    }

    fn append(&mut self, packet: &[u8]) {
        self.segments += packet.len() / 255 + 1;
        self.packets.push(packet.to_vec());
    }

    /// Writes the collected packets as a page with these flags.
    fn flush(&mut self, flags: u8, granule: u64) -> io::Result<()> {
        let packets: Vec<&[u8]> = self.packets.iter().map(Vec::as_slice).collect();
        let page = ogg::page(flags, granule, SERIAL, self.page, &packets);
        self.output.write_all(&page)?;
        (self.page, self.segments, self.bytes) = (self.page + 1, 0, self.bytes + page.len() as u64);
        self.packets.clear();
        Ok(())
    }
}

/// Returns a packet with the configuration and duration of `opus` whose frames are empty (RFC 6716
/// section 3.2).
fn without_sound(opus: &[u8]) -> Vec<u8> {
    match opus {
        // Code 3: frames of equal size, without padding.
        [toc, count, ..] if toc & 3 == 3 => vec![*toc, count & 0x3f],
        // Code 2 has the size of its first frame; code 1 has none.
        [toc, ..] if toc & 3 == 2 => vec![toc & !3 | 1],
        [toc, ..] => vec![*toc],
        [] => Vec::new(),
    }
}

/// Returns true if an Opus packet has a duration of 20 ms (RFC 6716 section 3.1).
fn lasts_20_ms(opus: &[u8]) -> bool {
    let Some(&toc) = opus.first() else { return false };
    // Duration of a frame in units of 2.5 ms.
    let frame = match toc >> 3 {
        silk @ 0..=11 => [4, 8, 16, 24][usize::from(silk & 3)],
        hybrid @ 12..=15 => [4, 8][usize::from(hybrid & 1)],
        celt => 1 << (celt & 3),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => opus.get(1).map_or(0, |count| count & 0x3f),
    };
    u32::from(frames) * frame == 8
}

#[cfg(test)]
mod tests {
    use super::super::samples::opus_packets;
    use super::*;

    #[test]
    fn opus_file_has_exact_length() {
        let samples = 48_000 * 2 + 100;
        let mut file = OpusFile::create(Vec::new(), samples, 0).unwrap();
        let count = file.packets();
        assert_eq!(count, 101);
        for n in 0..count {
            let packet = [&[0xf8][..], &vec![n as u8; 300]].concat();
            file.sound(&MixedSound::Packet(packet)).unwrap();
        }
        let (bytes, length) = file.finish().unwrap();
        assert_eq!(bytes.len() as u64, length);
        let (packets, granule) = opus_packets(&bytes);
        assert_eq!((packets.len(), granule), (101, samples + u64::from(PRE_SKIP)));
        assert_eq!((packets[100][0], packets[100].len()), (0xf8, 301));
    }

    #[test]
    fn other_durations_become_silence() {
        let mut file = OpusFile::create(Vec::new(), 9_000, 0).unwrap();
        // 10 ms of SILK, two frames of 20 ms, twice no frame, and two frames of 10 ms.
        for opus in [&[0u8, 1][..], &[0xf9, 1], &[0xfb], &[], &[0xf1, 1, 1]] {
            file.sound(&MixedSound::Packet(opus.to_vec())).unwrap();
        }
        let (packets, _) = opus_packets(&file.finish().unwrap().0);
        assert_eq!(packets[..4], vec![SILENCE.to_vec(); 4]);
        assert_eq!(packets[4], [0xf1, 1, 1]);
    }

    #[test]
    fn lost_packets_are_left_to_decoder() {
        let mut file = OpusFile::create(Vec::new(), 20_000, 0).unwrap();
        let packet = |opus: &[u8]| MixedSound::Packet(opus.to_vec());
        // One frame, two of different sizes, four of 5 ms, silence.
        let sounds = [
            MixedSound::Concealed,
            packet(&[0xf8, 1]),
            MixedSound::Concealed,
            MixedSound::Concealed,
            packet(&[0xf2, 1, 1, 2, 2]),
            MixedSound::Concealed,
            packet(&[0xeb, 0x84, 1, 2, 3, 4, 5]),
            MixedSound::Concealed,
            MixedSound::Silence,
            MixedSound::Concealed,
        ];
        sounds.iter().for_each(|mixed| file.sound(mixed).unwrap());
        let (packets, _) = opus_packets(&file.finish().unwrap().0);
        let lost = [0, 2, 3, 5, 7, 8, 9].map(|n| packets[n].clone());
        let silence = SILENCE.to_vec();
        let expected = [&silence, &vec![0xf8], &vec![0xf8], &vec![0xf1], &vec![0xeb, 4], &silence, &silence];
        assert_eq!(lost.each_ref(), expected);
    }
}
