//! Model of the queue in which AudioBridge (Janus 1.1) holds the packets of one participant before it mixes
//! them (`janus_audiobridge.c`, `incoming_rtp` and `mixer_thread`).
//!
//! AudioBridge ignores the timestamps of RTP. Every 20 ms it takes one packet from the queue. It begins when
//! more than [`PREBUFFER`] packets wait, and never waits again: a lost or late packet makes the delay of the
//! following ones shorter, a burst makes it longer, up to a limit. So the delay between a packet and the mix
//! depends on all packets before it. The model takes the same packets at the same times, so a track made with
//! it follows the mix, even if the sender's clock drifts.

use std::collections::VecDeque;

/// Length of the queue, in packets, above which AudioBridge mixes the first packet. If a queue reaches twice
/// this length, AudioBridge cuts it to this length.
const PREBUFFER: usize = 6;
/// Largest distance of a late packet from the expected one. A larger distance is a restart of the numbers.
const MISORDER: u16 = 50;

/// Number of packets that AudioBridge drops when a participant has joined.
const PROBATION: u8 = 2;

/// Sound of a participant in 20 ms of the mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MixedSound {
    Packet(Vec<u8>),
    /// AudioBridge conceals a lost packet.
    Concealed,
    Silence,
}

/// State of a participant when its recording begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The participant joins.
    Join,
    /// The participant has been speaking. The length of its queue is unknown; the model assumes
    /// [`PREBUFFER`].
    Speaking,
    /// The participant was silent, so its queue is empty.
    Silent,
}

/// Queue of one participant.
#[derive(Debug)]
pub struct Playout {
    /// Packets in order; `None`: a packet that did not arrive, which AudioBridge conceals.
    queue: VecDeque<(u16, Option<Vec<u8>>)>,
    begun: bool,
    probation: u8,
    expected: Option<u16>,
}

impl Playout {
    pub fn new(start: Start) -> Self {
        let probation = if start == Start::Join { PROBATION } else { 0 };
        Self { queue: VecDeque::new(), begun: start == Start::Silent, probation, expected: None }
    }

    /// Takes a packet that arrived.
    pub fn arrived(&mut self, sequence: u16, opus: Vec<u8>) {
        if self.probation > 0 {
            self.probation -= 1;
            self.expected = Some(sequence.wrapping_add(1));
            return;
        }
        let expected = self.expected.unwrap_or(sequence);
        let ahead = sequence.wrapping_sub(expected);
        if ahead > u16::MAX / 2 {
            return self.arrived_late(expected, sequence, opus);
        }
        if usize::from(ahead) < PREBUFFER {
            self.queue.extend((0..ahead).map(|lost| (expected.wrapping_add(lost), None)));
        }
        self.queue.push_back((sequence, Some(opus)));
        self.expected = Some(sequence.wrapping_add(1));
        if !self.begun {
            self.begun = self.queue.len() > PREBUFFER;
        } else if self.queue.len() >= 2 * PREBUFFER {
            self.queue.drain(..self.queue.len() - PREBUFFER);
        }
    }

    /// Takes a packet that arrived late: its number is below the expected one. If its placeholder is still in
    /// the queue, the track gets the packet, although AudioBridge conceals its loss in the mix. A number far
    /// below the expected one means that the numbers have started over.
    fn arrived_late(&mut self, expected: u16, sequence: u16, opus: Vec<u8>) {
        if expected.wrapping_sub(sequence) > MISORDER {
            self.expected = Some(sequence.wrapping_add(1));
        } else if let Some((_, place)) = self.queue.iter_mut().find(|(number, _)| *number == sequence) {
            *place = Some(opus);
        }
    }

    /// Takes the sound of the next 20 ms of the mix from the queue.
    pub fn tick(&mut self) -> MixedSound {
        match self.begun.then(|| self.queue.pop_front()).flatten() {
            Some((_, Some(opus))) => MixedSound::Packet(opus),
            Some((_, None)) => MixedSound::Concealed,
            None => MixedSound::Silence,
        }
    }

    /// Returns true if no packet waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(playout: &mut Playout, ticks: usize) -> Vec<Option<u8>> {
        let number = |mixed| if let MixedSound::Packet(opus) = mixed { Some(opus[0]) } else { None };
        (0..ticks).map(|_| number(playout.tick())).collect()
    }

    fn arrive(playout: &mut Playout, numbers: impl IntoIterator<Item = u16>) {
        numbers.into_iter().for_each(|n| playout.arrived(n, vec![n as u8]));
    }

    #[test]
    fn playout_begins_after_prebuffering() {
        let mut playout = Playout::new(Start::Speaking);
        arrive(&mut playout, 0..6);
        assert_eq!(numbers(&mut playout, 2), [None, None]);
        arrive(&mut playout, [6]);
        assert_eq!(numbers(&mut playout, 8)[..2], [Some(0), Some(1)]);
        arrive(&mut playout, [7]);
        assert_eq!(numbers(&mut playout, 2), [Some(7), None], "AudioBridge does not wait again");
    }

    #[test]
    fn start_decides_on_prebuffering() {
        let mut joined = Playout::new(Start::Join);
        arrive(&mut joined, 0..8);
        assert_eq!(numbers(&mut joined, 1), [None], "the first two packets are dropped");
        arrive(&mut joined, [8]);
        assert_eq!(numbers(&mut joined, 1), [Some(2)]);
        let mut silent = Playout::new(Start::Silent);
        arrive(&mut silent, [7]);
        assert_eq!(numbers(&mut silent, 2), [Some(7), None]);
    }

    #[test]
    fn bursts_shorten_the_queue() {
        let mut playout = Playout::new(Start::Speaking);
        arrive(&mut playout, 0..11);
        assert_eq!(playout.queue.len(), 11);
        arrive(&mut playout, [11]);
        assert_eq!(numbers(&mut playout, 1), [Some(6)]);
    }

    #[test]
    fn few_lost_packets_keep_their_place() {
        let mut playout = Playout::new(Start::Speaking);
        arrive(&mut playout, [65_530, 65_531, 65_532, 65_535, 0, 1, 2]);
        assert_eq!(numbers(&mut playout, 3), [250, 251, 252].map(Some));
        assert_eq!([playout.tick(), playout.tick()], [MixedSound::Concealed, MixedSound::Concealed]);
        arrive(&mut playout, [20]);
        assert_eq!(numbers(&mut playout, 5), [Some(255), Some(0), Some(1), Some(2), Some(20)], "many do not");
    }

    #[test]
    fn late_packets_take_their_place() {
        let mut playout = Playout::new(Start::Speaking);
        arrive(&mut playout, [0, 2, 1, 3, 4, 5, 6]);
        assert_eq!(numbers(&mut playout, 4), [Some(0), Some(1), Some(2), Some(3)]);
        arrive(&mut playout, [1]);
        assert_eq!(numbers(&mut playout, 4), [Some(4), Some(5), Some(6), None], "the packet is too late");
    }

    #[test]
    fn restarted_numbers_are_followed() {
        let mut playout = Playout::new(Start::Speaking);
        arrive(&mut playout, 1000..1007);
        arrive(&mut playout, 100..103);
        assert_eq!(numbers(&mut playout, 9)[7..], [Some(101), Some(102)]);
    }
}
