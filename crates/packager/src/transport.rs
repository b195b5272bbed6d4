//! Writer of parts as MPEG transport stream (ISO/IEC 13818-1): PAT, PMT, and one PES packet with whole ADTS
//! frames.
//!
//! Each part begins with the tables, so a player may start at any part, and a segment is the concatenation of
//! its parts. Timestamps and continuity counters come from the room's [`Timeline`] and continue across parts.

use stentor_domain::timeline::Timeline;

const PACKET: usize = 188;
/// Payload bytes of a packet without adaptation field.
const ROOM: usize = PACKET - 4;
const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1000;
const AUDIO_PID: u16 = 0x100;

/// Program association section (section 2.4.4.3): program 1 is described on `PMT_PID`. CRC included.
const PAT: [u8; 16] = [0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0, 0x2a, 0xb1, 0x04, 0xb2];
/// Program map section (section 2.4.4.8): clock and the one stream, type 0x0f (AAC in ADTS), on `AUDIO_PID`.
const PMT: [u8; 21] =
    [2, 0xb0, 18, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 0, 0xf0, 0, 0xb6, 0x9b, 0xc0, 0xd9];

/// Adaptation field flags (section 2.4.3.4): random access and a clock reference.
const RANDOM_ACCESS_AND_CLOCK: u8 = 0x50;
/// PES header bytes after the length field: flags, header length, PTS.
const PES_HEADER: usize = 8;

/// Returns a part of `count` frames, and the position after it.
pub(super) fn part(at: Timeline, frames: &[u8], count: u64) -> (Vec<u8>, Timeline) {
    let pes = pes_packet(at, frames);
    let mut out = Vec::with_capacity(PACKET * (3 + (pes.len() + PES_HEADER).div_ceil(ROOM)));
    write_section(&mut out, PAT_PID, &PAT, at.tables);
    write_section(&mut out, PMT_PID, &PMT, at.tables);
    let mut packets = 0;
    let mut rest = &pes[..];
    while !rest.is_empty() {
        let counter = (u64::from(at.audio) + packets) as u8;
        let clock = (packets == 0).then(|| at.clock_reference());
        rest = write_audio(&mut out, counter, clock, rest);
        packets += 1;
    }
    (out, at.after(count, packets))
}

/// Error for bytes that are not a part in the form that [`part`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a part of this transport stream")]
pub struct NotOurTransport;

/// Reads the ADTS frames of a part.
pub(super) fn audio(part: &[u8]) -> Result<Vec<u8>, NotOurTransport> {
    let (packets, rest) = part.as_chunks::<PACKET>();
    let mut frames = Vec::with_capacity(part.len());
    for packet in packets {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        if packet[0] != 0x47 {
            return Err(NotOurTransport);
        }
        if pid != AUDIO_PID {
            continue;
        }
        let has_adaptation = packet[3] & 0x20 != 0;
        let begin = if has_adaptation { 5 + usize::from(packet[4]) } else { 4 };
        let payload = packet.get(begin..).ok_or(NotOurTransport)?;
        let begins_unit = packet[1] & 0x40 != 0;
        let header = if begins_unit { 9 + usize::from(*payload.get(8).ok_or(NotOurTransport)?) } else { 0 };
        frames.extend_from_slice(payload.get(header..).ok_or(NotOurTransport)?);
    }
    if rest.is_empty() && !frames.is_empty() { Ok(frames) } else { Err(NotOurTransport) }
}

/// Returns the timestamp of the first sample of a part or segment, in ticks of 90 kHz (section 2.4.3.7).
pub fn first_timestamp(part: &[u8]) -> Option<u64> {
    let (packets, _) = part.as_chunks::<PACKET>();
    let begins_audio = |packet: &&[u8; PACKET]| {
        packet[1] & 0x40 != 0 && u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == AUDIO_PID
    };
    let packet = packets.iter().find(begins_audio)?;
    let begin = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
    let pts = packet.get(begin + 9..begin + 14)?;
    let bits = |at: usize, mask: u8| u64::from(pts[at] & mask);
    Some(
        bits(0, 0x0e) << 29
            | bits(1, 0xff) << 22
            | bits(2, 0xfe) << 14
            | bits(3, 0xff) << 7
            | bits(4, 0xfe) >> 1,
    )
}

/// Writes a transport packet header (section 2.4.3.2).
fn write_header(out: &mut Vec<u8>, pid: u16, begins_unit: bool, has_adaptation: bool, counter: u8) {
    let [high, low] = pid.to_be_bytes();
    let control = if has_adaptation { 0x30 } else { 0x10 };
    out.extend([0x47, high | if begins_unit { 0x40 } else { 0 }, low, control | counter & 0x0f]);
}

fn write_section(out: &mut Vec<u8>, pid: u16, section: &[u8], counter: u8) {
    let end = out.len() + PACKET;
    write_header(out, pid, true, false, counter);
    // The section begins directly after the pointer field; stuffing follows it.
    out.push(0);
    out.extend_from_slice(section);
    out.resize(end, 0xff);
}

/// Writes one packet with as much of `rest` as fits. Returns the remaining bytes.
fn write_audio<'a>(out: &mut Vec<u8>, counter: u8, clock: Option<u64>, rest: &'a [u8]) -> &'a [u8] {
    let end = out.len() + PACKET;
    let fixed = if clock.is_some() { 8 } else { 0 };
    let (now, later) = rest.split_at(rest.len().min(ROOM - fixed));
    let adaptation = ROOM - now.len();
    write_header(out, AUDIO_PID, clock.is_some(), adaptation > 0, counter);
    if adaptation > 0 {
        out.push((adaptation - 1) as u8);
        if adaptation > 1 {
            out.push(clock.map_or(0, |_| RANDOM_ACCESS_AND_CLOCK));
        }
        if let Some(clock) = clock {
            // 33 bits of 90 kHz, 6 reserved bits, 9 bits of 27 MHz.
            out.extend_from_slice(&((clock << 15) | 0x7e00).to_be_bytes()[2..]);
        }
        out.resize(end - now.len(), 0xff);
    }
    out.extend_from_slice(now);
    later
}

/// Returns a PES packet (section 2.4.3.6). The length is always set: without it, the last frame of a part
/// would wait for the next part.
fn pes_packet(at: Timeline, frames: &[u8]) -> Vec<u8> {
    let length = (PES_HEADER + frames.len()) as u16;
    let mut pes = Vec::with_capacity(14 + frames.len());
    pes.extend([0, 0, 1, 0xc0]);
    pes.extend(length.to_be_bytes());
    // Marker and data alignment, PTS only, five bytes of PTS.
    pes.extend([0x84, 0x80, 5]);
    let pts = at.pts;
    let marked = |shift: u32, mask: u64| ((pts >> shift & mask) as u8) << 1 | 1;
    pes.push(0x20 | marked(30, 0x07));
    pes.extend([(pts >> 22) as u8, marked(15, 0x7f), (pts >> 7) as u8, marked(0, 0x7f)]);
    pes.extend_from_slice(frames);
    pes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth;

    #[test]
    fn tables_carry_their_checksum() {
        for section in [&PAT[..], &PMT[..]] {
            let (body, sum) = section.split_at(section.len() - 4);
            assert_eq!(crc(body).to_be_bytes(), sum, "{:08x}", crc(body));
            assert_eq!(usize::from(section[2]), section.len() - 3);
        }
    }

    #[test]
    fn parts_are_whole_packets_with_running_counters() {
        let mut at = Timeline { pts: (1 << 33) - 1920, tables: 15, audio: 14 };
        assert_eq!(first_timestamp(&part(at, &synth::frames(9, 0), 9).0), Some(at.pts));
        for (count, size) in [(9, 160), (1, 8), (47, 775), (3, 59)] {
            let frames = vec![7; count * size];
            let (bytes, next) = part(at, &frames, count as u64);
            let packets: Vec<&[u8]> = bytes.chunks(PACKET).collect();
            assert!(packets.iter().all(|p| p.len() == PACKET && p[0] == 0x47));
            assert_eq!(audio(&bytes), Ok(frames), "reads back");
            let sound = &packets[2..];
            for (n, packet) in sound.iter().enumerate() {
                assert_eq!(packet[3] & 15, (at.audio + n as u8) & 15);
            }
            let expected = Timeline {
                pts: (at.pts + 1920 * count as u64) % (1 << 33),
                tables: (at.tables + 1) & 15,
                audio: ((usize::from(at.audio) + sound.len()) & 15) as u8,
            };
            assert_eq!(next, expected);
            at = next;
        }
    }

    #[test]
    fn other_bytes_have_no_audio() {
        let (bytes, _) = part(Timeline::default(), &synth::frames(3, 0), 3);
        let broken = |at: usize, to: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = to;
            audio(&bytes)
        };
        assert_eq!(broken(2 * PACKET, 0), Err(NotOurTransport), "no sync byte");
        assert_eq!(broken(2 * PACKET + 4, 255), Err(NotOurTransport), "adaptation beyond the packet");
        for bytes in [&bytes[..2 * PACKET], &bytes[..bytes.len() - 1], &[]] {
            assert_eq!(audio(bytes), Err(NotOurTransport));
        }
    }

    /// Compares with bytes that an independent writer made and that were tried with every player.
    #[test]
    fn first_audio_packet_has_clock_and_timestamp() {
        let frames = synth::frames(9, 0);
        let (bytes, _) = part(Timeline { pts: 126_000, tables: 3, audio: 5 }, &frames, 9);
        let audio = &bytes[2 * PACKET..3 * PACKET];
        assert_eq!(&audio[..4], [0x47, 0x41, 0x00, 0x35]);
        assert_eq!(&audio[4..12], [7, 0x50, 0x00, 0x00, 0xe4, 0x84, 0x7e, 0x00], "PCR 117000");
        assert_eq!(&audio[12..21], [0, 0, 1, 0xc0, 0x05, 0xa8, 0x84, 0x80, 5]);
        assert_eq!(&audio[21..26], [0x21, 0x00, 0x07, 0xd8, 0x61], "PTS 126000");
        assert_eq!(&audio[26..33], &frames[..7]);
    }

    /// Computes CRC-32/MPEG-2 bit by bit.
    fn crc(bytes: &[u8]) -> u32 {
        bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
                if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 }
            })
        })
    }
}
