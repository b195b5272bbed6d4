//! Endless Ogg Opus streams for listeners (RFC 3533, RFC 7845), made of the packets in FFmpeg's Ogg output.
//!
//! All listeners of a room share the packets. Each gets pages of its own, because its stream begins with
//! headers and at position 0.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ogg;
use crate::plain::PlainPart;
use stentor_domain::timeline::FRAME_SAMPLES;

/// Samples per packet: 20 ms at 48 kHz.
const SAMPLES: u64 = 960;
/// Samples that a decoder drops at the start: 80 ms, which a decoder needs if it begins in the middle of a
/// stream (RFC 7845 section 4.2).
const PRE_SKIP: u16 = 3840;
/// Headers of an Ogg Opus stream.
const HEADERS: [&[u8]; 2] = [b"OpusHead", b"OpusTags"];
/// Largest page (RFC 3533 section 6).
const LARGEST_PAGE: usize = 27 + 255 + 255 * 255;

/// Error for bytes that are no Ogg Opus stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("FFmpeg's output is no Ogg Opus stream")]
pub struct NotOggOpus;

/// Reader of FFmpeg's Ogg output.
#[derive(Debug, Default)]
pub struct OggPackets {
    rest: Vec<u8>,
    packet: Vec<u8>,
    headers: usize,
}

/// Writer of the stream of one listener.
#[derive(Debug)]
pub struct OggStream {
    serial: u32,
    page: u32,
    samples: u64,
    /// Title in the current headers; `None` before the first.
    title: Option<String>,
    follows_titles: bool,
}

impl OggPackets {
    /// Takes the next bytes of the output, and returns the Opus packets that are complete.
    ///
    /// # Errors
    /// The bytes are no Ogg Opus stream.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, NotOggOpus> {
        self.rest.extend_from_slice(bytes);
        let mut packets = Vec::new();
        while let Some(page) = self.next_page()? {
            let count = usize::from(page[26]);
            let (lacing, mut body) = page[27..].split_at(count);
            for length in lacing {
                let (segment, after) = body.split_at(usize::from(*length));
                self.packet.extend_from_slice(segment);
                body = after;
                // A shorter segment ends a packet.
                if *length < 255 {
                    self.packet_ends(&mut packets)?;
                }
            }
        }
        Ok(packets)
    }

    fn packet_ends(&mut self, packets: &mut Vec<Vec<u8>>) -> Result<(), NotOggOpus> {
        let packet = std::mem::take(&mut self.packet);
        match HEADERS.get(self.headers) {
            Some(header) if packet.starts_with(header) => self.headers += 1,
            Some(_) => return Err(NotOggOpus),
            None if packet.is_empty() => {}
            None => packets.push(packet),
        }
        Ok(())
    }

    /// Removes the next page from the bytes; `None` if it is not complete.
    fn next_page(&mut self) -> Result<Option<Vec<u8>>, NotOggOpus> {
        let seen = self.rest.len().min(4);
        if self.rest[..seen] != b"OggS"[..seen] || self.rest.len() > 2 * LARGEST_PAGE {
            return Err(NotOggOpus);
        }
        let Some(count) = self.rest.get(26) else { return Ok(None) };
        let head = 27 + usize::from(*count);
        let Some(lacing) = self.rest.get(27..head) else { return Ok(None) };
        let length = head + lacing.iter().map(|length| usize::from(*length)).sum::<usize>();
        if self.rest.len() < length {
            return Ok(None);
        }
        Ok(Some(self.rest.drain(..length).collect()))
    }
}

/// Returns these packets of 20 ms as one part of a shared stream, each behind its length in two bytes.
pub fn opus_part(packets: &[Vec<u8>]) -> PlainPart {
    let mut bytes = BytesMut::new();
    let usable = packets.iter().filter_map(|packet| Some((u16::try_from(packet.len()).ok()?, packet)));
    for (length, packet) in usable {
        bytes.put_u16(length);
        bytes.put_slice(packet);
    }
    let frames = (packets.len() as u64 * SAMPLES).div_ceil(FRAME_SAMPLES);
    PlainPart { bytes: bytes.freeze(), frames, place: None }
}

impl OggStream {
    /// Creates a writer. `serial`: number of the first logical stream. If it `follows_titles`, a change of
    /// the title begins another logical stream with other headers (RFC 3533 section 4, chaining).
    pub fn new(serial: u32, follows_titles: bool) -> Self {
        Self { serial, page: 0, samples: 0, title: None, follows_titles }
    }

    /// Returns the pages for a part that [`opus_part`] made. `title`: current title.
    pub fn part(&mut self, part: &[u8], title: &str) -> Bytes {
        let mut out = Vec::with_capacity(part.len() + 64);
        let is_new = self.title.as_deref().is_none_or(|known| self.follows_titles && known != title);
        if is_new {
            if self.title.is_some() {
                self.page(ogg::LAST, &[], &mut out);
                (self.serial, self.page, self.samples) = (self.serial.wrapping_add(1), 0, 0);
            }
            self.title = Some(title.to_owned());
            self.headers(title, &mut out);
        }
        let (mut packets, mut segments, mut rest) = (Vec::new(), 0, part);
        while let Some((length, after)) = rest.split_first_chunk() {
            let Some((packet, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))
            else {
                break;
            };
            rest = after;
            if segments + packet.len() / 255 + 1 > ogg::MOST_SEGMENTS {
                self.page(0, &packets, &mut out);
                (packets, segments) = (Vec::new(), 0);
            }
            packets.push(packet);
            segments += packet.len() / 255 + 1;
            self.samples += SAMPLES;
        }
        if !packets.is_empty() {
            self.page(0, &packets, &mut out);
        }
        out.into()
    }

    /// Returns the last page.
    pub fn end(&mut self) -> Bytes {
        let mut out = Vec::new();
        if self.title.is_some() {
            self.page(ogg::LAST, &[], &mut out);
        }
        out.into()
    }

    fn headers(&mut self, title: &str, out: &mut Vec<u8>) {
        // Version 1, one channel, input at 48 kHz, no gain, channel mapping 0.
        let [low, high] = PRE_SKIP.to_le_bytes();
        let head = [HEADERS[0], &[1, 1, low, high, 0x80, 0xbb, 0, 0, 0, 0, 0]].concat();
        self.page(ogg::FIRST, &[&head], out);
        let comment = format!("TITLE={title}");
        let length = u32::try_from(comment.len()).unwrap_or_default().to_le_bytes();
        let tags = [HEADERS[1], b"\x07\0\0\0Stentor\x01\0\0\0", &length, comment.as_bytes()].concat();
        self.page(0, &[&tags], out);
    }

    fn page(&mut self, flags: u8, packets: &[&[u8]], out: &mut Vec<u8>) {
        out.extend(ogg::page(flags, self.samples, self.serial, self.page, packets));
        self.page = self.page.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets_of(stream: &[u8]) -> Vec<Vec<u8>> {
        OggPackets::default().push(stream).unwrap()
    }

    /// Splits a stream into its pages: flags, position, serial number, number, and the packets.
    fn pages(mut stream: &[u8]) -> Vec<(u8, u64, u32, u32, Vec<u8>)> {
        let mut pages = Vec::new();
        while !stream.is_empty() {
            assert_eq!(&stream[..5], b"OggS\0");
            let count = usize::from(stream[26]);
            let length: usize = stream[27..27 + count].iter().map(|length| usize::from(*length)).sum();
            let (page, rest) = stream.split_at(27 + count + length);
            let u32_at = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
            let granule = u64::from_le_bytes(page[6..14].try_into().unwrap());
            let mut unsigned = page.to_vec();
            unsigned[22..26].fill(0);
            assert_eq!(ogg::checksum(&unsigned), u32_at(22));
            pages.push((page[5], granule, u32_at(14), u32_at(18), page[27 + count..].to_vec()));
            stream = rest;
        }
        pages
    }

    /// Returns flags, position, serial number and number of each page.
    fn shape(stream: &[u8]) -> Vec<(u8, u64, u32, u32)> {
        let pages = pages(stream);
        pages.iter().map(|(flags, at, serial, number, _)| (*flags, *at, *serial, *number)).collect()
    }

    #[test]
    fn listeners_get_headers_and_positions() {
        let mut stream = OggStream::new(7, false);
        let part = opus_part(&[vec![0xf8; 160], vec![0xf8; 300]]);
        assert_eq!(part.frames, 2);
        let parts = ["Über", "other"].map(|title| stream.part(&part.bytes, title)).concat();
        let bytes = [&parts[..], &stream.end()].concat();
        let (pages, shape) = (pages(&bytes), shape(&bytes));
        assert_eq!(shape, [(2, 0, 7, 0), (0, 0, 7, 1), (0, 1920, 7, 2), (0, 3840, 7, 3), (4, 3840, 7, 4)]);
        assert!(pages[0].4.starts_with(b"OpusHead\x01\x01\x00\x0f"));
        assert!(pages[1].4.ends_with("\x01\0\0\0\x0b\0\0\0TITLE=Über".as_bytes()));
        assert_eq!(packets_of(&bytes).len(), 4);
    }

    #[test]
    fn followed_titles_begin_chained_streams() {
        let mut stream = OggStream::new(7, true);
        let part = opus_part(&[vec![0xf8; 9]]).bytes;
        let bytes = ["a", "a", "b"].map(|title| stream.part(&part, title)).concat();
        let (pages, shape) = (pages(&bytes), shape(&bytes));
        let first = [(2, 0, 7, 0), (0, 0, 7, 1), (0, 960, 7, 2), (0, 1920, 7, 3), (4, 1920, 7, 4)];
        assert_eq!(shape[..5], first);
        assert_eq!(shape[5..], [(2, 0, 8, 0), (0, 0, 8, 1), (0, 960, 8, 2)]);
        assert!(pages[6].4.ends_with(b"TITLE=b"));
    }

    #[test]
    fn other_output_is_refused() {
        assert_eq!(OggPackets::default().push(b"OgRIFF"), Err(NotOggOpus));
        let vorbis = ogg::page(ogg::FIRST, 0, 1, 0, &[b"\x01vorbis"]);
        assert_eq!(OggPackets::default().push(&vorbis), Err(NotOggOpus));
    }

    proptest! {
        #[test]
        fn packets_survive_any_division(
            sizes in proptest::collection::vec(1usize..1_300, 1..60),
            cuts in proptest::collection::vec(1usize..4_000, 1..60),
        ) {
            let packets: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size as u8; *size]).collect();
            let mut stream = OggStream::new(1, true);
            let bytes = [stream.part(&opus_part(&packets).bytes, "t"), stream.end()].concat();
            let (mut reader, mut read, mut rest) = (OggPackets::default(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                read.extend(reader.push(now).unwrap());
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(read, packets);
        }
    }
}
