//! The store in etcd, against the conformance cases and under its own faults, and the copy of a store.

#[path = "../../../crates/store/tests/embedded/conformance/mod.rs"]
mod conformance;
mod etcd;
mod reflector;
