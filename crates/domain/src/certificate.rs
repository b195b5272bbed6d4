//! Rules for the certificate of the listening sockets: when changed files are read again, and when its expiry
//! is near. This module is pure: file states and times are arguments.

use std::time::{Duration, SystemTime};

use super::acme::Validity;

/// Longest period before a certificate's expiry in which the node warns.
const NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

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

    /// Records `stamp` as the current state of the files. Returns true if the files must be read: they were
    /// not read successfully in this state, and they have not changed since the previous call. The second
    /// condition is needed because a certificate and its key are replaced one after the other. Take the stamp
    /// before the files are read. Record the result with [`read`](Self::read). After an error, the next call
    /// for unchanged files returns true again, because the cause may pass without a change of the files.
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

/// Returns the time by which a certificate should have been replaced: 14 days before its expiry, or a sixth
/// of its lifetime if that is shorter. ACME replaces it at least a twelfth of the lifetime earlier.
pub fn replaced_by(validity: Validity) -> SystemTime {
    let lifetime = validity.until.duration_since(validity.from).unwrap_or_default();
    validity.until - NOTICE.min(lifetime / 6)
}

/// Returns the time until the expiry of a certificate that should have been replaced already, zero after the
/// expiry; `None` for other certificates.
pub fn expires_soon(validity: Validity, now: SystemTime) -> Option<Duration> {
    (now >= replaced_by(validity)).then(|| validity.until.duration_since(now).unwrap_or_default())
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
        assert!(files.must_read(1) && !files.read(false), "the second error is not logged");
        assert!(files.must_read(1) && !files.read(true) && !files.must_read(1));
        assert!(!files.must_read(2) && files.must_read(2) && files.read(false), "a new state");
    }

    #[test]
    fn expiry_is_near_for_14_days() {
        let (from, day) = (SystemTime::UNIX_EPOCH, Duration::from_secs(24 * 3600));
        let year = Validity { from, until: from + 365 * day };
        assert_eq!(expires_soon(year, from + 350 * day), None);
        assert_eq!(expires_soon(year, from + 351 * day), Some(14 * day));
        assert_eq!(expires_soon(year, from + 366 * day), Some(Duration::ZERO));
    }

    #[test]
    fn short_lived_certificates_warn_late() {
        let (from, hour) = (SystemTime::UNIX_EPOCH, Duration::from_secs(3600));
        for hours in [1, 24, 45 * 24, 90 * 24] {
            let validity = Validity { from, until: from + hours * hour };
            let renewed = validity.renewed_from();
            assert_eq!(expires_soon(validity, renewed + hours * hour / 10), None, "{hours}");
            assert!(expires_soon(validity, renewed + hours * hour / 5).is_some(), "{hours}");
        }
        let own = Validity { from, until: from };
        assert_eq!(expires_soon(own, from), Some(Duration::ZERO));
    }
}
