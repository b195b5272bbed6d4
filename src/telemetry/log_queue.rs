//! The bounded queue between the logging threads and the writing thread, so that logging never blocks.
//!
//! A log is often a pipe. When its reader stops, a direct write blocks the thread that logs, and with it the
//! node. Here, lines wait in the queue instead; once it is full, further lines are dropped and counted.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// Maximum number of queued bytes. The write in progress may hold the same amount again.
const LIMIT: usize = 1 << 20;
/// Interval at which the writing thread calls `tick`, the function that the caller of [`LogQueue::start`]
/// passes.
const TICK: Duration = Duration::from_secs(1);

/// The queue; clones share it.
#[derive(Clone)]
pub struct LogQueue(Arc<QueueShared>);

struct QueueShared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    lines: u64,
    is_writing: bool,
    /// Lines dropped since the last report.
    lost: u64,
}

impl LogQueue {
    /// Starts the thread that writes to `out`. It calls `tick` about once per second while it is not blocked.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        out: impl Write + Send + 'static,
        dropped: IntCounter,
        tick: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let state = Mutex::default();
        let queue = Self(Arc::new(QueueShared { state, changed: Condvar::new(), dropped }));
        let writer = queue.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || writer.write_on(out, tick))?;
        Ok(queue)
    }

    /// Appends one line, or drops it if too much is waiting already.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > LIMIT {
            state.lost += 1;
            self.0.dropped.inc();
            return;
        }
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until all lines are written, for at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        // The result says whether the time ran out, which makes no difference here.
        drop(self.0.changed.wait_timeout_while(self.state(), limit, is_busy));
    }

    fn write_on(&self, mut out: impl Write, mut tick: impl FnMut()) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            let (batch, lines) = self.take(next_tick);
            let written = out.write_all(&batch).and_then(|()| out.flush());
            let lost = self.end_write();
            match written {
                Ok(()) if lost > 0 => {
                    tracing::warn!(lines = lost, "log lines were dropped: the reader was slow")
                }
                Ok(()) => {}
                // The reader is gone, or the disk is full.
                Err(_) => self.0.dropped.inc_by(lines),
            }
            if Instant::now() >= next_tick {
                tick();
                next_tick = Instant::now() + TICK;
            }
        }
    }

    /// Waits for lines until `deadline`, then takes all that are queued.
    fn take(&self, deadline: Instant) -> (Vec<u8>, u64) {
        let limit = deadline.saturating_duration_since(Instant::now());
        let is_empty = |state: &mut State| state.waiting.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.state(), limit, is_empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = !state.waiting.is_empty();
        (std::mem::take(&mut state.waiting), std::mem::take(&mut state.lines))
    }

    /// Marks the write as finished. Returns the number of lines lost since the last call.
    fn end_write(&self) -> u64 {
        let mut state = self.state();
        state.is_writing = false;
        let lost = std::mem::take(&mut state.lost);
        drop(state);
        self.0.changed.notify_all();
        lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writer of one event: `tracing_subscriber` writes each event with a single call.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const LONG: Duration = Duration::from_secs(30);

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "Lines dropped.").unwrap()
    }

    #[test]
    fn an_unread_pipe_blocks_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let dropped = counter();
        let queue = LogQueue::start(writer, dropped.clone(), || {}).unwrap();
        let line = [b'x'; 1024];
        // The pipe, the write in progress and the queue hold less than this.
        let pushed = 4 * LIMIT / line.len();
        (0..pushed).for_each(|_| queue.push(&line));
        queue.flush(Duration::from_millis(10));
        let lost = dropped.get();
        assert!(lost > 0 && lost < pushed as u64, "{lost} of {pushed}");
        let mut kept = vec![0; (pushed - lost as usize) * line.len()];
        reader.read_exact(&mut kept).unwrap();
        queue.flush(LONG);
        assert_eq!(dropped.get(), lost, "nothing is lost once it is read");
    }

    #[test]
    fn flush_waits_for_what_was_pushed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = LogQueue::start(writer, counter(), || {}).unwrap();
        queue.push(b"one\n");
        queue.push(b"two\n");
        queue.flush(LONG);
        let mut read = [0; 8];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"one\ntwo\n");
    }

    #[test]
    fn a_closed_pipe_counts_as_dropped() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let dropped = counter();
        let queue = LogQueue::start(writer, dropped.clone(), || {}).unwrap();
        queue.push(b"one\n");
        queue.flush(LONG);
        let end = Instant::now() + LONG;
        while dropped.get() == 0 && Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(dropped.get(), 1);
    }
}
