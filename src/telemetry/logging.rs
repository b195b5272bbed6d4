//! Logs to standard error or a file, as text for people or JSON for machines.
//!
//! Owns: the `tracing` subscriber of the process, and the panic hook that logs. Does not filter by
//! content; secrets must not be passed to a field in the first place.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use prometheus::IntCounter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{Directive, ParseError};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::log_queue::LogQueue;
use super::repeats::RepeatFilter;
use super::trace;
use crate::config::{LogConfig, LogFormat, log_directives};

/// Filter directives that suppress the lines of actix and h2 for malformed requests and frames. With these
/// lines, any client could raise an alarm or fill the disk. A directive of the configuration for such
/// a target takes precedence.
const STRANGERS_FAULTS: &str = "actix_http::h1::dispatcher=off,h2=off";
/// Maximum time that the exiting process waits for the reader of the log.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// Maximum time that a panic, which may end the process, waits for the reader of the log.
const PANIC_FLUSH_LIMIT: Duration = Duration::from_millis(100);

/// Counter of dropped log lines. The log belongs to the process, so all registries share this counter.
pub static DROPPED_LINES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("stentor_log_lines_dropped_total", "Log lines dropped because the reader was slow.")
});
/// Counter of repeated log lines that were counted instead of written.
pub static REPEATED_LINES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("stentor_log_lines_repeated_total", "Repeated log lines that were counted instead of written.")
});
static LOG: OnceLock<Log> = OnceLock::new();

/// Parts of the log that are needed after its start.
struct Log {
    queue: LogQueue,
    repeats: RepeatFilter,
    filter: FilterHandle,
}

type FilterHandle = reload::Handle<EnvFilter, Registry>;

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log.filter is not valid")]
    Filter(#[from] ParseError),
    #[error("logging is already set up in this process")]
    AlreadySet(#[from] TryInitError),
    #[error("the log's writer cannot be started")]
    Writer(#[from] io::Error),
}

/// Sets up logging to standard error for the whole process. Call it once, before any other function here.
///
/// # Errors
/// See [`LoggingError`].
pub fn init(config: &LogConfig) -> Result<(), LoggingError> {
    let colours = io::stderr().is_terminal();
    // Use a separate descriptor, so that a blocked write does not hold the lock of `std::io::stderr`.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    start(config, colours, stderr)
}

/// Sets up logging to a file, for a program whose terminal shows something else.
///
/// # Errors
/// See [`LoggingError`].
pub fn init_to_file(config: &LogConfig, file: File) -> Result<(), LoggingError> {
    start(config, false, file)
}

/// Replaces `log.filter`.
///
/// # Errors
/// The filter is not valid. The old filter then stays in force.
pub fn set_filter(filter: &str) -> Result<(), LoggingError> {
    let filter = parse_filter(filter)?;
    if let Some(log) = LOG.get() {
        // Fails only without a subscriber, and then there is nothing to filter.
        let _ = log.filter.reload(filter);
    }
    Ok(())
}

/// Writes a text unchanged, after all lines that were logged before. If logging is not set up, writes the
/// text to standard error.
pub fn say(text: &str) {
    match LOG.get() {
        Some(log) => log.queue.push(format!("{text}\n").as_bytes()),
        None => eprintln!("{text}"),
    }
}

/// Writes the remaining lines before the process ends. Gives up after a second if nothing reads the log.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.repeats.report_all();
        log.queue.flush(FLUSH_LIMIT);
    }
}

fn start(config: &LogConfig, colours: bool, out: File) -> Result<(), LoggingError> {
    let repeats = RepeatFilter::new(REPEATED_LINES.clone());
    let reporter = repeats.clone();
    let queue = LogQueue::start(out, DROPPED_LINES.clone(), move || reporter.report_due())?;
    let (subscriber, filter) = subscriber(config, colours, queue.clone(), repeats.clone())?;
    // Also captures lines that other crates write through `log`.
    subscriber.try_init()?;
    let queue = LOG.get_or_init(|| Log { queue, repeats, filter }).queue.clone();
    // The default hook writes to standard error itself, and would block.
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        queue.flush(PANIC_FLUSH_LIMIT);
    }));
    Ok(())
}

fn subscriber<W>(
    config: &LogConfig,
    colours: bool,
    writer: W,
    repeats: RepeatFilter,
) -> Result<(impl Subscriber + Send + Sync, FilterHandle), ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse_filter(&config.filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).map_event_format(WithTraceIds).boxed(),
    };
    Ok((tracing_subscriber::registry().with(filter).with(repeats).with(lines), handle))
}

/// Format of JSON log lines. Adds the ids of the trace and the span in which a line is logged.
struct WithTraceIds<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithTraceIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(span) = trace::current() else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let rest = line.strip_prefix('{').unwrap_or(&line);
        let (trace, span) = (span.trace_id(), span.span_id());
        write!(writer, "{{\"trace_id\":\"{trace}\",\"span_id\":\"{span}\",{rest}")
    }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    let filter = log_directives(filter).map(str::parse).collect::<Result<Vec<Directive>, _>>()?;
    let base = EnvFilter::builder().parse(STRANGERS_FAULTS)?;
    Ok(filter.into_iter().fold(base, EnvFilter::add_directive))
}

fn counter(name: &str, help: &str) -> IntCounter {
    // Cannot fail: name and help text are literals, which a test renders.
    IntCounter::new(name, help).expect("valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_json_line_is_one_flat_object() {
        let line = logged(LogFormat::Json, "info", || tracing::info!(room = "demo", attempt = 2, "placed"));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&object["message"], &object["room"], &object["attempt"]),
            (&"placed".into(), &"demo".into(), &2.into())
        );
        assert_eq!(object["level"], "INFO");
    }

    #[tokio::test]
    async fn json_lines_carry_trace_ids() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        let story = || trace::tests::as_if_on(context, || tracing::info!("placed"));
        let object: serde_json::Value =
            serde_json::from_str(&logged(LogFormat::Json, "info", story)).unwrap();
        assert_eq!(
            (&object["trace_id"], &object["span_id"], &object["message"]),
            (&"4bf92f3577b34da6a3ce929d0e0e4736".into(), &"00f067aa0ba902b7".into(), &"placed".into())
        );
        assert!(!logged(LogFormat::Text, "info", story).contains("4bf92f"));
    }

    #[test]
    fn the_filter_says_what_is_logged() {
        let story = || {
            tracing::debug!("quiet");
            tracing::warn!("loud");
        };
        let text = logged(LogFormat::Text, "warn", story);
        assert!(text.contains("loud") && !text.contains("quiet") && !text.contains('\u{1b}'), "{text}");
        assert!(logged(LogFormat::Text, "error,stentor=debug", story).contains("quiet"));
    }

    #[test]
    fn filters_may_name_two_fields() {
        let story = || {
            let span = tracing::info_span!("room", id = "a", b = "c");
            let other = tracing::info_span!("room", id = "a", b = "d");
            span.in_scope(|| tracing::debug!("inside"));
            other.in_scope(|| tracing::debug!("outside"));
        };
        let text = logged(LogFormat::Text, "error,stentor[room{id=a,b=c}]=debug", story);
        assert!(text.contains("inside") && !text.contains("outside"), "{text}");
    }

    #[test]
    fn filter_stentor_includes_the_crates() {
        let story = || tracing::debug!(target: "stentor_actor_kernel::children", "restart scheduled");
        assert!(logged(LogFormat::Text, "error,stentor=debug", story).contains("restart scheduled"));
    }

    #[test]
    fn malformed_requests_are_not_logged() {
        let story = || tracing::error!(target: "actix_http::h1::dispatcher", "parse error");
        let unsolicited = || tracing::warn!(target: "h2::proto::ping_pong", "recv PING ack");
        assert_eq!(logged(LogFormat::Text, "info,stentor=debug", story), "");
        assert_eq!(logged(LogFormat::Text, "info,stentor=debug", unsolicited), "");
        assert!(logged(LogFormat::Text, "actix_http::h1::dispatcher=error", story).contains("parse error"));
    }

    fn logged(format: LogFormat, filter: &str, story: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let config = LogConfig { format, filter: filter.into() };
        let sink = Sink(lines.clone());
        let repeats = RepeatFilter::new(counter("repeated", "Repeated."));
        let (subscriber, _) = subscriber(&config, false, move || sink.clone(), repeats).unwrap();
        tracing::subscriber::with_default(subscriber, story);
        String::from_utf8(lines.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
