//! Copying of closed segments from a stream to the disk: the effects of a recorder and of a rewind actor.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::ids::UnixMs;
use crate::domain::recording_journal::JournalEntry;
use crate::packager::{ClosedSegment, LiveStream};
use crate::spool::TakeWriter;

/// Longest wait for the next segment before the actor checks its room again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Stream that is copied.
pub struct Source {
    pub stream: Arc<LiveStream>,
    /// Number of the next segment to write; `None` before the first one is known.
    pub next: Option<u64>,
    pub over: bool,
}

/// Recorded period. A segment belongs to it if it begins at or after `since` and ends at or before `until`.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub since: UnixMs,
    pub until: UnixMs,
}

/// Result of one copy.
pub struct CopyResult {
    /// Writer, and the segments written.
    pub writer: io::Result<(TakeWriter, Vec<JournalEntry>)>,
    /// Number after the last segment that was written, or skipped because it is outside the span.
    pub next: Option<u64>,
    pub over: bool,
    /// True if the stream has a segment that ends after the span.
    pub beyond: bool,
}

impl Source {
    /// Determines the position from which a stream is copied. `last` is the newest segment on the disk,
    /// written by an earlier process or incarnation.
    pub fn look(&mut self, since: UnixMs, last: Option<u64>) {
        // A stream that was over may continue after the actor of its room has failed.
        self.over &= !self.stream.is_live();
        if self.next.is_none() {
            let first = self.stream.first_closed(since);
            self.next = first.max(last.map(|last| last + 1).filter(|_| first.is_some()));
        }
    }

    /// Returns the number of segments that have left the window before they were written, and skips them.
    pub fn skip_lost(&mut self) -> u64 {
        let (Some(next), Some(first)) = (self.next, self.stream.first_closed(UnixMs(0))) else { return 0 };
        self.next = Some(next.max(first));
        first.saturating_sub(next)
    }
}

impl Span {
    fn contains(&self, segment: &ClosedSegment) -> bool {
        segment.started_at() >= self.since && !self.is_over_before_end_of(segment)
    }

    fn is_over_before_end_of(&self, segment: &ClosedSegment) -> bool {
        segment.started_at().0 + segment.duration().as_millis() as u64 > self.until.0
    }

    /// Returns the segments of the stream that are in the window now and not written yet.
    pub fn rest(&self, source: &Source) -> Vec<ClosedSegment> {
        let mut closed = source.stream.closed_now(before(source.next)).segments;
        closed.retain(|segment| self.contains(segment));
        closed
    }
}

/// Writes the closed segments of the stream, or waits for the next one; without a stream, waits for
/// `opening`. A wait lasts at most `LOOK_AGAIN`, and ends early when the actor is told to stop (`left`).
pub async fn copy(
    writer: TakeWriter,
    (stream, next): (Option<Arc<LiveStream>>, Option<u64>),
    span: Span,
    opening: impl Future<Output = ()>,
    left: Arc<Notify>,
) -> CopyResult {
    let source = async {
        match &stream {
            Some(stream) => Some(stream.closed_after(before(next)).await),
            None => {
                opening.await;
                None
            }
        }
    };
    let waited = tokio::select! {
        closed = source => closed,
        () = left.notified() => None,
        () = tokio::time::sleep(LOOK_AGAIN) => None,
    };
    let Some(closed) = waited else {
        return CopyResult { writer: Ok((writer, Vec::new())), next, over: false, beyond: false };
    };
    let beyond = closed.segments.iter().any(|segment| span.is_over_before_end_of(segment));
    let next = closed.segments.last().map(|segment| segment.sequence() + 1).or(next);
    let wanted: Vec<_> = closed.segments.into_iter().filter(|segment| span.contains(segment)).collect();
    let writer = blocking(move || append(writer, &wanted)).await;
    CopyResult { writer, next, over: closed.over, beyond }
}

pub fn append(
    mut writer: TakeWriter,
    segments: &[ClosedSegment],
) -> io::Result<(TakeWriter, Vec<JournalEntry>)> {
    let written: io::Result<Vec<_>> = segments.iter().map(|segment| writer.append(segment)).collect();
    Ok((writer, written?))
}

/// Runs disk work on the thread pool for blocking calls.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => Err(io::Error::other(panicked)),
    }
}

fn before(next: Option<u64>) -> Option<u64> {
    next.and_then(|next| next.checked_sub(1))
}
