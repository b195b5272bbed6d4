//! The stores, each against the same contract and against its own troubles.

pub mod conformance;
mod embedded;
mod etcd;
mod reflector;
