//! The keys of the listening sockets: `listen`, `tls` and `http`.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::parse::*;
use super::super::reader::{ParseResult, Reader};
use super::super::types::*;
use crate::domain::acme::is_certifiable;
use crate::domain::request_rates::RequestLimits;
use crate::tls::{Chain, Key};

pub(super) fn listen(r: &mut Reader) -> ListenConfig {
    ListenConfig {
        api: r.read("listen.api", "127.0.0.1:3000", "REST room API.", listener),
        ws: r.read("listen.ws", "127.0.0.1:8081", "WebSocket signalling of anchors, at /ws.", listener),
        hls: r.read("listen.hls", "127.0.0.1:8080", "HLS and the pages of listeners.", listener),
        relay: r.optional(
            "listen.relay",
            "Private address without TLS at which other nodes fetch, and ask about rooms; null: listen.hls.",
            listener,
        ),
        redirect: r.optional(
            "listen.redirect",
            "Address that redirects plain http to the https of listen.hls, like 0.0.0.0:80; null: none.",
            listener,
        ),
        ops: r.read(
            "listen.ops",
            "127.0.0.1:9464",
            "Dashboard, /metrics, /actors, /livez, /readyz.",
            listener,
        ),
        media: r.read(
            "listen.media",
            "127.0.0.1",
            "IP address on which FFmpeg receives RTP from Janus; private if Janus is on another machine.",
            media_ip,
        ),
    }
}

fn key(r: &mut Reader) -> Option<Key> {
    let key = r.optional(
        "tls.key_file",
        "File with the private key (PEM); changes to either file are applied within seconds.",
        |value| Key::read(&path(value)?),
    )?;
    r.remark_on_file("tls.key_file", key.path());
    Some(key)
}

pub(super) fn tls(r: &mut Reader) -> TlsConfig {
    TlsConfig {
        certificate: r.optional(
            "tls.certificate_file",
            "File with the certificate chain (PEM), the server's certificate first; if set, sockets use TLS.",
            |value| Chain::read(&path(value)?, SystemTime::now()),
        ),
        key: key(r),
        acme: AcmeConfig {
            domains: r.read(
                "tls.acme.domains",
                json!([]),
                "Names of an ACME certificate (HTTP-01 at listen.redirect); accepts the authority's terms; \
                 empty: off.",
                list(certifiable),
            ),
            directory: r.read(
                "tls.acme.directory",
                "https://acme-v02.api.letsencrypt.org/directory",
                "Directory URL of the authority that issues the certificate.",
                url(&["https"]),
            ),
        },
        sockets: r.read(
            "tls.sockets",
            json!(["api", "ws", "hls"]),
            "Listening sockets with TLS: any of api, ws, hls.",
            tls_sockets,
        ),
        hsts: r.optional(
            "tls.hsts",
            "Time for which browsers use only https for this host (HSTS), like 8760h; null: not sent.",
            duration("1s", "17520h"),
        ),
    }
}

pub(super) fn http(r: &mut Reader) -> HttpConfig {
    HttpConfig {
        allowed_origins: r.read(
            "http.allowed_origins",
            json!([]),
            "Origins of other pages and apps that may use the API, signalling and the listener's cookie, as \
             browsers send them; *: any.",
            list(origin),
        ),
        embed_origins: r.read(
            "http.embed_origins",
            json!([]),
            "Origins of pages that may show a room in a frame, like https://*.example.org; *: any.",
            list(frame_ancestor),
        ),
        limits: RequestLimits {
            body: r.read(
                "http.body_limit",
                65_536,
                "Largest request body, bytes.",
                number(1024..=16 * 1024 * 1024),
            ),
            requests_per_address: r.read(
                "http.requests_per_address",
                10_000,
                "Requests per second allowed from one address, twice as many at once; a listener sends about \
                 11.",
                number(10..=1_000_000),
            ),
            requests_per_key: r.read(
                "http.requests_per_key",
                1000,
                "Requests per second allowed with one API key on a node, twice as many at once.",
                number(10..=1_000_000),
            ),
            connections_per_address: r.read(
                "http.connections_per_address",
                4096,
                "Connections from one address to one listening socket; at most half of the socket's slots.",
                number(10..=1_000_000),
            ),
        },
        header_timeout: r.read(
            "http.header_timeout",
            "5s",
            "How long a client may take to send the header of a request.",
            duration("100ms", "60s"),
        ),
        trusted_proxies: r.read(
            "http.trusted_proxies",
            json!([]),
            "Networks of proxies whose X-Forwarded-For, -Proto and -Host are trusted, like 10.0.0.0/8.",
            list(network),
        ),
        proxy_protocol: r.read(
            "http.proxy_protocol",
            json!([]),
            "Sockets at which trusted proxies begin with a PROXY protocol header: any of api, ws, hls.",
            sockets,
        ),
        base_path: r.read(
            "http.base_path",
            "/",
            "Path below which a proxy serves this node, like /audio; the proxy may keep or remove it.",
            base_path,
        ),
        public_hls_url: r.optional(
            "http.public_hls_url",
            "Base of the URLs given to listeners, without base_path; null: http(s)://{listen.hls}.",
            base_url,
        ),
        public_ws_url: r.optional(
            "http.public_ws_url",
            "URL that anchors connect to, e.g. wss://live.example.org/ws; null: ws(s)://{listen.ws}/ws of a \
             gateway.",
            ws_url,
        ),
    }
}

/// Parses a DNS name for which a certificate can be obtained through ACME.
fn certifiable(value: &Value) -> ParseResult<String> {
    let name = text(value)?.to_ascii_lowercase();
    match is_certifiable(&name) {
        true => Ok(name),
        false => {
            Err("must be a DNS name like live.example.org; no IP address, no wildcard, no scheme or port"
                .into())
        }
    }
}

/// First segments of the paths that this program serves.
const SERVED: [&str; 21] = [
    "actors",
    "api",
    "assets",
    "audit",
    "dashboard",
    "docs",
    "embed",
    "favicon.svg",
    "hls",
    "listen",
    "live",
    "livez",
    "metrics",
    "oembed",
    "pages",
    "readyz",
    "relay",
    "reload",
    "replay",
    "speak",
    "whip",
];

/// Parses a path prefix: `/` for the root, or segments of characters that need no encoding in a URL. Returns
/// the prefix without a trailing slash.
fn base_path(value: &Value) -> ParseResult<String> {
    let text = text(value)?;
    let path = text.trim_end_matches('/');
    let mut segments = path.split('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let rooted = segments.next() == Some("");
    let segments: Vec<_> = segments.collect();
    let plain = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(is_plain);
    if !rooted || path.len() > 200 || !segments.iter().all(|segment| plain(segment)) {
        return Err("must be / or a path like /audio or /media/audio, of letters, digits and - _ . ~".into());
    }
    match segments.first().filter(|first| SERVED.contains(first) || **first == "ws") {
        Some(first) => Err(format!("must not begin with /{first}, which is a path of Stentor itself")),
        None => Ok(path.to_owned()),
    }
}
