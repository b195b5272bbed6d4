//! Tracks: one Ogg Opus file per anchor, made from what Janus recorded of the anchor, in sync with the mix.
//! No sound is decoded or encoded.
//!
//! ```text
//! MJR files (mjr) -> queue as in AudioBridge (playout) -> one packet per 20 ms of the recording -> ogg
//!                    at the times at which AudioBridge mixes (`crate::ticks`)
//! decoded track and mix -> shifts (sync) -> the same again, with the shifts
//! ```
//! Owns: the time of each packet in the file. Does not open a file.

mod mjr;
mod ogg;
mod playout;
#[cfg(test)]
pub mod samples;
mod sync;

use std::io::{self, Read, Write};
use std::time::Duration;

use stentor_domain::clip::positions;
use stentor_domain::ids::UnixMs;
use stentor_domain::recording_journal::JournalEntry;

use crate::ticks::{TICK, TickPhases, nearest};
pub use mjr::{MjrReader, Packet};
use ogg::{OpusFile, SAMPLES};
use playout::{MixedSound, Playout, Start};
pub use sync::{BandLevels, RATE, Shift, shifts};

/// Time in microseconds from the mixing of a packet in AudioBridge to the time that the recording states for
/// the packet's position. The stated time is derived from the arrival of parts. The value was measured. It
/// contains the delays of the codecs, of the limiter's look-ahead and of the reading of FFmpeg's output.
const LATENCY: u64 = 43_000;
/// Time in microseconds from the moment at which AudioBridge mixes until FFmpeg's output is read. The value
/// is an estimate.
const ARRIVAL: u64 = 3_000;
/// Largest distance in microseconds between the time of a packet and its place in the file. If the distance
/// is larger, the packet gets another place. The limit is more than half a tick, so that jitter does not move
/// packets back and forth.
const MOVES: u64 = 12_000;
/// Largest deviation, in microseconds, of a segment's time from the time of earlier segments that is still
/// jitter. A larger deviation is a jump, for example after a restart of FFmpeg.
const JUMP: u64 = 5_000;

/// Longest time from the moment at which a gateway begins a join until Janus creates the file. The file of a
/// participant who was there before is created when the recording begins.
const JOINS_WITHIN: Duration = Duration::from_secs(5);
/// Longest time until the first packet of a participant who speaks.
const SPEAKS_WITHIN: Duration = Duration::from_millis(100);

/// Wall-clock time of each position in a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeAxis {
    /// For each stretch, in order: the position at which it begins, and the time to add to the positions in
    /// it; both in microseconds.
    stretches: Vec<(u64, i64)>,
    ticks: TickPhases,
    /// Duration of the recording in microseconds.
    end: u64,
}

/// Recorded packets of one stay of an anchor.
struct Stay<R> {
    reader: MjrReader<R>,
    next: Option<Packet>,
    playout: Playout,
}

impl TimeAxis {
    /// Returns the axis of a recording with these segments; `None` if there are none.
    pub fn new<'a>(segments: impl IntoIterator<Item = &'a JournalEntry>) -> Option<Self> {
        let segments: Vec<_> = segments.into_iter().collect();
        let (starts, end) = positions(segments.iter().copied());
        // The least distance between time and position: parts may arrive late, but not early.
        let mut stretches: Vec<(u64, i64)> = Vec::new();
        let mut lag = segments.iter().find_map(|segment| segment.lag_us).unwrap_or(0);
        let ticks = starts.iter().zip(&segments).map(|(start, segment)| (micros(*start), segment.tick_us));
        let ticks = TickPhases::new(ticks);
        for (segment, start) in segments.iter().zip(starts) {
            lag = segment.lag_us.unwrap_or(lag);
            let start = micros(start);
            let wall = segment.started_at.0.saturating_mul(1000).saturating_add_signed(lag);
            let ahead = i64::try_from(wall).unwrap_or(i64::MAX).saturating_sub_unsigned(start);
            match stretches.last_mut() {
                Some((_, least)) if ahead.abs_diff(*least) <= JUMP => *least = ahead.min(*least),
                _ => stretches.push((start, ahead)),
            }
        }
        (!stretches.is_empty()).then(|| Self { stretches, ticks, end: micros(end) })
    }

    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.end)
    }

    /// Returns the time at which AudioBridge mixed the sound at this position, both in microseconds.
    fn mixed_at(&self, position: u64) -> u64 {
        let next = self.stretches.partition_point(|(start, _)| *start <= position);
        // The first stretch begins at 0.
        let (_, ahead) = self.stretches[next.saturating_sub(1)];
        position.saturating_add_signed(ahead).saturating_sub(LATENCY)
    }
}

impl TimeAxis {
    /// Returns the time at which AudioBridge mixes at this position, modulo 20 ms, in microseconds; `None` if
    /// it is unknown.
    fn phase_at(&self, position: u64) -> Option<u64> {
        self.ticks.at(position).map(|arrival| (arrival + TICK - ARRIVAL) % TICK)
    }
}

impl<R: Read> Stay<R> {
    /// Takes the packets that arrive until `now`, and returns the sound that is mixed at `now`.
    fn tick(&mut self, now: u64) -> io::Result<MixedSound> {
        while let Some(packet) = self.next.take_if(|packet| packet.at <= now) {
            self.playout.arrived(packet.sequence, packet.opus);
            self.next = self.reader.next_packet()?;
        }
        Ok(self.playout.tick())
    }

    fn is_over(&self) -> bool {
        self.next.is_none() && self.playout.is_empty()
    }
}

/// Writes the track of an anchor. `recorded`: the anchor's MJR files, each with the time at which its
/// participant joined. `shifts`: corrections of the packets' places, in order. Returns the output and its
/// size.
///
/// # Errors
/// An input cannot be read, or the output cannot be written.
pub fn write_track<R: Read, W: Write>(
    axis: &TimeAxis,
    recorded: Vec<(MjrReader<R>, UnixMs)>,
    shifts: &[Shift],
    output: W,
) -> io::Result<(W, u64)> {
    let first = recorded.iter().map(|(reader, _)| reader.first_at()).min();
    let mut stays = Vec::with_capacity(recorded.len());
    for (mut reader, joined) in recorded {
        let playout = Playout::new(start_of(&reader, joined));
        let next = reader.next_packet()?;
        stays.push(Stay { reader, next, playout });
    }
    let mut tick = |now: u64| -> io::Result<MixedSound> {
        let mut mixed = MixedSound::Silence;
        for stay in &mut stays {
            let sound = stay.tick(now)?;
            if sound != MixedSound::Silence {
                mixed = sound;
            }
        }
        stays.retain(|stay| !stay.is_over());
        Ok(mixed)
    };
    let begin = axis.mixed_at(0);
    // Time by which the first packet begins before the start of the file, so that all packets begin at ticks.
    let skipped = axis.phase_at(0).map_or(0, |phase| (begin + TICK - phase) % TICK);
    let mut file = OpusFile::create(output, axis.end * 48 / 1000, (skipped * 48 / 1000) as u16)?;
    // The anchor may have been recorded for some time before the recording's first segment.
    let before = begin.saturating_sub(first.unwrap_or(begin)).div_ceil(TICK);
    let mut shifts = shifts.iter().peekable();
    let mut shift = shifts.next_if(|shift| shift.at == 0).map_or(0, |shift| shift.packets);
    let before = before.saturating_add_signed(shift.max(0));
    let mut now = begin.saturating_sub(skipped + before * TICK);
    for packet in 0..file.packets() {
        while let Some(next) = shifts.next_if(|shift| shift.at <= packet) {
            shift = next.packets;
        }
        let at = packet * TICK;
        let position = at.saturating_sub(skipped);
        // The first packet begins before the start of the file.
        let mixed = axis.mixed_at(position).saturating_sub(skipped.saturating_sub(at));
        let mixed = mixed.saturating_add_signed(shift.saturating_mul(-(TICK as i64)));
        let due = match axis.phase_at(position) {
            Some(phase) if now.abs_diff(mixed) <= MOVES => nearest(now, phase),
            Some(phase) => nearest(mixed, phase),
            None => mixed,
        };
        while now + TICK / 2 < due {
            tick(now)?;
            now += TICK;
        }
        if now > due + TICK / 2 {
            // The time of the recording went back. The sound at this time is already in the file.
            file.sound(&MixedSound::Silence)?;
            continue;
        }
        file.sound(&tick(due)?)?;
        now = due + TICK;
    }
    file.finish()
}

/// Returns the state of a participant when its recording began.
fn start_of<R: Read>(reader: &MjrReader<R>, joined: UnixMs) -> Start {
    let since = |earlier: u64, later: u64| Duration::from_micros(later.saturating_sub(earlier));
    if since(joined.0.saturating_mul(1000), reader.created_at()) < JOINS_WITHIN {
        Start::Join
    } else if since(reader.created_at(), reader.first_at()) < SPEAKS_WITHIN {
        Start::Speaking
    } else {
        Start::Silent
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

const _: () = assert!(TICK * 48 / 1000 == SAMPLES);

#[cfg(test)]
mod tests {
    use super::samples::{mjr, opus_packets};
    use super::*;

    /// Time of the first segment in milliseconds.
    const START: u64 = 1_000_000;

    fn segment(sequence: u64, started: u64) -> JournalEntry {
        JournalEntry {
            sequence,
            duration_us: 1_920_000,
            started_at: UnixMs(START + started),
            discontinuity: false,
            key_index: 0,
            bytes: 9,
            file: 1,
            offset: 0,
            lag_us: None,
            tick_us: None,
        }
    }

    /// Returns an MJR file of packets that contain their numbers. The first packet arrives `from`
    /// milliseconds after the start, and the others follow every `every` microseconds.
    fn talk(from: i64, every: u64, count: u16) -> Vec<u8> {
        let payloads: Vec<_> = (0..count).map(|n| [0xf8, (n >> 8) as u8, n as u8]).collect();
        let packets: Vec<_> = payloads
            .iter()
            .zip(0u16..)
            .map(|(payload, n)| ((u64::from(n) * every / 1000) as u32, n, &payload[..]))
            .collect();
        let at = i64::try_from(START).unwrap() + from;
        mjr(at as u64 * 1000 - LATENCY, &packets)
    }

    /// Returns the numbers of the packets of a track; `None` for silence.
    fn track(axis: &TimeAxis, files: &[Vec<u8>]) -> Vec<Option<u16>> {
        let readers = files.iter().filter_map(|file| MjrReader::open(&file[..]).unwrap());
        let readers = readers.map(|reader| (reader, UnixMs(0))).collect();
        let (ogg, _) = write_track(axis, readers, &[], Vec::new()).unwrap();
        let (packets, _) = opus_packets(&ogg);
        let number = |opus: &Vec<u8>| (opus[1] != 0xff).then(|| u16::from_be_bytes([opus[1], opus[2]]));
        packets.iter().map(number).collect()
    }

    fn axis(segments: &[JournalEntry]) -> TimeAxis {
        TimeAxis::new(segments).unwrap()
    }

    #[test]
    fn track_is_as_long_as_recording() {
        let axis = axis(&[segment(1, 0), segment(2, 1_920)]);
        assert_eq!(axis.duration(), Duration::from_millis(3_840));
        let (ogg, length) = write_track::<&[u8], _>(&axis, Vec::new(), &[], Vec::new()).unwrap();
        assert_eq!(ogg.len() as u64, length);
        let (packets, granule) = opus_packets(&ogg);
        assert_eq!((packets.len(), granule), (193, 3_840 * 48 + u64::from(ogg::PRE_SKIP)));
        assert_eq!(TimeAxis::new(&[]), None);
    }

    #[test]
    fn stays_are_placed_by_arrival() {
        let axis = axis(&[segment(1, 0), segment(2, 1_920)]);
        let track = track(&axis, &[talk(-500, 20_000, 40), talk(1_000, 20_000, 20)]);
        // Packet 0 is mixed when packet 6 arrives.
        assert_eq!(track[0], Some(19), "500 ms before the start, delayed by 120 ms");
        assert_eq!((track[20], track[21]), (Some(39), None));
        let second = track.iter().rposition(|number| *number == Some(0)).unwrap();
        assert_eq!((second, track[second + 19], track[second + 20]), (56, Some(19), None));
    }

    #[test]
    fn packets_follow_ticks_of_janus() {
        // AudioBridge mixes 13 ms after each multiple of 20 ms of the recording.
        let tick = (START * 1000 + 13_000 + ARRIVAL - LATENCY) % TICK;
        let ticking = |n| JournalEntry { tick_us: Some(tick as u32), ..segment(n, n * 1_920) };
        let axis = axis(&(0..4).map(ticking).collect::<Vec<_>>());
        for from in (100..120).filter(|from| from % 20 != 13) {
            let file = talk(from, 20_000, 40);
            let reader = MjrReader::open(&file[..]).unwrap().unwrap();
            let (ogg, _) = write_track(&axis, vec![(reader, UnixMs(0))], &[], Vec::new()).unwrap();
            let (packets, _) = opus_packets(&ogg);
            let place = packets.iter().position(|opus| opus[..] == [0xf8, 0, 0]).unwrap();
            // The header (RFC 7845 section 5.1) follows a page header of 28 bytes.
            let skipped = u16::from_le_bytes([ogg[38], ogg[39]]) - ogg::PRE_SKIP;
            let mixed = place as i64 * 20 - i64::from(skipped) / 48;
            // The playout begins when packet 6 has arrived.
            let expected = (from + 120 - 13).div_euclid(20) * 20 + 20 + 13;
            assert_eq!((skipped, mixed), (7 * 48, expected), "{from}");
        }
    }

    #[test]
    fn track_begins_with_consecutive_packets() {
        for offset in 0..20_000 / 500 {
            let tick = (START * 1000 + offset * 500 + ARRIVAL - LATENCY) % TICK;
            let ticking = |n| JournalEntry { tick_us: Some(tick as u32), ..segment(n, n * 1_920) };
            let axis = axis(&(0..4).map(ticking).collect::<Vec<_>>());
            // The anchor is already speaking when the recording begins.
            let track = track(&axis, &[talk(-500, 20_000, 100)]);
            let first = track[0].unwrap_or_default();
            let expected: Vec<_> = (first..first + 20).map(Some).collect();
            assert_eq!(track[..20], expected, "{} us after a multiple of 20 ms", offset * 500);
        }
    }

    #[test]
    fn drifting_clocks_are_followed() {
        let segments: Vec<_> = (0..100).map(|n| segment(n, n * 1_920)).collect();
        let axis = axis(&segments);
        // Clocks that are 0.1 % slow and fast.
        for every in [20_020, 19_980] {
            let track = track(&axis, &[talk(0, every, 9_000)]);
            let late = |(place, number): (usize, &Option<u16>)| {
                Some(place as i64 * 20 - i64::from((*number)?) * every as i64 / 1000)
            };
            let late: Vec<_> = track.iter().enumerate().filter_map(late).collect();
            let (least, most) = (late.iter().min().unwrap(), late.iter().max().unwrap());
            assert!(*least >= 0 && *most <= 240, "{least} to {most} ms, as in AudioBridge");
            let silent = track[..8_900].iter().filter(|number| number.is_none()).count();
            assert!(silent < 20, "{silent}");
        }
    }

    #[test]
    fn shifts_move_packets() {
        let axis = axis(&[segment(1, 0), segment(2, 1_920)]);
        let file = talk(-500, 20_000, 400);
        let place = |shifts: &[Shift]| {
            let reader = MjrReader::open(&file[..]).unwrap().unwrap();
            let (ogg, _) = write_track(&axis, vec![(reader, UnixMs(0))], shifts, Vec::new()).unwrap();
            let (packets, _) = opus_packets(&ogg);
            let number = |opus: &Vec<u8>| (opus[1] != 0xff).then(|| u16::from_be_bytes([opus[1], opus[2]]));
            packets.iter().map(number).collect::<Vec<_>>()
        };
        let plain = place(&[]);
        let shift = |at, packets| Shift { at, packets };
        let moved = place(&[shift(0, 2), shift(50, 3), shift(100, -4)]);
        assert_eq!((moved[..50].to_vec(), moved[50]), ([&[Some(17), Some(18)], &plain[..48]].concat(), None));
        assert_eq!(moved[51..100], plain[48..97]);
        assert_eq!(moved[100..180], plain[104..184]);
        assert_eq!(moved.len(), plain.len());
    }

    #[test]
    fn jumps_of_recorded_time_are_followed() {
        let axis = axis(&[segment(1, 0), segment(2, 1_920), segment(3, 4_840)]);
        let track = track(&axis, &[talk(0, 20_000, 400)]);
        assert_eq!((track[191], track[192]), (Some(185), Some(236)), "1 s is missing in the mix");
        let back = TimeAxis::new(&[segment(1, 0), segment(2, 920)]).unwrap();
        let track = self::track(&back, &[talk(0, 20_000, 400)]);
        assert_eq!(track[96..146], [None; 50]);
        assert_eq!((track[95], track[146]), (Some(89), Some(90)));
    }
}
