//! Telemetry that an operator sees of a node: logs, metrics, and the events that produce both.
//!
//! Owns: every metric outside the actor kernel, the log format. Never does: decide anything, or put a PIN,
//! token, secret, SDP, room or user into a label or into a line that is not about that room.

pub mod events;
mod log_queue;
pub mod logging;
pub mod metrics;
mod repeats;
pub mod socket_metrics;

pub use events::Event;
pub use metrics::{GaugeGuard, Metrics};
