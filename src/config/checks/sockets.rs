//! Rules between the keys of the listening sockets.

use std::net::SocketAddr;

use super::can_be_called;
use crate::config::reader::Reader;
use crate::config::types::{AuthMode, Config, Sockets, StoreKind};
use crate::tls::Identity;

pub(super) fn check(config: &Config, r: &mut Reader) {
    check_certificate(config, r);
    check_addresses(config, r);
    check_redirect(config, r);
    check_proxies(config, r);
}

fn check_certificate(config: &Config, r: &mut Reader) {
    let tls = &config.tls;
    r.require(
        &["tls.key_file", "tls.certificate_file"],
        tls.key.is_some() || tls.certificate.is_none(),
        "must be set, because tls.certificate_file is: the file with the certificate's private key",
    );
    r.require(
        &["tls.certificate_file", "tls.key_file"],
        tls.certificate.is_some() || tls.key.is_none(),
        "must be set, because tls.key_file is: the file with the certificate chain",
    );
    if let (Some(chain), Some(key)) = (&tls.certificate, &tls.key) {
        let joined = Identity::new(chain, key);
        let (holds, problem) = (joined.is_ok(), joined.err().unwrap_or_default());
        r.require(&["tls.key_file", "tls.certificate_file"], holds, problem);
    }
    r.require(
        &["tls.hsts", "tls.certificate_file"],
        tls.hsts.is_none() || tls.is_on() || !config.http.trusted_proxies.is_empty(),
        "needs tls.certificate_file and tls.key_file, tls.acme.domains, or http.trusted_proxies; set them, \
         or remove it",
    );
    r.require(
        &["tls.acme.domains", "tls.certificate_file"],
        !(tls.acme.is_on() && tls.certificate.is_some()),
        "must be empty, because tls.certificate_file is set: a node uses either its own files or ACME",
    );
    r.require(
        &["tls.acme.domains", "listen.redirect"],
        !tls.acme.is_on() || config.listen.redirect.is_some(),
        "needs listen.redirect, at which the authority checks the names: set it to an address that port 80 \
         of these names reaches, like 0.0.0.0:80",
    );
}

/// Checks that sockets with the same address agree on TLS. Also checks that `listen.relay` has an address of
/// its own, and is set where mixers need it.
fn check_addresses(config: &Config, r: &mut Reader) {
    let (listen, secure) = (&config.listen, config.secure());
    let sockets =
        [("api", listen.api, secure.api), ("ws", listen.ws, secure.ws), ("hls", listen.hls, secure.hls)];
    for (n, (name, address, tls)) in sockets.iter().enumerate() {
        let differs = sockets[..n].iter().find(|(_, other, also)| is_shared(*other, *address) && also != tls);
        let other = differs.map_or("", |(other, ..)| other);
        r.require(
            &["tls.sockets", "tls.certificate_file"],
            differs.is_none(),
            format!(
                "must name both or neither of {other} and {name}, because both have the address {address}"
            ),
        );
    }
    let public = sockets.map(|(_, address, _)| address);
    let apart = |own: Option<SocketAddr>, others: &[SocketAddr]| {
        own.is_none_or(|own| others.iter().all(|other| !is_shared(own, *other)))
    };
    r.require(
        &["listen.relay", "listen.hls"],
        apart(listen.relay, &public),
        "must be an address of its own; remove it to fetch at listen.hls",
    );
    let roles = config.node.roles;
    r.require(
        &["listen.relay", "store.kind"],
        !roles.mixer || config.store.kind == StoreKind::Embedded || config.relay_address().is_some(),
        "must be set, because listen.hls has TLS: a private address without TLS from which other nodes \
         fetch, like 10.0.0.7:8082",
    );
}

fn check_redirect(config: &Config, r: &mut Reader) {
    let (listen, public) = (&config.listen, config.http.public_hls_url.as_deref());
    let Some(redirect) = listen.redirect else { return };
    let others = [Some(listen.api), Some(listen.ws), Some(listen.hls), listen.relay, Some(listen.ops)];
    r.require(
        &["listen.redirect"],
        others.into_iter().flatten().all(|other| !is_shared(redirect, other)),
        "must be an address of its own",
    );
    let secure = match public {
        Some(url) => url.starts_with("https:"),
        None => config.secure().hls,
    };
    r.require(
        &["listen.redirect", "tls.certificate_file", "http.public_hls_url"],
        secure,
        "needs https to redirect to: set tls.certificate_file and tls.key_file, tls.acme.domains, or an \
         https URL as http.public_hls_url",
    );
    r.require(
        &["http.public_hls_url", "listen.hls"],
        public.is_some() || can_be_called(listen.hls),
        format!(
            "must be set, because listen.redirect is set and no client can connect to listen.hls, {}",
            listen.hls
        ),
    );
}

fn check_proxies(config: &Config, r: &mut Reader) {
    let (http, listen) = (&config.http, &config.listen);
    let (trusts, framed) = (!http.trusted_proxies.is_empty(), http.proxy_protocol);
    r.require(
        &["http.trusted_proxies", "auth.mode"],
        !trusts || config.auth.mode == AuthMode::Keys,
        "must be empty while auth.mode is open, which serves this machine only and no proxy; set auth.mode \
         to keys and give auth.api_keys, or remove it",
    );
    r.require(
        &["http.proxy_protocol", "http.trusted_proxies"],
        trusts || framed == Sockets::default(),
        "needs the proxies that send it in http.trusted_proxies; set them, or remove it",
    );
    let sockets = [(listen.api, framed.api), (listen.ws, framed.ws), (listen.hls, framed.hls)];
    let differs = |(n, (address, framed)): (usize, &(SocketAddr, bool))| {
        sockets[..n].iter().any(|(other, also)| is_shared(*other, *address) && also != framed)
    };
    r.require(
        &["http.proxy_protocol"],
        !sockets.iter().enumerate().any(differs),
        "must name all or none of the sockets that have one address",
    );
}

/// Returns true if one socket serves both addresses. Addresses with port 0 are never shared: the system picks
/// a free port for each socket.
fn is_shared(one: SocketAddr, other: SocketAddr) -> bool {
    one == other && one.port() != 0
}
