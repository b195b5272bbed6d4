//! Rules for the certificate of the listening sockets: when changed files are read again, and when its expiry
//! is near. This module is pure: file states and times are arguments.

use std::time::{Duration, SystemTime};

/// Period before a certificate's expiry in which the node warns.
pub const NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

/// State of watched files. `S` is the type of a stamp, a value that differs whenever the files may have
/// changed.
#[derive(Debug)]
pub struct WatchedFiles<S> {
    read: S,
    seen: S,
}

impl<S: PartialEq + Clone> WatchedFiles<S> {
    /// Creates the state of files that were read while their stamp was `stamp`.
    pub fn new(stamp: S) -> Self {
        Self { seen: stamp.clone(), read: stamp }
    }

    /// Returns true if the files must be read: they have changed since they were last read, but not since the
    /// previous call. The second condition is needed because a certificate and its key are replaced one after
    /// the other. Returns true only once for each state of the files, even if they cannot be read.
    pub fn must_read(&mut self, stamp: S) -> bool {
        let settled = self.seen == stamp;
        self.seen = stamp;
        let due = settled && self.read != self.seen;
        if due {
            self.read = self.seen.clone();
        }
        due
    }
}

/// Returns the time until the expiry if that is at most [`NOTICE`], and zero after the expiry; otherwise
/// `None`.
pub fn expires_soon(not_after: SystemTime, now: SystemTime) -> Option<Duration> {
    let left = not_after.duration_since(now).unwrap_or_default();
    (left <= NOTICE).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_read_when_settled() {
        let mut files = WatchedFiles::new((1, 1));
        assert!(!files.must_read((1, 1)), "unchanged");
        assert!(!files.must_read((2, 1)), "the key is still the old one");
        assert!(!files.must_read((2, 2)), "just changed");
        assert!(files.must_read((2, 2)));
        assert!(!files.must_read((2, 2)), "once only");
    }

    #[test]
    fn restored_files_are_not_read() {
        let mut files = WatchedFiles::new(1);
        assert!(!files.must_read(2) && !files.must_read(1) && !files.must_read(1));
    }

    #[test]
    fn expiry_is_near_for_14_days() {
        let (now, day) = (SystemTime::UNIX_EPOCH, Duration::from_secs(24 * 3600));
        assert_eq!(expires_soon(now + 15 * day, now), None);
        assert_eq!(expires_soon(now + 14 * day, now), Some(14 * day));
        assert_eq!(expires_soon(now, now + day), Some(Duration::ZERO));
    }
}
