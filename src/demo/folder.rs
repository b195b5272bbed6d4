//! The demo's folder: data directory and log, in the system's temporary directory.
//!
//! Owns: creating and removing it. Does not use a folder that existed before.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// Names of the certificate file and of the key file.
pub const SECRETS: [&str; 2] = ["certificate.pem", "key.pem"];

pub struct Folder {
    path: PathBuf,
    made: bool,
}

impl Folder {
    /// Chooses the name of the folder, but does not create the folder.
    pub fn new() -> Self {
        let name = format!("stentor-demo-{}", uuid::Uuid::new_v4().simple());
        Self { path: std::env::temp_dir().join(name), made: false }
    }

    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Creates the folder, accessible only to its owner, and the log file in it.
    pub fn make(&mut self) -> io::Result<File> {
        self.make_folder()?;
        File::create_new(self.log())
    }

    /// Creates a file in the folder, accessible only to its owner, and returns its path.
    pub fn write(&mut self, name: &str, text: &str) -> io::Result<PathBuf> {
        self.make_folder()?;
        let path = self.path.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }

    fn make_folder(&mut self) -> io::Result<()> {
        if !self.made {
            DirBuilder::new().mode(0o700).create(&self.path)?;
            self.made = true;
        }
        Ok(())
    }

    /// Keeps the log after a failure, if it is not empty, and returns its path. Deletes everything else.
    pub fn keep_log(&self) -> Option<PathBuf> {
        let log = self.log();
        if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            let _ = std::fs::remove_dir_all(self.data());
            for secret in SECRETS {
                let _ = std::fs::remove_file(self.path.join(secret));
            }
            return Some(log);
        }
        self.remove();
        None
    }

    /// Removes the folder. A failure is ignored: the folder is in the system's temporary directory.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
