//! Rules for the certificate of the listening sockets: when changed files are read again, and when its expiry
//! is near. This module is pure: file states and times are arguments.

use std::time::{Duration, SystemTime};

/// Period before a certificate's expiry in which the node warns.
pub const NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

/// State of watched files. `S` is the type of a stamp, a value that differs whenever the files may have
/// changed. Initially, nothing counts as read.
#[derive(Debug)]
pub struct WatchedFiles<S> {
    read: Option<S>,
    seen: Option<S>,
    failed: Option<S>,
}

impl<S: PartialEq + Clone> WatchedFiles<S> {
    pub fn new() -> Self {
        Self { read: None, seen: None, failed: None }
    }

    /// Returns true if the files must be read: this state of them was not read successfully, and they have
    /// not changed since the previous call. The second condition is needed because a certificate and its key
    /// are replaced one after the other. Take the stamp before the files are read. Record the result with
    /// [`read`](Self::read). After an error, the next call for unchanged files returns true again, because
    /// the cause may pass without a change of the files.
    pub fn must_read(&mut self, stamp: S) -> bool {
        let stamp = Some(stamp);
        let settled = self.seen == stamp;
        self.seen = stamp;
        settled && self.read != self.seen
    }

    /// Records the result of a read. Returns true for the first error in this state of the files, which the
    /// caller logs.
    pub fn read(&mut self, is_ok: bool) -> bool {
        if is_ok {
            self.read = self.seen.clone();
            return false;
        }
        let is_first = self.failed != self.seen;
        self.failed = self.seen.clone();
        is_first
    }
}

impl<S: PartialEq + Clone> Default for WatchedFiles<S> {
    fn default() -> Self {
        Self::new()
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
        let mut files = WatchedFiles::new();
        assert!(!files.must_read((1, 1)), "just seen");
        assert!(files.must_read((1, 1)), "nothing was read yet");
        assert!(!files.read(true) && !files.must_read((1, 1)), "unchanged");
        assert!(!files.must_read((2, 1)), "the key is still the old one");
        assert!(!files.must_read((2, 2)), "just changed");
        assert!(files.must_read((2, 2)));
        assert!(!files.read(true) && !files.must_read((2, 2)), "once only");
    }

    #[test]
    fn restored_files_are_not_read() {
        let mut files = WatchedFiles::new();
        assert!(!files.must_read(1) && files.must_read(1) && !files.read(true));
        assert!(!files.must_read(2) && !files.must_read(1) && !files.must_read(1));
    }

    #[test]
    fn failed_reads_are_repeated() {
        let mut files = WatchedFiles::new();
        assert!(!files.must_read(1) && files.must_read(1));
        assert!(files.read(false), "the first error is logged");
        assert!(files.must_read(1) && !files.read(false), "the second one is not");
        assert!(files.must_read(1) && !files.read(true) && !files.must_read(1));
        assert!(!files.must_read(2) && files.must_read(2) && files.read(false), "a new state");
    }

    #[test]
    fn expiry_is_near_for_14_days() {
        let (now, day) = (SystemTime::UNIX_EPOCH, Duration::from_secs(24 * 3600));
        assert_eq!(expires_soon(now + 15 * day, now), None);
        assert_eq!(expires_soon(now + 14 * day, now), Some(14 * day));
        assert_eq!(expires_soon(now, now + day), Some(Duration::ZERO));
    }
}
