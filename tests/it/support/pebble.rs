//! Pebble, a certificate authority for ACME tests, with its DNS server: all names lead to 127.0.0.1. Both
//! listen on free ports, and stop when the [`Pebble`] is dropped.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::kept::KeptProcess;
use super::{free_ports, skipped, wait_until};

const VERSION: &str = "2.10.3";
const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Pebble {
    folder: TempDir,
    port: u16,
    management: u16,
    /// Port that Pebble uses instead of port 80 for the HTTP-01 challenge.
    pub http_port: u16,
    _processes: [KeptProcess; 2],
}

impl Pebble {
    /// Builds and starts Pebble, whose certificates are valid for `lifetime`. If it cannot be built, prints a
    /// message and returns `None`.
    pub fn start(lifetime: Duration) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pebble.sh");
        let built = Command::new(script).arg(VERSION).stderr(Stdio::inherit()).output();
        let built = built.expect("the script runs");
        if !built.status.success() {
            skipped("Pebble cannot be built here, it needs Go 1.25 and the Go module proxy");
            return None;
        }
        let programs = String::from_utf8(built.stdout).expect("a path").trim().to_owned();
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("one address");
        let own = own.signed_by(&key, &issuer).expect("a certificate");
        for (name, text) in [
            ("ca.pem", issuer.as_ref().pem()),
            ("pebble.crt", own.pem()),
            ("pebble.key", key.serialize_pem()),
        ] {
            std::fs::write(path(name), text).expect("a file");
        }
        let [port, management, http_port, tls_port, dns, dns_management] = free_ports();
        let local = |port: u16| format!("127.0.0.1:{port}");
        let config = json!({ "pebble": {
            "listenAddress": local(port),
            "managementListenAddress": local(management),
            "certificate": path("pebble.crt"),
            "privateKey": path("pebble.key"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "retryAfter": { "authz": 1, "order": 1 },
            "keyAlgorithm": "ecdsa",
            "profiles": { "default": { "description": "", "validityPeriod": lifetime.as_secs() } },
        } });
        std::fs::write(path("pebble.json"), config.to_string()).expect("a file");
        let log = || File::options().create(true).append(true).open(path("log")).expect("a file");
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(format!("{programs}/{program}"));
            command.args(arguments).env("PEBBLE_VA_NOSLEEP", "1");
            command.stdin(Stdio::null()).stdout(log()).stderr(log());
            KeptProcess::start(command)
        };
        let (dns, dns_management) = (local(dns), local(dns_management));
        let resolver = run(
            "pebble-challtestsrv",
            &["-defaultIPv6", "", "-dnsserver", &dns, "-management", &dns_management]
                .into_iter()
                .chain(["-doh", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
                .collect::<Vec<_>>(),
        );
        let pebble = run("pebble", &["-config", &path("pebble.json"), "-dnsserver", &dns]);
        let started = Self { port, management, http_port, _processes: [resolver, pebble], folder };
        wait_until("Pebble serves", READY_WITHIN, || TcpStream::connect(local(port)).is_ok());
        Some(started)
    }

    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Makes Pebble answer with this renewal information for a certificate.
    pub fn suggest(&self, certificate: &str, information: &Value) {
        let url = format!("https://127.0.0.1:{}/set-renewal-info/", self.management);
        let body = json!({ "certificate": certificate, "ariResponse": information.to_string() });
        // curl refuses an authority without a name.
        let mut curl = Command::new("curl");
        curl.args(["-sfk", "-d", &body.to_string(), &url]);
        assert!(curl.status().expect("curl runs").success());
    }

    /// Returns the environment of a node that trusts Pebble.
    pub fn trust(&self) -> Vec<(String, String)> {
        vec![("SSL_CERT_FILE".into(), self.folder.path().join("ca.pem").display().to_string())]
    }

    /// Returns the number of certificates that were issued.
    pub fn issued(&self) -> usize {
        self.log().matches("Issued certificate").count()
    }

    /// Returns the number of orders that were placed.
    pub fn orders(&self) -> usize {
        self.log().matches("Added order").count()
    }

    /// Returns the tokens of the HTTP-01 challenges that were checked.
    pub fn tokens(&self) -> Vec<String> {
        let token =
            |rest: &str| rest.split(|c: char| c.is_whitespace() || c == '"').next().map(str::to_owned);
        self.log().split("/.well-known/acme-challenge/").skip(1).filter_map(token).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log")
    }
}
