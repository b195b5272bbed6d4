//! Repeated log lines: a few per interval are written, the others are counted and reported once.
//!
//! A line repeats if it comes from the same place with the same fields. All lines of child programs come from
//! one place. In their text the digits are ignored, because packet and sequence numbers differ in every line.
//!
//! Owns: the count. Stores no events, only the text of a line that repeats.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Time within which a line is written at most [`WRITTEN`] times.
const INTERVAL: Duration = Duration::from_secs(10);
const WRITTEN: u64 = 5;
/// Number of different lines that are tracked at once; untracked lines are written.
const TRACKED: usize = 1024;
/// Log targets of child programs.
const CHILDREN: [&str; 2] = ["janus", "ffmpeg"];

/// Layer that filters repeated lines; clones share their counts.
#[derive(Clone)]
pub struct RepeatFilter {
    counts: Arc<Mutex<Counts>>,
    repeated: IntCounter,
}

/// Counts of lines, by the hash of their place and fields.
#[derive(Default)]
struct Counts(HashMap<u64, Count>);

struct Count {
    since: Instant,
    seen: u64,
    /// Line for the report; `None` until a repeat of it was suppressed.
    line: Option<Line>,
}

/// Level, target and text of a suppressed log line, for the report of its repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    level: Level,
    target: &'static str,
    text: String,
}

impl Counts {
    /// Counts one line and returns true if it should be written.
    fn admit(&mut self, key: u64, now: Instant, line: impl FnOnce() -> Line) -> bool {
        if let Some(count) = self.0.get_mut(&key) {
            count.seen += 1;
            let is_written = count.seen <= WRITTEN;
            if !is_written && count.line.is_none() {
                count.line = Some(line());
            }
            return is_written;
        }
        if self.0.len() < TRACKED {
            self.0.insert(key, Count { since: now, seen: 1, line: None });
        }
        true
    }

    /// Removes the lines whose interval has ended. Returns those with suppressed repeats, and their number.
    fn take_due(&mut self, now: Instant, interval: Duration) -> Vec<(Line, u64)> {
        let due = self.0.extract_if(|_, count| now.duration_since(count.since) >= interval);
        due.filter_map(|(_, count)| Some((count.line?, count.seen - WRITTEN))).collect()
    }
}

impl RepeatFilter {
    /// Creates the filter, which counts the suppressed lines in `repeated`.
    pub fn new(repeated: IntCounter) -> Self {
        Self { counts: Arc::default(), repeated }
    }

    /// Logs a report for each line whose interval has ended and whose repeats were suppressed.
    pub fn report_due(&self) {
        self.report(INTERVAL);
    }

    /// Logs all reports, before the process ends.
    pub fn report_all(&self) {
        self.report(Duration::ZERO);
    }

    fn report(&self, interval: Duration) {
        // Log after the lock is released, because the reports pass through this filter.
        let due = self.counts().take_due(Instant::now(), interval);
        due.iter().for_each(|(line, repeated)| line.report(*repeated));
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A poisoned lock is usable: a panic makes one count wrong by at most one line.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for RepeatFilter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let key = key_of(event);
        let is_written = self.counts().admit(key, Instant::now(), || Line::of(event));
        if !is_written {
            self.repeated.inc();
        }
        is_written
    }
}

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let mut text = Text(String::new());
        event.record(&mut text);
        Self { level: *event.metadata().level(), target: event.metadata().target(), text: text.0 }
    }

    /// Logs at the level of the line. Keeps the targets `janus` and `ffmpeg`; any other target becomes a
    /// field, because `tracing` requires a literal.
    fn report(&self, repeated: u64) {
        let Self { level, target, text } = self;
        macro_rules! report {
            ($target:literal $(, $source:ident)?) => {
                match *level {
                    Level::ERROR => {
                        tracing::error!(target: $target, repeated, $($source = target,)? "{text}")
                    }
                    Level::WARN => tracing::warn!(target: $target, repeated, $($source = target,)? "{text}"),
                    Level::INFO => tracing::info!(target: $target, repeated, $($source = target,)? "{text}"),
                    Level::DEBUG => {
                        tracing::debug!(target: $target, repeated, $($source = target,)? "{text}")
                    }
                    Level::TRACE => {
                        tracing::trace!(target: $target, repeated, $($source = target,)? "{text}")
                    }
                }
            };
        }
        match *target {
            "janus" => report!("janus"),
            "ffmpeg" => report!("ffmpeg"),
            _ => report!("stentor::telemetry::repeats", source),
        }
    }
}

fn key_of(event: &Event<'_>) -> u64 {
    let mut key =
        Key { hasher: DefaultHasher::new(), is_child: CHILDREN.contains(&event.metadata().target()) };
    event.metadata().callsite().hash(&mut key.hasher);
    event.record(&mut key);
    key.hasher.finish()
}

/// Hash of all fields.
struct Key {
    hasher: DefaultHasher,
    is_child: bool,
}

impl Visit for Key {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        field.name().hash(&mut self.hasher);
        let is_text = self.is_child && field.name() == "message";
        let mut shape = Shape { hasher: &mut self.hasher, skips_digits: is_text };
        // Cannot fail: `Shape` accepts everything. A failing `Debug` only makes the hash less exact.
        let _ = write!(shape, "{value:?}");
    }
}

/// Hash of a text, optionally without its digits.
struct Shape<'a> {
    hasher: &'a mut DefaultHasher,
    skips_digits: bool,
}

impl fmt::Write for Shape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let counted = |byte: &u8| !(self.skips_digits && byte.is_ascii_digit());
        text.bytes().filter(counted).for_each(|byte| self.hasher.write_u8(byte));
        Ok(())
    }
}

/// The message, then the other fields as `name=value`.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        // Cannot fail: it writes to a String.
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    fn line(text: &str) -> Line {
        Line { level: Level::WARN, target: "janus", text: text.into() }
    }

    #[test]
    fn repeats_are_counted_per_interval() {
        let (mut counts, start) = (Counts::default(), Instant::now());
        let written = (0..35).filter(|_| counts.admit(1, start, || line("junk"))).count();
        assert_eq!(written as u64, WRITTEN);
        assert!(counts.admit(2, start, || line("other")), "another line is written");
        assert_eq!(counts.take_due(start + INTERVAL / 2, INTERVAL), []);
        assert_eq!(counts.take_due(start + INTERVAL, INTERVAL), [(line("junk"), 35 - WRITTEN)]);
        assert!(counts.admit(1, start + INTERVAL, || line("junk")), "a new interval has begun");
        assert_eq!(counts.take_due(start + 2 * INTERVAL, INTERVAL), [], "one line is not a repeat");
        assert!(counts.0.is_empty());
    }

    #[test]
    fn tracked_lines_are_bounded() {
        let (mut counts, start) = (Counts::default(), Instant::now());
        for key in 0..2 * TRACKED as u64 {
            assert!(counts.admit(key, start, || line("x")));
        }
        assert_eq!(counts.0.len(), TRACKED);
    }

    /// Levels, targets and texts of the lines that pass a filter.
    #[derive(Clone, Default)]
    struct SeenLines(Arc<Mutex<Vec<Line>>>);

    impl<S: Subscriber> Layer<S> for SeenLines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(Line::of(event));
        }
    }

    fn seen(story: impl FnOnce(&RepeatFilter)) -> Vec<Line> {
        let (seen, filter) = (SeenLines::default(), RepeatFilter::new(IntCounter::new("x", "X.").unwrap()));
        let subscriber = tracing_subscriber::registry().with(filter.clone()).with(seen.clone());
        tracing::subscriber::with_default(subscriber, || story(&filter));
        let lines = seen.0.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn child_lines_repeat_despite_numbers() {
        let lines = seen(|filter| {
            for sequence in 0..100 {
                tracing::warn!(target: "janus", "[WARN] dropped packet {sequence}");
            }
            filter.report_all();
            assert_eq!(filter.repeated.get(), 100 - WRITTEN);
        });
        assert_eq!(lines.len() as u64, WRITTEN + 1);
        let report = lines.last().unwrap();
        assert_eq!((report.level, report.target), (Level::WARN, "janus"));
        assert_eq!(report.text, "[WARN] dropped packet 5 repeated=95");
    }

    #[test]
    fn lines_with_other_fields_are_different() {
        let lines = seen(|filter| {
            for epoch in 0..100 {
                tracing::info!(room = "demo", epoch, "FFmpeg started");
            }
            filter.report_all();
        });
        assert_eq!(lines.len(), 100);
    }

    #[test]
    fn a_report_names_its_source() {
        let lines = seen(|filter| {
            for _ in 0..100 {
                tracing::error!(target: "stentor::elsewhere", room = "demo", "no sound");
            }
            filter.report_all();
        });
        let report = lines.last().unwrap();
        assert_eq!((report.level, report.target), (Level::ERROR, "stentor::telemetry::repeats"));
        assert!(report.text.contains("no sound room=\"demo\""), "{}", report.text);
        assert!(report.text.contains("source=\"stentor::elsewhere\""), "{}", report.text);
    }
}
