//! ACME certificates: obtained, renewed, shared in a cluster, and refused, with Pebble as the authority.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use stentor::domain::civil_time::Rfc3339;
use stentor::domain::ids::UnixMs;
use stentor::etcd::EtcdStore;
use stentor::probe::local_tls;
use stentor::store::Store;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::canary::Canary;
use crate::rooms::on_etcd;
use crate::support::etcd::Etcd;
use crate::support::node::{Node, request};
use crate::support::pebble::Pebble;
use crate::support::{PATIENCE, free_ports, until};

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

/// Returns the certificate that a node presents, in DER, and the name of its issuer.
async fn shown(node: &Node) -> (Vec<u8>, String) {
    let (_, address) = node.hls.split_once("://").unwrap();
    let url = format!("https://{address}").parse().unwrap();
    let config = local_tls::config(&url).expect("a node on this machine");
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let client = TlsConnector::from(config).connect(name, socket).await.unwrap();
    let certificate = client.get_ref().1.peer_certificates().unwrap()[0].to_vec();
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
    // Pebble suggests the day before and the day after, but it is not asked yet.
    assert!((58 * 24 * 3600..=61 * 24 * 3600).contains(&left), "{actor}");
    let folder = node.data_dir().join("acme");
    for file in std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap()) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    // The token of the finished challenge is not served any more, and every other path is redirected.
    let plain = format!("http://127.0.0.1:{}", authority.http_port);
    let token = authority.tokens().remove(0);
    let challenge = format!("{plain}/.well-known/acme-challenge/{token}");
    until("the token is not served", async || request("GET", &challenge, &[], None).await.status == 404)
        .await;
    assert_eq!(request("GET", &format!("{plain}/listen/a"), &[], None).await.status, 308);
    // The node uses the certificate again after a restart, at once and without a new order.
    assert!(node.stop().success());
    let node = start(node).await;
    assert_eq!(shown(&node).await.0, first);
    assert_eq!(authority.issued(), 1);
}

#[actix::test]
async fn renewals_follow_suggested_windows() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    let mut node = start(prepare(&authority, &[])).await;
    until_issued(&node).await;
    assert!(node.stop().success());
    let pem = std::fs::read_to_string(node.config().acme_certificate()).unwrap();
    let chain = &pem[pem.find("-----BEGIN CERTIFICATE").unwrap()..];
    let day = |number: u32| {
        let time = (SystemTime::now() + number * DAY).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Rfc3339(UnixMs(time.as_millis() as u64)).to_string()
    };
    let window = json!({ "suggestedWindow": { "start": day(20), "end": day(22) } });
    authority.suggest(chain, &window);
    let node = start(node).await;
    let left = async || {
        let actor = node.states_of("certificate").await.remove(0);
        actor["observed"]["renewedInSeconds"].as_u64().unwrap_or_default() / (24 * 3600)
    };
    until("the window is known", async || [19, 20, 21].contains(&left().await)).await;
    assert_eq!(authority.orders(), 1);
}

#[actix::test]
async fn certificates_are_renewed_before_expiry() {
    let Some(authority) = Pebble::start(Duration::from_secs(84)) else { return };
    let node = start(prepare(&authority, &[])).await;
    let first = until_issued(&node).await;
    until("the renewal begins", async || authority.orders() == 2).await;
    until("the certificate is renewed", async || shown(&node).await.0 != first).await;
    let expiry = X509Certificate::from_der(&first).unwrap().1.validity().not_after.timestamp();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(expiry > now.cast_signed(), "the first certificate expired before the renewal");
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
    // The first node must listen before the second node may order.
    let one = start(one).await;
    let two = start(two).await;
    assert_eq!(until_issued(&one).await, until_issued(&two).await);
    assert_eq!(authority.issued(), 1);
}

#[actix::test]
async fn deleted_accounts_are_replaced() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    let one = start(prepare(&authority, &[])).await;
    until_issued(&one).await;
    let file = |node: &Node| {
        let folder = std::fs::read_dir(node.data_dir().join("acme")).unwrap();
        let mut files = folder.map(|file| file.unwrap().path());
        files.find(|path| path.to_str().unwrap().contains("account-")).expect("an account")
    };
    let known = file(&one);
    let mut account: Value = serde_json::from_slice(&std::fs::read(&known).unwrap()).unwrap();
    let id = format!("{}0", account["id"].as_str().unwrap());
    account["id"] = id.as_str().into();
    drop(one);

    // The second node has an account that the authority does not know.
    let two = prepare(&authority, &[]);
    let folder = two.data_dir().join("acme");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(known.file_name().unwrap()), account.to_string()).unwrap();
    let two = start(two).await;
    until_issued(&two).await;
    assert!(two.output().contains("the authority has deleted the account"));
    let replaced = std::fs::read_to_string(file(&two)).unwrap();
    assert!(!replaced.contains(&id), "the new account is kept");
}

/// Searches for the private keys of the account and of the certificate in the log, the metrics and `/actors`.
#[actix::test]
async fn acme_keys_are_not_logged() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    let mut node = start(prepare(&authority, &[("log.filter", "trace")])).await;
    until_issued(&node).await;
    let mut canary = Canary::default();
    for file in std::fs::read_dir(node.data_dir().join("acme")).unwrap().map(|file| file.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        match serde_json::from_str::<Value>(&text) {
            Ok(account) => {
                let key = account["key_pkcs8"].as_str().expect("the key of the account");
                canary.bytes("account key", &BASE64_URL_SAFE_NO_PAD.decode(key).unwrap());
            }
            Err(_) => {
                let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).unwrap();
                canary.bytes("certificate key", key.secret_der());
                canary.secret("certificate key", text.lines().nth(1).unwrap());
            }
        }
    }
    for path in ["metrics", "actors"] {
        canary.written(
            &format!("/{path}"),
            request("GET", &format!("{}/{path}", node.ops), &[], None).await.text(),
        );
    }
    node.stop();
    canary.written("the log", node.output());
    assert!(node.output().contains("TRACE"), "the level is trace");
    let found = canary.found();
    assert!(found.is_empty(), "{found}");
}

#[actix::test]
async fn failing_nodes_do_not_delay_others() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    let etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    // The first node does not trust the authority, so its orders fail before they are placed.
    let other = format!("127.0.0.1:{}", free_ports::<1>()[0]);
    let more = [("node.id", "bad"), ("node.roles", "rooms,hls"), ("listen.redirect", &other)];
    let mut bad = prepare(&authority, &on_etcd(&endpoint, &more));
    bad.environment(Vec::new());
    let bad = start(bad).await;
    let failures = async || bad.states_of("certificate").await.remove(0)["observed"]["failures"].clone();
    until("the order of the first node fails", async || failures().await == 1).await;
    let good = prepare(&authority, &on_etcd(&endpoint, &[("node.id", "good"), ("node.roles", "rooms,hls")]));
    let good = start(good).await;
    let issued = until_issued(&good).await;
    // The first node still waits for its next order, but uses the certificate of the other node.
    assert_eq!(until_issued(&bad).await, issued);
    assert_eq!(authority.issued(), 1);
    assert_eq!(failures().await, 0);
}

#[actix::test]
async fn unwritable_folders_cost_no_certificates() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    let mut node = prepare(&authority, &[("node.roles", "rooms,hls")]);
    let folder = node.config().acme_dir();
    std::fs::write(&folder, "not a folder").unwrap();
    node = start(node).await;
    let reason = async || node.states_of("certificate").await.remove(0)["reason"].to_string();
    until("the order fails", async || reason().await.contains("check node.data_dir")).await;
    assert_eq!((authority.orders(), authority.issued()), (0, 0));
}

#[actix::test]
async fn valid_files_are_shared_again() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    let etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    let roles = ("node.roles", "rooms,hls");
    let mut one = start(prepare(&authority, &on_etcd(&endpoint, &[("node.id", "one"), roles]))).await;
    let issued = until_issued(&one).await;
    assert!(one.stop().success());
    // Delete the certificate from the store, as if it had never been written there.
    let store = EtcdStore::connect(&[etcd.endpoint()], PATIENCE).await.unwrap();
    store.delete_prefix("/acme/").await.unwrap();
    let one = start(one).await;
    let other = format!("127.0.0.1:{}", free_ports::<1>()[0]);
    let more = [("node.id", "two"), ("listen.redirect", &other), roles];
    until("the first node is done", async || one.states_of("certificate").await[0]["state"] == "valid").await;
    let two = start(prepare(&authority, &on_etcd(&endpoint, &more))).await;
    assert_eq!(until_issued(&two).await, issued);
    assert_eq!(authority.issued(), 1);
}

#[actix::test]
async fn failed_orders_delay_restarted_nodes() {
    let Some(authority) = Pebble::start(90 * DAY) else { return };
    // The authority connects to a different port, where nothing listens.
    let elsewhere = format!("127.0.0.1:{}", free_ports::<1>()[0]);
    let mut node = start(prepare(&authority, &[("listen.redirect", &elsewhere)])).await;
    let told = async |node: &Node| node.states_of("certificate").await.remove(0)["reason"].to_string();
    until("the order fails", async || told(&node).await.contains("could not check")).await;
    assert!(node.stop().success());
    let node = start(node).await;
    until("the record is respected", async || told(&node).await.contains("has failed: ")).await;
    assert_eq!(authority.orders(), 1);
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
    assert!((460_000..=960_000).contains(&retry), "{retry}");
    // The node serves all the same, with its own certificate.
    assert!(!shown(&node).await.1.contains("Pebble"));
    assert_eq!(authority.issued(), 0);
    // The metrics report the certificate as expired, so that the alerts fire.
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for name in ["expiry", "replace_by"] {
        let line = format!("stentor_tls_certificate_{name}_seconds{{certificate=\"listen\"}} ");
        let value = metrics.lines().find_map(|found| found.strip_prefix(&line)).unwrap();
        assert!((1..=now).contains(&value.parse().unwrap()), "{name} {value}");
    }
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
    // Run the node as an ordinary user, because root can read every file.
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
