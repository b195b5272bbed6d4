//! Tests of TLS on a listening socket: protocol, deadlines of slow clients, refusal, replaced certificates.

use std::time::{Instant, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wire::{HTTP1, HTTP2};
use super::*;
use crate::tls::{Certificates, Identity};

/// Creates a certificate for `localhost`.
fn identity() -> (Identity, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chain, private) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    (Identity::read(&chain, &private, SystemTime::now()).unwrap(), certificate.der().clone())
}

fn connector(trusted: &CertificateDer<'static>, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// Server with TLS, and the connectors for its clients.
pub(super) struct TlsTestServer {
    pub served: TestServer,
    certificates: Arc<Certificates>,
    /// Offers HTTP/2 and HTTP/1.1.
    pub connector: TlsConnector,
    /// Offers HTTP/1.1 only.
    old: TlsConnector,
}

impl TlsTestServer {
    pub fn start(served: usize) -> Self {
        Self::start_with(served, |_| ())
    }

    pub fn start_with(served: usize, amend: impl FnOnce(&mut Options)) -> Self {
        let (identity, certificate) = identity();
        let certificates = Certificates::new(identity);
        let config = certificates.server_config().unwrap();
        let served = TestServer::start_with(served, |options| {
            options.tls = Some(config);
            amend(options);
        });
        let (connector, old) = (connector(&certificate, &[HTTP2, HTTP1]), connector(&certificate, &[HTTP1]));
        Self { served, certificates, connector, old }
    }

    pub async fn connect_by(&self, connector: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        connector.connect(name, self.served.connect().await).await
    }

    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect_by(&self.old).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        read(&mut client).await
    }

    pub async fn until_metric(&self, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !self.served.metrics.render().contains(wanted) {
            assert!(Instant::now() < deadline, "no {wanted} in {}", self.served.metrics.render());
            looks.tick().await;
        }
    }
}

#[actix::test]
async fn endless_bodies_are_complete_over_tls() {
    let secured = TlsTestServer::start(10);
    assert_whole_ending(&secured.ask(&request("GET", "/ending")).await);
    secured.served.until_open(0).await;
    secured.served.handle.stop(false).await;
}

#[actix::test]
async fn upgrades_keep_early_bytes_over_tls() {
    let secured = TlsTestServer::start(10);
    let mut client = secured.connect_by(&secured.old).await.unwrap();
    upgrades::check_echo(&mut client).await;
    secured.served.until_open(0).await;
    secured.served.handle.stop(false).await;
}

#[actix::test]
async fn tls_serves_http_1_1_with_hsts() {
    let secured = TlsTestServer::start(10);
    let client = secured.connect_by(&secured.old).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = secured.ask(&request("GET", "/large")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("strict-transport-security: max-age=3600"), "{head}");
    assert_eq!(body.len(), LARGE.len());
    secured.until_metric("stentor_tls_handshakes_total{outcome=\"ok\"} 2\n").await;
    let plain = TestServer::start(10);
    assert!(!plain.ask(&request("GET", "/small")).await.contains("strict-transport-security"));
    plain.handle.stop(false).await;
    secured.served.handle.stop(false).await;
}

#[actix::test]
async fn tls_responses_survive_pipelining() {
    let secured = TlsTestServer::start(10);
    let requests = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(4) + &request("GET", "/small");
    let answer = secured.ask(&requests).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 5);
    assert!(answer.len() > 4 * LARGE.len() && answer.ends_with("small"));
    secured.served.handle.stop(false).await;
}

#[actix::test]
async fn unfinished_handshakes_are_cut() {
    let secured = TlsTestServer::start(10);
    // The beginning of a ClientHello record of 512 bytes.
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut client = secured.served.connect().await;
        client.write_all(sent).await.unwrap();
        assert_eq!(read(&mut client).await, "");
    }
    secured.until_metric("stentor_tls_handshakes_total{outcome=\"timeout\"} 2\n").await;
    let answer = secured.served.ask(&request("GET", "/small")).await;
    assert!(!answer.contains("HTTP/1.1 200"), "plain http at a socket with TLS: {answer}");
    secured.until_metric("stentor_tls_handshakes_total{outcome=\"failed\"} 1\n").await;
    secured.until_metric("stentor_connections{listener=\"test\"} 0\n").await;
    secured.served.handle.stop(false).await;
}

#[actix::test]
async fn requests_over_tls_have_deadlines() {
    let secured = TlsTestServer::start(10);
    let answer = secured.ask("GET / HTTP/1.1\r\nunfinished").await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("nosniff"), "{answer}");
    let mut stalled = secured.connect_by(&secured.old).await.unwrap();
    stalled.write_all(request("GET", "/large").as_bytes()).await.unwrap();
    // From here on, the test reads nothing.
    secured.until_metric("stentor_connections_cut_total{reason=\"slow_reader\"} 1\n").await;
    secured.served.handle.stop(false).await;
}

#[actix::test]
async fn surplus_tls_connections_get_503() {
    let secured = TlsTestServer::start(1);
    let _held = secured.connect_by(&secured.old).await.unwrap();
    let refused = secured.ask(&request("GET", "/small")).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 5\r\n"), "{refused}");
    secured.served.handle.stop(false).await;
}

#[actix::test]
async fn certificates_are_replaced_while_serving() {
    let secured = TlsTestServer::start(10);
    let mut early = secured.connect_by(&secured.old).await.unwrap();
    let (identity, certificate) = identity();
    assert!(secured.certificates.replace(identity));
    early.write_all(request("GET", "/small").as_bytes()).await.unwrap();
    assert!(read(&mut early).await.ends_with("small"), "earlier connections go on");
    let (untrusting, trusting) = (secured.old.clone(), connector(&certificate, &[HTTP1]));
    let mut late = secured.connect_by(&trusting).await.unwrap();
    late.write_all(request("GET", "/small").as_bytes()).await.unwrap();
    assert!(read(&mut late).await.ends_with("small"));
    // A client that resumes a session does not see the certificate, so connect without resumption.
    let mut fresh = ClientConfig::clone(untrusting.config());
    fresh.resumption = rustls::client::Resumption::disabled();
    let fresh = TlsConnector::from(Arc::new(fresh));
    assert!(secured.connect_by(&fresh).await.is_err());
    secured.served.handle.stop(false).await;
}
