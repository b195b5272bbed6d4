//! Limit of open files: raised at the start, with a warning if it stays low.

use crate::domain::descriptors::RECOMMENDED;

/// Raises the limit of open files and returns it.
pub fn raise() -> u64 {
    let limit = crate::process::raise_descriptor_limit();
    if limit < RECOMMENDED {
        tracing::warn!(
            limit,
            recommended = RECOMMENDED,
            "few file descriptors (RLIMIT_NOFILE): connections are bounded accordingly; raise the hard \
             limit, e.g. LimitNOFILE= of the systemd unit"
        );
    }
    limit
}
