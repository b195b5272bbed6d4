//! Interface of a node's copy of one prefix of the store, which a `CopyWatch` actor keeps up to date.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::store::{KeyValue, Revision};

/// Copy of all keys under one prefix.
pub trait StoreCopy: Send + Sync + 'static {
    /// Kind of the actor that keeps the copy, in `/actors` and metrics.
    const WATCH: &'static str;
    const PREFIX: &'static str;
    /// Interval between repeated lists, in case the watch missed a change.
    const RELIST_EVERY: Duration;

    /// Begins a list. Drops the entries of an unfinished list.
    fn begin_list(&self);

    /// Applies a put. Returns false if the key or its value is not valid.
    fn put(&self, entry: &KeyValue) -> bool;

    fn delete(&self, key: &str);

    /// Replaces the copy with the list, which is complete as of `revision`.
    fn end_list(&self, revision: Revision);

    /// Records that every change up to `revision` is in the copy.
    fn reached(&self, _revision: Revision) {}

    /// Returns the fields that `/actors` shows for the copy.
    fn observed(&self) -> Map<String, Value>;
}
