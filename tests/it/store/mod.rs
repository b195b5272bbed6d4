//! Tests of the etcd store: conformance, network faults, and the copy that the reflector maintains.

#[path = "../../../crates/store/tests/embedded/conformance/mod.rs"]
mod conformance;
mod etcd;
mod reflector;
