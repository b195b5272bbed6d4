//! Telemetry of a node for its operator: logs, metrics, and the events that produce both.
//!
//! Owns: every metric outside the actor kernel, the log format. Does not decide anything, log a PIN,
//! token, secret or SDP, or name a room or user in a label or in a line that is not about them.

pub mod events;
pub mod history;
mod log_queue;
pub mod logging;
pub mod metrics;
mod readings;
pub mod recording_metrics;
mod repeats;
mod rewind_metrics;
pub mod socket_metrics;
pub mod webhook_metrics;

pub use events::Event;
pub use metrics::{GaugeGuard, Metrics};
