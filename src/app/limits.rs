//! Limits of the process: at startup, the limit of open files is raised, and core files are disabled.

use crate::domain::descriptors::RECOMMENDED;

/// Disables core files, raises the limit of open files and returns the new limit. Warns if the limit is still
/// low.
pub fn apply() -> u64 {
    crate::process::disable_core_files();
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
