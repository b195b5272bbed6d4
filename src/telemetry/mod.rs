//! Telemetry of a node for its operator: logs, metrics, events that are logged and counted, and traces.
//!
//! Owns: every metric outside the actor kernel, the log format. Does not decide anything, or log a PIN,
//! token, secret or SDP. Names a room or user only in log lines about this room or user, and never in a
//! label.

mod caption_metrics;
pub mod events;
pub mod history;
mod log_queue;
pub mod logging;
pub mod metered;
pub mod metrics;
pub mod otlp;
pub mod output_metrics;
mod readings;
pub mod recording_metrics;
mod repeats;
mod rewind_metrics;
pub mod socket_metrics;
pub mod trace;
pub mod webhook_metrics;

pub use events::Event;
pub use metrics::{GaugeGuard, Metrics};
