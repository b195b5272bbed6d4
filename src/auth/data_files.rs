//! Files that are created at first start in the data directory. Each has mode 0600 and is written completely
//! or not at all.
//!
//! Owns: the guarantee that two processes that start together use the same text. Does not interpret the text.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Error of a file in the data directory, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("{} cannot be {doing}; node.data_dir must be a folder this user may write to", path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("{} can be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    ReadableByOthers { path: PathBuf, mode: u32 },
    #[error("{} is damaged; restore it, or move it away to create a new one", path.display())]
    Damaged { path: PathBuf },
}

/// Returns the text of `dir/name`. If the file does not exist, it is first created with the text from
/// `make`. `dir` is created with mode 0700.
///
/// # Errors
/// The file or directory cannot be read or written, or others can read the file.
pub(super) fn read_or_make(
    dir: &Path,
    name: &str,
    make: impl FnOnce() -> String,
) -> Result<String, KeptError> {
    let path = dir.join(name);
    if let Some(text) = read(&path)? {
        return Ok(text);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir, "made"))?;
    keep(dir, &path, &make()).map_err(failed(&path, "written"))?;
    // Read the file again: another process may have created it first, and that text is the valid one.
    read(&path)?.ok_or_else(|| failed(&path, "read")(io::ErrorKind::NotFound.into()))
}

fn read(path: &Path) -> Result<Option<String>, KeptError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(path, "read")(e)),
    };
    let mode = file.metadata().map_err(failed(path, "read"))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeptError::ReadableByOthers { path: path.to_owned(), mode });
    }
    io::read_to_string(file).map(Some).map_err(failed(path, "read"))
}

/// Writes a temporary file and links it. If a file with this name exists, `link` fails; `rename` would
/// replace the file.
fn keep(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let aside = dir.join(format!(".new-{}", uuid::Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&aside, path));
    std::fs::remove_file(&aside)?;
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => File::open(dir)?.sync_all(),
    }
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> KeptError {
    let path = path.to_owned();
    move |source| KeptError::Io { path, doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn read_or_make_keeps_first_value() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        assert_eq!(read_or_make(&dir, "x", || "first".into()).unwrap(), "first");
        assert_eq!(read_or_make(&dir, "x", || "second".into()).unwrap(), "first");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("x")), 0o600);
    }

    #[test]
    fn concurrent_read_or_make_agree() {
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<String> = std::thread::scope(|scope| {
            let start = |i: u32| {
                let dir = dir.path();
                scope.spawn(move || read_or_make(dir, "x", || i.to_string()).unwrap())
            };
            let threads: Vec<_> = (0..8).map(start).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(made.iter().all(|m| *m == made[0]), "{made:?}");
    }

    #[test]
    fn readable_secret_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        read_or_make(dir.path(), "x", || "text".into()).unwrap();
        let path = dir.path().join("x");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_or_make(dir.path(), "x", String::new).unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("chmod 600"), "{error}");
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }
}
