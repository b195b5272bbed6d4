//! Replacement of the certificate of the listening sockets while the node runs, and the warning before it
//! expires.
//!
//! Owns: the schedule of the checks. Does not end a connection, or use a certificate that is not valid.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::domain::certificate::{WatchedFiles, expires_soon, replaced_by};
use crate::telemetry::Metrics;
use crate::tls::{Certificates, Identity};

/// Interval at which the files are checked. Changed files are read only once a later check finds no further
/// change, so that a write in progress is complete. Files that cannot be used are read at each check.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Interval between the warnings of a certificate that expires soon, or that clients refuse.
const WARN_EVERY: Duration = Duration::from_secs(12 * 3600);
/// Time after the start before a node first warns of a certificate that clients refuse: its self-signed one,
/// or an expired one.
const OWN_FOR: Duration = Duration::from_secs(600);

/// Paths of the certificate file and the key file. With ACME, one file holds both.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Paths {
    certificate: PathBuf,
    key: PathBuf,
    by_acme: bool,
}

/// Identity of the files and of their content: time of modification, size and inode. `None`: a file cannot be
/// read.
type Stamp = (Arc<Paths>, [Option<(SystemTime, u64, u64)>; 2]);

/// Active certificate, the paths of its files, and the metrics that show its expiry.
#[derive(Clone)]
pub struct LiveCertificates {
    certificates: Arc<Certificates>,
    paths: Arc<ArcSwap<Paths>>,
    metrics: Metrics,
}

impl LiveCertificates {
    /// Reads the configured certificate, or the one obtained through ACME. Until there is one, a node with
    /// ACME serves a self-signed certificate. Returns `None` if the node has no TLS.
    ///
    /// # Errors
    /// The key does not belong to the certificate, or no self-signed certificate can be created.
    pub fn new(config: &Config, metrics: &Metrics) -> anyhow::Result<Option<Self>> {
        let (paths, identity) = match configured(config) {
            Some((paths, identity)) => (paths, Some(identity.map_err(anyhow::Error::msg)?)),
            None if config.tls.acme.is_on() => by_acme(config),
            None => return Ok(None),
        };
        let own = || Identity::self_signed(&config.tls.acme.domains).map_err(anyhow::Error::msg);
        let identity = identity.map_or_else(own, Ok)?;
        measure(metrics, &identity);
        let certificates = Certificates::new(identity);
        let paths = Arc::new(ArcSwap::from_pointee(paths));
        Ok(Some(Self { certificates, paths, metrics: metrics.clone() }))
    }

    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Applies the certificate of a configuration that was read again. Changes nothing if ACME obtains this
    /// node's certificate, or if the configuration has no certificate: only a restart turns TLS off, or ACME
    /// on or off.
    pub fn reload(&self, config: &Config) {
        if self.paths.load().by_acme {
            return;
        }
        // An error is impossible: the configuration was validated.
        if let Some((paths, Ok(identity))) = configured(config) {
            self.paths.store(Arc::new(paths));
            self.replace(identity);
        }
    }

    fn replace(&self, identity: Identity) {
        let not_after = identity.validity().until;
        let lost = identity.names_lost_from(&self.certificates.current());
        if self.certificates.replace(identity) {
            measure(&self.metrics, &self.certificates.current());
            let days = not_after.duration_since(SystemTime::now()).unwrap_or_default().as_secs() / DAY;
            match lost.is_empty() {
                true => tracing::info!(days, "certificate replaced; new connections use it"),
                false => tracing::warn!(
                    days,
                    names = lost.join(", "),
                    "certificate replaced by one that lacks names of the previous one: new connections use \
                     it, and clients that use these names refuse it"
                ),
            }
        }
    }

    /// Reads the files again when they change, and warns before the expiry, until dropped. Also reads them
    /// once after the start, because they may have changed or been unreadable while the node started.
    pub async fn watch(self) {
        let mut files = WatchedFiles::new();
        let mut warns_from = Instant::now();
        if self.left() == Some(Duration::ZERO) {
            warns_from += OWN_FOR;
        }
        loop {
            self.warn(&mut warns_from);
            tokio::time::sleep(LOOK_EVERY).await;
            let paths = self.paths.load_full();
            let stamp = stamp(paths.clone()).await;
            // A node has no file until its first ACME certificate is issued.
            let is_awaited = paths.by_acme && stamp.1 == [None, None];
            if is_awaited || !files.must_read(stamp) {
                continue;
            }
            match read(paths).await {
                Ok(identity) => {
                    files.read(true);
                    self.replace(identity);
                }
                Err(error) if files.read(false) => {
                    tracing::error!(error, "certificate rejected; the one in use remains active");
                }
                Err(_) => {}
            }
        }
    }

    /// Returns the time until the expiry if it is near; zero if clients refuse the certificate.
    fn left(&self) -> Option<Duration> {
        expires_soon(self.certificates.current().validity(), SystemTime::now())
    }

    fn warn(&self, from: &mut Instant) {
        let now = Instant::now();
        let Some(left) = self.left().filter(|_| now >= *from) else { return };
        *from = now + WARN_EVERY;
        let (remedy, refused) = match self.paths.load().by_acme {
            true => (
                "the actor `certificate` in /actors shows why ACME has not renewed it",
                "has expired, or was signed by this node itself",
            ),
            false => ("replace tls.certificate_file and tls.key_file", "has expired"),
        };
        let hours = left.as_secs() / 3600;
        match left.is_zero() {
            true => tracing::error!("the certificate {refused}: clients refuse it; {remedy}"),
            false => tracing::warn!(hours, "the certificate expires soon; {remedy}"),
        }
    }
}

const DAY: u64 = 24 * 3600;

fn measure(metrics: &Metrics, identity: &Identity) {
    let validity = identity.validity();
    metrics.sockets().set_certificate(validity.until, replaced_by(validity));
}

fn configured(config: &Config) -> Option<(Paths, Result<Identity, String>)> {
    let (chain, key) = (config.tls.certificate.as_ref()?, config.tls.key.as_ref()?);
    let paths = Paths { certificate: chain.path().to_owned(), key: key.path().to_owned(), by_acme: false };
    Some((paths, Identity::new(chain, key)))
}

/// Returns the paths of the ACME certificate, and the certificate. `None`: there is none yet, or it cannot be
/// used. The certificate actor then obtains one, and [`watch`](LiveCertificates::watch) loads it.
fn by_acme(config: &Config) -> (Paths, Option<Identity>) {
    let file = config.acme_certificate();
    let identity = Identity::read(&file, &file, SystemTime::now()).ok();
    (Paths { certificate: file.clone(), key: file, by_acme: true }, identity)
}

async fn read(paths: Arc<Paths>) -> Result<Identity, String> {
    // Read on a blocking thread: the files may be on a network file system.
    let read = move || Identity::read(&paths.certificate, &paths.key, SystemTime::now());
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
}

async fn stamp(paths: Arc<Paths>) -> Stamp {
    let of = async |path: &Path| {
        let file = tokio::fs::metadata(path).await.ok()?;
        Some((file.modified().ok()?, file.len(), file.ino()))
    };
    let files = [of(&paths.certificate).await, of(&paths.key).await];
    (paths, files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadInput, load};

    fn config(flags: &[(&str, &str)]) -> Config {
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(LoadInput { flags, ..LoadInput::default() }).unwrap()
    }

    #[test]
    fn reload_keeps_acme_until_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(path("chain"), own.cert.pem()).unwrap();
        std::fs::write(path("key"), own.signing_key.serialize_pem()).unwrap();
        let with_files = config(&[("tls.certificate_file", &path("chain")), ("tls.key_file", &path("key"))]);
        let data = path("data");
        let with_acme = config(&[
            ("tls.acme.domains", "live.example.org"),
            ("listen.redirect", "127.0.0.1:0"),
            ("node.data_dir", &data),
        ]);
        let metrics = Metrics::new(SystemTime::now());
        let live = |config: &Config| LiveCertificates::new(config, &metrics).unwrap().unwrap();
        let (files, acme) = (live(&with_files), live(&with_acme));
        let before = acme.certificates().current();
        acme.reload(&with_files);
        assert!(*acme.certificates().current() == *before);
        assert!(acme.paths.load().by_acme);
        files.reload(&with_acme);
        assert!(!files.paths.load().by_acme);
    }
}
