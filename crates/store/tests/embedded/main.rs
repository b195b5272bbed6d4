//! The embedded store: the conformance cases, and the faults that its file must survive.
//!
//! `conformance` is the contract of every backend; the tests of the other backends include the same files.

#![allow(clippy::unwrap_used)]

mod conformance;
mod embedded;
