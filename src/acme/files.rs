//! ACME files in the data directory: the account, and the certificate with its private key. Each file has
//! mode 0600, in a folder with mode 0700, and is replaced as a whole.

use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Prefix of the names of temporary files.
const TEMPORARY: &str = ".new-";
/// Size of a certificate with its key and intermediate certificates, in bytes, rounded up.
const SPACE: usize = 16 << 10;

#[derive(Clone)]
pub(super) struct Files {
    pub folder: PathBuf,
    /// Private key, then the chain, in PEM.
    pub certificate: PathBuf,
}

impl Files {
    /// Deletes the temporary files of an interrupted process, because they may contain a private key.
    pub fn delete_temporary(&self) {
        let Ok(files) = std::fs::read_dir(&self.folder) else { return };
        for file in files.flatten().filter(|file| is_temporary(&file.file_name())) {
            if let Err(error) = std::fs::remove_file(file.path()) {
                tracing::warn!(%error, path = %file.path().display(), "a temporary file was not deleted");
            }
        }
    }

    /// Checks that a file with the size of a certificate can be written.
    pub async fn check(&self) -> Result<(), String> {
        let folder = self.folder.clone();
        blocking(move || {
            let written = temporary(&folder, &" ".repeat(SPACE)).and_then(|file| file.as_file().sync_all());
            written.map_err(|error| unwritable(&folder, &error))
        })
        .await
    }

    /// Returns the private key and the chain of the certificate file.
    pub async fn read(&self) -> Result<String, String> {
        let text = tokio::fs::read_to_string(&self.certificate).await;
        text.map_err(|error| format!("{} cannot be read: {error}", self.certificate.display()))
    }

    pub async fn write(&self, pem: &str) -> Result<(), String> {
        self.replace(self.certificate.clone(), pem.to_owned()).await
    }

    /// Returns the credentials of the account; `None` if there are none yet.
    pub async fn account(&self, authority: &str) -> Result<Option<String>, String> {
        let path = self.account_path(authority);
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        }
    }

    pub async fn write_account(&self, authority: &str, credentials: String) -> Result<(), String> {
        self.replace(self.account_path(authority), credentials).await
    }

    /// Returns the path of the account file for the authority with this id.
    pub fn account_path(&self, authority: &str) -> PathBuf {
        self.folder.join(format!("account-{authority}.json"))
    }

    async fn replace(&self, path: PathBuf, text: String) -> Result<(), String> {
        let folder = self.folder.clone();
        blocking(move || {
            let replaced = temporary(&folder, &text).and_then(|file| {
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| error.error)?;
                std::fs::File::open(&folder)?.sync_all()
            });
            replaced.map_err(|error| unwritable(&path, &error))
        })
        .await
    }
}

fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes().starts_with(TEMPORARY.as_bytes())
}

/// Writes a temporary file with mode 0600 in the folder, which is created if needed.
fn temporary(folder: &Path, text: &str) -> io::Result<tempfile::NamedTempFile> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .make_in(folder, |path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))?;
    file.write_all(text.as_bytes())?;
    Ok(tempfile::NamedTempFile::from_parts(file.as_file().try_clone()?, file.into_temp_path()))
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}; check node.data_dir and its owner", path.display())
}

/// Runs file operations off the threads of the actors, because the files may be on a network file system.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn files_are_private_and_replaced() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("acme");
        let files = Files { certificate: folder.join("a.pem"), folder: folder.clone() };
        assert_eq!(files.account("x").await, Ok(None));
        for text in ["first", "second"] {
            files.write_account("x", text.into()).await.unwrap();
            assert_eq!(files.account("x").await, Ok(Some(text.into())));
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&files.account_path("x"))), (0o700, 0o600));
        assert!(files.read().await.unwrap_err().contains("a.pem cannot be read"));
        files.write("key and chain").await.unwrap();
        assert_eq!(files.read().await, Ok("key and chain".into()));
        files.check().await.unwrap();
        let count = || std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(count(), 2, "no temporary file is left");
        let interrupted = temporary(&folder, "key").unwrap().into_temp_path().keep().unwrap();
        assert!(interrupted.exists());
        files.delete_temporary();
        assert_eq!(count(), 2);
    }

    #[tokio::test]
    async fn unwritable_folders_name_their_remedy() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("acme");
        std::fs::write(&folder, "a file").unwrap();
        let files = Files { certificate: folder.join("a.pem"), folder };
        files.delete_temporary();
        let error = files.check().await.unwrap_err();
        assert!(error.contains("check node.data_dir"), "{error}");
    }
}
