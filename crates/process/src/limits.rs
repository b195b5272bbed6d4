//! Limits of this process, which its children inherit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Largest soft descriptor limit of children. Janus needs about six descriptors per anchor. The limit is not
/// higher, because some libraries allocate a table of this size.
const CHILD_LIMIT: u64 = 65_536;

/// Raises the soft descriptor limit of this process to the hard limit and returns it. If the kernel refuses,
/// the limit stays as it is.
pub fn raise_descriptor_limit() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If this fails, the unchanged limit is returned below.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    limit()
}

/// Sets the soft limit of core files to 0, because a core file contains every secret of the process. An
/// operator who needs a core file raises the limit of the running process with `prlimit --core`.
pub fn disable_core_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    // Cannot fail: 0 is not above the hard limit.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
}

/// Returns the soft descriptor limit for children.
pub(super) fn child_limit() -> u64 {
    limit().min(CHILD_LIMIT)
}

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_reaches_hard_limit() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_descriptor_limit(), hard);
    }

    #[test]
    fn core_files_are_disabled() {
        disable_core_files();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
