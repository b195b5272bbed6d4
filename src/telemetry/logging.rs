//! Logs to standard error, as text for people or JSON for machines.
//!
//! Owns: the process's one `tracing` subscriber. Never does: filter by content; what must not be logged
//! does not reach a field.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log.filter is not valid")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up before in this process")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the whole process. Call it once, first.
pub fn init(config: &LogConfig) -> Result<(), LoggingError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let filter = EnvFilter::builder().parse(&config.filter)?;
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => base.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => base.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}
