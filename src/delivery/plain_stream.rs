//! Buffer of one plain stream, shared by all of its listeners.
//!
//! The room's actor publishes a snapshot per part; each reader stores the number of its next part. So this
//! buffer does not grow with the number of listeners, one wake-up reaches all listeners, and a slow reader
//! does not delay the others. A reader that falls behind the buffer continues near the live edge: the
//! listener hears a jump, and the delay does not grow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::on_demand::{OnDemandStream, OnDemandStreams};
use crate::domain::ids::Nonce;
use crate::domain::plain_room::BURST;
use crate::domain::relay_room::Position;
use crate::domain::timeline::frames_last;
use crate::packager::plain::PlainPart;

/// Duration of the audio that is buffered for readers that are late.
const KEPT: Duration = Duration::from_secs(2);

/// Plain streams of this node by room: opened by listeners and outputs.
pub type PlainStreams = OnDemandStreams<PlainStream>;

/// Plain stream of one broadcast, shared by the room's actor and the readers.
#[derive(Debug)]
pub struct PlainStream {
    live: Nonce,
    state: watch::Sender<Arc<Buffer>>,
}

#[derive(Debug, Clone, Default)]
struct Buffer {
    /// Number of the oldest part in the buffer.
    first: u64,
    parts: VecDeque<PlainPart>,
    /// Position of the room's next part, the first that is not published yet.
    next: Option<Position>,
    ended: bool,
}

/// Reader of one plain stream, from near its live edge to its end.
#[derive(Debug)]
pub struct PlainReader {
    state: watch::Receiver<Arc<Buffer>>,
    /// Number of the next part; `None` before the first.
    next: Option<u64>,
}

impl PlainStream {
    /// Returns the position after the last published part.
    pub fn next(&self) -> Option<Position> {
        self.state.borrow().next
    }

    /// Publishes parts; `next` is the position after them.
    pub fn publish(&self, parts: impl IntoIterator<Item = PlainPart>, next: Option<Position>) {
        let mut buffer = Buffer::clone(&self.state.borrow());
        buffer.parts.extend(parts);
        buffer.next = next;
        buffer.trim();
        self.state.send_replace(Arc::new(buffer));
    }

    /// Waits until the stream has no reader.
    pub async fn unread(&self) {
        self.state.closed().await;
    }

    /// Ends the stream; readers still get the parts that were published before.
    pub fn end(&self) {
        let buffer = Buffer { ended: true, ..Buffer::clone(&self.state.borrow()) };
        self.state.send_replace(Arc::new(buffer));
    }
}

impl OnDemandStream for PlainStream {
    type Reader = PlainReader;

    fn new(live: Nonce) -> Self {
        Self { live, state: watch::Sender::default() }
    }

    fn live(&self) -> &Nonce {
        &self.live
    }

    fn is_ended(&self) -> bool {
        self.state.borrow().ended
    }

    fn readers(&self) -> usize {
        self.state.receiver_count()
    }

    fn reader(self: &Arc<Self>) -> PlainReader {
        PlainReader { state: self.state.subscribe(), next: None }
    }

    fn over(&self) {
        self.end();
    }
}

impl PlainReader {
    /// Returns the next part; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            let buffer = self.state.borrow_and_update().clone();
            let number = self.next.filter(|next| *next >= buffer.first).unwrap_or_else(|| buffer.entry());
            if let Some(part) = buffer.get(number) {
                self.next = Some(number + 1);
                return Some(part.bytes.clone());
            }
            // The sender is dropped before the stream has ended only when the node stops.
            if buffer.ended || self.state.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl Buffer {
    fn get(&self, number: u64) -> Option<&PlainPart> {
        self.parts.get(usize::try_from(number - self.first).ok()?)
    }

    /// Returns the number of the newest parts that together last at most `limit`; at least 1 if there are
    /// parts.
    fn newest(&self, limit: Duration) -> usize {
        let mut total = Duration::ZERO;
        let fits = |part: &&PlainPart| {
            total += frames_last(part.frames);
            total <= limit
        };
        self.parts.iter().rev().take_while(fits).count().max(usize::from(!self.parts.is_empty()))
    }

    /// Returns the number of the part with which a new or late reader begins.
    fn entry(&self) -> u64 {
        self.first + (self.parts.len() - self.newest(BURST)) as u64
    }

    fn trim(&mut self) {
        let old = self.parts.len() - self.newest(KEPT);
        self.parts.drain(..old);
        self.first += old as u64;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn stream() -> Arc<PlainStream> {
        Arc::new(PlainStream::new(Nonce("n".into())))
    }

    /// Returns a part of nine frames whose only byte is its number.
    fn part(number: u8) -> PlainPart {
        PlainPart { bytes: Bytes::copy_from_slice(&[number]), frames: 9, place: None }
    }

    fn publish(stream: &PlainStream, numbers: std::ops::Range<u8>) {
        numbers.for_each(|n| stream.publish([part(n)], Some((1, n.into()))));
    }

    /// Returns the parts that are available now.
    fn read(reader: &mut PlainReader) -> Vec<u8> {
        let mut read = Vec::new();
        while let Some(Some(part)) = reader.next().now_or_never() {
            read.extend(part);
        }
        read
    }

    #[test]
    fn readers_begin_near_live() {
        let stream = stream();
        let mut early = stream.reader();
        publish(&stream, 0..9);
        assert_eq!(read(&mut early), [4, 5, 6, 7, 8], "a second at most");
        let mut late = stream.reader();
        publish(&stream, 9..10);
        assert_eq!((read(&mut early), read(&mut late)), (vec![9], vec![5, 6, 7, 8, 9]));
        assert_eq!(stream.next(), Some((1, 9)));
    }

    #[test]
    fn slow_readers_skip_ahead() {
        let stream = stream();
        let (mut slow, mut fast) = (stream.reader(), stream.reader());
        publish(&stream, 0..5);
        let first = slow.next().now_or_never().unwrap().unwrap();
        assert_eq!(first[..], [0]);
        assert_eq!(read(&mut fast), [0, 1, 2, 3, 4]);
        publish(&stream, 5..10);
        assert_eq!(read(&mut slow), [1, 2, 3, 4, 5, 6, 7, 8, 9], "within what is kept");
        publish(&stream, 10..30);
        assert_eq!(read(&mut slow), [25, 26, 27, 28, 29]);
        assert!(stream.state.borrow().parts.len() <= 10, "bounded");
    }

    #[test]
    fn readers_share_the_bytes() {
        let stream = stream();
        let (mut one, mut two) = (stream.reader(), stream.reader());
        publish(&stream, 0..1);
        let [one, two] = [&mut one, &mut two].map(|r| r.next().now_or_never().unwrap().unwrap());
        assert_eq!(one.as_ptr(), two.as_ptr());
    }

    #[test]
    fn ends_follow_the_last_part() {
        let stream = stream();
        let mut reader = stream.reader();
        publish(&stream, 0..2);
        stream.end();
        let mut next = || reader.next().now_or_never().unwrap();
        assert_eq!([next(), next(), next()].map(|part| part.map(|p| p[0])), [Some(0), Some(1), None]);
        assert_eq!(stream.reader().next().now_or_never().unwrap().unwrap()[..], [0], "the last second");
    }
}
