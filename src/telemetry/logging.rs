//! Logs to standard error or a file, as text for people or JSON for machines.
//!
//! Owns: the process's one `tracing` subscriber. Never does: filter by content; what must not be logged
//! does not reach a field.

use std::fs::File;
use std::io::IsTerminal;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogConfig, LogFormat};

/// Logs a client's malformed request as our ERROR, so that anyone could raise an alarm or fill the disk. What
/// the configuration says of this target itself still counts.
const STRANGERS_FAULTS: &str = "actix_http::h1::dispatcher=off";

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log.filter is not valid")]
    Filter(#[from] ParseError),
    #[error("logging was set up before in this process")]
    AlreadySet(#[from] TryInitError),
}

/// Sets up logging for the whole process. Call it once, first.
pub fn init(config: &LogConfig) -> Result<(), LoggingError> {
    let colours = std::io::stderr().is_terminal();
    // Takes in what other crates write through `log`, too.
    subscriber(config, colours, std::io::stderr)?.try_init()?;
    Ok(())
}

/// The same, but to a file: for a program whose terminal shows something else.
pub fn init_to_file(config: &LogConfig, file: File) -> Result<(), LoggingError> {
    subscriber(config, false, Arc::new(file))?.try_init()?;
    Ok(())
}

fn subscriber<W>(
    config: &LogConfig,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(format!("{STRANGERS_FAULTS},{}", config.filter))?;
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match config.format {
        LogFormat::Text => Box::new(base.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(base.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

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
    fn a_strangers_malformed_request_is_not_our_error() {
        let story = || tracing::error!(target: "actix_http::h1::dispatcher", "parse error");
        assert_eq!(logged(LogFormat::Text, "info,stentor=debug", story), "");
        assert!(logged(LogFormat::Text, "actix_http::h1::dispatcher=error", story).contains("parse error"));
    }

    fn logged(format: LogFormat, filter: &str, story: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let config = LogConfig { format, filter: filter.into() };
        let sink = Sink(lines.clone());
        let subscriber = subscriber(&config, false, move || sink.clone()).unwrap();
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
