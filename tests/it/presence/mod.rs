//! Locks and presence: each backend against the same contract, and Redis against its own troubles.

pub mod conformance;
mod embedded;
mod history;
mod redis;
