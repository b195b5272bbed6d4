//! Closed segments of a live stream, in order, for the writers of recordings and rewind windows.
//!
//! The window serves as the queue between packager and writer. The packager never waits, so a slow writer
//! misses the segments that have left the window.

use std::sync::Arc;

use bytes::Bytes;

use super::crypto::{ContentKeys, DecryptError};
use super::stream::{LiveStream, Phase, Snapshot};
use super::window::Segment;
use stentor_domain::ids::UnixMs;

/// Segment that is complete.
#[derive(Debug, Clone)]
pub struct ClosedSegment {
    segment: Arc<Segment>,
    keys: ContentKeys,
}

/// Segments after a position, and the state of the stream.
#[derive(Debug, Clone)]
pub struct ClosedSegments {
    /// Ordered by media sequence number. Segments between the position and the oldest one may be missing.
    pub segments: Vec<ClosedSegment>,
    /// True if no packager publishes the stream now; see [`LiveStream::is_live`].
    pub over: bool,
}

impl ClosedSegment {
    /// Returns the media sequence number.
    pub fn sequence(&self) -> u64 {
        self.segment.head.msn
    }

    pub fn key_index(&self) -> u64 {
        self.segment.head.key_index
    }

    pub fn discontinuity(&self) -> bool {
        self.segment.head.discontinuity
    }

    pub fn started_at(&self) -> UnixMs {
        self.segment.head.started
    }

    /// Returns the smallest delay of the segment's parts against the media clock, in microseconds, possibly
    /// negative; `None` if all parts are silence.
    pub fn lag_us(&self) -> Option<i64> {
        self.segment.head.lag
    }

    /// Returns the average arrival time of the frames modulo 20 ms, in microseconds; `None` if it is unknown.
    pub fn tick_us(&self) -> Option<u32> {
        self.segment.head.ticks.get()
    }

    pub fn duration(&self) -> std::time::Duration {
        self.segment.duration
    }

    /// Returns the encrypted segment, as listeners get it.
    ///
    /// # Errors
    /// The segment was not encrypted with the keys of its stream.
    pub fn bytes(&self) -> Result<Bytes, DecryptError> {
        self.segment.whole(&self.keys)
    }
}

impl LiveStream {
    /// Returns the closed segments after `last`. If there are none and the stream is live, waits for the next
    /// one, or for the end of the stream.
    pub async fn closed_after(&self, last: Option<u64>) -> ClosedSegments {
        let mut changes = self.state.subscribe();
        loop {
            let closed = self.closed(&changes.borrow_and_update().clone(), last);
            // The sender is in `self`, so it outlives this wait.
            if closed.over || !closed.segments.is_empty() || changes.changed().await.is_err() {
                return closed;
            }
        }
    }

    /// Returns true while a packager publishes the stream.
    pub fn is_live(&self) -> bool {
        self.snapshot().phase == Phase::Live
    }

    /// Returns the closed segments after `last` that are in the window now.
    pub fn closed_now(&self, last: Option<u64>) -> ClosedSegments {
        self.closed(&self.snapshot(), last)
    }

    /// Returns the number of the oldest segment in the window that begins at `since` or later; `None` if
    /// there is none.
    pub fn first_closed(&self, since: UnixMs) -> Option<u64> {
        let snapshot = self.snapshot();
        let mut held = snapshot.window.held();
        held.find(|segment| segment.head.started >= since).map(|segment| segment.head.msn)
    }

    /// Returns the number of discontinuities of the broadcast before a segment; `None` if the segment is not
    /// in the window.
    pub fn discontinuities_before(&self, msn: u64) -> Option<u64> {
        let window = &self.snapshot().window;
        window.get(msn)?;
        let from = |msn| {
            let later = window.held().filter(move |segment| segment.head.msn >= msn);
            later.filter(|segment| segment.head.discontinuity).count() as u64
        };
        Some(window.next_discontinuity().saturating_sub(from(msn)))
    }

    fn closed(&self, snapshot: &Snapshot, last: Option<u64>) -> ClosedSegments {
        let newer = snapshot.window.held().filter(|segment| last.is_none_or(|last| segment.head.msn > last));
        let segments =
            newer.map(|segment| ClosedSegment { segment: segment.clone(), keys: self.keys.clone() });
        ClosedSegments { segments: segments.collect(), over: snapshot.phase != Phase::Live }
    }
}
