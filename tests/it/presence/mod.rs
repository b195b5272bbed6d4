//! Connection locks and presence: each backend against the same conformance cases, and Redis under faults.

pub mod conformance;
mod embedded;
mod history;
mod redis;
mod stages;
