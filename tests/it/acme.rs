//! ACME certificates: obtained, renewed, shared in a cluster, and refused, with Pebble as the authority.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::rooms::on_etcd;
use crate::support::etcd::Etcd;
use crate::support::node::{Node, request};
use crate::support::pebble::Pebble;
use crate::support::{free_ports, until};

const NAME: &str = "live.example.org";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Prepares a node that obtains its certificate from `authority`.
fn prepare(authority: &Pebble, settings: &[(&str, &str)]) -> Node {
    let directory = authority.directory();
    let redirect = format!("127.0.0.1:{}", authority.http_port);
    let own =
        [("tls.acme.domains", NAME), ("tls.acme.directory", &directory), ("listen.redirect", &redirect)];
    let mut node = Node::prepare(&[&own[..], settings].concat());
    node.environment(authority.trust());
    node
}

async fn start(mut node: Node) -> Node {
    node.run();
    node.ready().await;
    node
}

/// Accepts every certificate, and remembers it.
#[derive(Debug, Default)]
struct Shown(Mutex<Vec<u8>>);

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().unwrap() = certificate.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

/// Returns the certificate that a node presents, in DER, and the name of its issuer.
async fn shown(node: &Node) -> (Vec<u8>, String) {
    let shown = Arc::new(Shown::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(shown.clone()).with_no_client_auth();
    let socket = TcpStream::connect(node.hls.split_once("://").unwrap().1).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    let certificate = shown.0.lock().unwrap().clone();
    let issuer = X509Certificate::from_der(&certificate).unwrap().1.issuer().to_string();
    (certificate, issuer)
}

async fn until_issued(node: &Node) -> Vec<u8> {
    until("the node presents a certificate of Pebble", async || shown(node).await.1.contains("Pebble")).await;
    shown(node).await.0
}

#[actix::test]
async fn certificates_are_obtained_and_kept() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    let mut node = start(prepare(&authority, &[])).await;
    let first = until_issued(&node).await;
    let actor = node.states_of("certificate").await.remove(0);
    assert_eq!((&actor["state"], actor["desired"]["names"][0].as_str()), (&"valid".into(), Some(NAME)));
    let left = actor["observed"]["renewedInSeconds"].as_u64().unwrap();
    assert!((59 * 24 * 3600..=60 * 24 * 3600).contains(&left), "{actor}");
    let folder = node.data_dir().join("acme");
    for file in std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap()) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    // The challenge is closed, and the socket redirects everything else.
    let plain = format!("http://127.0.0.1:{}", authority.http_port);
    let token = "x".repeat(43);
    let closed = request("GET", &format!("{plain}/.well-known/acme-challenge/{token}"), &[], None).await;
    assert_eq!(closed.status, 404);
    assert_eq!(request("GET", &format!("{plain}/listen/a"), &[], None).await.status, 308);
    // The node uses the certificate again after a restart, at once and without a new order.
    assert!(node.stop().success());
    let node = start(node).await;
    assert_eq!(shown(&node).await.0, first);
    assert_eq!(authority.issued(), 1);
}

#[actix::test]
async fn certificates_are_renewed_before_expiry() {
    let Some(authority) = Pebble::start(Duration::from_secs(45)) else { return };
    let node = start(prepare(&authority, &[])).await;
    let first = until_issued(&node).await;
    until("the certificate is renewed", async || shown(&node).await.0 != first).await;
    assert!(shown(&node).await.1.contains("Pebble"));
}

#[actix::test]
async fn nodes_with_same_names_order_once() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    let etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    // The authority reaches only the first node, which answers the challenges of both.
    let roles = [("node.roles", "rooms,hls")];
    let other = format!("127.0.0.1:{}", free_ports::<1>()[0]);
    let one = prepare(&authority, &on_etcd(&endpoint, &[&roles[..], &[("node.id", "one")]].concat()));
    let more = [("node.id", "two"), ("listen.redirect", &other)];
    let two = prepare(&authority, &on_etcd(&endpoint, &[&roles[..], &more].concat()));
    // The first one must listen before the second one may order.
    let one = start(one).await;
    let two = start(two).await;
    assert_eq!(until_issued(&one).await, until_issued(&two).await);
    assert_eq!(authority.issued(), 1);
}

#[actix::test]
async fn failed_orders_name_their_remedy() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    // The authority connects to a different port, where nothing listens.
    let elsewhere = format!("127.0.0.1:{}", free_ports::<1>()[0]);
    let node = start(prepare(&authority, &[("listen.redirect", &elsewhere)])).await;
    let actor = async || node.states_of("certificate").await.remove(0);
    let reason = async || actor().await["reason"].as_str().unwrap_or_default().to_owned();
    until("the order fails", async || !reason().await.is_empty()).await;
    let told = reason().await;
    assert!(told.contains(NAME) && told.contains("must reach listen.redirect"), "{told}");
    let retry = actor().await["next_retry_in_ms"].as_u64().unwrap();
    assert!((400_000..=900_000).contains(&retry), "{retry}");
    // The node serves all the same, with its own certificate.
    assert!(!shown(&node).await.1.contains("Pebble"));
    assert_eq!(authority.issued(), 0);
}

#[actix::test]
async fn unreadable_certificates_are_loaded_later() {
    // Nothing listens at the authority's address, so the certificate can only come from the file.
    let directory = format!("https://127.0.0.1:{}/dir", free_ports::<1>()[0]);
    let own = [("tls.acme.domains", NAME), ("tls.acme.directory", &directory), ("node.roles", "hls")];
    let mut node = Node::prepare(&[&own[..], &[("listen.redirect", "127.0.0.1:0")]].concat());
    let file = node.config().acme_certificate();
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let pem = format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem());
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, pem).unwrap();
    // An ordinary user, because root may read everything.
    let user = 1;
    node.run_as(user, user);
    for path in [file.parent().unwrap(), &file] {
        std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    }
    let permit = |mode| std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    permit(0o000);
    let node = start(node).await;
    let rejected = |node: &Node| node.output().matches("certificate rejected").count();
    until("the error is logged", async || rejected(&node) > 0).await;
    assert!(shown(&node).await.0 != made.cert.der().to_vec());
    // Neither the time of modification nor the content changes.
    permit(0o600);
    until("the certificate is loaded", async || shown(&node).await.0 == made.cert.der().to_vec()).await;
    assert_eq!(rejected(&node), 1, "the repeated attempts log nothing");
}
