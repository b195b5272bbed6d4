//! ACME files in the data directory: the account, and the certificate with its private key. Each file has
//! mode 0600, in a folder with mode 0700, and is replaced as a whole.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::tls::{Chain, Identity};

#[derive(Clone)]
pub(super) struct Files {
    pub folder: PathBuf,
    /// Private key, then the chain, in PEM.
    pub certificate: PathBuf,
}

impl Files {
    /// Reads the certificate from its file, and checks that it is valid at `now` and matches the key in the
    /// file.
    pub async fn read(&self, now: SystemTime) -> Result<Chain, String> {
        let path = self.certificate.clone();
        blocking(move || checked(&path, now)).await
    }

    /// Checks that a private key matches its chain, and that the certificate is valid at `now`.
    pub async fn check(&self, pem: &str, now: SystemTime) -> Result<Chain, String> {
        let (folder, pem) = (self.folder.clone(), pem.to_owned());
        blocking(move || {
            let file = temporary(&folder, &pem).map_err(|error| unwritable(&folder, &error))?;
            checked(file.path(), now)
        })
        .await
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

/// Reads a file with a private key and its chain.
fn checked(path: &Path, now: SystemTime) -> Result<Chain, String> {
    Identity::read(path, path, now)?;
    Chain::read(path, now)
}

/// Writes a temporary file with mode 0600 in the folder, which is created if needed.
fn temporary(folder: &Path, text: &str) -> io::Result<tempfile::NamedTempFile> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
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
        let own = rcgen::generate_simple_self_signed(["live.example.org".to_owned()]).unwrap();
        let pem = format!("{}{}", own.signing_key.serialize_pem(), own.cert.pem());
        files.write(&pem).await.unwrap();
        assert!(files.read(SystemTime::now()).await.unwrap().names("live.example.org"));
        let other = rcgen::generate_simple_self_signed(["live.example.org".to_owned()]).unwrap();
        let mixed = format!("{}{}", other.signing_key.serialize_pem(), own.cert.pem());
        let error = files.check(&mixed, SystemTime::now()).await.unwrap_err();
        assert!(error.contains("does not belong"), "{error}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "no temporary file is left");
    }
}
