//! Tests of the listening socket keys: TLS, addresses, proxies.

use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// Writes a certificate for `live.example.org` and its key; returns their paths.
fn pair(folder: &TempDir, name: &str, until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["live.example.org".into()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
    let path = |kind: &str| folder.path().join(format!("{name}.{kind}")).display().to_string();
    std::fs::write(path("crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(path("key"), PermissionsExt::from_mode(0o600)).unwrap();
    (path("crt"), path("key"))
}

fn secure(input: LoadInput, (certificate, key): &(String, String)) -> LoadInput {
    input.flag("tls.certificate_file", certificate).flag("tls.key_file", key)
}

#[test]
fn urls_follow_tls_of_their_socket() {
    let folder = TempDir::new().unwrap();
    let pair = pair(&folder, "a", 2090);
    let config = load(secure(keyed(LoadInput::default()), &pair)).unwrap();
    assert_eq!(config.hls_base_url(), "https://127.0.0.1:8080");
    assert_eq!(config.ws_url().unwrap(), "wss://127.0.0.1:8081/ws");
    let partly = secure(keyed(LoadInput::default()), &pair).flag("tls.sockets", "ws");
    let config = load(partly.flag("listen.hls", "[::1]:8080")).unwrap();
    assert_eq!(config.hls_base_url(), "http://[::1]:8080");
    assert_eq!(config.ws_url().unwrap(), "wss://127.0.0.1:8081/ws");
    assert_eq!(defaults().hls_base_url(), "http://127.0.0.1:8080");
}

#[test]
fn certificate_errors_come_together() {
    let folder = TempDir::new().unwrap();
    let (expired, other_key) = (pair(&folder, "expired", 2025).0, pair(&folder, "b", 2090).1);
    let text = errors(secure(LoadInput::default(), &(expired, "/none".into())).flag("tls.hsts", "1y"));
    assert!(text.starts_with("3 errors "), "{text}");
    for told in ["has expired on", "the file does not exist", "must be a duration"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let (certificate, key) = pair(&folder, "a", 2090);
    let text = errors(secure(LoadInput::default(), &(certificate.clone(), other_key)));
    assert!(text.contains("does not belong to the first certificate"), "{text}");
    let alone = |name: &str, path: &str| errors(LoadInput::default().flag(name, path));
    assert!(
        alone("tls.certificate_file", &certificate).contains("tls.key_file = null (default): must be set")
    );
    assert!(alone("tls.key_file", &key).contains("tls.certificate_file = null (default): must be set"));
    assert!(alone("tls.hsts", "8760h").contains("needs tls.certificate_file"));
}

#[test]
fn acme_names_are_checked() {
    let acme = |names: &str| keyed(LoadInput::default()).flag("tls.acme.domains", names);
    let config = load(acme("live.example.org").flag("listen.redirect", "127.0.0.1:8082")).unwrap();
    assert_eq!(config.hls_base_url(), "https://127.0.0.1:8080");
    assert!(errors(acme("live.example.org")).contains("needs listen.redirect, at which"));
    assert!(errors(acme("*.example.org")).contains("must be a DNS name like live.example.org"));
    let folder = TempDir::new().unwrap();
    let both = secure(acme("live.example.org"), &pair(&folder, "a", 2090));
    let text = errors(both.flag("listen.redirect", "127.0.0.1:8082"));
    assert!(text.contains("a node uses either its own files or ACME"), "{text}");
    let plain = acme("live.example.org").flag("tls.acme.directory", "http://ca.example.org/dir");
    assert!(errors(plain).contains("tls.acme.directory"));
}

#[test]
fn announced_addresses_are_in_networks() {
    let within = |networks: &str| LoadInput::default().flag("node.networks", networks);
    assert!(load(within("127.0.0.0/8")).is_ok());
    let text = errors(within("10.0.0.0/8"));
    assert!(text.contains("node.advertise") && text.contains("listen.media"), "{text}");
    assert!(text.contains("the address 127.0.0.1 is not in node.networks"), "{text}");
    let named = errors(within("127.0.0.0/8").flag("node.advertise", "m1.example.org"));
    assert!(named.contains("is a name; node.networks permits addresses only"), "{named}");
    let link_local = errors(LoadInput::default().flag("node.advertise", "169.254.169.254"));
    assert!(link_local.contains("is not in node.networks"), "{link_local}");
}

#[test]
fn shared_sockets_agree_on_tls() {
    let folder = TempDir::new().unwrap();
    let pair = pair(&folder, "a", 2090);
    let shared = || secure(LoadInput::default(), &pair).flag("listen.ws", "127.0.0.1:8080");
    assert!(load(shared()).is_ok());
    let text = errors(shared().flag("tls.sockets", "hls"));
    assert!(text.contains("must name both or neither of ws and hls"), "{text}");
    assert!(errors(shared().flag("tls.sockets", "ops")).contains("must be any of api, ws, hls"));
    assert!(errors(shared().flag("tls.sockets", "")).contains("must name at least one"));
}

#[test]
fn mixers_with_tls_need_relay_address() {
    let folder = TempDir::new().unwrap();
    let pair = pair(&folder, "a", 2090);
    let cluster = || {
        let input = secure(keyed(LoadInput::default()), &pair).flag("store.kind", "etcd");
        let input = input.flag("store.etcd.endpoints", "http://127.0.0.1:2379").flag("hls.secret", LONG);
        input.flag("auth.jwt_secrets", &format!("k:{LONG}"))
    };
    assert!(
        errors(cluster()).contains("listen.relay = null (default): must be set, because listen.hls has TLS")
    );
    let config = load(cluster().flag("listen.relay", "127.0.0.1:8082")).unwrap();
    assert_eq!(config.private_hls_url(), "http://127.0.0.1:8082");
    assert!(load(cluster().flag("tls.sockets", "api,ws")).is_ok());
    let shared = errors(cluster().flag("listen.relay", "127.0.0.1:8080"));
    assert!(shared.contains("must be an address of its own"), "{shared}");
}

#[test]
fn redirects_need_https_to_go_to() {
    let folder = TempDir::new().unwrap();
    let pair = pair(&folder, "a", 2090);
    let redirect = |input: LoadInput| keyed(input).flag("listen.redirect", "127.0.0.1:8000");
    assert!(errors(redirect(LoadInput::default())).contains("needs https to redirect to"));
    assert!(load(redirect(LoadInput::default()).flag("http.public_hls_url", "https://a.example")).is_ok());
    assert!(load(redirect(secure(LoadInput::default(), &pair))).is_ok());
    let taken = redirect(secure(LoadInput::default(), &pair)).flag("listen.ops", "127.0.0.1:8000");
    assert!(errors(taken).contains("must be an address of its own"));
}

#[test]
fn foreign_certificate_names_are_warned_of() {
    let folder = TempDir::new().unwrap();
    let pair = pair(&folder, "a", 2090);
    let public = |host: &str| {
        let input = secure(keyed(LoadInput::default()), &pair);
        let input = input.flag("http.public_hls_url", &format!("https://{host}"));
        load(input.flag("http.public_ws_url", &format!("wss://{host}/ws"))).unwrap().warnings()
    };
    assert_eq!(public("live.example.org"), Vec::<&str>::new());
    assert!(matches!(public("example.org")[..], [ref one] if one.contains("does not name the host")));
}

#[test]
fn trusted_proxies_need_keys_mode() {
    let trusting = |input: LoadInput| input.flag("http.trusted_proxies", "10.0.0.0/8, 127.0.0.1, fd00::/8");
    let config = load(trusting(keyed(LoadInput::default())).flag("http.proxy_protocol", "hls")).unwrap();
    assert_eq!(config.http.trusted_proxies.len(), 3);
    assert!(config.http.proxy_protocol.hls && !config.http.proxy_protocol.api);
    assert!(errors(trusting(LoadInput::default())).contains("must be empty while auth.mode is open"));
    let framed = |input: LoadInput| input.flag("http.proxy_protocol", "ws");
    assert!(errors(framed(LoadInput::default())).contains("needs the proxies that send it"));
    let shared = framed(trusting(keyed(LoadInput::default()))).flag("listen.ws", "127.0.0.1:8080");
    assert!(errors(shared).contains("must name all or none of the sockets"));
    let wrong = errors(LoadInput::default().flag("http.trusted_proxies", "10.0.0.0/40"));
    assert!(wrong.contains("must be networks or addresses"), "{wrong}");
}

#[test]
fn base_path_precedes_derived_urls() {
    for (text, path) in [("/", ""), ("/audio", "/audio"), ("/media/live.1/", "/media/live.1")] {
        let config = load(LoadInput::default().flag("http.base_path", text)).unwrap();
        assert_eq!(config.hls_base_url(), format!("http://127.0.0.1:8080{path}"));
        assert_eq!(config.ws_url().unwrap(), format!("ws://127.0.0.1:8081{path}/ws"));
        assert_eq!(config.private_hls_url(), "http://127.0.0.1:8080", "other nodes use no path");
    }
    let long = format!("/{}", "a".repeat(200));
    for wrong in ["audio", "/a//b", "/a b", "/../x", "/a?b", "/%2f", "/hls", "/ws/x", "/api", long.as_str()] {
        let error = errors(LoadInput::default().flag("http.base_path", wrong));
        assert!(error.contains("http.base_path"), "{wrong}: {error}");
    }
}
