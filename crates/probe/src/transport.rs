//! Strict reader of MPEG transport streams with one AAC track (ISO/IEC 13818-1, ISO/IEC 14496-3).
//!
//! Reads piece by piece like a player, and checks each piece against the previous ones: continuity counters
//! and timestamps must continue. Deliberately shares no code with the packager.

use std::collections::HashMap;

const PACKET: usize = 188;
const PTS_WRAP: u64 = 1 << 33;

/// Audio of one piece.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audio {
    /// Timestamp of the first frame, in 90 kHz ticks.
    pub pts: u64,
    /// Whole ADTS frames, headers included.
    pub frames: Vec<Vec<u8>>,
}

/// State kept between pieces.
#[derive(Debug, Default)]
pub struct Demuxer {
    counters: HashMap<u16, u8>,
    /// Expected timestamp of the next frame.
    next: Option<u64>,
}

/// Tables and audio of the piece being read.
#[derive(Default)]
struct Piece {
    map_pid: Option<u16>,
    audio_pid: Option<u16>,
    clock_pid: Option<u16>,
    clock: Option<u64>,
    pes: Vec<u8>,
    audio: Audio,
}

impl Demuxer {
    /// Forgets the state that the next piece must continue. Call it at a discontinuity or after skipped
    /// media.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Reads one whole part or segment.
    ///
    /// # Errors
    /// A description of the first problem that a player may have with the bytes.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Audio, String> {
        let (packets, rest) = bytes.as_chunks::<PACKET>();
        if !rest.is_empty() || packets.len() < 3 {
            return Err(format!("{} bytes are not a sequence of transport packets", bytes.len()));
        }
        let mut piece = Piece::default();
        for (n, packet) in packets.iter().enumerate() {
            self.packet(n, packet, &mut piece).map_err(|why| format!("packet {n}: {why}"))?;
        }
        self.end_pes(&mut piece)?;
        if piece.audio.frames.is_empty() { Err("no audio".into()) } else { Ok(piece.audio) }
    }

    fn packet(&mut self, n: usize, packet: &[u8; PACKET], piece: &mut Piece) -> Result<(), String> {
        let [sync, high, low, control, ..] = *packet;
        if sync != 0x47 || high & 0x80 != 0 || control & 0xc0 != 0 {
            return Err("no valid packet header".into());
        }
        let pid = u16::from_be_bytes([high & 0x1f, low]);
        let begins = high & 0x40 != 0;
        let (adaptation, payload) = match control >> 4 & 3 {
            1 => (&[][..], &packet[4..]),
            3 => {
                let length = usize::from(packet[4]);
                if length > 182 {
                    return Err("an adaptation field that leaves no payload".into());
                }
                (&packet[5..5 + length], &packet[5 + length..])
            }
            _ => return Err("no payload".into()),
        };
        self.count(pid, control & 0x0f)?;
        match pid {
            // Tables may repeat, as in a segment that is the concatenation of its parts.
            0 => {
                self.end_pes(piece)?;
                piece.map_pid = Some(association(section(begins, payload)?)?);
            }
            _ if n == 0 => return Err("the first packet is not a PAT".into()),
            pid if Some(pid) == piece.map_pid => {
                let (clock_pid, audio_pid) = map(section(begins, payload)?)?;
                (piece.clock_pid, piece.audio_pid) = (Some(clock_pid), Some(audio_pid));
            }
            _ if n == 1 => return Err("the second packet is not a PMT".into()),
            pid if Some(pid) == piece.audio_pid => {
                if begins {
                    self.end_pes(piece)?;
                }
                piece.pes.extend_from_slice(payload);
            }
            _ => return Err(format!("PID {pid} is not in the tables")),
        }
        if let Some(clock) = clock(adaptation)? {
            piece.clock = Some(clock).filter(|_| piece.clock_pid == Some(pid));
        }
        Ok(())
    }

    /// Records the counter of a packet, and checks that each packet of a PID increments it (section 2.4.3.3).
    fn count(&mut self, pid: u16, counter: u8) -> Result<(), String> {
        match self.counters.insert(pid, counter) {
            Some(last) if (last + 1) & 0x0f != counter => {
                Err(format!("continuity counter {counter} after {last} on PID {pid}"))
            }
            _ => Ok(()),
        }
    }

    fn end_pes(&mut self, piece: &mut Piece) -> Result<(), String> {
        let pes = std::mem::take(&mut piece.pes);
        if pes.is_empty() {
            return Ok(());
        }
        let clock = piece.clock.ok_or("audio before the first clock reference")?;
        let (pts, body) = open_pes(&pes)?;
        let ahead = (pts + PTS_WRAP - clock) % PTS_WRAP;
        if ahead > 90_000 {
            return Err(format!("the timestamp is {ahead} ticks ahead of the clock reference"));
        }
        if let Some(next) = self.next.filter(|next| *next != pts) {
            return Err(format!("timestamp {pts} instead of {next}"));
        }
        if piece.audio.frames.is_empty() {
            piece.audio.pts = pts;
        }
        let (frames, ticks) = frames(body)?;
        piece.audio.frames.extend(frames);
        self.next = Some((pts + ticks) % PTS_WRAP);
        Ok(())
    }
}

/// Verifies the checksum of a section that begins and ends in this packet (section 2.4.4). Returns the
/// section without its checksum.
fn section(begins: bool, payload: &[u8]) -> Result<&[u8], String> {
    let start = 1 + usize::from(payload[0]);
    let section = payload.get(start..).filter(|s| begins && s.len() > 3).ok_or("no section begins here")?;
    let length = 3 + (usize::from(section[1] & 0x0f) << 8 | usize::from(section[2]));
    let section = section.get(..length).filter(|s| s.len() >= 12).ok_or("a section that is cut short")?;
    if checksum(section) != 0 { Err("a wrong checksum".into()) } else { Ok(&section[..length - 4]) }
}

/// Returns the PID of the only program's map table (PMT).
fn association(section: &[u8]) -> Result<u16, String> {
    match section[8..] {
        [program, number, high, low] if section[0] == 0 && (program, number) != (0, 0) => {
            Ok(u16::from_be_bytes([high & 0x1f, low]))
        }
        _ => Err("no PAT with one program".into()),
    }
}

/// Returns the PIDs of the clock reference and of the only stream, which must be AAC in ADTS.
fn map(section: &[u8]) -> Result<(u16, u16), String> {
    match section[8..] {
        [clock_high, clock_low, _, 0, 0x0f, high, low, _, 0] if section[0] == 2 => {
            Ok((u16::from_be_bytes([clock_high & 0x1f, clock_low]), u16::from_be_bytes([high & 0x1f, low])))
        }
        _ => Err("no PMT with one AAC stream".into()),
    }
}

/// Returns the clock reference of an adaptation field, in 90 kHz ticks (section 2.4.3.5).
fn clock(adaptation: &[u8]) -> Result<Option<u64>, String> {
    let Some((flags, rest)) = adaptation.split_first() else { return Ok(None) };
    if flags & 0x80 != 0 {
        return Err("the discontinuity indicator is set".into());
    }
    if flags & 0x10 == 0 {
        return Ok(None);
    }
    let [a, b, c, d, e, ..] = *rest else { return Err("a clock reference that is cut short".into()) };
    Ok(Some(u64::from(u32::from_be_bytes([a, b, c, d])) << 1 | u64::from(e >> 7)))
}

/// Returns timestamp and payload of a PES packet (section 2.4.3.6).
fn open_pes(pes: &[u8]) -> Result<(u64, &[u8]), String> {
    let [0, 0, 1, 0xc0..=0xdf, l1, l2, flags, what, header, p0, p1, p2, p3, p4, ..] = *pes else {
        return Err("no PES packet of audio".into());
    };
    let length = usize::from(u16::from_be_bytes([l1, l2]));
    if length + 6 != pes.len() {
        return Err(format!("a PES packet of {} bytes that claims {}", pes.len(), length + 6));
    }
    if flags & 0xc0 != 0x80 || what & 0xc0 != 0x80 || header < 5 || p0 & 1 & p2 & p4 != 1 {
        return Err("a PES packet without a timestamp".into());
    }
    let [p0, p1, p2, p3, p4] = [p0, p1, p2, p3, p4].map(u64::from);
    let pts = (p0 >> 1 & 7) << 30 | p1 << 22 | (p2 >> 1) << 15 | p3 << 7 | p4 >> 1;
    let body = pes.get(9 + usize::from(header)..).ok_or("a PES header that is cut short")?;
    Ok((pts, body))
}

/// Returns the ADTS frames and their duration in ticks.
fn frames(mut body: &[u8]) -> Result<(Vec<Vec<u8>>, u64), String> {
    const RATES: [u64; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ];
    let (mut found, mut ticks) = (Vec::new(), 0);
    while !body.is_empty() {
        let [0xff, b1, b2, b3, b4, b5, b6, ..] = *body else { return Err("no ADTS frame".into()) };
        let length = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5) >> 5;
        let rate = RATES.get(usize::from(b2 >> 2 & 15)).ok_or("an unknown sampling frequency")?;
        if b1 & 0xf6 != 0xf0 || b6 & 3 != 0 || length < 8 || length > body.len() {
            return Err("an ADTS frame that is malformed or not in one piece".into());
        }
        let (frame, rest) = body.split_at(length);
        found.push(frame.to_vec());
        ticks += 1024 * 90_000 / rate;
        body = rest;
    }
    Ok((found, ticks))
}

/// Computes CRC-32/MPEG-2, which is 0 over a section including its checksum.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Returns the output of FFmpeg's own muxer, with one PES packet per frame.
    fn recorded() -> Vec<u8> {
        let args = "-nostdin -v error -f lavfi -i sine=440:sample_rate=48000 -t 1 -c:a aac -f mpegts \
            -pes_payload_size 0 -mpegts_flags +nit -mpegts_flags -nit -sdt_period 1000 \
            -pat_period 1000 pipe:1";
        Command::new("ffmpeg").args(args.split_whitespace()).output().unwrap().stdout
    }

    /// Returns FFmpeg's packets without the service description, which this reader does not accept.
    fn piece() -> Vec<u8> {
        let all = recorded();
        let (packets, _) = all.as_chunks::<PACKET>();
        packets
            .iter()
            .filter(|p| u16::from_be_bytes([p[1] & 0x1f, p[2]]) != 0x11)
            .flatten()
            .copied()
            .collect()
    }

    #[test]
    fn stream_of_another_muxer_is_read() {
        let audio = Demuxer::default().read(&piece()).unwrap();
        assert_eq!(audio.pts, 126_000);
        assert!((46..=49).contains(&audio.frames.len()), "{}", audio.frames.len());
    }

    #[test]
    fn pieces_must_continue() {
        let mut demuxer = Demuxer::default();
        demuxer.read(&piece()).unwrap();
        assert!(demuxer.read(&piece()).unwrap_err().contains("continuity counter"));
        demuxer.reset();
        demuxer.read(&piece()).unwrap();
        demuxer.counters.clear();
        assert!(demuxer.read(&piece()).unwrap_err().contains("timestamp 126000 instead of"));
    }

    #[test]
    fn damaged_transport_streams_never_panic() {
        let good = piece();
        for at in 0..2 * PACKET + 60 {
            for flip in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let _ = Demuxer::default().read(&bad);
            }
        }
        assert!(Demuxer::default().read(&good[..500]).is_err());
        assert!(Demuxer::default().read(&[]).is_err());
        let mut table = good;
        table[20] ^= 1;
        assert!(Demuxer::default().read(&table).is_err());
    }
}
