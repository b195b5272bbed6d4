//! Reader of MJR files: recordings of incoming RTP by Janus (`record.c`).
//!
//! ```text
//! "MJR00002"  u16 length  JSON: "t" medium, "c" codec, "s" and "u" times of creation and first packet in µs
//! "MEET"  u32 ms since the first packet  u16 length  RTP packet       (repeated)
//! ```
//! All numbers are big-endian. Janus may have been killed while it wrote, and a full disk leaves holes. The
//! reader ends at a truncated packet, and continues at the next `MEET` after bytes that are not a packet.

use std::io::{self, ErrorKind, Read};

use serde::Deserialize;

const MAGIC: &[u8; 8] = b"MJR00002";
const FRAME: &[u8; 4] = b"MEET";
/// Bytes of the fixed part of an RTP header (RFC 3550 section 5.1).
const RTP_HEADER: usize = 12;

/// Received Opus packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Time of arrival at Janus, in microseconds since the Unix epoch.
    pub at: u64,
    pub sequence: u16,
    pub opus: Vec<u8>,
}

/// Reader of one MJR file with Opus.
#[derive(Debug)]
pub struct MjrReader<R> {
    input: R,
    /// Time at which the file was created, in microseconds since the Unix epoch.
    created_at: u64,
    /// Time of the first packet, in microseconds since the Unix epoch.
    first_at: u64,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "t")]
    medium: String,
    #[serde(rename = "c")]
    codec: String,
    #[serde(rename = "s")]
    created_at: u64,
    #[serde(rename = "u")]
    first_at: u64,
}

impl<R: Read> MjrReader<R> {
    /// Reads the header. Returns `None` if the file has no packets, is not an MJR file, or has no Opus.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn open(mut input: R) -> io::Result<Option<Self>> {
        let (mut magic, mut length) = ([0; MAGIC.len()], [0; 2]);
        if !fill(&mut input, &mut magic)? || magic != *MAGIC || !fill(&mut input, &mut length)? {
            return Ok(None);
        }
        let mut json = vec![0; usize::from(u16::from_be_bytes(length))];
        if !fill(&mut input, &mut json)? {
            return Ok(None);
        }
        let header = serde_json::from_slice(&json).ok();
        let header = header.filter(|Header { medium, codec, .. }| medium == "a" && codec == "opus");
        Ok(header.map(|Header { created_at, first_at, .. }| Self { input, created_at, first_at }))
    }

    /// Returns the time of the first packet, in microseconds since the Unix epoch.
    pub fn first_at(&self) -> u64 {
        self.first_at
    }

    /// Returns the time at which the file was created, in microseconds since the Unix epoch.
    pub fn created_at(&self) -> u64 {
        self.created_at
    }

    /// Returns the next packet; `None` at the end.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn next_packet(&mut self) -> io::Result<Option<Packet>> {
        loop {
            let (mut millis, mut length) = ([0; 4], [0; 2]);
            if !self.find_frame()?
                || !fill(&mut self.input, &mut millis)?
                || !fill(&mut self.input, &mut length)?
            {
                return Ok(None);
            }
            let mut rtp = vec![0; usize::from(u16::from_be_bytes(length))];
            if !fill(&mut self.input, &mut rtp)? {
                return Ok(None);
            }
            if let Some((sequence, opus)) = payload(&rtp) {
                let since = u64::from(u32::from_be_bytes(millis)) * 1000;
                let at = self.first_at.saturating_add(since);
                return Ok(Some(Packet { at, sequence, opus: opus.to_vec() }));
            }
        }
    }

    /// Reads up to the end of the next `MEET`. Returns false if there is none.
    fn find_frame(&mut self) -> io::Result<bool> {
        let mut magic = [0; FRAME.len()];
        if !fill(&mut self.input, &mut magic)? {
            return Ok(false);
        }
        while magic != *FRAME {
            magic.rotate_left(1);
            if !fill(&mut self.input, &mut magic[3..])? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Fills the buffer. Returns false if the input ends earlier.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns sequence number and payload of an RTP packet (RFC 3550 section 5.1); `None` if the packet is
/// malformed or has no payload.
fn payload(rtp: &[u8]) -> Option<(u16, &[u8])> {
    let first = *rtp.first()?;
    if first >> 6 != 2 || rtp.len() < RTP_HEADER {
        return None;
    }
    let sequence = u16::from_be_bytes([rtp[2], rtp[3]]);
    let mut rest = rtp.get(RTP_HEADER + 4 * usize::from(first & 0x0f)..)?;
    if first & 0x10 != 0 {
        let words = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
        rest = rest.get(4 + 4 * usize::from(words)..)?;
    }
    if first & 0x20 != 0 {
        let padding = usize::from(*rest.last()?);
        rest = rest.get(..rest.len().checked_sub(padding)?)?;
    }
    (!rest.is_empty()).then_some((sequence, rest))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{mjr, rtp};
    use super::*;

    fn packets(file: &[u8]) -> Vec<Packet> {
        let Some(mut reader) = MjrReader::open(file).unwrap() else { return Vec::new() };
        std::iter::from_fn(|| reader.next_packet().unwrap()).collect()
    }

    #[test]
    fn mjr_packets_have_arrival_times() {
        let file = mjr(5_000_000, &[(0, 65_535, b"ab"), (20, 0, b"cd")]);
        let read = packets(&file);
        assert_eq!(read[0], Packet { at: 5_000_000, sequence: 65_535, opus: b"ab".to_vec() });
        assert_eq!(read[1], Packet { at: 5_020_000, sequence: 0, opus: b"cd".to_vec() });
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn truncated_mjr_keeps_whole_packets() {
        let file = mjr(0, &[(0, 1, b"ab"), (20, 2, b"cd")]);
        let whole = packets(&file);
        for length in 0..file.len() {
            let read = packets(&file[..length]);
            assert!(read.len() < 2 && read == whole[..read.len()], "{length} bytes");
        }
    }

    #[test]
    fn holes_in_mjr_are_skipped() {
        let mut file = mjr(0, &[(0, 1, b"ab")]);
        file.extend(b"MEEMEE");
        file.extend(&mjr(0, &[(40, 3, b"ef")])[mjr(0, &[]).len()..]);
        assert_eq!(packets(&file).iter().map(|packet| packet.sequence).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn other_files_have_no_packets() {
        assert!(packets(b"").is_empty() && packets(b"RIFF").is_empty());
        let video = String::from_utf8(mjr(0, &[])).unwrap().replace("\"a\"", "\"v\"");
        assert!(MjrReader::open(video.as_bytes()).unwrap().is_none());
    }

    #[test]
    fn rtp_payload_excludes_extension_and_padding() {
        assert_eq!(payload(&rtp(7, b"abc")), Some((7, &b"abc"[..])));
        let mut packet = rtp(7, &[0xbe, 0xde, 0, 1, 1, 2, 3, 4, b'x', 0, 0, 3]);
        packet[0] |= 0x30;
        assert_eq!(payload(&packet), Some((7, &b"x"[..])));
        packet[0] |= 0x0f;
        assert_eq!(payload(&packet), None);
    }
}
