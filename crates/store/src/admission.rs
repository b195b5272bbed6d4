//! Checks of requests that every backend makes before it reads its data. This module is pure.
//!
//! Owns: the limits of a transaction and of a lease. They are etcd's limits, so that a request that one
//! backend accepts is also accepted by the other.

use std::collections::HashSet;
use std::time::Duration;

use super::{Op, StoreError, Txn};

/// etcd's default for `--max-txn-ops`.
const MAX_OPS: usize = 128;
/// etcd's default for `--max-request-bytes`.
const MAX_REQUEST_BYTES: usize = 1_572_864;

/// Checks a transaction against the limits of etcd.
///
/// # Errors
/// [`StoreError::Rejected`] with the reason.
pub fn admit(txn: &Txn) -> Result<(), StoreError> {
    let refuse = |why: &str| Err(StoreError::Rejected(why.into()));
    if txn.ops.len() > MAX_OPS || txn.compares.len() > MAX_OPS {
        return refuse("more than 128 operations or conditions in one transaction");
    }
    let mut bytes: usize = txn.compares.iter().map(|c| c.key.len()).sum();
    let mut put = HashSet::new();
    for op in &txn.ops {
        match op {
            Op::Put { key, value, .. } => {
                bytes += key.len() + value.len();
                if !put.insert(key.as_str()) {
                    return refuse("the same key is written twice in one transaction");
                }
            }
            Op::Delete { key } | Op::DeletePrefix { prefix: key } => bytes += key.len(),
        }
    }
    if bytes > MAX_REQUEST_BYTES {
        return refuse("the transaction is larger than 1.5 MiB");
    }
    if has_empty_key(txn) {
        return refuse("a key is empty");
    }
    if txn.ops.iter().any(|op| deletes_any(op, &put)) {
        return refuse("the same key is written and deleted in one transaction");
    }
    Ok(())
}

fn has_empty_key(txn: &Txn) -> bool {
    let empty = |op: &Op| match op {
        Op::Put { key, .. } | Op::Delete { key } => key.is_empty(),
        Op::DeletePrefix { .. } => false,
    };
    txn.compares.iter().any(|c| c.key.is_empty()) || txn.ops.iter().any(empty)
}

fn deletes_any(op: &Op, put: &HashSet<&str>) -> bool {
    match op {
        Op::Put { .. } => false,
        Op::Delete { key } => put.contains(key.as_str()),
        Op::DeletePrefix { prefix } => put.iter().any(|key| key.starts_with(prefix.as_str())),
    }
}

/// Returns the duration of a lease in whole seconds, rounded up.
///
/// # Errors
/// [`StoreError::Rejected`] for a duration of zero.
pub fn lease_seconds(ttl: Duration) -> Result<u64, StoreError> {
    match ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0) {
        0 => Err(StoreError::Rejected("the lease duration is zero".into())),
        seconds => Ok(seconds),
    }
}
