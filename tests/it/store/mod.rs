//! The stores, each against the same conformance cases and under its own faults.

pub mod conformance;
mod embedded;
mod etcd;
mod reflector;
