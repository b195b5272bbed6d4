//! Tests of certificates and keys: valid ones, wrong ones, and pairs that do not belong together.

use std::fs;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// Writes a certificate for `localhost` that is valid from 2020 to `until`, and its key.
fn pair(folder: &TempDir, name: &str, until: i32) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
    let certificate = params.self_signed(&key).unwrap();
    let path = |kind: &str| folder.path().join(format!("{name}.{kind}"));
    fs::write(path("crt"), certificate.pem()).unwrap();
    fs::write(path("key"), key.serialize_pem()).unwrap();
    (path("crt"), path("key"))
}

fn at(year: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs((year - 1970) * 365 * 24 * 3600 + 30 * 24 * 3600)
}

#[test]
fn pairs_are_read_and_compared() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = pair(&folder, "a", 2040);
    let identity = Identity::read(&certificate, &key, at(2026)).unwrap();
    assert_eq!(identity.validity().until, UNIX_EPOCH + Duration::from_secs(2_208_988_800));
    assert!(identity == Identity::read(&certificate, &key, at(2026)).unwrap());
    let (other, other_key) = pair(&folder, "b", 2040);
    assert!(identity != Identity::read(&other, &other_key, at(2026)).unwrap());
    let error = Identity::read(&certificate, &other_key, at(2026)).unwrap_err();
    assert!(error.contains("b.key: the key does not belong to the first certificate in"), "{error}");
}

#[test]
fn names_lost_by_replacement_are_found() {
    let identity = |names: &[&str]| {
        let folder = TempDir::new().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let path = folder.path().join("own.pem");
        fs::write(&path, own.cert.pem() + &own.signing_key.serialize_pem()).unwrap();
        Identity::read(&path, &path, SystemTime::now()).unwrap()
    };
    let old = identity(&["live.example.org", "*.example.net", "127.0.0.1", "::1"]);
    assert_eq!(old.names_lost_from(&old), Vec::<String>::new());
    let wider = identity(&["*.example.org", "*.example.net", "127.0.0.1", "::1"]);
    assert_eq!(wider.names_lost_from(&old), Vec::<String>::new());
    let other = identity(&["live.example.org", "a.example.net", "127.0.0.2"]);
    assert_eq!(other.names_lost_from(&old), ["*.example.net", "127.0.0.1", "::1"]);
}

#[test]
fn chains_outside_validity_are_refused() {
    let folder = TempDir::new().unwrap();
    let (certificate, _) = pair(&folder, "a", 2025);
    assert!(Chain::read(&certificate, at(2024)).is_ok());
    assert!(Chain::read(&certificate, at(2026)).unwrap_err().contains("has expired on"));
    assert!(Chain::read(&certificate, at(2019)).unwrap_err().contains("is not valid before"));
}

#[test]
fn unusable_files_are_explained() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = pair(&folder, "a", 2040);
    let missing = folder.path().join("missing");
    assert_eq!(Chain::read(&missing, at(2026)).unwrap_err(), "the file does not exist");
    assert_eq!(Key::read(&missing).unwrap_err(), "the file does not exist");
    assert!(Chain::read(folder.path(), at(2026)).unwrap_err().contains("cannot be read"));
    assert!(Chain::read(&key, at(2026)).unwrap_err().contains("has no certificate"));
    assert!(Key::read(&certificate).unwrap_err().contains("has no private key"));
    fs::write(&missing, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(Chain::read(&missing, at(2026)).unwrap_err().contains("cannot be parsed"));
    fs::write(&missing, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(Key::read(&missing).unwrap_err().contains("is not supported"));
}

#[test]
fn names_of_certificates_are_compared() {
    let folder = TempDir::new().unwrap();
    let (certificate, _) = pair(&folder, "a", 2040);
    let chain = Chain::read(&certificate, at(2026)).unwrap();
    assert!(chain.names("localhost") && chain.names("127.0.0.1"));
    assert!(!chain.names("live.example.org") && !chain.names("127.0.0.2") && !chain.names("[::1]"));
}

#[test]
fn debug_output_has_no_key() {
    let folder = TempDir::new().unwrap();
    let (_, key) = pair(&folder, "a", 2040);
    let text = format!("{:?}", Key::read(&key).unwrap());
    assert_eq!(text, format!("Key({})", key.display()));
}
