//! Exclusive ownership of the data directory by this process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// File that is locked while a node runs.
const LOCK: &str = "node.lock";
/// File with an id that the kernel generates at each boot (proc(5)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Lock of a data directory. Dropping it, or the end of the process, releases it.
pub struct DataDirLock {
    _lock: File,
    /// Identifier of this directory on this boot of this machine.
    pub name: String,
}

impl DataDirLock {
    /// Locks the directory.
    ///
    /// # Errors
    /// Another process has locked the directory, or it cannot be written to.
    pub fn take(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(LOCK);
        let failed = |error: io::Error| {
            anyhow::anyhow!(
                "cannot lock {}: {error}; node.data_dir must be a writable directory",
                path.display()
            )
        };
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = open.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "the data directory {} is in use by another node: stop it, or set another node.data_dir",
                dir.display()
            ),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let file = lock.metadata().map_err(failed)?;
        // A random name is safe, too: if the predecessor was killed, the node then only waits until the
        // predecessor's lease has expired.
        let boot = std::fs::read_to_string(BOOT_ID).unwrap_or_else(|_| uuid::Uuid::new_v4().to_string());
        let name = format!("{}/{}/{}", boot.trim(), file.dev(), file.ino());
        Ok(Self { _lock: lock, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDirLock::take(dir.path()).unwrap();
        let second = DataDirLock::take(dir.path()).err().unwrap().to_string();
        assert!(second.contains("in use by another node"), "{second}");
        let name = first.name.clone();
        drop(first);
        assert_eq!(DataDirLock::take(dir.path()).unwrap().name, name, "the same place");
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(DataDirLock::take(elsewhere.path()).unwrap().name, name);
    }
}
