//! The demo's folder: data directory and log, in the system's temporary directory.
//!
//! Owns: creating and removing it. Never does: use a folder that existed before.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

pub struct Folder(PathBuf);

impl Folder {
    /// Chooses the name; the folder does not exist yet.
    pub fn new() -> Self {
        Self(std::env::temp_dir().join(format!("stentor-demo-{}", uuid::Uuid::new_v4().simple())))
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Creates the folder, accessible only to its owner, and the log file in it.
    pub fn make(&self) -> io::Result<File> {
        DirBuilder::new().mode(0o700).create(&self.0)?;
        File::create_new(self.log())
    }

    /// Keeps the log after a failure, if it is not empty, and returns its path. Deletes everything else.
    pub fn keep_log(&self) -> Option<PathBuf> {
        let log = self.log();
        if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            let _ = std::fs::remove_dir_all(self.data());
            return Some(log);
        }
        self.remove();
        None
    }

    /// Removes the folder. A failure is ignored: the folder is in the system's temporary directory.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}
